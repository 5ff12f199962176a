import { beforeEach, describe, expect, test } from "bun:test";
import { parseAddress, parsePrefix } from "../../base/address.ts";
import { decodeIndex, decodeNodeId, decodeRevision, decodeTerm } from "../../base/ids.ts";
import { createStateMachine } from "../kv/state-machine.ts";
import type { Command, CommandRefusal, StateMachine } from "../kv/types.ts";
import {
  acquireLease,
  expireLeases,
  putConfig,
  releaseLease,
  renewLeases,
  reserveSubnet,
  unreserveSubnet,
} from "./commands.ts";
import { networkHandlers } from "./handlers.ts";
import type { LeaseAttributes } from "./lease.ts";
import { readNetwork } from "./view.ts";

const text = new TextDecoder();
const node = decodeNodeId;
const subnet = (value: string) => parsePrefix(value)!;

function attributes(publicIp: string, port = 8285): LeaseAttributes {
  const backend = { kind: "udp", port, partialChecksum: true } as const;
  return { publicIp: parseAddress(publicIp)!, publicIpv6: null, backend };
}

let machine: StateMachine;
let term = 1;

/** Applies one command; a refusal of the state machine fails the test. */
function run<Outcome>(command: Command<Outcome>): Exclude<Outcome, CommandRefusal> {
  const index = decodeIndex(machine.appliedIndex + 1);
  const context = { index, term: decodeTerm(term), proposedAtMs: 0, request: undefined };
  return machine.apply(command, context).outcome as Exclude<Outcome, CommandRefusal>;
}

function acquire(id: number, options: { ip?: string; wanted?: string; port?: number } = {}) {
  const { ip = `192.0.2.${id % 250}`, wanted, port } = options;
  return run(
    acquireLease({
      node: node(id),
      attributes: attributes(ip, port),
      wanted: wanted === undefined ? undefined : subnet(wanted),
    }),
  );
}

/** The lease that acquiring must yield. */
function granted(id: number, options: Parameters<typeof acquire>[1] = {}) {
  const outcome = acquire(id, options);
  if (outcome.kind !== "acquired") throw new Error(`expected a lease, got ${outcome.kind}`);
  const lease = readNetwork(machine.reader).leases.get(outcome.lease.subnet)!;
  expect(lease).toMatchObject(outcome.lease);
  return { ...lease, how: outcome.how };
}

function expire(lease: { subnet: string; node: number; epoch: number }, atTerm = term) {
  const expiry = {
    subnet: subnet(lease.subnet),
    node: node(lease.node),
    epoch: decodeRevision(lease.epoch),
  };
  return run(expireLeases(decodeTerm(atTerm), [expiry]));
}

beforeEach(() => {
  machine = createStateMachine(networkHandlers);
  term = 1;
  // Three subnets: 10.0.0.4/30, 10.0.0.8/30, 10.0.0.12/30.
  run(putConfig({ config: { Network: "10.0.0.0/28" } }));
});

describe("acquire_lease", () => {
  test("without a config there is nothing to acquire", () => {
    machine = createStateMachine(networkHandlers);
    expect(acquire(1)).toEqual({ kind: "no_config" });
  });

  test("a new node gets a free subnet and the record says what peers need", () => {
    const lease = granted(0x1f_0000_0000_0007, { ip: "192.0.2.157" });
    expect(lease).toMatchObject({ how: "free", state: "held", epoch: 2, ttlSeconds: 86_400 });
    const key = `/overlay/network/subnets/${lease.subnet.replace("/", "-")}`;
    expect(JSON.parse(text.decode(machine.reader.get(key)?.value))).toEqual({
      PublicIP: "192.0.2.157",
      PublicIPv6: null,
      BackendType: "udp",
      BackendData: { Port: 8285, PartialChecksum: true },
      Node: "1f000000000007",
      State: "held",
      Epoch: 2,
      GrantRevision: 2,
      TTLSeconds: 86_400,
    });
  });

  test("the same node keeps its subnet whatever its address; nobody else gets it", () => {
    const first = granted(1);
    const moved = granted(1, { ip: "198.51.100.9", port: 9000 });
    expect(moved).toMatchObject({ subnet: first.subnet, how: "held", grantRevision: 2 });
    expect(moved.attributes).toEqual(attributes("198.51.100.9", 9000));
    expect(Number(moved.epoch)).toBeGreaterThan(first.epoch);
    // Ten machines behind one address are ten nodes (flannel #98).
    expect(granted(2, { ip: "198.51.100.9" }).subnet).not.toBe(first.subnet);
  });

  test("simultaneous starts get different subnets, without a retry, until none is left", () => {
    const got = [1, 2, 3].map((id) => granted(id).subnet);
    expect(new Set(got).size).toBe(3);
    expect(acquire(4)).toEqual({ kind: "pool_exhausted", capacity: 3 });
  });

  test("a wanted subnet is given when nobody holds it, and it is one of the pool", () => {
    expect(granted(1, { wanted: "10.0.0.12/30" })).toMatchObject({
      subnet: "10.0.0.12/30",
      how: "wanted",
    });
    expect(granted(2, { wanted: "10.0.0.12/30" })).toMatchObject({ how: "free" });
    for (const wanted of ["10.0.0.0/30", "10.9.0.0/30", "10.0.0.8/29"]) {
      machine = createStateMachine(networkHandlers);
      run(putConfig({ config: { Network: "10.0.0.0/28" } }));
      expect(granted(3, { wanted })).toMatchObject({ how: "free" });
    }
  });

  test("an expired lease comes back to its node, not to a newcomer", () => {
    const first = granted(1);
    expect(expire(first)).toEqual({ kind: "expired", subnets: [first.subnet] });
    const others = [granted(2), granted(3)];
    expect(others.map(({ how }) => how)).toEqual(["free", "free"]);
    const back = granted(1, { wanted: "10.0.0.4/30" });
    expect(back).toMatchObject({ subnet: first.subnet, how: "returned", grantRevision: 2 });
  });

  test("with nothing else free the lease that expired first is given away", () => {
    const leases = [granted(1), granted(2), granted(3)];
    expire(leases[1]!);
    expire(leases[0]!);
    const taken = granted(4);
    expect(taken).toMatchObject({ subnet: leases[1]!.subnet, how: "recycled" });
    expect(Number(taken.grantRevision)).toBe(taken.epoch);
    // Its old node comes late: it gets what is left, and is remembered for that from now on.
    expect(granted(2)).toMatchObject({ subnet: leases[0]!.subnet, how: "recycled" });
    expect(acquire(1)).toMatchObject({ kind: "pool_exhausted" });
    expect(readNetwork(machine.reader).leases.size).toBe(3);
  });

  test("a wanted subnet that expired is given to who asks for it by name", () => {
    const first = granted(1);
    expire(first);
    expect(granted(9, { wanted: first.subnet })).toMatchObject({ how: "wanted" });
    expect(granted(1).subnet).not.toBe(first.subnet);
  });
});

describe("renew_leases", () => {
  test("each renewal gets a new epoch and tells where the holder is now", () => {
    const [one, two] = [granted(1), granted(2)];
    const outcome = run(
      renewLeases([
        { subnet: one.subnet, node: node(1), attributes: attributes("198.51.100.1") },
        { subnet: two.subnet, node: node(2), attributes: two.attributes },
      ]),
    );
    expect(outcome).toEqual({
      kind: "renewed",
      results: [one, two].map(({ subnet }) => ({
        kind: "renewed" as const,
        subnet,
        epoch: decodeRevision(4),
        ttlSeconds: 86_400,
      })),
    });
    const view = readNetwork(machine.reader);
    expect<string | undefined>(view.byNode.get(node(1))?.attributes.publicIp).toBe("198.51.100.1");
  });

  test("only the holder can renew (flannel #1289: whoever renews wins)", () => {
    const lease = granted(1);
    const { subnet } = lease;
    const by = (id: number) => ({ subnet, node: node(id), attributes: lease.attributes });
    const refused = (holder: number | null) => ({
      kind: "renewed",
      results: [{ kind: "not_held", subnet, holder }],
    });
    expect<object>(run(renewLeases([by(2)]))).toEqual(refused(1));
    expire(lease);
    expect<object>(run(renewLeases([by(1)]))).toEqual(refused(null));
    granted(2);
    granted(3);
    expect(granted(4)).toMatchObject({ subnet, how: "recycled" });
    expect<object>(run(renewLeases([by(1)]))).toEqual(refused(4));
  });

  test("takes the config's time to live", () => {
    const lease = granted(1);
    run(putConfig({ config: { Network: "10.0.0.0/28", LeaseTTLSeconds: 60 } }));
    const { subnet, attributes } = lease;
    expect(run(renewLeases([{ subnet, node: node(1), attributes }]))).toMatchObject({
      results: [{ kind: "renewed", ttlSeconds: 60 }],
    });
  });
});

describe("expire_leases", () => {
  test("is ignored once the lease was renewed", () => {
    const lease = granted(1);
    const { subnet, attributes } = lease;
    run(renewLeases([{ subnet, node: node(1), attributes }]));
    expect(expire(lease)).toEqual({ kind: "expired", subnets: [] });
    expect(readNetwork(machine.reader).leases.size).toBe(1);
  });

  test("is ignored in a later term than the one it was decided in", () => {
    const lease = granted(1);
    term = 2;
    expect(expire(lease, 1)).toEqual({ kind: "expired", subnets: [] });
    expect(expire(lease, 2)).toEqual({ kind: "expired", subnets: [lease.subnet] });
  });

  test("is ignored when the subnet was released and acquired again by the same node", () => {
    const lease = granted(1);
    run(releaseLease({ subnet: lease.subnet, node: node(1) }));
    expect(granted(1).subnet).toBe(lease.subnet);
    expect(expire(lease)).toEqual({ kind: "expired", subnets: [] });
  });

  test("a second time changes nothing", () => {
    const lease = granted(1);
    expire(lease);
    const { revision } = machine.reader;
    expect(expire(lease)).toEqual({ kind: "expired", subnets: [] });
    expect(machine.reader.revision).toBe(revision);
  });
});

describe("release_lease", () => {
  test("ends the lease at once; only of its holder", () => {
    const lease = granted(1);
    const { subnet } = lease;
    expect(run(releaseLease({ subnet, node: node(2) }))).toEqual({
      kind: "not_held",
      holder: node(1),
    });
    expect(run(releaseLease({ subnet, node: node(1) }))).toMatchObject({
      kind: "released",
      lease: { subnet, state: "expired" },
    });
    expect(run(releaseLease({ subnet, node: node(1) }))).toEqual({
      kind: "not_held",
      holder: null,
    });
    expect(readNetwork(machine.reader)).toMatchObject({ leases: new Map(), byNode: new Map() });
  });
});

describe("reservations", () => {
  const kept = subnet("10.0.0.8/30");

  test("a reserved subnet goes to its node only", () => {
    const owner = { kind: "node", node: node(7) } as const;
    expect(run(reserveSubnet({ subnet: kept, owner }))).toEqual({
      kind: "reserved",
      subnet: kept,
      owner,
    });
    const others = [granted(1, { wanted: kept }).subnet, granted(2).subnet];
    expect(others).not.toContain(kept);
    expect(acquire(3)).toMatchObject({ kind: "pool_exhausted" });
    expect(granted(7)).toMatchObject({ subnet: kept, how: "reserved" });
  });

  test("one for an address goes to the first node from there, and stays with that node", () => {
    const owner = { kind: "public_ip", publicIp: parseAddress("198.51.100.7")! } as const;
    run(reserveSubnet({ subnet: kept, owner }));
    expect(granted(7, { ip: "198.51.100.7" })).toMatchObject({ subnet: kept, how: "reserved" });
    expect(readNetwork(machine.reader).reservations).toEqual(
      new Map([[kept, { kind: "node", node: node(7) }]]),
    );
    run(releaseLease({ subnet: kept, node: node(7) }));
    expect(granted(8, { ip: "198.51.100.7" }).subnet).not.toBe(kept);
    expect(granted(7)).toMatchObject({ subnet: kept, how: "reserved" });
  });

  test("refusals, each with what stands in the way", () => {
    const owner = { kind: "node", node: node(7) } as const;
    const other = { kind: "node", node: node(8) } as const;
    const held = granted(1, { wanted: "10.0.0.4/30" });
    const reserve = (at: string, by: typeof owner | typeof other) =>
      run(reserveSubnet({ subnet: subnet(at), owner: by }));
    expect(reserve("10.0.0.0/30", owner)).toEqual({ kind: "not_in_pool" });
    expect(reserve(held.subnet, owner)).toEqual({ kind: "held_by_other", holder: node(1) });
    expect(reserve(kept, owner)).toMatchObject({ kind: "reserved" });
    expect(reserve(kept, owner)).toMatchObject({ kind: "reserved" });
    expect(reserve(kept, other)).toEqual({ kind: "reserved_for_other", owner });
    expect(reserve("10.0.0.12/30", owner)).toEqual({
      kind: "owner_has_reservation",
      subnet: kept,
    });
    expect(run(unreserveSubnet(kept))).toEqual({ kind: "unreserved", subnet: kept, owner });
    expect(run(unreserveSubnet(kept))).toEqual({ kind: "not_reserved" });
    expect(reserve("10.0.0.12/30", owner)).toMatchObject({ kind: "reserved" });
  });

  test("a reservation outranks what another node remembers", () => {
    const first = granted(1, { wanted: kept });
    expire(first);
    run(reserveSubnet({ subnet: kept, owner: { kind: "node", node: node(7) } }));
    expect(granted(1).subnet).not.toBe(kept);
    expect(granted(7)).toMatchObject({ subnet: kept, how: "reserved" });
  });
});
