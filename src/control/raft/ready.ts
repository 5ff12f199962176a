/**
 * What the core hands its driver, and in which order the driver must carry it out.
 *
 * Every batch is to be carried out, in the order in which it was taken.
 *
 * Synchronous mode: make `hardState`, `entries` and `snapshot` durable (fsync when `mustSync`),
 * ONLY THEN send `messages`, apply `committedEntries`, and call `advance()`.
 *
 * Asynchronous mode: `messages` also holds `storage_append` and `storage_apply` work for two
 * local threads, each first in, first out. Messages to other nodes may leave at once; responses
 * inside storage work leave when that work is done. `hardState`, `entries`, `snapshot` and
 * `committedEntries` are then only information. There is no `advance()`. There is at most one
 * `storage_append` per batch, and `mustSync` says whether it needs an fsync of its own; without
 * one, its responses still wait for the batches before it. The threads do not wait for each other:
 * once a snapshot is installed, work for the state machine that lies at or below its index is to
 * be skipped (changes of membership, too), and only its response delivered.
 *
 * Types only.
 *
 * @module
 */
import type { Index, NodeId, Term } from "../../base/ids.ts";
import type {
  ConfState,
  Entry,
  HardState,
  PeerMessage,
  ReadState,
  RoleKind,
  Snapshot,
  SoftState,
  StorageAppend,
  StorageApply,
} from "./types.ts";

/** One batch of effects. Arrays are borrowed: read them, never change them. */
export interface Ready {
  /** Undefined when unchanged since the last batch. Never stored. */
  readonly softState: SoftState | undefined;
  /** Undefined when unchanged since the last batch. */
  readonly hardState: HardState | undefined;
  readonly readStates: readonly ReadState[];
  /** To be appended to the log; they replace its tail from the first one's index on. */
  readonly entries: readonly Entry[];
  /** To be made durable and to replace log and state machine. */
  readonly snapshot: Snapshot | undefined;
  /** To be applied, in order. */
  readonly committedEntries: readonly Entry[];
  readonly messages: readonly (PeerMessage | StorageAppend | StorageApply)[];
  /** Whether durability needs an fsync: entries, term or vote changed, not just the commit. */
  readonly mustSync: boolean;
}

/** Why a proposal was not taken in. Dropped ones may be retried. */
export type ProposeError =
  | { readonly kind: "no_leader" }
  | { readonly kind: "dropped"; readonly reason: DropReason };

/**
 * `removed`: this leader is no longer a member. `transferring`: it is handing over leadership.
 * `too_busy`: too much is uncommitted. `not_forwarded`: we are no leader and must not forward.
 */
export type DropReason = "removed" | "transferring" | "too_busy" | "not_forwarded";

/**
 * Why a message was refused; the node's state is as before. `unknown_peer`: an answer from a node
 * that is not a member (any more). `malformed`: its parts do not fit together.
 */
export type StepError =
  | { readonly kind: "unknown_peer"; readonly from: NodeId }
  | { readonly kind: "malformed" }
  | ProposeError;

/** How a leader sees one member's progress. */
export interface ProgressStatus {
  readonly kind: "probe" | "replicate" | "snapshot";
  /** Last index known to be on that member's disk. */
  readonly match: Index;
  /** First index of the next append message. */
  readonly next: Index;
  readonly isLearner: boolean;
  /** Whether no append message may leave now. */
  readonly paused: boolean;
  /** Whether it was heard from since the last quorum check. */
  readonly recentActive: boolean;
  readonly inflightCount: number;
  readonly inflightFull: boolean;
  /** Index of the snapshot being sent; undefined unless `snapshot`. */
  readonly pendingSnapshotIndex: Index | undefined;
}

/** A consistent picture of one node, for people and for the driver's decisions. */
export interface RaftStatus {
  readonly id: NodeId;
  readonly term: Term;
  readonly vote: NodeId | undefined;
  readonly leader: NodeId | undefined;
  readonly role: RoleKind;
  readonly commit: Index;
  readonly applied: Index;
  readonly config: ConfState;
  /** Per member, ascending; only on a leader. */
  readonly progress: ReadonlyMap<NodeId, ProgressStatus> | undefined;
  /** Whom this leader is handing over to; only on a leader. */
  readonly leadTransferee: NodeId | undefined;
}
