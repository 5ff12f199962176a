import { beforeEach, expect, test } from "bun:test";
import { parseAddress, parsePrefix } from "../../base/address.ts";
import { decodeIndex, decodeNodeId, decodeTerm } from "../../base/ids.ts";
import { createStateMachine } from "../kv/state-machine.ts";
import type { Command, CommandRefusal, StateMachine } from "../kv/types.ts";
import { acquireLease, importNetwork, putConfig, reserveSubnet } from "./commands.ts";
import { networkHandlers } from "./handlers.ts";
import { parseNetworkCommand } from "./parse-command.ts";
import { readNetwork } from "./view.ts";

const CONFIG = { Network: "10.0.0.0/16", Backend: { Type: "udp" } };
const subnet = (text: string) => parsePrefix(text)!;
const address = (text: string) => parseAddress(text)!;
const reserved = (...pairs: readonly (readonly [string, string])[]) =>
  pairs.map(([prefix, ip]) => ({ subnet: subnet(prefix), publicIp: address(ip) }));

let machine: StateMachine;

function run<Outcome>(command: Command<Outcome>): Exclude<Outcome, CommandRefusal> {
  const index = decodeIndex(machine.appliedIndex + 1);
  const context = { index, term: decodeTerm(1), proposedAtMs: 0, request: undefined };
  return machine.apply(command, context).outcome as Exclude<Outcome, CommandRefusal>;
}

/** The subnet that a node from `ip` gets. */
function acquire(id: number, ip: string): string {
  const backend = { kind: "udp", port: 8285, partialChecksum: true } as const;
  const attributes = { publicIp: address(ip), publicIpv6: null, backend };
  const outcome = run(acquireLease({ node: decodeNodeId(id), attributes }));
  return outcome.kind === "acquired" ? `${outcome.lease.subnet} ${outcome.how}` : outcome.kind;
}

beforeEach(() => {
  machine = createStateMachine(networkHandlers);
});

test("import_network: whoever comes from an imported address gets its subnet", () => {
  const reservations = reserved(["10.0.53.0/24", "192.0.2.1"], ["10.0.7.0/24", "192.0.2.2"]);
  const outcome = run(importNetwork({ config: CONFIG, reservations }));
  expect(outcome).toMatchObject({ kind: "imported", config: CONFIG, plan: { capacity: 255 } });
  expect(acquire(7, "192.0.2.2")).toBe("10.0.7.0/24 reserved");
  expect(acquire(8, "192.0.2.1")).toBe("10.0.53.0/24 reserved");
  expect(acquire(9, "192.0.2.9")).toEndWith(" free");
});

test("import_network: once more changes nothing, also after nodes came", () => {
  const reservations = reserved(["10.0.53.0/24", "192.0.2.1"], ["10.0.7.0/24", "192.0.2.2"]);
  run(importNetwork({ config: CONFIG, reservations }));
  acquire(7, "192.0.2.1");
  const before = readNetwork(machine.reader);
  const again = run(importNetwork({ config: CONFIG, reservations }));
  expect(again).toMatchObject({ kind: "imported", plan: { effect: "keep" } });
  expect(readNetwork(machine.reader, before)).toBe(before);
});

test("import_network: one that cannot be reserved, and nothing is written", () => {
  run(putConfig({ config: { Network: "10.0.0.0/16" } }));
  const held = acquire(7, "192.0.2.7").split(" ")[0]!;
  const owner = { kind: "public_ip", publicIp: address("192.0.2.5") } as const;
  run(reserveSubnet({ subnet: subnet("10.0.200.0/24"), owner }));
  const before = readNetwork(machine.reader);
  const reservations = reserved(
    ["10.0.77.0/24", "192.0.2.1"],
    [held, "192.0.2.2"],
    ["10.0.200.0/24", "192.0.2.3"],
    ["10.1.1.0/24", "192.0.2.4"],
    ["10.0.78.0/24", "192.0.2.1"],
  );
  expect(run(importNetwork({ config: CONFIG, reservations }))).toEqual({
    kind: "refused",
    refused: [
      { subnet: subnet(held), why: { kind: "held_by_other", holder: decodeNodeId(7) } },
      { subnet: subnet("10.0.200.0/24"), why: { kind: "reserved_for_other", owner } },
      { subnet: subnet("10.1.1.0/24"), why: { kind: "not_in_pool" } },
      {
        subnet: subnet("10.0.78.0/24"),
        why: { kind: "owner_has_reservation", subnet: subnet("10.0.77.0/24") },
      },
    ],
  });
  const after = readNetwork(machine.reader);
  expect(after.config).toEqual(before.config);
  expect(after.reservations).toEqual(before.reservations);
});

test("import_network: what a config would be refused for, refuses the import", () => {
  const reservations = reserved(["10.0.53.0/24", "192.0.2.1"]);
  expect(run(importNetwork({ config: {}, reservations })).kind).toBe("invalid_config");
  run(putConfig({ config: { Network: "10.9.0.0/16" } }));
  const stale = importNetwork({ config: CONFIG, expectedRevision: 0, reservations });
  expect(run(stale).kind).toBe("revision_mismatch");
  acquire(7, "192.0.2.7");
  expect(run(importNetwork({ config: CONFIG, reservations })).kind).toBe("would_renumber");
  expect(readNetwork(machine.reader).reservations.size).toBe(0);
});

test("import_network: parsed from the log, and nothing else passes for it", () => {
  const reservations = reserved(["10.0.53.0/24", "192.0.2.1"]);
  const command = importNetwork({ config: CONFIG, expectedRevision: 3, reservations });
  expect(parseNetworkCommand(structuredClone(command))).toEqual(command);
  for (const wrong of [
    { config: 7 },
    { expectedRevision: -1 },
    { reservations: {} },
    { reservations: [{ subnet: "10.0.53.1/24", publicIp: "192.0.2.1" }] },
    { reservations: [{ subnet: "10.0.53.0/24", publicIp: "web1" }] },
    { reservations: new Array(4097).fill(reservations[0]) },
  ]) {
    expect(parseNetworkCommand({ ...command, ...wrong })).toBeUndefined();
  }
});
