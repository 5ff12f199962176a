/**
 * Applying the commands of reservations.
 *
 * @module
 */
import { clusterVersion } from "../kv/cluster-version.ts";
import type { KvWriter } from "../kv/types.ts";
import type {
  ReservationOwner,
  ReserveOutcome,
  ReserveSubnet,
  UnreserveOutcome,
  UnreserveSubnet,
} from "./commands.ts";
import { DRAIN_VERSION } from "./draining.ts";
import type { Lease } from "./lease.ts";
import { LeaseBook } from "./lease-book.ts";
import { poolHas } from "./pool.ts";
import {
  deleteReservation,
  putReservation,
  reservationOf,
  reservedSubnet,
  sameOwner,
} from "./reservations.ts";
import { readConfig } from "./view.ts";

/** Keeps the subnet for the owner. A lease that the owner holds elsewhere stays as it is. */
export function applyReserve(writer: KvWriter, command: ReserveSubnet): ReserveOutcome {
  const { subnet, owner } = command;
  const stored = readConfig(writer);
  if (stored === undefined) return { kind: "no_config" };
  if (!poolHas(stored.config.pool, subnet)) return { kind: "not_in_pool" };
  const before = reservationOf(writer, subnet);
  if (before !== undefined) {
    const same = sameOwner(before, owner);
    return same
      ? { kind: "reserved", subnet, owner }
      : { kind: "reserved_for_other", owner: before };
  }
  const other = reservedSubnet(writer, owner);
  if (other !== undefined) return { kind: "owner_has_reservation", subnet: other };
  const lease = new LeaseBook(writer).get(subnet);
  if (lease?.state === "held" && !isHolder(lease, owner)) {
    return { kind: "held_by_other", holder: lease.node };
  }
  // The node behind an address is known once it holds the subnet.
  const kept: ReservationOwner =
    lease?.state === "held" ? { kind: "node", node: lease.node } : owner;
  const another = reservedSubnet(writer, kept);
  if (another !== undefined && clusterVersion(writer) >= DRAIN_VERSION) {
    return { kind: "owner_has_reservation", subnet: another };
  }
  putReservation(writer, { subnet, owner: kept });
  return { kind: "reserved", subnet, owner: kept };
}

function isHolder(lease: Lease, owner: ReservationOwner): boolean {
  return owner.kind === "node"
    ? lease.node === owner.node
    : lease.attributes.publicIp === owner.publicIp;
}

export function applyUnreserve(writer: KvWriter, command: UnreserveSubnet): UnreserveOutcome {
  const { subnet } = command;
  const owner = reservationOf(writer, subnet);
  if (owner === undefined) return { kind: "not_reserved" };
  deleteReservation(writer, { subnet, owner });
  return { kind: "unreserved", subnet, owner };
}
