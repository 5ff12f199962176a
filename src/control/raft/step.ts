/**
 * What a message does to a node: first its term, then its kind.
 *
 *   term above ours   adopt it, as a follower; except for rehearsals of elections
 *   term below ours   answer so that the sender learns of ours, or pass it over
 *   our term          by kind and role
 *
 * Source: thesis §3.3 (terms), §9.6 (why rehearsals are told apart), Figure 3.1.
 *
 * @module
 */
import { assert, unreachable } from "../../base/assert.ts";
import { err, ok, type Result } from "../../base/result.ts";
import { isMember, isValidConfState } from "./conf-change.ts";
import { type Core, noteLeader } from "./core.ts";
import { handleVoteResponse } from "./election.ts";
import { entriesSizeBytes, payloadsSizeBytes } from "./entry-size.ts";
import {
  answerStaleLeader,
  handleAppendRequest,
  handleHeartbeatRequest,
  handleSnapshotRequest,
} from "./follower.ts";
import { handleMemberResponse } from "./leader.ts";
import { isWellFormed } from "./log.ts";
import { appliedTo } from "./membership.ts";
import { propose } from "./propose.ts";
import { handleReadIndexResponse, requestRead } from "./reads.ts";
import type { StepError } from "./ready.ts";
import { becomeFollower } from "./role.ts";
import { handleTimeoutNow, requestTransfer } from "./transfer.ts";
import type {
  AppendRequest,
  HeartbeatRequest,
  PeerMessage,
  ProposeRequest,
  ReadIndexRequest,
  SnapshotRequest,
  StorageAppendResponse,
  StorageApplyResponse,
} from "./types.ts";
import { handleVoteRequest, ignoresVoteRequest, rejectStalePreVote } from "./vote.ts";

const DONE = ok(undefined);
const MALFORMED = err({ kind: "malformed" } as const);

/** What may be stepped. */
export type StepMessage = PeerMessage | StorageAppendResponse | StorageApplyResponse;

/** Messages that belong to a term; the others are as if they had been made here. */
type TermMessage = Exclude<PeerMessage, ProposeRequest | ReadIndexRequest>;

/** What only the leader of a term sends. */
type LeaderMessage = AppendRequest | HeartbeatRequest;

/** Takes in a message. On an error nothing has changed. */
export function step(core: Core, message: StepMessage): Result<void, StepError> {
  switch (message.kind) {
    case "storage_append_response":
      handleStorageAppendResponse(core, message);
      return DONE;
    case "storage_apply_response":
      handleStorageApplyResponse(core, message);
      return DONE;
    case "propose_request":
      return message.entries.length === 0 ? MALFORMED : propose(core, message);
    case "read_index_request":
      requestRead(core, message);
      return DONE;
    default:
      return stepPeer(core, message);
  }
}

function stepPeer(core: Core, message: TermMessage): Result<void, StepError> {
  if (isResponse(message) && !isMember(core.membership, message.from)) {
    return err({ kind: "unknown_peer", from: message.from });
  }
  if (!isPlausible(core, message)) return MALFORMED;
  if (message.term > core.term) {
    if (message.kind === "vote_request" && ignoresVoteRequest(core, message)) return DONE;
    maybeAdoptHigherTerm(core, message);
  } else if (message.term < core.term) {
    handleLowerTerm(core, message);
    return DONE;
  }
  dispatch(core, message);
  return DONE;
}

function isResponse(message: TermMessage): boolean {
  return (
    message.kind === "append_response" ||
    message.kind === "vote_response" ||
    message.kind === "heartbeat_response" ||
    message.kind === "read_index_response"
  );
}

/** Whether the parts of a message fit together; nodes of ours send no others. */
function isPlausible(core: Core, message: TermMessage): boolean {
  switch (message.kind) {
    case "append_request":
      return (
        message.previous.term <= message.term &&
        isWellFormed(message.previous, message.entries, message.term)
      );
    case "append_response":
      // At our term only we made the log, so nobody can hold more of it than we do.
      return (
        message.term !== core.term ||
        message.rejected !== undefined ||
        core.role.kind !== "leader" ||
        message.index <= core.log.lastIndex()
      );
    case "snapshot_request":
      return message.snapshot.index > 0 && isValidConfState(message.snapshot.confState);
    default:
      return true;
  }
}

function maybeAdoptHigherTerm(core: Core, message: TermMessage): void {
  const isRehearsal =
    (message.kind === "vote_request" && message.round === "pre_vote") ||
    // A granted rehearsal carries the term that it is for; a refusal carries a real one.
    (message.kind === "vote_response" && message.round === "pre_vote" && !message.rejected);
  if (isRehearsal) return;
  core.trace?.({ kind: "higher_term", message, term: core.term });
  becomeFollower(core, message.term, isFromLeader(message) ? message.from : undefined);
}

function isFromLeader(message: TermMessage): message is LeaderMessage {
  return message.kind === "append_request" || message.kind === "heartbeat_request";
}

function handleLowerTerm(core: Core, message: TermMessage): void {
  const { checkQuorum, preVote } = core.config;
  if (
    (checkQuorum || preVote) &&
    (message.kind === "append_request" || message.kind === "heartbeat_request")
  ) {
    // A node whose term ran ahead while it was cut off gets no votes as long as the leader is
    // trusted, and does not accept that leader: this makes the leader step down, once.
    answerStaleLeader(core, message.from);
  } else if (message.kind === "vote_request" && message.round === "pre_vote") {
    // Silence could leave two nodes waiting for each other for ever.
    rejectStalePreVote(core, message);
  } else {
    core.trace?.({ kind: "lower_term_ignored", message, term: core.term });
  }
}

function dispatch(core: Core, message: TermMessage): void {
  switch (message.kind) {
    case "vote_request":
      handleVoteRequest(core, message);
      return;
    case "vote_response":
      if (core.role.kind === "candidate" || core.role.kind === "pre_candidate") {
        handleVoteResponse(core, core.role, message);
      }
      return;
    case "append_request":
    case "heartbeat_request":
      handleLeaderMessage(core, message);
      return;
    case "snapshot_request":
      handleSnapshot(core, message);
      return;
    case "append_response":
    case "heartbeat_response":
      if (core.role.kind === "leader") handleMemberResponse(core, core.role, message);
      return;
    case "timeout_now":
      handleTimeoutNow(core, message);
      return;
    case "read_index_response":
      if (core.role.kind === "follower") handleReadIndexResponse(core, message);
      return;
    case "transfer_request":
      requestTransfer(core, message.from, message.target);
      return;
    default:
      unreachable(message);
  }
}

/** Who sends it leads our term. */
function handleLeaderMessage(core: Core, message: LeaderMessage): void {
  noteLeader(core, message.from);
  if (core.role.kind === "leader") return;
  if (core.role.kind === "follower") {
    core.electionElapsedTicks = 0;
    core.role.leader = message.from;
  } else {
    becomeFollower(core, core.term, message.from);
  }
  if (message.kind === "append_request") handleAppendRequest(core, message);
  else handleHeartbeatRequest(core, message);
}

/**
 * A state that may come from the leader or be passed on by another node. So it says nothing of who
 * leads: the leader's next heartbeat does.
 */
function handleSnapshot(core: Core, message: SnapshotRequest): void {
  if (core.role.kind === "leader") return;
  if (core.role.kind === "follower") core.electionElapsedTicks = 0;
  else becomeFollower(core, core.term, undefined);
  handleSnapshotRequest(core, message);
}

/**
 * Entries, or a snapshot, are on disk. The word on entries counts only within the term in which
 * they were handed out: later on they may have been replaced, and replaced back, while a write
 * that puts the others there is still under way. Snapshots hold committed state, of any term.
 */
function handleStorageAppendResponse(core: Core, response: StorageAppendResponse): void {
  assert(response.term <= core.term, "storage cannot be ahead of the core");
  const { last, snapshot, term } = response;
  if (last !== undefined && term === core.term) core.log.unstable.stableTo(last);
  else if (last !== undefined) {
    core.trace?.({ kind: "stale_append_ignored", messageTerm: term, term: core.term });
  }
  if (snapshot === undefined) return;
  core.log.unstable.stableSnapshotTo(snapshot.index);
  appliedTo(core, snapshot.index, 0);
}

function handleStorageApplyResponse(core: Core, response: StorageApplyResponse): void {
  const { entries } = response;
  const last = entries.at(-1);
  if (last === undefined) return;
  appliedTo(core, last.index, entriesSizeBytes(entries));
  if (core.role.kind !== "leader") return;
  const left = core.role.uncommittedSizeBytes - payloadsSizeBytes(entries);
  core.role.uncommittedSizeBytes = Math.max(0, left);
}
