/**
 * What must be done so that the kernel has what is wanted: the difference, in a safe order.
 *
 * Only differences become operations, so a pass over a machine that is right does nothing. What
 * is ours and wanted goes in before what is ours and unwanted goes out: traffic finds the new way
 * before it loses the old one, and the kernel does not flush the routes of a link whose last
 * address went for a moment. What is not ours (`ownership`) is never touched.
 *
 *     links made, up and sized -> addresses -> settings -> firewall -> neighbours and FDB entries
 *       -> routes added and replaced -> stale routes -> stale neighbours and FDB entries
 *       -> stale firewall rules -> stale addresses -> stale links
 *
 * A link that is made has no number yet, so what belongs on it is left for the next look:
 * `isPartial` says so.
 *
 * Pure: no kernel, no clock.
 *
 * @module
 */
import type { Prefix } from "../../base/address.ts";
import type { LinkIndex } from "../../base/ids.ts";
import type { ActualLink, ActualRoute, ActualState, Operation } from "../../host/kernel-ports.ts";
import type { DesiredRoute, DesiredState } from "../backends/desired-state.ts";
import { isOwnedLink, type Ownership } from "../backends/ownership.ts";
import { diffFirewall } from "./firewall.ts";
import { diffLinks, staleLinks } from "./links.ts";
import { diffFdb, diffNeighbours } from "./neighbours.ts";
import { type Halves, type LinksByName, type Obstacle, refer } from "./parts.ts";

/** What can be done, in order, and what cannot. */
export interface Difference {
  readonly operations: readonly Operation[];
  readonly obstacles: readonly Obstacle[];
  /** A link is made: what goes on it can only be said when the kernel has numbered it. */
  readonly isPartial: boolean;
}

/** How to get from `actual` to `desired` in what `ownership` says is ours. */
export function diff(desired: DesiredState, actual: ActualState, ownership: Ownership): Difference {
  const byName = new Map(actual.links.map((link) => [link.name, link]));
  const obstacles: Obstacle[] = [];
  const links = diffLinks(desired.links, actual.links, { byName, ownership, obstacles });
  const addresses = diffAddresses(
    desired,
    actual,
    actual.links.filter((link) => isOwnedLink(link, ownership)),
  );
  const routes = diffRoutes(desired, actual, { byName, ownership, obstacles });
  const owned = new Map([...byName].filter(([, link]) => isOwnedLink(link, ownership)));
  const neighbours = diffNeighbours(desired.neighbours, actual.neighbours, owned);
  const fdb = diffFdb(desired.fdb, actual.fdb, owned);
  const firewall = diffFirewall(desired.firewall, actual.firewall, ownership);
  const gone = new Set(links.flatMap((it) => (it.kind === "delete_link" ? it.link.index : [])));
  return {
    operations: [
      ...links,
      ...addresses.wanted,
      ...diffSysctls(desired, actual),
      ...firewall.wanted,
      ...neighbours.wanted,
      ...fdb.wanted,
      ...routes.wanted,
      ...routes.stale,
      ...neighbours.stale,
      ...fdb.stale,
      ...firewall.stale,
      ...addresses.stale,
      ...staleLinks(desired.links, actual.links, ownership).filter(
        ({ link }) => !gone.has(link.index),
      ),
    ],
    obstacles,
    isPartial: links.some(({ kind }) => kind === "add_link"),
  };
}

function diffAddresses(
  desired: DesiredState,
  actual: ActualState,
  owned: readonly ActualLink[],
): Halves {
  const wanted: Operation[] = [];
  const stale: Operation[] = [];
  for (const link of owned) {
    const desiredHere = desired.addresses.filter((address) => address.link === link.name);
    const actualHere = actual.addresses.filter((address) => address.link === link.index);
    for (const { address, prefixLength } of desiredHere) {
      if (!actualHere.some((it) => it.address === address && it.prefixLength === prefixLength)) {
        wanted.push({
          kind: "replace_address",
          address: { link: refer(link), address, prefixLength },
        });
      }
    }
    for (const { address, prefixLength, scope } of actualHere) {
      // The kernel gives IPv6 links a link-local address of their own accord.
      if (scope !== "global") continue;
      if (!desiredHere.some((it) => it.address === address && it.prefixLength === prefixLength)) {
        stale.push({
          kind: "delete_address",
          address: { link: refer(link), address, prefixLength },
        });
      }
    }
  }
  return { wanted, stale };
}

function diffSysctls(desired: DesiredState, actual: ActualState): Operation[] {
  const links = new Set(actual.links.map(({ name }) => name));
  return desired.sysctls
    .filter(({ link }) => link === undefined || links.has(link))
    .filter(({ path, value }) => actual.sysctls.get(path) !== value)
    .map(({ path, value }) => ({ kind: "write_sysctl", path, value }));
}

interface RouteContext {
  readonly byName: LinksByName;
  readonly ownership: Ownership;
  readonly obstacles: Obstacle[];
}

function diffRoutes(
  desired: DesiredState,
  actual: ActualState,
  { byName, ownership, obstacles }: RouteContext,
): Halves {
  const protocol = ownership.routeProtocol;
  const ours = routesByDestination(
    actual.routes.filter((route) => route.protocol === protocol && route.unicast),
  );
  const kept = new Set<ActualRoute>();
  const wanted: Operation[] = [];
  for (const route of desired.routes) {
    const link = byName.get(route.link);
    if (link === undefined) {
      const reason = `there is no link ${route.link}`;
      obstacles.push({ operation: "add route", object: route.destination, reason });
      continue;
    }
    // More than one where an operator appended to ours.
    const existing = (ours.get(route.destination) ?? []).filter(
      (it) => it.metric === route.metric && it.table === route.table,
    );
    const right = existing.find((it) => sameWay(route, it, link.index));
    // Of several the kernel replaces the first, which is also the one that it lists first.
    const [first] = existing;
    if (right !== undefined) kept.add(right);
    else if (first !== undefined) kept.add(first);
    if (right !== undefined) continue;
    // Adding fails on a route of somebody else's with this key; replacing would overwrite it.
    const kind = first === undefined ? "add_route" : "replace_route";
    wanted.push({ kind, route: { ...route, link: refer(link), protocol } });
  }
  const stale = [...ours.values()]
    .flat()
    .filter((route) => !kept.has(route))
    .map(toDeletion);
  return { wanted, stale };
}

function toDeletion(route: ActualRoute): Operation {
  const { destination, gateway, link, metric, protocol, table } = route;
  return {
    kind: "delete_route",
    route: { destination, gateway, link, metric, protocol, table },
  };
}

function routesByDestination(
  routes: readonly ActualRoute[],
): ReadonlyMap<Prefix, readonly ActualRoute[]> {
  const groups = new Map<Prefix, ActualRoute[]>();
  for (const route of routes) {
    const group = groups.get(route.destination);
    if (group === undefined) groups.set(route.destination, [route]);
    else group.push(route);
  }
  return groups;
}

function sameWay(wanted: DesiredRoute, actual: ActualRoute, link: LinkIndex): boolean {
  return (
    actual.link === link && actual.gateway === wanted.gateway && actual.onlink === wanted.onlink
  );
}
