/**
 * Who should vote, who should stand by: the next membership change that the leader should make.
 *
 *     members   1   2   3 and more
 *     voters    1   1   3 (the setting; always odd)
 *     standbys  0   1   as many as wanted; the rest are spares, outside Raft
 *
 * Two nodes are one voter and one standby: two voters would stop when either of them dies, one
 * voter only when that one dies. A voter is gained only from a standby that is live, caught up and
 * steady, and no change is made that the live voters could not carry on after. One change at a
 * time. A leader that should not vote (any more) first hands over. Source: thesis §4.3; the order
 * of steps follows hashicorp's autopilot and dqlite (promote, then demote, then remove).
 *
 * Among those who could vote come first whom somebody wished to, then who votes now (no change
 * without need), last whom somebody wished not to; then zones decide (`zones.ts`).
 *
 * Pure. Driven by `role-keeper.ts`.
 *
 * @module
 */
import type { NodeId } from "../../../base/ids.ts";
import type { ConfChangeSingle, ConfState } from "../../raft/types.ts";
import { isJoint } from "./conf-state.ts";
import { choose } from "./zones.ts";

/** Voters of a cluster of three nodes and more: the least that survives the loss of one. */
export const VOTER_TARGET_DEFAULT = 3;
/** What may be set. More than seven only make each write wait for more disks. */
export const VOTER_TARGETS = [1, 3, 5, 7] as const;
export type VoterTarget = (typeof VOTER_TARGETS)[number];
/** Newcomers taken in by one change; more wait for the next. */
const NEWCOMERS_MAX = 32;

/** What somebody wants a node to be: preferred as a voter, or a voter only in need. */
export type RoleWish = "voter" | "standby";

/** What the leader knows. */
export interface RoleView {
  /** The leader. */
  readonly self: NodeId;
  /** Who should be in the cluster, in order of preference. */
  readonly members: readonly NodeId[];
  readonly confState: ConfState;
  /** How many voters there should be at most: odd. */
  readonly voterTarget: number;
  /** How many standbys there should be at most; infinite: everybody who does not vote. */
  readonly standbyTarget: number;
  /** Whether it was heard from within the last moments. */
  isLive(id: NodeId): boolean;
  /** Whether it was silent for so long that another should take its place. */
  isLost(id: NodeId): boolean;
  /** Whether it could vote without holding up commits: caught up, and steadily there. */
  isReady(id: NodeId): boolean;
  /** Whether it made no progress for so long that the leader's work for it is in vain. */
  isStalled(id: NodeId): boolean;
  /** Whether it was let go for that lately, and is not to be tried again yet. */
  isResting(id: NodeId): boolean;
  zoneOf(id: NodeId): string;
  wishOf(id: NodeId): RoleWish | undefined;
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
  const wanted = wantedVoters(view);
  const standbys = wantedStandbys(view, wanted);
  // First: who is to vote comes from among the standbys.
  const newcomers = standbys.filter((id) => !known.includes(id)).slice(0, NEWCOMERS_MAX);
  if (newcomers.length > 0) return change(newcomers.map((node) => one("add_learner", node)));

  const promotions = wanted.filter((id) => !confState.voters.includes(id));
  if (!wanted.includes(self)) {
    // Others first get the votes that are to replace ours, then the leadership, then the rest.
    if (promotions.length > 0)
      return guarded(
        view,
        promotions.map((id) => one("add_voter", id)),
      );
    const target = wanted.find((id) => view.isLive(id) && view.isReady(id));
    return target === undefined ? undefined : { kind: "transfer", target };
  }
  const isOut = (id: NodeId) =>
    !members.includes(id) || !(wanted.includes(id) || standbys.includes(id));
  const surplus = confState.voters.filter((id) => !wanted.includes(id) && !isOut(id));
  return guarded(view, [
    ...promotions.map((id) => one("add_voter", id)),
    ...surplus.map((id) => one("add_learner", id)),
    ...known.filter(isOut).map((id) => one("remove", id)),
  ]);
}

/** How many of `memberCount` nodes should vote when `voterTarget` (odd) is the most. */
export function voterCountFor(memberCount: number, voterTarget: number): number {
  return Math.min(voterTarget, largestOdd(memberCount));
}

/** Who should vote once everything possible now is done. */
export function wantedVoters(view: RoleView): readonly NodeId[] {
  const { members, confState, self } = view;
  const voters = members.filter((id) => confState.voters.includes(id));
  const standbys = members.filter((id) => confState.learners.includes(id) && view.isLive(id));
  const ready = standbys.filter((id) => view.isReady(id));
  const target = voterCountFor(members.length, view.voterTarget);

  // A lost voter gives way as soon as a standby can take its place, and not before.
  const lost = voters.filter((id) => id !== self && view.isLost(id));
  const givenUp = lost.slice(0, Math.max(0, voters.length + ready.length - target));
  const kept = voters.filter((id) => !givenUp.includes(id));
  const possible = inOrder([...kept, ...ready], (id) => voterRank(view, id));
  if (possible.length >= target) {
    return choose({
      candidates: possible,
      count: target,
      zoneOf: view.zoneOf,
      maySwap: (outgoing, incoming) =>
        outgoing !== self && wishRank(view, incoming) <= wishRank(view, outgoing),
    });
  }
  // Rather wait with an even number than shrink and grow again.
  if (kept.length + standbys.length >= target) return inOrder(kept, (id) => voterRank(view, id));
  return possible.slice(0, largestOdd(possible.length));
}

/** Who should stand by, beside the voters `wanted`. */
function wantedStandbys(view: RoleView, wanted: readonly NodeId[]): readonly NodeId[] {
  const { members, confState, standbyTarget } = view;
  const rest = members.filter((id) => !wanted.includes(id));
  const isKnown = (id: NodeId) => confState.learners.includes(id) || confState.voters.includes(id);
  const usable = rest.filter((id) => !(isKnown(id) ? view.isStalled(id) : view.isResting(id)));
  const candidates = inOrder(usable, (id) => [
    view.isLost(id) ? 1 : 0,
    isKnown(id) ? 0 : 1,
    view.isLive(id) ? 0 : 1,
  ]);
  // The votes that are missing come from here, too.
  const missing = voterCountFor(members.length, view.voterTarget) - wanted.length;
  return choose({
    candidates,
    count: Math.min(standbyTarget + Math.max(0, missing), candidates.length),
    zoneOf: view.zoneOf,
    maySwap: (outgoing, incoming) => view.isLive(incoming) || !view.isLive(outgoing),
    beside: wanted,
  });
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

/** Whose vote is wanted first: by wish, without change, the leader's, of who is live. */
function voterRank(view: RoleView, id: NodeId): readonly number[] {
  return [
    wishRank(view, id),
    view.confState.voters.includes(id) ? 0 : 1,
    id === view.self ? 0 : 1,
    view.isLive(id) ? 0 : 1,
  ];
}

function wishRank(view: RoleView, id: NodeId): number {
  const wish = view.wishOf(id);
  if (wish === undefined) return 1;
  return wish === "voter" ? 0 : 2;
}

/** `ids` by ascending rank, the first number that differs decides; equals keep their order. */
function inOrder(
  ids: readonly NodeId[],
  rankOf: (id: NodeId) => readonly number[],
): readonly NodeId[] {
  const ranked = ids.map((id) => ({ id, rank: rankOf(id) }));
  ranked.sort((a, b) => {
    const at = a.rank.findIndex((each, position) => each !== b.rank[position]);
    return at < 0 ? 0 : (a.rank[at] ?? 0) - (b.rank[at] ?? 0);
  });
  return ranked.map(({ id }) => id);
}

function largestOdd(limit: number): number {
  return limit % 2 === 1 ? limit : Math.max(limit - 1, 0);
}

function one(operation: ConfChangeSingle["operation"], node: NodeId): ConfChangeSingle {
  return { operation, node };
}

function change(changes: readonly ConfChangeSingle[]): RolePlan {
  return { kind: "change", changes };
}
