/**
 * What stands against an order about a member, before anything is written: in words, with what to
 * do. Undefined: nothing does, the leader's plan will get there.
 *
 * Pure: asks the plan (`roles.ts`) what it would do.
 *
 * @module
 */
import type { NodeId } from "../../../base/ids.ts";
import type { ConfState } from "../../raft/types.ts";
import { isMember } from "./conf-state.ts";
import { planRoles, type RoleView, wantedVoters } from "./roles.ts";

/** Promotions, a hand-over, demotions, a removal: no order takes more steps. */
const STEPS_MAX = 8;

/** Why `id` cannot be made a voter. */
export function obstacleToPromotion(view: RoleView, id: NodeId): string | undefined {
  const { confState, voterTarget } = view;
  if (!isMember(confState, id)) {
    return "it is a spare, which does not hold the log; it can be promoted once it is a standby";
  }
  if (!view.isLive(id)) return "it does not answer; start it, or connect it to the leader";
  if (!view.isReady(id)) {
    return "it has not caught up with the leader, or was away a moment ago; try again in 10 seconds";
  }
  if (wantedVoters(withWish(view, id, "voter")).includes(id)) return undefined;
  return (
    `${voterTarget} of ${view.members.length} nodes may vote, and others were promoted before; ` +
    'demote one of them, add nodes, or raise the number with "overlay member target"'
  );
}

/** Why the vote of `id` cannot be given to another. */
export function obstacleToDemotion(view: RoleView, id: NodeId): string | undefined {
  if (!view.confState.voters.includes(id)) return undefined;
  if (!wantedVoters(withWish(view, id, "standby")).includes(id)) return undefined;
  return (
    "no standby is ready to vote in its place; start or add a node, " +
    'or lower the number of voters with "overlay member target"'
  );
}

/** Why the cluster could not go on without `id`. */
export function obstacleToRemoval(view: RoleView, id: NodeId): string | undefined {
  let now = { ...view, members: view.members.filter((member) => member !== id) };
  for (let step = 0; step < STEPS_MAX && isMember(now.confState, id); step++) {
    // Between two memberships the plan waits, and nobody can say what comes after.
    if (now.confState.votersOutgoing.length > 0) return undefined;
    const plan = planRoles(now);
    if (plan === undefined) return describeLoss(now);
    if (plan.kind === "transfer") now = { ...now, self: plan.target };
    else now = { ...now, confState: changed(now.confState, plan.changes) };
  }
  return undefined;
}

function describeLoss(view: RoleView): string {
  const { members } = view;
  const silent = members.filter((id) => !view.isLive(id));
  const answering = members.length - silent.length;
  if (silent.length === 0) {
    return "no standby has caught up to vote in its place; try again in 10 seconds";
  }
  return (
    `of the ${members.length} that would stay only ${answering} answer, too few to decide; ` +
    "start the others, or first remove those that will not come back"
  );
}

function withWish(view: RoleView, id: NodeId, wish: "voter" | "standby"): RoleView {
  return { ...view, wishOf: (each) => (each === id ? wish : view.wishOf(each)) };
}

function changed(
  state: ConfState,
  changes: readonly { readonly operation: string; readonly node: NodeId }[],
): ConfState {
  const voters = new Set(state.voters);
  const learners = new Set(state.learners);
  for (const { operation, node } of changes) {
    voters.delete(node);
    learners.delete(node);
    if (operation === "add_voter") voters.add(node);
    if (operation === "add_learner") learners.add(node);
  }
  return { ...state, voters: [...voters], learners: [...learners] };
}
