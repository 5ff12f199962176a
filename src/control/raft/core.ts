/**
 * The state of one node of the consensus core, and the smallest things that are done with it.
 *
 * The rules live in the files around this one, one idea each; they take a `Core` and change it.
 * Fields that only one role has live in that role. No clock, no I/O; randomness is injected.
 *
 * @module
 */
import { assert } from "../../base/assert.ts";
import { decodeIndex, decodeTerm, type Index, type NodeId, type Term } from "../../base/ids.ts";
import { assertConfState, isVoter } from "./conf-change.ts";
import { assertConfig, type RaftConfig, type RandomSource } from "./config.ts";
import { RaftLog } from "./log.ts";
import type { Progress } from "./progress.ts";
import type { ReadQueue } from "./read-index.ts";
import type { TraceSink } from "./trace.ts";
import type {
  AppendResponse,
  ConfState,
  LogReader,
  PeerMessage,
  ReadState,
  VoteResponse,
} from "./types.ts";

/** Term of messages that belong to no term: forwarded proposals and reads. */
export const TERM_NONE: Term = decodeTerm(0);
/** Before the first entry. */
export const INDEX_NONE: Index = decodeIndex(0);

/** Follows `leader`, or nobody yet. */
export interface Follower {
  readonly kind: "follower";
  leader: NodeId | undefined;
}

/** Collects votes, for real or as a rehearsal. */
export interface Candidate {
  readonly kind: "pre_candidate" | "candidate";
  readonly votes: Map<NodeId, boolean>;
}

/** Replicates its log to everybody. */
export interface Leader {
  readonly kind: "leader";
  /** Per member, ascending. Lacks the leader itself once that is removed. */
  progress: Map<NodeId, Progress>;
  heartbeatElapsedTicks: number;
  /** Since the quorum was checked last, or since the election. */
  uncheckedTicks: number;
  /** No membership change may be proposed before everything up to here is applied (§4.1). */
  pendingConfIndex: Index;
  /** Payload taken in and not yet applied; an estimate that is never too high. */
  uncommittedSizeBytes: number;
  /** Whom leadership is being handed to; proposals are refused meanwhile (§3.10). */
  transferee: NodeId | undefined;
  readonly reads: ReadQueue;
}

export type Role = Follower | Candidate | Leader;

/** Messages that vouch for state and therefore wait until that state is on disk (§3.8). */
export type VouchingMessage = AppendResponse | VoteResponse;

/** One node. */
export interface Core {
  readonly config: RaftConfig;
  readonly id: NodeId;
  readonly random: RandomSource;
  readonly trace: TraceSink | undefined;
  readonly log: RaftLog;
  /** Invariant: never decreases. */
  term: Term;
  /** Invariant: never changes within a term once it is given. */
  vote: NodeId | undefined;
  role: Role;
  /** The membership in effect: that of the last change that was applied. */
  membership: ConfState;
  /** Ticks since this node last heard from a leader, voted, or changed its role. */
  electionElapsedTicks: number;
  /** When that makes for an election; drawn anew with each role. */
  electionTimeoutTicks: number;
  /** Whose appends or heartbeats were seen in which term: there can be one leader per term. */
  leaderSeen: { readonly term: Term; readonly leader: NodeId } | undefined;
  /** May leave before the disk is written. */
  messages: PeerMessage[];
  /** Must wait until everything before it is on disk; some are addressed to this node. */
  messagesAfterAppend: VouchingMessage[];
  readStates: ReadState[];
}

/** A follower in the state that was durable when the node stopped. */
export function createCore(
  config: RaftConfig,
  durable: LogReader,
  random: RandomSource,
  trace: TraceSink | undefined,
): Core {
  assertConfig(config);
  assertConfState(config.confState);
  const log = new RaftLog(durable, config.committedSizeMaxBytes, trace);
  // The stored commit index may lag behind what was applied or snapshotted: it is not synced by
  // itself. What was applied was committed.
  const stored = config.hardState?.commit ?? INDEX_NONE;
  log.restoreCommit(decodeIndex(Math.max(stored, config.applied, log.committed)));
  if (config.applied > log.applied) log.appliedTo(config.applied, 0);
  return {
    config,
    id: config.id,
    random,
    trace,
    log,
    term: config.hardState?.term ?? TERM_NONE,
    vote: config.hardState?.vote,
    role: { kind: "follower", leader: undefined },
    membership: config.confState,
    electionElapsedTicks: 0,
    electionTimeoutTicks: config.electionTicks,
    leaderSeen: undefined,
    messages: [],
    messagesAfterAppend: [],
    readStates: [],
  };
}

/** Who leads as far as this node knows. */
export function leaderOf(core: Core): NodeId | undefined {
  if (core.role.kind === "leader") return core.id;
  return core.role.kind === "follower" ? core.role.leader : undefined;
}

/** Queues a message that may leave at once: it vouches for nothing that could be lost. */
export function send(core: Core, message: Exclude<PeerMessage, VouchingMessage>): void {
  assert(message.to !== core.id, "only vouching messages may be addressed to this node");
  core.messages.push(message);
}

/** Queues a message that leaves once everything this node holds now is on disk. */
export function sendAfterAppend(core: Core, message: VouchingMessage): void {
  core.messagesAfterAppend.push(message);
}

/** Moves to `term` if it is new, which frees the vote (§3.3). */
export function adoptTerm(core: Core, term: Term): void {
  assert(term >= core.term, "the term must not decrease");
  if (term === core.term) return;
  core.term = term;
  core.vote = undefined;
}

/** Gives this term's vote. It must reach stable storage BEFORE the answer leaves. */
export function castVote(core: Core, candidate: NodeId): void {
  assert(
    core.vote === undefined || core.vote === candidate,
    "a second vote in one term could elect two leaders",
  );
  core.vote = candidate;
}

/** Notes who leads this term; two leaders in one term mean that committed entries may be lost. */
export function noteLeader(core: Core, leader: NodeId): void {
  const seen = core.leaderSeen;
  if (seen?.term === core.term) {
    assert(seen.leader === leader, "two leaders in one term: a log or a vote was lost");
    return;
  }
  core.leaderSeen = { term: core.term, leader };
}

/** Whether this node could win an election: a voter that is not waiting for its state. */
export function isPromotable(core: Core): boolean {
  return isVoter(core.membership, core.id) && core.log.unstable.snapshot === undefined;
}
