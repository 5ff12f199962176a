/**
 * Which subnet a node gets.
 *
 * The choice follows from the store and the command alone, so that every replica makes the same
 * one and two nodes that ask together get two subnets without a retry. In this order:
 *
 * 1. the reservation of the node, or of its address;
 * 2. the subnet it had last, remembered although it expired, also when that is kept for the address
 *    that the node had then (returning-leases.ts);
 * 3. the subnet it finds on its own disk, if nobody holds it;
 * 4. a subnet that nobody remembers: from a place that follows from the node's id, in steps that
 *    do too, so that nodes rarely meet and a subnet just given up is not the next one handed out;
 * 5. the subnet that expired longest ago. This is the whole quarantine: as long as anything else
 *    is free, an expired subnet waits for the node that had it. Between the two holders lies the
 *    time from the old one's own deadline (`HOLDER_STOP_FRACTION`) to the leader's.
 *
 * Never a subnet that another node holds, that overlaps a draining lease, or that is reserved for
 * another.
 *
 * Step 4 visits every position once and stops at the first free one: with `free` of `capacity`
 * positions free it takes about capacity / (free + 1) lookups. Pure.
 *
 * @module
 */
import type { Prefix } from "../../base/address.ts";
import type { NodeId } from "../../base/ids.ts";
import { clusterVersion } from "../kv/cluster-version.ts";
import type { KvWriter } from "../kv/types.ts";
import type { AcquireHow, ReservationOwner } from "./commands.ts";
import type { NetworkConfig } from "./config.ts";
import { DRAIN_VERSION, listDraining, overlapsDraining } from "./draining.ts";
import type { Lease, LeaseAttributes } from "./lease.ts";
import { LeaseBook } from "./lease-book.ts";
import { type Pool, poolCapacity, poolHas, poolSubnet } from "./pool.ts";
import {
  deleteReservation,
  putReservation,
  reservationOf,
  reservedSubnet,
  sameOwner,
} from "./reservations.ts";

/** Cluster version from which a restored lease returns to its node under another address too. */
const RETURN_VERSION = 2;

/** Who asks. The node must not hold a lease. */
export interface AllocationRequest {
  readonly node: NodeId;
  readonly attributes: LeaseAttributes;
  readonly wanted: Prefix | null;
}

interface Allocation {
  readonly subnet: Prefix;
  readonly how: AcquireHow;
}

export interface Assignment {
  readonly lease: Lease;
  readonly how: AcquireHow;
}

/** Grants a lease to the node of `request`; undefined when all are held or reserved. */
export function assignLease(
  writer: KvWriter,
  config: NetworkConfig,
  request: AllocationRequest,
): Assignment | undefined {
  const allocation = allocate(writer, config.pool, request);
  if (allocation === undefined) return undefined;
  const { subnet, how } = allocation;
  const { node, attributes } = request;
  const { leaseTtlSeconds: ttlSeconds } = config;
  const lease = new LeaseBook(writer).grant({ subnet, node, attributes, ttlSeconds });
  bindReservation(writer, subnet, node);
  return { lease, how };
}

/**
 * A subnet kept for an address is from now on kept for the node that came from it, unless that
 * has a reservation which it cannot have now: outside the pool, or still in use by another.
 */
function bindReservation(writer: KvWriter, subnet: Prefix, node: NodeId): void {
  const owner = reservationOf(writer, subnet);
  if (owner?.kind !== "public_ip") return;
  const other = reservedSubnet(writer, { kind: "node", node });
  if (other !== undefined && clusterVersion(writer) >= DRAIN_VERSION) return;
  deleteReservation(writer, { subnet, owner });
  putReservation(writer, { subnet, owner: { kind: "node", node } });
}

function allocate(
  writer: KvWriter,
  pool: Pool,
  request: AllocationRequest,
): Allocation | undefined {
  const book = new LeaseBook(writer);
  const draining = listDraining(writer);
  const owners: readonly ReservationOwner[] = [
    { kind: "node", node: request.node },
    { kind: "public_ip", publicIp: request.attributes.publicIp },
  ];
  const isOpen = (subnet: Prefix | null | undefined): subnet is Prefix =>
    subnet !== null &&
    subnet !== undefined &&
    poolHas(pool, subnet) &&
    book.get(subnet)?.state !== "held" &&
    !overlapsDraining(draining, subnet) &&
    !isReservedForOther(writer, subnet, owners);

  for (const owner of owners) {
    const reserved = reservedSubnet(writer, owner);
    if (isOpen(reserved)) return { subnet: reserved, how: "reserved" };
  }
  const last = book.ofNode(request.node);
  if (isOpen(last?.subnet)) return { subnet: last.subnet, how: "returned" };
  if (last !== undefined && isKeptForReturn(writer, pool, last)) {
    return { subnet: last.subnet, how: "returned" };
  }
  if (isOpen(request.wanted)) return { subnet: request.wanted, how: "wanted" };

  const { held, expired } = book.usage();
  // With a lease for every position there is no need to visit them all.
  if (held + expired < poolCapacity(pool)) {
    for (const subnet of visitPool(pool, request.node)) {
      if (book.has(subnet) || overlapsDraining(draining, subnet)) continue;
      if (isReservedForOther(writer, subnet, owners)) continue;
      return { subnet, how: "free" };
    }
  }
  for (const { subnet } of book.expired()) {
    if (isOpen(subnet)) return { subnet, how: "recycled" };
  }
  return undefined;
}

/** Whether `last` is kept for the address that its own node had: it waits for that node too. */
function isKeptForReturn(writer: KvWriter, pool: Pool, last: Lease): boolean {
  if (clusterVersion(writer) < RETURN_VERSION || !poolHas(pool, last.subnet)) return false;
  const owner = reservationOf(writer, last.subnet);
  return owner?.kind === "public_ip" && owner.publicIp === last.attributes.publicIp;
}

function isReservedForOther(
  writer: KvWriter,
  subnet: Prefix,
  owners: readonly ReservationOwner[],
): boolean {
  const owner = reservationOf(writer, subnet);
  return owner !== undefined && !owners.some((own) => sameOwner(own, owner));
}

/** Every subnet of `pool` once, in an order that follows from `node`. */
function* visitPool(pool: Pool, node: NodeId): Iterable<Prefix> {
  const capacity = poolCapacity(pool);
  const low = node % 2 ** 32;
  const high = Math.floor(node / 2 ** 32);
  let position = mix(low ^ mix(high)) % capacity;
  let step = 1 + (mix(low ^ mix(high ^ 0x5bd1e995)) % capacity);
  // Steps that share no factor with the capacity lead through all positions.
  while (greatestCommonDivisor(step, capacity) !== 1) step += 1;
  step %= capacity;
  for (let visited = 0; visited < capacity; visited++) {
    yield poolSubnet(pool, position);
    position = (position + step) % capacity;
  }
}

/** MurmurHash3's finalizer, 32 bits. */
function mix(word: number): number {
  let mixed = word ^ (word >>> 16);
  mixed = Math.imul(mixed, 0x85ebca6b);
  mixed ^= mixed >>> 13;
  mixed = Math.imul(mixed, 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}

function greatestCommonDivisor(a: number, b: number): number {
  let [larger, smaller] = [a, b];
  while (smaller !== 0) [larger, smaller] = [smaller, larger % smaller];
  return larger;
}
