/**
 * Random histories of the network: what must hold after every command, whatever came before, and
 * that replicas stay equal through replay, retries and snapshots.
 */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { type Prefix, parseAddress, parsePrefix, prefixesOverlap } from "../../base/address.ts";
import { decodeIndex, decodeNodeId, decodeTerm, type NodeId } from "../../base/ids.ts";
import { createStateMachine } from "../kv/state-machine.ts";
import type { Applied, Command, KvReader, StateMachine } from "../kv/types.ts";
import {
  type AcquireOutcome,
  acquireLease,
  expireLeases,
  putConfig,
  releaseLease,
  renewLeases,
  reserveSubnet,
  unreserveSubnet,
} from "./commands.ts";
import { networkHandlers } from "./handlers.ts";
import { EXPIRED_PREFIX, nodeKey, ownerKey } from "./keys.ts";
import type { Lease, LeaseAttributes } from "./lease.ts";
import { emptyMachine, newestMachine } from "./newest-machine.fake.ts";
import { parseNetworkCommand } from "./parse-command.ts";
import { poolCapacity, poolHas, poolSubnet } from "./pool.ts";
import { type NetworkView, readNetwork } from "./view.ts";

const CONFIGS = [
  { Network: "10.0.0.0/24", SubnetLen: 28 },
  { Network: "10.0.0.0/25", SubnetLen: 28 },
  { Network: "10.0.0.0/25", SubnetLen: 27 },
  { Network: "10.0.0.0/24", SubnetLen: 26 },
  { Network: "10.1.0.0/26", SubnetLen: 28, LeaseTTLSeconds: 60 },
  { Network: "10.1.0.0/33" },
];
const NODES_MAX = 9;

const nodeIds = fc.integer({ min: 1, max: NODES_MAX }).map(decodeNodeId);
const subnets = fc
  .tuple(fc.integer({ min: 0, max: 15 }), fc.constantFrom(26, 27, 28))
  .map(([n, length]) => parsePrefix(`10.0.0.${n * 16}/${length}`)!);
const addresses = fc.integer({ min: 1, max: 4 }).map((n) => parseAddress(`192.0.2.${n}`)!);
const attributes: fc.Arbitrary<LeaseAttributes> = addresses.map((publicIp) => ({
  publicIp,
  publicIpv6: null,
  backend: { kind: "udp", port: 8285, partialChecksum: false },
}));

/** A command that may refer to the lease that a node has at the time. */
type Step = (view: NetworkView) => Command;

function leaseOf(view: NetworkView, node: NodeId, isDraining = false): Lease | undefined {
  const draining = [...view.draining.values()].find((lease) => lease.node === node);
  if (isDraining && draining !== undefined) return draining;
  const expired = [...view.expired.values()].find((lease) => lease.node === node);
  return view.byNode.get(node) ?? expired;
}

const steps: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.tuple(nodeIds, attributes, fc.option(subnets, { nil: undefined })).map(
      ([node, attributes, wanted]) =>
        () =>
          acquireLease({ node, attributes, wanted }),
    ),
  },
  {
    weight: 3,
    arbitrary: fc
      .tuple(nodeIds, nodeIds, attributes, fc.boolean())
      .map(([node, by, attributes, isDraining]) => (view: NetworkView) => {
        const lease = leaseOf(view, node, isDraining);
        const subnet = lease?.subnet ?? parsePrefix("10.0.0.16/28")!;
        return renewLeases([{ subnet, node: by, attributes }]);
      }),
  },
  {
    weight: 2,
    arbitrary: fc.tuple(nodeIds, fc.boolean()).map(([node, isDraining]) => (view: NetworkView) => {
      const subnet = leaseOf(view, node, isDraining)?.subnet ?? parsePrefix("10.0.0.16/28")!;
      return releaseLease({ subnet, node });
    }),
  },
  {
    weight: 3,
    arbitrary: fc
      .tuple(fc.array(nodeIds, { maxLength: 4 }), fc.boolean(), fc.constantFrom(1, 2), fc.boolean())
      .map(([nodes, stale, term, isDraining]) => (view: NetworkView) => {
        const leases = nodes.flatMap((node) => leaseOf(view, node, isDraining) ?? []);
        const epochOf = (lease: Lease) => (stale ? lease.grantRevision : lease.epoch);
        return expireLeases(
          decodeTerm(term),
          leases.map((lease) => ({
            subnet: lease.subnet,
            node: lease.node,
            epoch: epochOf(lease),
          })),
        );
      }),
  },
  {
    weight: 2,
    arbitrary: fc
      .tuple(subnets, nodeIds, addresses, fc.boolean())
      .map(([subnet, node, publicIp, byNode]) => () => {
        const owner = byNode
          ? ({ kind: "node", node } as const)
          : ({ kind: "public_ip", publicIp } as const);
        return reserveSubnet({ subnet, owner });
      }),
  },
  { weight: 1, arbitrary: subnets.map((subnet) => () => unreserveSubnet(subnet)) },
  {
    weight: 1,
    arbitrary: fc.tuple(fc.constantFrom(...CONFIGS), fc.boolean()).map(
      ([config, renumber]) =>
        () =>
          putConfig({ config, renumber }),
    ),
  },
);

const histories = fc.array(steps, { minLength: 30, maxLength: 120, size: "max" });

function applyNext(machine: StateMachine, command: Command, sequence?: number): Applied {
  const request =
    sequence === undefined ? undefined : { client: decodeNodeId(1 + (sequence % 3)), sequence };
  const index = decodeIndex(machine.appliedIndex + 1);
  return machine.apply(command, { index, term: decodeTerm(1), proposedAtMs: 0, request });
}

/** Looks at everything there is: indexes, counts, overlaps. */
function checkInvariants(reader: KvReader): NetworkView {
  const view = readNetwork(reader);
  const draining = [...view.draining.values()];
  // Whatever a node may still have in use is nobody else's, and is held until it ends.
  const inUse = [...view.leases.keys(), ...view.draining.keys()];
  const unsafe = draining.filter(({ subnet, state, network }) => {
    const clashes = inUse.filter((other) => prefixesOverlap(subnet, other));
    // With itself alone.
    return clashes.length !== 1 || state !== "held" || !prefixesOverlap(network, subnet);
  });
  expect(unsafe).toEqual([]);
  const all = [...view.leases.values(), ...view.expired.values()];
  const pool = view.config?.config.pool;
  // Plain comparisons inside the loops: an `expect` for each pair took most of the time.
  const wrong = all.flatMap((lease, i) => {
    const index = new TextDecoder().decode(reader.get(nodeKey(lease.node))?.value);
    const clash = all
      .slice(i + 1)
      .some((other) => prefixesOverlap(lease.subnet, other.subnet) || lease.node === other.node);
    const fine =
      !clash &&
      pool !== undefined &&
      poolHas(pool, lease.subnet) &&
      index === `{"Subnet":"${lease.subnet}"}` &&
      lease.grantRevision <= lease.epoch &&
      lease.epoch <= lease.modRevision;
    return fine ? [] : [lease];
  });
  expect(wrong).toEqual([]);
  expect([...reader.list("/overlay/network/nodes/")]).toHaveLength(all.length);
  expect([...reader.list(EXPIRED_PREFIX)]).toHaveLength(view.expired.size);
  const usage = reader.get("/overlay/network/usage");
  if (usage !== undefined) {
    expect(JSON.parse(new TextDecoder().decode(usage.value))).toEqual({
      Held: view.leases.size,
      Expired: view.expired.size,
    });
  } else {
    expect(all).toEqual([]);
  }
  for (const [subnet, owner] of view.reservations) {
    const index = reader.get(ownerKey(owner));
    expect(new TextDecoder().decode(index?.value)).toBe(`{"Subnet":"${subnet}"}`);
  }
  return view;
}

/** The slow twin of the allocation: everything that `before` had open for the node. */
function checkAcquired(before: NetworkView, node: NodeId, ip: string, outcome: AcquireOutcome) {
  const pool = before.config?.config.pool;
  if (pool === undefined) {
    expect(outcome).toEqual({ kind: "no_config" });
    return;
  }
  const open: Prefix[] = [];
  for (let position = 0; position < poolCapacity(pool); position++) {
    const subnet = poolSubnet(pool, position);
    const owner = before.reservations.get(subnet);
    const mine = owner?.kind === "node" ? owner.node === node : owner?.publicIp === ip;
    const drains = [...before.draining.keys()].some((other) => prefixesOverlap(subnet, other));
    const isFree = !drains && !before.leases.has(subnet);
    if (isFree && (owner === undefined || mine)) open.push(subnet);
  }
  const held = before.byNode.get(node);
  if (outcome.kind !== "acquired") {
    expect([held, open]).toEqual([undefined, []]);
    return;
  }
  const { lease, how } = outcome;
  if (held !== undefined) {
    expect([how, lease.subnet]).toEqual(["held", held.subnet]);
    return;
  }
  expect(open).toContain(lease.subnet);
  const unknown = open.filter((subnet) => !before.expired.has(subnet));
  const last = [...before.expired.values()].find((expired) => expired.node === node)?.subnet;
  if (how !== "reserved" && last !== undefined && open.includes(last)) {
    expect([how, lease.subnet]).toEqual(["returned", last]);
  }
  if (how === "free") expect(unknown).toContain(lease.subnet);
  if (how === "recycled") {
    expect(unknown).toEqual([]);
    const oldest = open
      .map((subnet) => before.expired.get(subnet)!)
      .sort((a, b) => a.modRevision - b.modRevision || (a.subnet < b.subnet ? -1 : 1));
    expect(oldest[0]?.subnet).toBe(lease.subnet);
  }
}

/** Nobody loses a lease by a change of the network: who held one drains it, or has it back. */
function checkDraining(before: NetworkView, after: NetworkView, command: Command): void {
  if (command.kind !== "put_config") return;
  const inUse = [...before.leases.values(), ...before.draining.values()];
  const ownerOf = (subnet: Prefix) =>
    (after.leases.get(subnet) ?? after.draining.get(subnet))?.node;
  expect(inUse.filter(({ subnet, node }) => ownerOf(subnet) !== node)).toEqual([]);
  expect([...after.byNode.keys()].sort()).toEqual([...before.byNode.keys()].sort());
}

test("any history: leases never overlap, indexes agree, every choice is a right one", () => {
  const seen = new Map<string, number>();
  fc.assert(
    fc.property(histories, (history) => {
      const machine = newestMachine();
      applyNext(machine, putConfig({ config: CONFIGS[0]! }));
      let before = checkInvariants(machine.reader);
      for (const step of history) {
        const command = step(before);
        expect<unknown>(parseNetworkCommand(structuredClone(command))).toEqual(command);
        const { outcome } = applyNext(machine, command);
        const after = checkInvariants(machine.reader);
        // Read with and without the help of the view before: the same.
        expect(readNetwork(machine.reader, before)).toEqual(after);
        if (command.kind === "acquire_lease") {
          const { node, attributes } = command as ReturnType<typeof acquireLease>;
          checkAcquired(before, node, attributes.publicIp, outcome as AcquireOutcome);
        }
        for (const lease of after.leases.values()) {
          const old = before.leases.get(lease.subnet) ?? before.expired.get(lease.subnet);
          const touched = old !== undefined && old.modRevision !== lease.modRevision;
          if (touched) expect(lease.epoch).toBeGreaterThan(old.epoch);
        }
        checkDraining(before, after, command);
        const { kind, how = "" } = outcome as { kind: string; how?: string };
        seen.set(`${command.kind} ${kind} ${how}`, 1);
        for (const [subnet, { node }] of before.draining) {
          if (after.draining.has(subnet)) continue;
          const isBack = after.byNode.get(node)?.subnet === subnet;
          seen.set(`draining ${isBack ? "returned" : "ended"} by ${command.kind}`, 1);
        }
        before = after;
      }
    }),
    { seed: 9, numRuns: 60 },
  );
  // The histories must have met what they are for.
  for (const expected of [
    ...["held", "reserved", "returned", "wanted", "free", "recycled"].map(
      (how) => `acquire_lease acquired ${how}`,
    ),
    "acquire_lease pool_exhausted ",
    "put_config stored ",
    "put_config would_renumber ",
    "put_config invalid_config ",
    "release_lease released ",
    "reserve_subnet reserved ",
    "reserve_subnet held_by_other ",
    "reserve_subnet reserved_for_other ",
    "unreserve_subnet unreserved ",
    "draining returned by put_config",
    "draining ended by release_lease",
    "draining ended by expire_leases",
  ]) {
    expect([...seen.keys()]).toContain(expected);
  }
}, 60_000);

test("any history: replicas agree, with retries and through a snapshot at any point", () => {
  fc.assert(
    fc.property(histories, fc.nat(), fc.nat(), (history, at, retry) => {
      const [one, two] = [newestMachine(), newestMachine()];
      const cut = at % history.length;
      const log: Command[] = [putConfig({ config: CONFIGS[0]! })];
      const outcomes: unknown[] = [];
      for (let i = 0; i < history.length; i++) {
        outcomes.push(applyNext(one, log[i]!, i).outcome);
        log.push(history[i]!(readNetwork(one.reader)));
      }
      for (let i = 0; i < cut; i++) applyNext(two, log[i]!, i);
      const three = emptyMachine();
      expect(three.restore([...two.snapshot()])).toBeUndefined();
      for (let i = cut; i < history.length; i++) {
        for (const replica of [two, three]) {
          expect(applyNext(replica, log[i]!, i).outcome).toEqual(outcomes[i]);
        }
      }
      expect([two.hash(), three.hash()]).toEqual([one.hash(), one.hash()]);
      // A retry is answered as before and changes nothing.
      const again = retry % history.length;
      const view = readNetwork(one.reader);
      for (const replica of [one, two, three]) {
        expect(applyNext(replica, log[again]!, again).outcome).toEqual(outcomes[again]);
        expect(readNetwork(replica.reader)).toEqual(view);
      }
    }),
    { seed: 10, numRuns: 40 },
  );
}, 60_000);

test("parseNetworkCommand: never throws, and what it takes can be applied", () => {
  const kinds = Object.keys(networkHandlers);
  const field = fc.oneof(
    fc.anything(),
    nodeIds,
    subnets,
    attributes,
    fc.constant(null),
    fc.boolean(),
    fc.nat(),
    fc.array(fc.oneof(fc.anything(), fc.record({ subnet: subnets, node: nodeIds, attributes }))),
    fc.constantFrom(...CONFIGS),
  );
  const names = [
    ...["node", "attributes", "wanted", "subnet", "owner", "term", "leases", "renewals"],
    ...["config", "expectedRevision", "renumber"],
  ];
  const command = fc.record(
    Object.fromEntries([
      ["kind", fc.constantFrom(...kinds)] as const,
      ...names.map((name) => [name, field] as const),
    ]),
  );
  let taken = 0;
  fc.assert(
    fc.property(fc.oneof(fc.anything(), command), (value) => {
      const parsed = parseNetworkCommand(value);
      if (parsed === undefined) return;
      taken += 1;
      const machine = createStateMachine(networkHandlers);
      applyNext(machine, putConfig({ config: CONFIGS[0]! }));
      applyNext(machine, parsed);
      checkInvariants(machine.reader);
    }),
    { seed: 11, numRuns: 3000 },
  );
  expect(taken).toBeGreaterThan(20);
}, 60_000);
