import { beforeEach, describe, expect, test } from "bun:test";
import { parseAddress } from "../../base/address.ts";
import { decodeIndex, decodeNodeId, decodeTerm } from "../../base/ids.ts";
import { CLUSTER_VERSION_KEY, encodeClusterVersion } from "../kv/cluster-version.ts";
import { kvHandlers } from "../kv/handlers.ts";
import { createStateMachine } from "../kv/state-machine.ts";
import { systemTxn } from "../kv/txn.ts";
import type { Command, KvMachine } from "../kv/types.ts";
import { acquireLease, putConfig } from "./commands.ts";
import { networkHandlers } from "./handlers.ts";
import { returningLeases } from "./returning-leases.ts";
import { readNetwork } from "./view.ts";

let machine: KvMachine;

function run<Outcome>(command: Command<Outcome>): Outcome {
  const index = decodeIndex(machine.appliedIndex + 1);
  const context = { index, term: decodeTerm(1), proposedAtMs: 0, request: undefined };
  return machine.apply(command, context).outcome as Outcome;
}

/** The subnet that node `id` at `ip` gets, and how. */
function acquire(id: number, ip: string): string {
  const backend = { kind: "udp", port: 8285, partialChecksum: true } as const;
  const attributes = { publicIp: parseAddress(ip)!, publicIpv6: null, backend };
  const outcome = run(acquireLease({ node: decodeNodeId(id), attributes }));
  return outcome.kind === "acquired" ? `${outcome.lease.subnet} ${outcome.how}` : outcome.kind;
}

function raise(version: number): void {
  const value = encodeClusterVersion(version);
  run(systemTxn({ success: [{ kind: "put", key: CLUSTER_VERSION_KEY, value }] }));
}

/** What the network is after a restore. */
function restore(): void {
  for (const command of returningLeases(machine.reader)) {
    expect(run(command)).toMatchObject({ kind: expect.stringMatching(/^(released|reserved)$/) });
  }
}

beforeEach(() => {
  machine = createStateMachine({ ...kvHandlers, ...networkHandlers });
  run(putConfig({ config: { Network: "10.0.0.0/16" } }));
});

describe("leases of a restored network", () => {
  test("are nobody's, and wait for the addresses that had them", () => {
    const subnet = acquire(1, "192.0.2.1").split(" ")[0]!;
    restore();
    const { leases, reservations } = readNetwork(machine.reader);
    expect(leases.size).toBe(0);
    expect([...reservations]).toEqual([
      [expect.stringContaining(subnet), { kind: "public_ip", publicIp: expect.any(String) }],
    ]);
    expect(acquire(9, "192.0.2.9")).not.toContain(subnet);
  });

  test("come back to a new node at the old address", () => {
    const [subnet] = acquire(1, "192.0.2.1").split(" ");
    restore();
    expect(acquire(7, "192.0.2.1")).toBe(`${subnet} reserved`);
  });

  test("come back to the old node at a new address", () => {
    const [subnet] = acquire(1, "192.0.2.1").split(" ");
    restore();
    raise(2);
    expect(acquire(1, "192.0.2.77")).toBe(`${subnet} returned`);
  });

  test("do not, as long as a member could decide otherwise", () => {
    const [subnet] = acquire(1, "192.0.2.1").split(" ");
    restore();
    expect(acquire(1, "192.0.2.77")).not.toContain(subnet!);
  });

  test("of two nodes behind one address wait for the nodes", () => {
    const subnets = [1, 2].map((id) => acquire(id, "192.0.2.1").split(" ")[0]);
    restore();
    raise(2);
    expect(acquire(2, "192.0.2.1")).toContain("10.0.");
    expect(readNetwork(machine.reader).reservations.size).toBe(1);
    expect(new Set(subnets).size).toBe(2);
  });

  test("a subnet that somebody reserved stays reserved as it was", () => {
    acquire(1, "192.0.2.1");
    restore();
    const before = [...readNetwork(machine.reader).reservations];
    restore();
    expect([...readNetwork(machine.reader).reservations]).toEqual(before);
  });
});
