/**
 * Whether a network may be laid over this machine: what of it is taken already.
 *
 * A network that overlaps the underlay would swallow the packets that carry it; one that overlaps
 * another route would take somebody's traffic away. Pure.
 *
 * @module
 */
import {
  type Prefix,
  prefixCovers,
  prefixesOverlap,
  prefixLength,
  prefixOf,
} from "../../base/address.ts";
import type { ActualAddress, ActualLink, ActualRoute } from "../../host/kernel-ports.ts";
import { isOwnedLink, type Ownership } from "./ownership.ts";

/** Something that is there and shares addresses with the network. */
export interface Conflict {
  /** "underlay": an address of this machine. "route": a way to somewhere else. */
  readonly kind: "underlay" | "route";
  readonly prefix: Prefix;
  /** Name of the link; undefined for a route that leads to none. */
  readonly link: string | undefined;
}

/** The network, and the machine that it would be laid over. */
export interface ConflictInput {
  readonly network: Prefix;
  /** Our own leases: what lies inside them is the containers' own. */
  readonly leases: readonly Prefix[];
  readonly links: readonly ActualLink[];
  readonly addresses: readonly ActualAddress[];
  /** The main table. */
  readonly routes: readonly ActualRoute[];
  readonly ownership: Ownership;
}

/** Everything that stands in the way of `network`, addresses first; empty when nothing does. */
export function planConflicts(input: ConflictInput): readonly Conflict[] {
  const names = new Map(input.links.map((link) => [link.index, link.name]));
  const ours = input.links.filter((link) => isOwnedLink(link, input.ownership));
  const owned = new Set(ours.map((link) => link.name));
  const conflicts = new Map<string, Conflict>();

  const consider = (conflict: Conflict) => {
    const { link, prefix } = conflict;
    if (link !== undefined && owned.has(link)) return;
    if (!prefixesOverlap(input.network, prefix)) return;
    if (input.leases.some((lease) => prefixCovers(lease, prefix))) return;
    // The kernel makes a route for each address; the address says more.
    const key = `${prefix} ${link ?? ""}`;
    if (!conflicts.has(key)) conflicts.set(key, conflict);
  };

  for (const { address, link, prefixLength: length } of input.addresses) {
    consider({ kind: "underlay", prefix: prefixOf(address, length), link: names.get(link) });
  }
  for (const { destination, link, protocol } of input.routes) {
    if (protocol === input.ownership.routeProtocol) continue;
    // Every network is inside the default route; a more specific route wins over it.
    if (prefixLength(destination) === 0) continue;
    const name = link === undefined ? undefined : names.get(link);
    consider({ kind: "route", prefix: destination, link: name });
  }
  return [...conflicts.values()];
}
