/**
 * The neighbours' and FDB entries' part of the difference.
 *
 * Every permanent one on a link of ours is ours. What the kernel found out by itself is not looked
 * at. Pure.
 *
 * @module
 */
import type {
  ActualFdbEntry,
  ActualLink,
  ActualNeighbour,
  Operation,
} from "../../host/kernel-ports.ts";
import type { DesiredFdbEntry, DesiredNeighbour } from "../backends/desired-state.ts";
import { type Halves, type LinksByName, refer } from "./parts.ts";

/** How to get the neighbours on links of ours (`owned`) right. */
export function diffNeighbours(
  desired: readonly DesiredNeighbour[],
  actual: readonly ActualNeighbour[],
  owned: LinksByName,
): Halves {
  return diffEntries(desired, actual, {
    owned,
    keyOf: ({ address }) => address,
    isSame: (wanted, found) => wanted.mac === found.mac,
    replace: ({ address, mac }, link) => ({
      kind: "replace_neighbour",
      neighbour: { link: refer(link), address, mac },
    }),
    remove: ({ address }, link) => ({
      kind: "delete_neighbour",
      neighbour: { link: refer(link), address },
    }),
  });
}

/** How to get the FDB of links of ours (`owned`) right. */
export function diffFdb(
  desired: readonly DesiredFdbEntry[],
  actual: readonly ActualFdbEntry[],
  owned: LinksByName,
): Halves {
  return diffEntries(desired, actual, {
    owned,
    keyOf: ({ mac }) => mac,
    isSame: (wanted, found) => wanted.endpoint === found.endpoint,
    replace: ({ endpoint, mac }, link) => ({
      kind: "replace_fdb",
      entry: { link: refer(link), mac, endpoint },
    }),
    remove: ({ mac }, link) => ({ kind: "delete_fdb", entry: { link: refer(link), mac } }),
  });
}

interface EntryRules<Desired, Actual> {
  readonly owned: LinksByName;
  /** Unique on one link. */
  readonly keyOf: (entry: Desired | Actual) => string;
  readonly isSame: (wanted: Desired, found: Actual) => boolean;
  readonly replace: (wanted: Desired, link: ActualLink) => Operation;
  readonly remove: (found: Actual, link: ActualLink) => Operation;
}

function diffEntries<
  Desired extends { readonly link: string },
  Actual extends { readonly link: ActualLink["index"] },
>(
  desired: readonly Desired[],
  actual: readonly Actual[],
  rules: EntryRules<Desired, Actual>,
): Halves {
  const { isSame, keyOf, owned, remove, replace } = rules;
  const byIndex = new Map([...owned.values()].map((link) => [link.index, link]));
  const missing = new Map<string, { readonly wanted: Desired; readonly link: ActualLink }>();
  for (const wanted of desired) {
    const link = owned.get(wanted.link);
    // A link that is not there is said to be missing elsewhere.
    if (link !== undefined) missing.set(`${link.index} ${keyOf(wanted)}`, { wanted, link });
  }
  const stale: Operation[] = [];
  const right = new Set<string>();
  for (const found of actual) {
    const link = byIndex.get(found.link);
    if (link === undefined) continue;
    const key = `${found.link} ${keyOf(found)}`;
    const expected = missing.get(key);
    if (expected === undefined) stale.push(remove(found, link));
    else if (isSame(expected.wanted, found)) right.add(key);
  }
  const wanted: Operation[] = [];
  for (const [key, { link, wanted: entry }] of missing) {
    if (!right.has(key)) wanted.push(replace(entry, link));
  }
  return { wanted, stale };
}
