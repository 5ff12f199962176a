/**
 * Draining leases: subnets of an earlier network that their nodes still carry.
 *
 *     held --the network moves, and the node gets a subnet of the new one--> draining
 *     draining --nothing on the node uses it; or an operator says so; or its time ran out--> (none)
 *     draining --the network moves back--> held
 *
 * So a renumbering takes nothing away: each node has both subnets until its containers are in the
 * new one. A draining lease is renewed, expires and is released like any other, but is no longer
 * *the* lease of its node and is not remembered. Nobody is granted a subnet that overlaps one.
 *
 * Pure: a view of the writer that the handler was given.
 *
 * @module
 */
import { type Prefix, parsePrefix, prefixesOverlap } from "../../base/address.ts";
import { assert } from "../../base/assert.ts";
import type { NodeId } from "../../base/ids.ts";
import type { KeyValue, KvReader, KvWriter } from "../kv/types.ts";
import { DRAINING_PREFIX, drainingKey, subnetOfKey } from "./keys.ts";
import { type Lease, type LeaseAttributes, leaseRecord, parseLeaseRecord } from "./lease.ts";
import { decodeJson, encodeJson } from "./record.ts";

/** Cluster version from which a lease that a new network makes invalid is drained. */
export const DRAIN_VERSION = 2;

/** A held lease outside the pool. */
export interface DrainingLease extends Lease {
  /** The network that the subnet was leased from: its routes stay as long as the lease. */
  readonly network: Prefix;
}

/** The draining lease at a draining lease's key; undefined when it is not to be understood. */
export function decodeDraining(pair: KeyValue): DrainingLease | undefined {
  const subnet = subnetOfKey(pair.key, DRAINING_PREFIX);
  const record = decodeJson(pair.value);
  if (subnet === undefined || record === undefined) return undefined;
  const { Network: text } = record;
  const network = typeof text === "string" ? parsePrefix(text) : undefined;
  const lease = parseLeaseRecord(record, subnet, pair.modRevision);
  return lease?.state !== "held" || network === undefined ? undefined : { ...lease, network };
}

/** All draining leases, in the order of their keys: none, most of the time. */
export function listDraining(reader: KvReader): readonly DrainingLease[] {
  return [...reader.list(DRAINING_PREFIX)].map(decodeStored);
}

/** The draining lease of `subnet`, if `node` holds it. */
export function drainingLease(
  reader: KvReader,
  subnet: Prefix,
  node: NodeId,
): DrainingLease | undefined {
  const pair = reader.get(drainingKey(subnet));
  const lease = pair === undefined ? undefined : decodeStored(pair);
  return lease?.node === node ? lease : undefined;
}

/** Whether some node may still have addresses of `subnet` in use. */
export function overlapsDraining(draining: readonly DrainingLease[], subnet: Prefix): boolean {
  return draining.some((lease) => prefixesOverlap(lease.subnet, subnet));
}

/** Writes `lease`, which was held until now, as a draining one. */
export function putDraining(writer: KvWriter, lease: Omit<DrainingLease, "modRevision">): void {
  assert(lease.state === "held", "only a held lease can drain");
  const record = { ...leaseRecord(lease), Network: lease.network };
  writer.put(drainingKey(lease.subnet), encodeJson(record));
}

/** Renews it under a new epoch. */
export function renewDraining(
  writer: KvWriter,
  lease: DrainingLease,
  { attributes, ttlSeconds }: { readonly attributes: LeaseAttributes; readonly ttlSeconds: number },
): DrainingLease {
  const renewed = { ...lease, attributes, ttlSeconds, epoch: writer.changeRevision };
  putDraining(writer, renewed);
  return { ...renewed, modRevision: writer.changeRevision };
}

/** Ends it. */
export function deleteDraining(writer: KvWriter, { subnet }: DrainingLease): void {
  const present = writer.delete(drainingKey(subnet));
  assert(present, "ended draining lease must be present");
}

function decodeStored(pair: KeyValue): DrainingLease {
  const lease = decodeDraining(pair);
  assert(lease !== undefined, "draining lease in the store must be readable");
  return lease;
}
