import { beforeEach, describe, expect, test } from "bun:test";
import { parseAddress, parsePrefix } from "../../base/address.ts";
import { decodeIndex, decodeNodeId, decodeTerm } from "../../base/ids.ts";
import { createStateMachine } from "../kv/state-machine.ts";
import type { Command, StateMachine } from "../kv/types.ts";
import {
  acquireLease,
  expireLeases,
  putConfig,
  releaseLease,
  renewLeases,
  reserveSubnet,
} from "./commands.ts";
import { networkHandlers } from "./handlers.ts";
import type { JsonObject } from "./json.ts";
import { newestMachine } from "./newest-machine.fake.ts";
import { readNetwork } from "./view.ts";

let machine: StateMachine;

function run<Outcome>(command: Command<Outcome>): Outcome {
  const index = decodeIndex(machine.appliedIndex + 1);
  const context = { index, term: decodeTerm(1), proposedAtMs: 0, request: undefined };
  return machine.apply(command, context).outcome as Outcome;
}

function put(config: JsonObject, options: { expectedRevision?: number; renumber?: boolean } = {}) {
  return run(putConfig({ config, ...options }));
}

function acquire(id: number, wanted?: string) {
  const publicIp = parseAddress(`192.0.2.${id}`)!;
  const backend = { kind: "udp", port: 8285, partialChecksum: false } as const;
  const attributes = { publicIp, publicIpv6: null, backend };
  const prefix = wanted === undefined ? undefined : parsePrefix(wanted);
  return run(acquireLease({ node: decodeNodeId(id), attributes, wanted: prefix }));
}

const subnets = () => [...readNetwork(machine.reader).leases.keys()].map(String);

beforeEach(() => {
  machine = createStateMachine(networkHandlers);
});

describe("put_config", () => {
  test("stores what the user gave and says what it does", () => {
    expect(put({ network: "10.0.0.0/16" })).toEqual({
      kind: "stored",
      revision: machine.reader.revision,
      config: { Network: "10.0.0.0/16" },
      plan: { effect: "none", kept: [], renumbered: [], capacity: 255 },
    });
    const pair = machine.reader.get("/overlay/network/config");
    expect(new TextDecoder().decode(pair?.value)).toBe('{"Network":"10.0.0.0/16"}');
    expect(readNetwork(machine.reader).config).toMatchObject({
      revision: 1,
      config: { leaseTtlSeconds: 86_400 },
    });
  });

  test("an invalid one changes nothing and tells every problem", () => {
    const outcome = put({ Network: "10.0.0.0/31", EnableIPv6: true });
    expect(outcome).toMatchObject({ kind: "invalid_config" });
    if (outcome.kind === "invalid_config") expect(outcome.errors).toHaveLength(2);
    expect(Number(machine.reader.revision)).toBe(0);
  });

  test("the same one again is no change: the revision stays for If-Match", () => {
    put({ Network: "10.0.0.0/16" });
    expect(put({ NETWORK: "10.0.0.0/16" })).toMatchObject({ kind: "stored", revision: 1 });
    expect(Number(machine.reader.revision)).toBe(1);
  });

  test("compares the revision first: of two writers one wins", () => {
    expect(put({ Network: "10.0.0.0/16" }, { expectedRevision: 3 })).toEqual({
      kind: "revision_mismatch",
      revision: 0,
    });
    expect(put({ Network: "10.0.0.0/16" }, { expectedRevision: 0 })).toMatchObject({
      kind: "stored",
    });
    expect(put({ Network: "10.1.0.0/16" }, { expectedRevision: 1 })).toMatchObject({ revision: 2 });
    expect(put({ Network: "10.2.0.0/16" }, { expectedRevision: 1 })).toEqual({
      kind: "revision_mismatch",
      revision: 2,
    });
  });

  test("growing the network keeps every lease", () => {
    put({ Network: "10.0.0.0/16" });
    acquire(1, "10.0.5.0/24");
    expect(put({ Network: "10.0.0.0/15" })).toMatchObject({
      kind: "stored",
      plan: { effect: "keep", kept: ["10.0.5.0/24"], capacity: 511 },
    });
    expect(subnets()).toEqual(["10.0.5.0/24"]);
  });

  test("a change that renumbers is refused with its plan, and nothing changes", () => {
    put({ Network: "10.0.0.0/16" });
    acquire(1, "10.0.5.0/24");
    acquire(2, "10.0.200.0/24");
    const hash = machine.reader.revision;
    expect(put({ Network: "10.0.0.0/17" })).toEqual({
      kind: "would_renumber",
      plan: {
        effect: "renumber",
        kept: [parsePrefix("10.0.5.0/24")!],
        renumbered: [{ subnet: parsePrefix("10.0.200.0/24")!, node: "00000000000002" }],
        capacity: 127,
      },
    });
    expect(machine.reader.revision).toBe(hash);
  });

  test("renumbering gives the others new subnets in the same revision", () => {
    put({ Network: "10.0.0.0/16" });
    acquire(1, "10.0.5.0/24");
    acquire(2, "10.0.200.0/24");
    const { revision } = machine.reader;
    expect(put({ Network: "10.0.0.0/17" }, { renumber: true })).toMatchObject({ kind: "stored" });
    expect(Number(machine.reader.revision)).toBe(revision + 1);
    const view = readNetwork(machine.reader);
    expect<string | undefined>(view.byNode.get(decodeNodeId(1))?.subnet).toBe("10.0.5.0/24");
    const moved = view.byNode.get(decodeNodeId(2));
    expect(moved).toMatchObject({ state: "held", grantRevision: revision + 1 });
    expect(subnets()).toHaveLength(2);
    expect(subnets()).not.toContain("10.0.200.0/24");
  });

  test("another subnet length renumbers all, and what is only remembered is forgotten", () => {
    put({ Network: "10.0.0.0/16" });
    acquire(1, "10.0.5.0/24");
    acquire(2, "10.0.6.0/24");
    run(releaseLease({ subnet: parsePrefix("10.0.6.0/24")!, node: decodeNodeId(2) }));
    put({ Network: "10.0.0.0/16", SubnetLen: 25 }, { renumber: true });
    const view = readNetwork(machine.reader);
    expect(view.expired.size).toBe(0);
    expect([...view.leases.keys()].every((subnet) => subnet.endsWith("/25"))).toBe(true);
    expect(acquire(2)).toMatchObject({ kind: "acquired", how: "free" });
  });

  test("without room for every lease nothing is renumbered", () => {
    put({ Network: "10.0.0.0/16" });
    for (let id = 1; id <= 4; id++) acquire(id);
    const before = subnets();
    const outcome = put({ Network: "10.9.0.0/28" }, { renumber: true });
    expect(outcome).toMatchObject({ kind: "invalid_config", errors: [{ path: "Network" }] });
    expect(subnets()).toEqual(before);
    expect(readNetwork(machine.reader).config).toMatchObject({ revision: 1 });
  });

  test("a reservation outside the new pool sleeps until the pool comes back", () => {
    const owner = { kind: "node", node: decodeNodeId(7) } as const;
    const kept = parsePrefix("10.0.5.0/24")!;
    put({ Network: "10.0.0.0/16" });
    run(reserveSubnet({ subnet: kept, owner }));
    put({ Network: "10.1.0.0/16" });
    expect(acquire(7)).toMatchObject({ how: "free" });
    put({ Network: "10.0.0.0/16" }, { renumber: true });
    expect(subnets()).toEqual([kept]);
  });
});

describe("put_config that renumbers, from cluster version 2 on", () => {
  const OLD = parsePrefix("10.0.200.0/24")!;
  const TWO = decodeNodeId(2);
  const view = () => readNetwork(machine.reader);
  const drainingSubnets = () => [...view().draining.keys()].map(String);

  /** Node 1 stays, node 2 has `OLD`, which a smaller network does not have. */
  function shrink() {
    put({ Network: "10.0.0.0/16" });
    acquire(1, "10.0.5.0/24");
    acquire(2, OLD);
    expect(put({ Network: "10.0.0.0/17" }, { renumber: true })).toMatchObject({ kind: "stored" });
  }

  beforeEach(() => {
    machine = newestMachine();
  });

  test("the old lease drains beside the new one, with the network that it is of", () => {
    shrink();
    expect(view().draining.get(OLD)).toMatchObject({ node: 2, network: "10.0.0.0/16" });
    const mine = view().byNode.get(TWO);
    expect(mine).toMatchObject({ state: "held" });
    expect(String(mine?.subnet)).not.toBe(OLD);
    expect(subnets()).toHaveLength(2);
  });

  test("is renewed like any lease, and by its holder alone", () => {
    shrink();
    const { attributes, epoch } = view().draining.get(OLD)!;
    const moved = { ...attributes, publicIp: parseAddress("192.0.2.99")! };
    const renew = (id: number) =>
      run(renewLeases([{ subnet: OLD, node: decodeNodeId(id), attributes: moved }]));
    expect(renew(1)).toMatchObject({ results: [{ kind: "not_held" }] });
    expect(renew(2)).toMatchObject({ results: [{ kind: "renewed", subnet: OLD }] });
    const renewed = view().draining.get(OLD)!;
    expect(renewed.attributes).toEqual(moved);
    expect(renewed.epoch).toBeGreaterThan(epoch);
  });

  test("expires at its epoch, not before, and is not remembered", () => {
    shrink();
    const { epoch, grantRevision } = view().draining.get(OLD)!;
    const expire = (at: typeof epoch) =>
      run(expireLeases(decodeTerm(1), [{ subnet: OLD, node: TWO, epoch: at }]));
    run(renewLeases([{ ...view().draining.get(OLD)! }]));
    expect(expire(epoch)).toMatchObject({ subnets: [] });
    expect(grantRevision).toBeLessThanOrEqual(epoch);
    expect(expire(view().draining.get(OLD)!.epoch)).toMatchObject({ subnets: [OLD] });
    expect([view().draining.size, view().expired.size]).toEqual([0, 0]);
  });

  test("a release ends it, and the lease of the node stays", () => {
    shrink();
    const mine = view().byNode.get(TWO);
    expect(run(releaseLease({ subnet: OLD, node: TWO }))).toMatchObject({ kind: "released" });
    expect(drainingSubnets()).toEqual([]);
    expect(view().byNode.get(TWO)).toEqual(mine!);
  });

  test("nobody gets a subnet that overlaps it, whatever the length, until it ends", () => {
    put({ Network: "10.0.0.0/28", SubnetLen: 30 });
    for (const id of [1, 2]) acquire(id);
    const held = subnets();
    // Three subnets less the one of 10.0.0.0/31 that is left out by default: no room beside both.
    expect(put({ Network: "10.0.0.0/29", SubnetLen: 30 }, { renumber: true })).toMatchObject({
      kind: "invalid_config",
    });
    expect(subnets()).toEqual(held);
    expect(drainingSubnets()).toEqual([]);
  });

  test("going back gives every node the subnet that it drains", () => {
    shrink();
    const before = view().byNode.get(TWO)!.subnet;
    expect(put({ Network: "10.0.128.0/17" }, { renumber: true })).toMatchObject({ kind: "stored" });
    expect(view().byNode.get(TWO)?.subnet).toBe(OLD);
    expect(view().draining.get(before)).toMatchObject({ node: 2, network: "10.0.0.0/17" });
    expect(drainingSubnets().sort()).toEqual(["10.0.5.0/24", String(before)].sort());
  });

  test("a node that lost its lease meanwhile keeps what drains, and acquires anew", () => {
    shrink();
    const { subnet } = view().byNode.get(TWO)!;
    run(releaseLease({ subnet, node: TWO }));
    expect(acquire(2, OLD)).toMatchObject({ kind: "acquired", lease: { subnet } });
    expect(drainingSubnets()).toEqual([OLD]);
  });
});
