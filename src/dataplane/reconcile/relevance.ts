/**
 * Whether a change in the kernel concerns what we want or what is ours.
 *
 * A busy machine changes all the time: containers come, neighbours answer, routing daemons work.
 * Only a change that may have touched something of ours starts a pass. Pure.
 *
 * @module
 */
import type { Prefix } from "../../base/address.ts";
import { unreachable } from "../../base/assert.ts";
import type { LinkIndex } from "../../base/ids.ts";
import type { KernelChange, LinkRef } from "../../host/kernel-ports.ts";
import type { DesiredState } from "../backends/desired-state.ts";
import type { Ownership } from "../backends/ownership.ts";
import { concernsFirewall } from "./firewall.ts";

/** What a change must touch to matter. */
export interface Interest {
  /** Names of links that are ours. */
  readonly names: ReadonlySet<string>;
  /** Names of links of others that ours, or wanted routes, lead through. */
  readonly wayNames: ReadonlySet<string>;
  /** Both by number, as far as they existed when we last looked. */
  readonly indexes: ReadonlySet<LinkIndex>;
  readonly wayIndexes: ReadonlySet<LinkIndex>;
  /** Where wanted routes lead: another program's route may stand in the way of one, or go. */
  readonly destinations: ReadonlySet<Prefix>;
  readonly ownership: Ownership;
}

/** What matters to `desired`, as long as none of its links is known to exist. */
export function interestOf(desired: DesiredState, ownership: Ownership): Interest {
  const names = new Set([
    ...ownership.links.map(({ name }) => name),
    ...desired.links.map(({ name }) => name),
  ]);
  const wayNames = new Set<string>();
  const destinations = new Set<Prefix>();
  for (const { destination, link } of desired.routes) {
    destinations.add(destination);
    if (!names.has(link)) wayNames.add(link);
  }
  for (const link of desired.links) if (link.kind === "vxlan") wayNames.add(link.underlay);
  return {
    names,
    wayNames,
    indexes: new Set(),
    wayIndexes: new Set(),
    destinations,
    ownership,
  };
}

/** `interest` with the numbers that its links have among `links`. */
export function withIndexes(interest: Interest, links: readonly LinkRef[]): Interest {
  const numbers = (names: ReadonlySet<string>) =>
    new Set(links.filter(({ name }) => names.has(name)).map(({ index }) => index));
  const { names, wayNames } = interest;
  return { ...interest, indexes: numbers(names), wayIndexes: numbers(wayNames) };
}

/** Whether `change` may have touched what `interest` says. */
export function concerns(change: KernelChange, interest: Interest): boolean {
  switch (change.kind) {
    case "link":
      // By number too: the link may have been renamed.
      return (
        interest.names.has(change.link.name) ||
        interest.wayNames.has(change.link.name) ||
        interest.indexes.has(change.link.index) ||
        interest.wayIndexes.has(change.link.index)
      );
    case "address":
      return interest.indexes.has(change.link) || interest.wayIndexes.has(change.link);
    // Neighbours of others' links answer and fall silent all day long.
    case "neighbour":
      return interest.indexes.has(change.link);
    case "route":
      return (
        change.protocol === interest.ownership.routeProtocol ||
        interest.destinations.has(change.destination) ||
        (change.link !== undefined && interest.indexes.has(change.link))
      );
    case "settings":
      return change.link === undefined || interest.indexes.has(change.link);
    case "firewall":
      return concernsFirewall(change, interest.ownership);
    case "overrun":
      return true;
    default:
      return unreachable(change);
  }
}
