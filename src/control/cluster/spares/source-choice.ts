/**
 * Whom a spare asks to feed it, in which order: standbys, who have nothing else to do; then
 * followers; the leader only when nobody else takes it. Within a class by lot, so that a thousand
 * spares spread by themselves. A node that does not know the membership yet asks whomever it knows.
 *
 * Pure.
 *
 * @module
 */
import type { NodeId } from "../../../base/ids.ts";
import type { ConfState } from "../../raft/types.ts";
import { memberIds } from "../members/conf-state.ts";

/** What a spare knows. */
export interface SourceView {
  readonly self: NodeId;
  /** Membership as of the last entry that it has. */
  readonly confState: ConfState;
  readonly leader: NodeId | undefined;
  /** Nodes that it knew before it had any state, the best first. */
  readonly known: readonly NodeId[];
  /** An integer from 0 to `limit` − 1. */
  below(limit: number): number;
}

/** Every possible source once, the best first. */
export function sourceOrder(view: SourceView): readonly NodeId[] {
  const { self, confState, leader } = view;
  const members = memberIds(confState).filter((id) => id !== self);
  const rank = (id: NodeId): number => {
    if (id === leader) return 2;
    return confState.voters.includes(id) ? 1 : 0;
  };
  const classes = [0, 1, 2].map((each) => members.filter((id) => rank(id) === each));
  // A membership that is long past may hold nobody that still lives.
  const others = view.known.filter((id) => id !== self && !members.includes(id));
  return [...classes.flatMap((each) => shuffle(each, (limit) => view.below(limit))), ...others];
}

function shuffle<Item>(items: readonly Item[], below: (limit: number) => number): Item[] {
  const mixed = [...items];
  for (let i = mixed.length - 1; i > 0; i--) {
    const j = below(i + 1);
    [mixed[i], mixed[j]] = [mixed[j]!, mixed[i]!];
  }
  return mixed;
}
