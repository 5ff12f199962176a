/**
 * Where the network lies in the store.
 *
 *     /overlay/network/config                       the user's config, JSON
 *     /overlay/network/subnets/10.0.53.0-24         a lease, JSON (lease.ts)
 *     /overlay/network/draining/10.0.53.0-24        a lease of an earlier network, in use, JSON
 *     /overlay/network/nodes/<node id>              its subnet: index of the leases by node
 *     /overlay/network/expired/<revision>-<subnet>  index of the expired leases, oldest first
 *     /overlay/network/usage                        how many leases are held, and expired, JSON
 *     /overlay/network/reservations/10.0.53.0-24    whom a subnet is kept for, JSON
 *     /overlay/network/reserved-for/<owner>         its subnet: index of the reservations
 *
 * The indexes let a command find what it needs without looking at every lease. Subnets are written
 * as flannel writes them: a dash instead of the slash.
 *
 * @module
 */
import type { Prefix } from "../../base/address.ts";
import { parsePrefix } from "../../base/address.ts";
import { formatNodeId, type NodeId, type Revision } from "../../base/ids.ts";
import type { ReservationOwner } from "./commands.ts";

const NETWORK_PREFIX = "/overlay/network/";
/** Digits of the largest revision, so that text order is the order of revisions. */
const REVISION_DIGITS = 16;

export const CONFIG_KEY = `${NETWORK_PREFIX}config`;
export const USAGE_KEY = `${NETWORK_PREFIX}usage`;
export const SUBNETS_PREFIX = `${NETWORK_PREFIX}subnets/`;
export const DRAINING_PREFIX = `${NETWORK_PREFIX}draining/`;
export const EXPIRED_PREFIX = `${NETWORK_PREFIX}expired/`;
export const RESERVATIONS_PREFIX = `${NETWORK_PREFIX}reservations/`;

/** `10.0.53.0/24` as `10.0.53.0-24`: its form in keys and in URLs. */
export function formatSubnetName(subnet: Prefix): string {
  return subnet.replace("/", "-");
}

/** The subnet that `name` writes with a dash, canonical or undefined: `10.0.53.1-24` is none. */
export function parseSubnetName(name: string): Prefix | undefined {
  const dash = name.lastIndexOf("-");
  if (dash < 0) return undefined;
  const subnet = parsePrefix(`${name.slice(0, dash)}/${name.slice(dash + 1)}`);
  return subnet !== undefined && formatSubnetName(subnet) === name ? subnet : undefined;
}

/** Key of the lease of `subnet`. */
export function leaseKey(subnet: Prefix): string {
  return SUBNETS_PREFIX + formatSubnetName(subnet);
}

/** Key of the draining lease of `subnet`. */
export function drainingKey(subnet: Prefix): string {
  return DRAINING_PREFIX + formatSubnetName(subnet);
}

/** The subnet whose lease or reservation is at `key`, which starts with `prefix`. */
export function subnetOfKey(key: string, prefix: string): Prefix | undefined {
  return parseSubnetName(key.slice(prefix.length));
}

/** Key of the index entry of `node`. */
export function nodeKey(node: NodeId): string {
  return `${NETWORK_PREFIX}nodes/${formatNodeId(node)}`;
}

/** Key of the index entry of a lease that expired at `revision`. */
export function expiredKey(subnet: Prefix, revision: Revision): string {
  const digits = String(revision).padStart(REVISION_DIGITS, "0");
  return `${EXPIRED_PREFIX}${digits}-${formatSubnetName(subnet)}`;
}

/** The subnet of an index entry of the expired leases. */
export function subnetOfExpiredKey(key: string): Prefix | undefined {
  return parseSubnetName(key.slice(EXPIRED_PREFIX.length + REVISION_DIGITS + 1));
}

/** Key of the reservation of `subnet`. */
export function reservationKey(subnet: Prefix): string {
  return RESERVATIONS_PREFIX + formatSubnetName(subnet);
}

/** Key of the index entry of the reservation for `owner`. A node id never looks like an address. */
export function ownerKey(owner: ReservationOwner): string {
  const name = owner.kind === "node" ? formatNodeId(owner.node) : owner.publicIp;
  return `${NETWORK_PREFIX}reserved-for/${name}`;
}
