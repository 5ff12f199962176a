import { expect, test } from "bun:test";
import { parseAddress, parsePrefix } from "../../base/address.ts";
import { decodeIndex, decodeNodeId, decodeTerm } from "../../base/ids.ts";
import { kvHandlers } from "../kv/handlers.ts";
import { createStateMachine } from "../kv/state-machine.ts";
import { systemTxn } from "../kv/txn.ts";
import type { Command, StateMachine } from "../kv/types.ts";
import { acquireLease, putConfig, releaseLease, reserveSubnet } from "./commands.ts";
import { networkHandlers } from "./handlers.ts";
import { readNetwork } from "./view.ts";

const backend = { kind: "udp", port: 8285, partialChecksum: false } as const;
const attributes = { publicIp: parseAddress("192.0.2.1")!, publicIpv6: null, backend };
const subnet = (text: string) => parsePrefix(text)!;
const node = decodeNodeId;

function run(machine: StateMachine, command: Command): void {
  const index = decodeIndex(machine.appliedIndex + 1);
  machine.apply(command, { index, term: decodeTerm(1), proposedAtMs: 0, request: undefined });
}

function acquire(machine: StateMachine, id: number, wanted: string): void {
  run(machine, acquireLease({ node: node(id), attributes, wanted: subnet(wanted) }));
}

function threeLeases(): StateMachine {
  const machine = createStateMachine({ ...kvHandlers, ...networkHandlers });
  run(machine, putConfig({ config: { Network: "10.0.0.0/16" } }));
  for (const id of [1, 2, 3]) acquire(machine, id, `10.0.${id}.0/24`);
  run(machine, releaseLease({ subnet: subnet("10.0.3.0/24"), node: node(3) }));
  const owner = { kind: "node", node: node(9) } as const;
  run(machine, reserveSubnet({ subnet: subnet("10.0.9.0/24"), owner }));
  return machine;
}

test("readNetwork: held and expired leases, reservations and config, each in its place", () => {
  const view = readNetwork(threeLeases().reader);
  expect([...view.leases.keys()].map(String)).toEqual(["10.0.1.0/24", "10.0.2.0/24"]);
  expect([...view.byNode].map(([id, lease]) => [Number(id), String(lease.subnet)])).toEqual([
    [1, "10.0.1.0/24"],
    [2, "10.0.2.0/24"],
  ]);
  expect([...view.expired.keys()].map(String)).toEqual(["10.0.3.0/24"]);
  expect([...view.reservations]).toEqual([
    [subnet("10.0.9.0/24"), { kind: "node", node: node(9) }],
  ]);
  expect(view.config).toMatchObject({ revision: 1, config: { pool: { network: "10.0.0.0/16" } } });
});

test("readNetwork: an empty store", () => {
  const view = readNetwork(createStateMachine(networkHandlers).reader);
  expect(view).toEqual({
    revision: view.revision,
    config: undefined,
    leases: new Map(),
    byNode: new Map(),
    draining: new Map(),
    expired: new Map(),
    reservations: new Map(),
  });
});

test("readNetwork: with the view before, what did not change is the same object", () => {
  const machine = threeLeases();
  const before = readNetwork(machine.reader);
  expect(readNetwork(machine.reader, before)).toBe(before);
  acquire(machine, 2, "10.0.2.0/24");
  const after = readNetwork(machine.reader, before);
  expect(after).toEqual(readNetwork(machine.reader));
  expect(after.config).toBe(before.config!);
  expect(after.byNode.get(node(1))).toBe(before.byNode.get(node(1))!);
  expect(after.byNode.get(node(2))).not.toBe(before.byNode.get(node(2))!);
  expect(after.expired.get(subnet("10.0.3.0/24"))).toBe(before.expired.get(subnet("10.0.3.0/24"))!);
});

test("readNetwork: records of a newer version are left out, not fatal", () => {
  const machine = threeLeases();
  const value = new TextEncoder().encode('{"format":2}');
  const keys = ["config", "subnets/10.0.8.0-24", "reservations/10.0.8.0-24"];
  const success = keys.map(
    (key) => ({ kind: "put", key: `/overlay/network/${key}`, value }) as const,
  );
  run(machine, systemTxn({ success }));
  const view = readNetwork(machine.reader);
  expect([view.config, view.leases.size, view.reservations.size]).toEqual([undefined, 2, 1]);
});
