/**
 * What must be done when the kernel agreed with one desired state and another is wanted: the
 * difference of the two, without a look at the kernel.
 *
 * For the change that comes all the time, a lease more or less among thousands: reading ten
 * thousand routes to add one would take longer than everything else. Whether it took is seen by the
 * next look. Pure.
 *
 * @module
 */
import type { LinkRef, Operation } from "../../host/kernel-ports.ts";
import type {
  DesiredFdbEntry,
  DesiredNeighbour,
  DesiredRoute,
  DesiredState,
} from "../backends/desired-state.ts";

/** Beyond it a look costs little beside the work. */
const ENTRIES_MAX = 1000;

/** The links that were there when somebody last looked, by name. */
export type KnownLinks = ReadonlyMap<string, LinkRef>;

/**
 * What leads from `before` to `after`; undefined when more than routes, neighbours and FDB entries
 * differ, or a link is not known, or there is too much: then somebody has to look.
 */
export function delta(
  before: DesiredState,
  after: DesiredState,
  context: { readonly links: KnownLinks; readonly routeProtocol: number },
): readonly Operation[] | undefined {
  if (!sameRest(before, after)) return undefined;
  const routes = listDelta(before.routes, after.routes, routeKey, sameRoute);
  const neighbours = listDelta(before.neighbours, after.neighbours, neighbourKey, sameNeighbour);
  const fdb = listDelta(before.fdb, after.fdb, fdbKey, sameFdb);
  const all = [routes, neighbours, fdb];
  const count = all.reduce((sum, it) => sum + it.gone.length + it.made.length, 0);
  if (count > ENTRIES_MAX) return undefined;
  const entries = all.flatMap((it) => [...it.gone, ...it.made]);
  if (entries.some(({ link }) => !context.links.has(link))) return undefined;
  return operationsOf({ routes, neighbours, fdb }, context);
}

interface ListDelta<Entry> {
  /** In `before` and not, in any form, in `after`. */
  readonly gone: readonly Entry[];
  /** New or otherwise than it was; `isNew` tells which. */
  readonly made: readonly Entry[];
  readonly isNew: (entry: Entry) => boolean;
}

/** Entries are where they were but for a few: equal heads and tails are passed over first. */
function listDelta<Entry>(
  before: readonly Entry[],
  after: readonly Entry[],
  keyOf: (entry: Entry) => string,
  isSame: (a: Entry, b: Entry) => boolean,
): ListDelta<Entry> {
  const isEqual = (a: Entry, b: Entry) => a === b || isSame(a, b);
  const shorter = Math.min(before.length, after.length);
  let head = 0;
  while (head < shorter && isEqual(before[head]!, after[head]!)) head++;
  let tail = 0;
  const same = (back: number) =>
    isEqual(before[before.length - 1 - back]!, after[after.length - 1 - back]!);
  while (tail < shorter - head && same(tail)) tail++;

  const old = new Map<string, Entry>();
  for (const entry of before.slice(head, before.length - tail)) old.set(keyOf(entry), entry);
  const known = new Set(old.keys());
  const made: Entry[] = [];
  for (const entry of after.slice(head, after.length - tail)) {
    const key = keyOf(entry);
    const former = old.get(key);
    old.delete(key);
    if (former === undefined || !isSame(former, entry)) made.push(entry);
  }
  return { gone: [...old.values()], made, isNew: (entry) => !known.has(keyOf(entry)) };
}

/** In the order of `diff`: what is to come, the way before the traffic, then what is to go. */
function operationsOf(
  {
    fdb,
    neighbours,
    routes,
  }: {
    readonly routes: ListDelta<DesiredRoute>;
    readonly neighbours: ListDelta<DesiredNeighbour>;
    readonly fdb: ListDelta<DesiredFdbEntry>;
  },
  { links, routeProtocol: protocol }: { links: KnownLinks; routeProtocol: number },
): Operation[] {
  const refer = (name: string): LinkRef => links.get(name)!;
  return [
    ...neighbours.made.map(({ address, link, mac }): Operation => {
      return { kind: "replace_neighbour", neighbour: { link: refer(link), address, mac } };
    }),
    ...fdb.made.map(({ endpoint, link, mac }): Operation => {
      return { kind: "replace_fdb", entry: { link: refer(link), mac, endpoint } };
    }),
    ...routes.made.map((route): Operation => {
      const kind = routes.isNew(route) ? "add_route" : "replace_route";
      return { kind, route: { ...route, link: refer(route.link), protocol } };
    }),
    ...routes.gone.map(({ destination, gateway, link, metric, table }): Operation => {
      const { index } = refer(link);
      return {
        kind: "delete_route",
        route: { destination, gateway, link: index, metric, protocol, table },
      };
    }),
    ...neighbours.gone.map(({ address, link }): Operation => {
      return { kind: "delete_neighbour", neighbour: { link: refer(link), address } };
    }),
    ...fdb.gone.map(({ link, mac }): Operation => {
      return { kind: "delete_fdb", entry: { link: refer(link), mac } };
    }),
  ];
}

function sameRest(a: DesiredState, b: DesiredState): boolean {
  return (
    Bun.deepEquals(a.links, b.links) &&
    Bun.deepEquals(a.addresses, b.addresses) &&
    Bun.deepEquals(a.sysctls, b.sysctls) &&
    Bun.deepEquals(a.firewall, b.firewall)
  );
}

const routeKey = ({ destination, metric, table }: DesiredRoute) =>
  `${destination} ${metric} ${table}`;
const neighbourKey = ({ address, link }: DesiredNeighbour) => `${address} ${link}`;
const fdbKey = ({ link, mac }: DesiredFdbEntry) => `${mac} ${link}`;

function sameRoute(a: DesiredRoute, b: DesiredRoute): boolean {
  return (
    a.destination === b.destination &&
    a.gateway === b.gateway &&
    a.link === b.link &&
    a.onlink === b.onlink &&
    a.table === b.table &&
    a.metric === b.metric
  );
}

function sameNeighbour(a: DesiredNeighbour, b: DesiredNeighbour): boolean {
  return a.address === b.address && a.mac === b.mac && a.link === b.link;
}

function sameFdb(a: DesiredFdbEntry, b: DesiredFdbEntry): boolean {
  return a.mac === b.mac && a.endpoint === b.endpoint && a.link === b.link;
}
