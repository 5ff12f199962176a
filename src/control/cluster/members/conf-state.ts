/**
 * Questions to a Raft membership. Pure.
 *
 * @module
 */
import type { NodeId } from "../../../base/ids.ts";
import type { ConfState } from "../../raft/types.ts";

/** Everybody in `state`, voters of both halves and learners, each once, ascending. */
export function memberIds(state: ConfState): readonly NodeId[] {
  const { voters, votersOutgoing, learners, learnersNext } = state;
  const all = new Set([...voters, ...votersOutgoing, ...learners, ...learnersNext]);
  return [...all].sort((a, b) => a - b);
}

/** Everybody whose vote counts, in either half, each once. */
export function voterIds(state: ConfState): readonly NodeId[] {
  return [...new Set([...state.voters, ...state.votersOutgoing])];
}

/** Whether `id` has any part in `state`. */
export function isMember(state: ConfState, id: NodeId): boolean {
  return memberIds(state).includes(id);
}

/** Whether `state` is between two configurations. */
export function isJoint(state: ConfState): boolean {
  return state.votersOutgoing.length > 0;
}

/** Whether `id` decides alone. */
export function isOnlyVoter(state: ConfState, id: NodeId): boolean {
  return !isJoint(state) && state.voters.length === 1 && state.voters[0] === id;
}

/** With whom voter `node` holds elections; nobody for a node that does not vote. */
export function otherVoters(state: ConfState, node: NodeId): readonly NodeId[] {
  return state.voters.includes(node) ? state.voters.filter((id) => id !== node) : [];
}
