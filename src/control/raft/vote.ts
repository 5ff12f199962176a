/**
 * Voting: the receiver's side of RequestVote and of its rehearsal.
 *
 * Source: thesis §3.4 (election), §3.6.1 (election restriction), §3.8 (what must be durable
 * before replying), §4.2.3 (do not disturb a living leader), §9.6 (pre-vote).
 *
 * @module
 */
import { assert } from "../../base/assert.ts";
import { isVoter } from "./conf-change.ts";
import { type Core, castVote, leaderOf, sendAfterAppend } from "./core.ts";
import type { EntryId, VoteRequest } from "./types.ts";

/**
 * Whether a request of a higher term is passed over, since a leader was heard from lately: a node
 * that was removed or cut off must not depose it (§4.2.3). Does not change anything.
 */
export function ignoresVoteRequest(core: Core, request: VoteRequest): boolean {
  const { checkQuorum, electionTicks } = core.config;
  const isLeased =
    checkQuorum && leaderOf(core) !== undefined && core.electionElapsedTicks < electionTicks;
  if (request.transfer || !isLeased) return false;
  core.trace?.({
    kind: "vote_ignored",
    request,
    last: core.log.last(),
    vote: core.vote,
    term: core.term,
    remainingTicks: electionTicks - core.electionElapsedTicks,
  });
  return true;
}

/** Answers a request of our term, or a rehearsal for a later one. */
export function handleVoteRequest(core: Core, request: VoteRequest): void {
  // A learner votes like everybody else: it may have been promoted without knowing it yet, and
  // the candidate that asks knows better.
  const granted = canVote(core, request) && core.log.isUpToDate(request.last);
  answer(core, request, granted);
  if (!granted || request.round === "pre_vote") return;
  core.electionElapsedTicks = 0;
  castVote(core, request.from);
}

/** Refuses a rehearsal of a lower term, so that its sender learns of ours. */
export function rejectStalePreVote(core: Core, request: VoteRequest): void {
  answer(core, request, false);
}

function canVote(core: Core, request: VoteRequest): boolean {
  if (core.vote === request.from) return true;
  if (core.vote === undefined && leaderOf(core) === undefined) return true;
  return request.round === "pre_vote" && request.term > core.term;
}

function answer(core: Core, request: VoteRequest, granted: boolean): void {
  core.trace?.({
    kind: "vote_answered",
    request,
    granted,
    last: core.log.last(),
    vote: core.vote,
    term: core.term,
  });
  sendAfterAppend(core, {
    kind: "vote_response",
    round: request.round,
    to: request.from,
    from: core.id,
    // A grant repeats the term that was asked for: the asker of a rehearsal is not there yet,
    // and neither are we. A refusal tells our own.
    term: granted ? request.term : core.term,
    rejected: !granted,
    ...(granted || isVoter(core.membership, core.id) ? {} : { commit: committedId(core) }),
  });
}

function committedId(core: Core): EntryId {
  const index = core.log.committed;
  const term = core.log.term(index);
  assert(term !== undefined, "the term of what is committed must be known");
  return { term, index };
}
