/**
 * Elections: the candidate's side.
 *
 * Source: thesis §3.4 (election), §3.10 (transfer skips the rehearsal), §9.6 (pre-vote).
 *
 * @module
 */
import { decodeTerm } from "../../base/ids.ts";
import { votersOf } from "./conf-change.ts";
import { type Candidate, type Core, isPromotable, send, sendAfterAppend } from "./core.ts";
import { quorumVote, type VoteResult } from "./quorum.ts";
import { broadcastAppend } from "./replicate.ts";
import { becomeCandidate, becomeFollower, becomeLeader, becomePreCandidate } from "./role.ts";
import type { CampaignRefusal } from "./trace.ts";
import type { EntryId, VoteResponse, VoteRound } from "./types.ts";

/** Why there is an election: its time has come, or the leader asked for it. */
export type CampaignReason = "timeout" | "transfer";

/** A tick of a node that does not lead. */
export function tickElection(core: Core): void {
  core.electionElapsedTicks++;
  if (!isPromotable(core) || core.electionElapsedTicks < core.electionTimeoutTicks) return;
  core.electionElapsedTicks = 0;
  maybeCampaign(core, "timeout");
}

/** Starts an election, unless this node leads already or must not be elected. */
export function maybeCampaign(core: Core, reason: CampaignReason): void {
  const refused = refusal(core);
  if (refused !== undefined) {
    core.trace?.({ kind: "campaign_refused", reason: refused, term: core.term });
    return;
  }
  core.trace?.({ kind: "election_started", term: core.term });
  const rehearse = core.config.preVote && reason === "timeout";
  campaign(core, rehearse ? "pre_vote" : "vote", reason);
}

/** Takes in an answer to our own request. */
export function handleVoteResponse(core: Core, candidate: Candidate, response: VoteResponse): void {
  const round: VoteRound = candidate.kind === "candidate" ? "vote" : "pre_vote";
  // While a candidate, answers to the rehearsal may still come in.
  if (response.round !== round) return;
  if (response.commit !== undefined) {
    maybeLearnCommit(core, response.commit);
    if (core.log.hasUnappliedConfChange()) {
      // Not the membership of today any more: apply it, then try again.
      becomeFollower(core, core.term, undefined);
      return;
    }
  }
  switch (poll(core, candidate, response)) {
    case "won":
      if (round === "pre_vote") campaign(core, "vote", "timeout");
      else lead(core);
      return;
    case "lost":
      becomeFollower(core, core.term, undefined);
      return;
    case "pending":
  }
}

/**
 * Takes over what another node knows to be committed, if our log holds it. Changes take effect
 * when they are applied, so a node that lost its vote by a change knows of it before others do.
 * It cannot lead any more; and when its log is longer than ours it refuses us, whose membership of
 * yesterday demands its vote: without its word nobody could ever lead again.
 */
function maybeLearnCommit(core: Core, commit: EntryId): void {
  if (commit.index > core.log.committed && core.log.matches(commit))
    core.log.commitTo(commit.index);
}

function refusal(core: Core): CampaignRefusal | undefined {
  if (core.role.kind === "leader") return "already_leader";
  if (!isPromotable(core)) return "not_promotable";
  // A committed change may already have taken our vote away, or given others one.
  return core.log.hasUnappliedConfChange() ? "conf_change_unapplied" : undefined;
}

function campaign(core: Core, round: VoteRound, reason: CampaignReason): void {
  if (round === "pre_vote") becomePreCandidate(core);
  else becomeCandidate(core);
  // A rehearsal is held for the next term without entering it.
  const term = round === "pre_vote" ? decodeTerm(core.term + 1) : core.term;
  const last = core.log.last();
  const from = core.id;
  for (const to of votersOf(core.membership)) {
    if (to === from) {
      // Our own vote counts when it is on our disk, like everybody else's.
      sendAfterAppend(core, { kind: "vote_response", round, to, from, term, rejected: false });
      continue;
    }
    core.trace?.({ kind: "vote_requested", round, to, last, term: core.term });
    const transfer = reason === "transfer";
    send(core, { kind: "vote_request", round, to, from, term, last, transfer });
  }
}

function lead(core: Core): void {
  becomeLeader(core);
  if (core.role.kind === "leader") broadcastAppend(core, core.role);
}

function poll(core: Core, candidate: Candidate, response: VoteResponse): VoteResult {
  const { from, round, rejected } = response;
  core.trace?.({ kind: "vote_received", round, from, rejected, term: core.term });
  // The first answer of a node counts; later ones are repetitions.
  if (!candidate.votes.has(from)) candidate.votes.set(from, !rejected);
  let granted = 0;
  let refused = 0;
  for (const voter of votersOf(core.membership)) {
    const vote = candidate.votes.get(voter);
    if (vote === true) granted++;
    else if (vote === false) refused++;
  }
  core.trace?.({ kind: "votes_counted", round, granted, rejected: refused });
  return quorumVote(core.membership, candidate.votes);
}
