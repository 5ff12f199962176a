/**
 * Who should vote: the next membership change that the leader should make, if any.
 *
 *     members   1   2   3 and more
 *     voters    1   1   3 (the setting; always odd), the rest are standbys
 *
 * Two nodes are one voter and one standby: two voters would stop when either of them dies, one
 * voter only when that one dies. A voter is gained only from a standby that is live and caught up,
 * and no change is made that the live voters could not carry on after. One change at a time.
 * A leader that should not vote (any more) first hands over. Source: thesis §4.3; the order of
 * steps follows hashicorp's autopilot and dqlite (promote, then demote, then remove).
 *
 * Pure. Driven by `role-keeper.ts`.
 *
 * @module
 */
import type { NodeId } from "../../../base/ids.ts";
import type { ConfChangeSingle, ConfState } from "../../raft/types.ts";
import { isJoint } from "./conf-state.ts";

/** Newcomers taken in by one change; more wait for the next. */
const NEWCOMERS_MAX = 32;

/** What the leader knows. */
export interface RoleView {
  /** The leader. */
  readonly self: NodeId;
  /** Who should be in the cluster, in order of preference. */
  readonly members: readonly NodeId[];
  readonly confState: ConfState;
  /** How many voters there should be at most: odd. */
  readonly voterTarget: number;
  /** Whether it was heard from within the last moments. */
  isLive(id: NodeId): boolean;
  /** Whether it was silent for so long that another should vote in its place. */
  isLost(id: NodeId): boolean;
  /** Whether its log is so near the leader's that it can vote without holding up commits. */
  isCaughtUp(id: NodeId): boolean;
}

/** What the leader should do next. */
export type RolePlan =
  | { readonly kind: "change"; readonly changes: readonly ConfChangeSingle[] }
  | { readonly kind: "transfer"; readonly target: NodeId };

/** The next step from the present membership to the wanted one; undefined when nothing is to do. */
export function planRoles(view: RoleView): RolePlan | undefined {
  const { confState, members, self } = view;
  if (isJoint(confState)) return undefined;
  const known = [...confState.voters, ...confState.learners];
  const newcomers = members.filter((id) => !known.includes(id)).slice(0, NEWCOMERS_MAX);
  if (newcomers.length > 0) return change(newcomers.map((node) => add("add_learner", node)));

  const wanted = wantedVoters(view);
  const promotions = wanted.filter((id) => !confState.voters.includes(id));
  if (!wanted.includes(self)) {
    // Others first get the votes that are to replace ours, then the leadership, then the rest.
    if (promotions.length > 0)
      return guarded(
        view,
        promotions.map((id) => add("add_voter", id)),
      );
    const target = wanted.find((id) => view.isLive(id) && view.isCaughtUp(id));
    return target === undefined ? undefined : { kind: "transfer", target };
  }
  const leavers = known.filter((id) => !members.includes(id));
  const surplus = confState.voters.filter((id) => !wanted.includes(id) && !leavers.includes(id));
  return guarded(view, [
    ...promotions.map((id) => add("add_voter", id)),
    ...surplus.map((id) => add("add_learner", id)),
    ...leavers.map((id) => add("remove", id)),
  ]);
}

/** How many of `memberCount` nodes should vote when `voterTarget` (odd) is the most. */
export function voterCountFor(memberCount: number, voterTarget: number): number {
  return Math.min(voterTarget, largestOdd(memberCount));
}

/** Who should vote once everything possible now is done. */
function wantedVoters(view: RoleView): readonly NodeId[] {
  const { members, confState, self } = view;
  const voters = members.filter((id) => confState.voters.includes(id));
  const standbys = members.filter((id) => confState.learners.includes(id) && view.isLive(id));
  const ready = standbys.filter((id) => view.isCaughtUp(id));
  const target = voterCountFor(members.length, view.voterTarget);

  // A lost voter gives way as soon as a standby can take its place, and not before.
  const lost = voters.filter((id) => id !== self && view.isLost(id));
  const givenUp = lost.slice(0, Math.max(0, voters.length + ready.length - target));
  const kept = [...voters.filter((id) => !givenUp.includes(id))].sort(
    (a, b) => rank(view, a) - rank(view, b),
  );
  if (kept.length >= target) return kept.slice(0, target);
  const possible = [...kept, ...ready];
  if (possible.length >= target) return possible.slice(0, target);
  // Rather wait with an even number than shrink and grow again.
  if (kept.length + standbys.length >= target) return kept;
  return possible.slice(0, largestOdd(possible.length));
}

/** The change, unless the voters that live could not go on with it. */
function guarded(view: RoleView, changes: readonly ConfChangeSingle[]): RolePlan | undefined {
  if (changes.length === 0) return undefined;
  const voters = new Set(view.confState.voters);
  for (const { operation, node } of changes) {
    if (operation === "add_voter") voters.add(node);
    else voters.delete(node);
  }
  const isSafe = [view.confState.voters, [...voters]].every((half) => {
    const liveCount = half.filter((id) => id === view.self || view.isLive(id)).length;
    return liveCount > half.length / 2;
  });
  return isSafe ? change(changes) : undefined;
}

/** Whom to keep first: the leader, then who is live. */
function rank(view: RoleView, id: NodeId): number {
  if (id === view.self) return 0;
  return view.isLive(id) ? 1 : 2;
}

function largestOdd(limit: number): number {
  return limit % 2 === 1 ? limit : Math.max(limit - 1, 0);
}

function add(operation: ConfChangeSingle["operation"], node: NodeId): ConfChangeSingle {
  return { operation, node };
}

function change(changes: readonly ConfChangeSingle[]): RolePlan {
  return { kind: "change", changes };
}
