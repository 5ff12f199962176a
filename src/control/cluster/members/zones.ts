/**
 * Choosing nodes so that they lie in as many zones as possible: the loss of one zone (a rack, a
 * room, a building) should take as few of them as can be.
 *
 * Measure: the sum of the squares of how many lie in each zone. It is least when they are spread
 * evenly. Only a swap that lowers it is made, so equal choices never change places.
 *
 * Pure.
 *
 * @module
 */
import type { NodeId } from "../../../base/ids.ts";

/** Short, printable and without blanks; it stands in tables and log lines. */
const ZONE_PATTERN = /^[\x21-\x7e]{0,63}$/;

/** `text` as the name of a zone ("": none), or undefined. */
export function parseZone(text: string): string | undefined {
  return ZONE_PATTERN.test(text) ? text : undefined;
}

/** What is to be chosen from. */
export interface Choice {
  /** Best first. */
  readonly candidates: readonly NodeId[];
  readonly count: number;
  /** The zone of a node; "" for nodes that name none, which are one zone together. */
  zoneOf(id: NodeId): string;
  /** Whether `incoming` may take the place of `outgoing` for the sake of zones alone. */
  maySwap(outgoing: NodeId, incoming: NodeId): boolean;
  /** Others that count for their zones and are not up for choice. */
  readonly beside?: readonly NodeId[];
}

/** The best `count` candidates, with swaps that spread them over more zones. */
export function choose(choice: Choice): readonly NodeId[] {
  const { candidates, count, zoneOf, beside = [] } = choice;
  const chosen = candidates.slice(0, count);
  const rest = candidates.slice(count);
  const counts = new Map<string, number>();
  const countOf = (id: NodeId) => counts.get(zoneOf(id)) ?? 0;
  const enter = (id: NodeId, change: number) => counts.set(zoneOf(id), countOf(id) + change);
  for (const id of [...chosen, ...beside]) enter(id, 1);
  for (;;) {
    const swap = bestSwap(choice, { chosen, rest, countOf });
    if (swap === undefined) return chosen;
    const { outgoing, incoming } = swap;
    chosen.splice(chosen.indexOf(outgoing), 1, incoming);
    rest.splice(rest.indexOf(incoming), 1, outgoing);
    enter(outgoing, -1);
    enter(incoming, 1);
  }
}

/** From the fullest zone to the emptiest; of equals the least wanted goes, the best comes. */
function bestSwap(
  { maySwap }: Choice,
  state: {
    readonly chosen: readonly NodeId[];
    readonly rest: readonly NodeId[];
    countOf(id: NodeId): number;
  },
): { readonly outgoing: NodeId; readonly incoming: NodeId } | undefined {
  const { chosen, rest, countOf } = state;
  const fullest = [...chosen].reverse().sort((a, b) => countOf(b) - countOf(a));
  const emptiest = [...rest].sort((a, b) => countOf(a) - countOf(b));
  for (const outgoing of fullest) {
    // A swap lowers the sum of squares exactly when it evens out a difference of two and more.
    const incoming = emptiest.find(
      (id) => countOf(id) + 2 <= countOf(outgoing) && maySwap(outgoing, id),
    );
    if (incoming !== undefined) return { outgoing, incoming };
  }
  return undefined;
}
