/**
 * Majorities, and pairs of them while the membership is changing.
 *
 * Source: thesis §3.6.2 (commitment), §4.3 (joint consensus: a decision needs a majority of the
 * incoming AND of the outgoing voters).
 *
 * An empty half agrees with everything, so that a configuration that is not joint is the special
 * case of an empty outgoing half. Pure.
 *
 * @module
 */
import type { NodeId } from "../../base/ids.ts";

/** Where an election stands; `pending` can still become either. */
export type VoteResult = "won" | "pending" | "lost";

/** The voters that must agree: both halves, of which the outgoing one is mostly empty. */
export interface Quorum {
  readonly voters: readonly NodeId[];
  readonly votersOutgoing: readonly NodeId[];
}

/** What a voter has acknowledged: an index or a counter; undefined when it was never heard. */
export type AckedLookup = (node: NodeId) => number | undefined;

/**
 * The highest number that a majority of both halves has acknowledged; silence counts as 0.
 * `Number.POSITIVE_INFINITY` when both halves are empty.
 */
export function quorumAcked(quorum: Quorum, acked: AckedLookup): number {
  const incoming = majorityAcked(quorum.voters, acked);
  if (quorum.votersOutgoing.length === 0) return incoming;
  return Math.min(incoming, majorityAcked(quorum.votersOutgoing, acked));
}

/** The outcome of `votes` so far: won needs both halves, one lost half loses. */
export function quorumVote(quorum: Quorum, votes: ReadonlyMap<NodeId, boolean>): VoteResult {
  const incoming = majorityVote(quorum.voters, votes);
  const outgoing = majorityVote(quorum.votersOutgoing, votes);
  if (incoming === outgoing) return incoming;
  return incoming === "lost" || outgoing === "lost" ? "lost" : "pending";
}

function majorityAcked(voters: readonly NodeId[], acked: AckedLookup): number {
  const count = voters.length;
  if (count === 0) return Number.POSITIVE_INFINITY;
  // Insertion sort, descending: there are at most a handful of voters and this runs per ack.
  const sorted: number[] = [];
  for (const voter of voters) {
    const value = acked(voter) ?? 0;
    let position = sorted.length;
    while (position > 0 && sorted[position - 1]! < value) {
      sorted[position] = sorted[position - 1]!;
      position--;
    }
    sorted[position] = value;
  }
  return sorted[majorityCount(count) - 1]!;
}

function majorityVote(voters: readonly NodeId[], votes: ReadonlyMap<NodeId, boolean>): VoteResult {
  if (voters.length === 0) return "won";
  let granted = 0;
  let missing = 0;
  for (const voter of voters) {
    const vote = votes.get(voter);
    if (vote === undefined) missing++;
    else if (vote) granted++;
  }
  const needed = majorityCount(voters.length);
  if (granted >= needed) return "won";
  return granted + missing >= needed ? "pending" : "lost";
}

function majorityCount(count: number): number {
  return Math.floor(count / 2) + 1;
}
