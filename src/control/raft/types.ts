/**
 * The vocabulary of the consensus core: entries, membership, messages, what a step yields.
 *
 * Names follow Ongaro's thesis and etcd's raft library, so that both can be read beside this code.
 * Every state is a union told apart by `kind`; a field lives in the variant that owns it.
 *
 * @module
 */
import type { Index, NodeId, Term } from "../../base/ids.ts";

/** What a node must find again after a crash (§3.8). */
export interface HardState {
  readonly term: Term;
  /** Whom we voted for in `term`; a second vote in one term could elect two leaders. */
  readonly vote: NodeId | undefined;
  /** Highest index known committed. May lag after a crash: it is not synced by itself. */
  readonly commit: Index;
}

/** Term and index of an entry: what decides which of two logs is more up to date (§3.6.1). */
export interface EntryId {
  readonly term: Term;
  readonly index: Index;
}

export type Entry = NormalEntry | ConfChangeEntry;

export interface NormalEntry {
  readonly kind: "normal";
  readonly term: Term;
  readonly index: Index;
  /** Empty for the entry with which a leader opens its term. */
  readonly data: Uint8Array;
}

export interface ConfChangeEntry {
  readonly kind: "conf_change";
  readonly term: Term;
  readonly index: Index;
  readonly change: ConfChange;
}

export type ConfChangeOperation = "add_voter" | "add_learner" | "remove" | "update";

export interface ConfChangeSingle {
  readonly operation: ConfChangeOperation;
  readonly node: NodeId;
}

/**
 * How to leave a joint configuration: `auto` uses joint consensus only when more than one voter
 * changes and leaves it by itself; `implicit` always uses it and leaves it by itself; `explicit`
 * always uses it and waits for an empty change.
 */
export type ConfChangeTransition = "auto" | "implicit" | "explicit";

export interface ConfChange {
  /** `1`: the single-change form (exactly one change, `auto`); `2`: the general one. */
  readonly version: 1 | 2;
  readonly transition: ConfChangeTransition;
  /** Empty: leave the joint configuration. */
  readonly changes: readonly ConfChangeSingle[];
  /** Carried along untouched. */
  readonly context: Uint8Array;
}

/** Membership as stored in snapshots. Lists are ascending. */
export interface ConfState {
  readonly voters: readonly NodeId[];
  /** Voters of the outgoing half; empty unless joint. */
  readonly votersOutgoing: readonly NodeId[];
  readonly learners: readonly NodeId[];
  /** Outgoing voters that become learners when the joint configuration is left. */
  readonly learnersNext: readonly NodeId[];
  readonly autoLeave: boolean;
}

export interface SnapshotMeta {
  readonly index: Index;
  readonly term: Term;
  readonly confState: ConfState;
}

/** A snapshot as the core sees it: where it stands and an opaque body or a handle to one. */
export interface Snapshot extends SnapshotMeta {
  readonly data: Uint8Array;
}

/** Where a message goes or comes from: a node, or one of this node's own storage threads. */
export type Address = NodeId | LocalThread;
export type LocalThread = "append_thread" | "apply_thread";

interface Envelope {
  readonly to: NodeId;
  readonly from: NodeId;
  readonly term: Term;
}

export type VoteRound = "vote" | "pre_vote";

/** RequestVote (§3.4) or its rehearsal (§9.6), which does not change anybody's term. */
export interface VoteRequest extends Envelope {
  readonly kind: "vote_request";
  readonly round: VoteRound;
  readonly last: EntryId;
  /** Set when the leader asked for this election: it may depose a live leader (§3.10). */
  readonly transfer: boolean;
}

export interface VoteResponse extends Envelope {
  readonly kind: "vote_response";
  readonly round: VoteRound;
  readonly rejected: boolean;
  /**
   * Of a refuser that does not vote any more, as it knows: what it knows to be committed. It may
   * be the change that took its vote, and the candidate may be waiting for that vote for ever.
   */
  readonly commit?: EntryId;
}

/** AppendEntries (§3.5). `previous` is the entry that must precede `entries`. */
export interface AppendRequest extends Envelope {
  readonly kind: "append_request";
  readonly previous: EntryId;
  readonly entries: readonly Entry[];
  readonly commit: Index;
}

export interface AppendResponse extends Envelope {
  readonly kind: "append_response";
  /** Accepted: last index now known to match. Rejected: the `previous.index` that was refused. */
  readonly index: Index;
  /** When rejected: where the follower's log may still agree. */
  readonly rejected: { readonly hint: EntryId } | undefined;
}

/** Keeps followers quiet; `context` (when set) confirms leadership for reads (§6.4). */
export interface HeartbeatRequest extends Envelope {
  readonly kind: "heartbeat_request";
  readonly commit: Index;
  readonly context: number | undefined;
}

export interface HeartbeatResponse extends Envelope {
  readonly kind: "heartbeat_response";
  readonly context: number | undefined;
}

export interface SnapshotRequest extends Envelope {
  readonly kind: "snapshot_request";
  readonly snapshot: Snapshot;
}

/** "Start an election at once": the last step of a leadership transfer (§3.10). */
export interface TimeoutNow extends Envelope {
  readonly kind: "timeout_now";
}

/** A proposal on its way to the leader. */
export interface ProposeRequest extends Envelope {
  readonly kind: "propose_request";
  readonly entries: readonly ProposedEntry[];
}

export type ProposedEntry =
  | { readonly kind: "normal"; readonly data: Uint8Array }
  | { readonly kind: "conf_change"; readonly change: ConfChange };

/** A follower asks its leader for a read index (§6.4); `context` is the asker's own. */
export interface ReadIndexRequest extends Envelope {
  readonly kind: "read_index_request";
  readonly context: number;
}

export interface ReadIndexResponse extends Envelope {
  readonly kind: "read_index_response";
  readonly context: number;
  readonly index: Index;
}

/** A wish to hand leadership to `target`, on its way to the leader. */
export interface TransferRequest extends Envelope {
  readonly kind: "transfer_request";
  readonly target: NodeId;
}

/** What travels between nodes. */
export type PeerMessage =
  | VoteRequest
  | VoteResponse
  | AppendRequest
  | AppendResponse
  | HeartbeatRequest
  | HeartbeatResponse
  | SnapshotRequest
  | TimeoutNow
  | ProposeRequest
  | ReadIndexRequest
  | ReadIndexResponse
  | TransferRequest;

/**
 * Work for the log: make `hardState`, `entries` and `snapshot` durable in one batch, and only then
 * deliver `responses` (to other nodes, or back into this core).
 */
export interface StorageAppend {
  readonly kind: "storage_append";
  readonly hardState: HardState | undefined;
  readonly entries: readonly Entry[];
  readonly snapshot: Snapshot | undefined;
  readonly responses: readonly (PeerMessage | StorageAppendResponse)[];
}

/** "Durable up to here." Its (term, index) part is void once the term has moved on (ABA). */
export interface StorageAppendResponse {
  readonly kind: "storage_append_response";
  readonly term: Term;
  /** Last durable entry; undefined when the batch had none to report. */
  readonly last: EntryId | undefined;
  readonly snapshot: Snapshot | undefined;
}

/** Work for the state machine: apply `entries` in order, then deliver `response`. */
export interface StorageApply {
  readonly kind: "storage_apply";
  readonly entries: readonly Entry[];
  readonly response: StorageApplyResponse;
}

export interface StorageApplyResponse {
  readonly kind: "storage_apply_response";
  readonly entries: readonly Entry[];
}

/** A linearizable read may be served once everything up to `index` is applied. */
export interface ReadState {
  readonly index: Index;
  readonly context: number;
}

export type RoleKind = "follower" | "pre_candidate" | "candidate" | "leader";

export interface SoftState {
  readonly leader: NodeId | undefined;
  readonly role: RoleKind;
}

/** What the core reads of the durable log. The driver's in-memory mirror implements it. */
export interface LogReader {
  /** Index of the first entry still held. The one before it is known by its term only. */
  firstIndex(): Index;
  lastIndex(): Index;
  /** Term of entry `index`, for `firstIndex() - 1 <= index <= lastIndex()`; undefined outside. */
  term(index: Index): Term | undefined;
  /**
   * Entries from `low` up to but excluding `high`, cut after `sizeMaxBytes` but never empty when
   * `low < high`; undefined when `low` was compacted away.
   */
  entries(low: Index, high: Index, sizeMaxBytes: number): readonly Entry[] | undefined;
  /**
   * The newest snapshot; undefined while one is being made. A new member is only sent one that was
   * taken after it joined: make one when a change that adds a member is applied.
   */
  snapshot(): Snapshot | undefined;
}
