/**
 * The network as the store has it, in domain types: what the agent acts on and the API shows.
 *
 * @module
 */
import type { Prefix } from "../../base/address.ts";
import type { NodeId, Revision } from "../../base/ids.ts";
import type { KeyValue, KvReader } from "../kv/types.ts";
import type { ReservationOwner } from "./commands.ts";
import { type NetworkConfig, parseNetworkConfig } from "./config.ts";
import { type DrainingLease, listDraining } from "./draining.ts";
import { CONFIG_KEY, RESERVATIONS_PREFIX, SUBNETS_PREFIX } from "./keys.ts";
import { decodeLease, type Lease } from "./lease.ts";
import { decodeJson } from "./record.ts";
import { decodeReservation } from "./reservations.ts";

export interface StoredConfig {
  readonly config: NetworkConfig;
  /** Of the config: what `If-Match` compares. */
  readonly revision: Revision;
}

export interface NetworkView {
  /** Of the store when this was read. */
  readonly revision: Revision;
  readonly config: StoredConfig | undefined;
  /** Held leases by subnet, in the order of the store's keys. */
  readonly leases: ReadonlyMap<Prefix, Lease>;
  /** The same leases by holder. */
  readonly byNode: ReadonlyMap<NodeId, Lease>;
  /** Leases of earlier networks that their nodes still carry, by subnet. */
  readonly draining: ReadonlyMap<Prefix, DrainingLease>;
  /** Expired leases that are remembered for their last holder. */
  readonly expired: ReadonlyMap<Prefix, Lease>;
  readonly reservations: ReadonlyMap<Prefix, ReservationOwner>;
}

/**
 * Configs by the pair that holds them. A pair never changes, so this only saves work: parsing took
 * half of the time of an acquisition.
 */
const parsedConfigs = new WeakMap<KeyValue, StoredConfig>();

/** The config; undefined when there is none, or one that only a newer version understands. */
export function readConfig(reader: KvReader): StoredConfig | undefined {
  const pair = reader.get(CONFIG_KEY);
  if (pair === undefined) return undefined;
  const known = parsedConfigs.get(pair);
  if (known !== undefined) return known;
  const parsed = parseNetworkConfig(decodeJson(pair.value));
  if (!parsed.ok) return undefined;
  const stored: StoredConfig = { config: parsed.value, revision: pair.modRevision };
  parsedConfigs.set(pair, stored);
  return stored;
}

/**
 * Reads the network. Given the `previous` view, leases and config that did not change are the same
 * objects, and reading 10,000 leases costs a few milliseconds instead of decoding them all.
 * Records that only a newer version understands are left out.
 */
export function readNetwork(reader: KvReader, previous?: NetworkView): NetworkView {
  const { revision } = reader;
  if (previous?.revision === revision) return previous;
  const leases = new Map<Prefix, Lease>();
  const byNode = new Map<NodeId, Lease>();
  const expired = new Map<Prefix, Lease>();
  for (const pair of reader.list(SUBNETS_PREFIX)) {
    const lease = knownLease(pair, previous) ?? decodeLease(pair);
    if (lease === undefined) continue;
    if (lease.state === "expired") {
      expired.set(lease.subnet, lease);
    } else {
      leases.set(lease.subnet, lease);
      byNode.set(lease.node, lease);
    }
  }
  const reservations = new Map<Prefix, ReservationOwner>();
  for (const pair of reader.list(RESERVATIONS_PREFIX)) {
    const reservation = decodeReservation(pair);
    if (reservation !== undefined) reservations.set(reservation.subnet, reservation.owner);
  }
  const draining = new Map(listDraining(reader).map((lease) => [lease.subnet, lease]));
  const config = readConfig(reader);
  return { revision, config, leases, byNode, draining, expired, reservations };
}

/** Every subnet that `node` holds: its lease first, then those that drain. */
export function heldSubnets(view: NetworkView, node: NodeId): readonly Prefix[] {
  const lease = view.byNode.get(node);
  const draining = [...view.draining.values()].filter((one) => one.node === node);
  return [...(lease === undefined ? [] : [lease]), ...draining].map(({ subnet }) => subnet);
}

/** The lease as `previous` has it, found by name alone: parsing a subnet costs as much as all. */
function knownLease(pair: KeyValue, previous: NetworkView | undefined): Lease | undefined {
  if (previous === undefined) return undefined;
  const name = pair.key.slice(SUBNETS_PREFIX.length);
  const text = name.replace("-", "/");
  const leases: ReadonlyMap<string, Lease> = previous.leases;
  const expired: ReadonlyMap<string, Lease> = previous.expired;
  const lease = leases.get(text) ?? expired.get(text);
  return lease?.modRevision === pair.modRevision ? lease : undefined;
}
