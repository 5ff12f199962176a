/**
 * What the core tells about its decisions: typed facts, no text.
 *
 * A sink is called synchronously, at the moment of the decision, and must not call back into the
 * core. Without a sink nothing is even allocated. Types only.
 *
 * @module
 */
import type { Index, NodeId, Term } from "../../base/ids.ts";
import type { ConfChangeError } from "./conf-change.ts";
import type { ProgressStatus, ProposeError } from "./ready.ts";
import type {
  ConfChange,
  ConfState,
  EntryId,
  PeerMessage,
  RoleKind,
  VoteRequest,
  VoteRound,
} from "./types.ts";

/** Receives trace events. */
export type TraceSink = (event: TraceEvent) => void;

/** One decision of the core. */
export type TraceEvent =
  | RoleTrace
  | ElectionTrace
  | TermTrace
  | LogTrace
  | ReplicationTrace
  | SnapshotTrace
  | MembershipTrace
  | ProposalTrace
  | TransferTrace;

/** What this node is. */
export type RoleTrace =
  | {
      readonly kind: "started";
      /** Of the incoming half. */
      readonly voters: readonly NodeId[];
      readonly term: Term;
      readonly commit: Index;
      readonly applied: Index;
      readonly last: EntryId;
    }
  | { readonly kind: "became"; readonly role: RoleKind; readonly term: Term }
  | { readonly kind: "quorum_lost" }
  | { readonly kind: "leader_forgotten"; readonly leader: NodeId; readonly term: Term }
  | { readonly kind: "forget_leader_refused" };

/** Why no election was started. */
export type CampaignRefusal = "already_leader" | "not_promotable" | "conf_change_unapplied";

/** Elections, on both sides. */
export type ElectionTrace =
  | { readonly kind: "election_started"; readonly term: Term }
  | { readonly kind: "campaign_refused"; readonly reason: CampaignRefusal; readonly term: Term }
  | {
      readonly kind: "vote_requested";
      readonly round: VoteRound;
      readonly to: NodeId;
      readonly last: EntryId;
      readonly term: Term;
    }
  | {
      readonly kind: "vote_received";
      readonly round: VoteRound;
      readonly from: NodeId;
      readonly rejected: boolean;
      readonly term: Term;
    }
  | {
      readonly kind: "votes_counted";
      readonly round: VoteRound;
      readonly granted: number;
      readonly rejected: number;
    }
  | {
      readonly kind: "vote_answered";
      readonly request: VoteRequest;
      readonly granted: boolean;
      readonly last: EntryId;
      /** Whom we had voted for before. */
      readonly vote: NodeId | undefined;
      readonly term: Term;
    }
  | {
      readonly kind: "vote_ignored";
      readonly request: VoteRequest;
      readonly last: EntryId;
      readonly vote: NodeId | undefined;
      readonly term: Term;
      /** How long the present leader is still trusted. */
      readonly remainingTicks: number;
    };

/** Messages whose term is not ours. */
export type TermTrace =
  | { readonly kind: "higher_term"; readonly message: PeerMessage; readonly term: Term }
  | { readonly kind: "lower_term_ignored"; readonly message: PeerMessage; readonly term: Term }
  | { readonly kind: "stale_append_ignored"; readonly messageTerm: Term; readonly term: Term };

/** The log of this node. */
export type LogTrace =
  | {
      readonly kind: "conflict_found";
      readonly index: Index;
      readonly existingTerm: Term;
      readonly conflictingTerm: Term;
    }
  | { readonly kind: "unstable_replaced"; readonly from: Index }
  | { readonly kind: "unstable_truncated"; readonly from: Index }
  | { readonly kind: "stable_entry_missing"; readonly index: Index }
  | { readonly kind: "stable_entry_is_snapshot"; readonly index: Index }
  | { readonly kind: "stable_entry_mismatched"; readonly entry: EntryId; readonly term: Term };

/** Appends and their answers. */
export type ReplicationTrace =
  | {
      readonly kind: "append_rejected";
      readonly from: NodeId;
      readonly previous: EntryId;
      /** Our term at that index; 0 when unknown. */
      readonly ownTerm: Term;
    }
  | {
      readonly kind: "append_rejection_received";
      readonly from: NodeId;
      readonly hint: EntryId;
      readonly index: Index;
    }
  | {
      readonly kind: "progress_decreased";
      readonly node: NodeId;
      readonly progress: ProgressStatus;
    }
  | { readonly kind: "unreachable"; readonly node: NodeId; readonly progress: ProgressStatus }
  | { readonly kind: "progress_missing"; readonly node: NodeId };

/** Snapshots, sent and received. */
export type SnapshotTrace =
  | {
      readonly kind: "snapshot_sent";
      readonly to: NodeId;
      readonly snapshot: EntryId;
      readonly firstIndex: Index;
      readonly commit: Index;
      /** Before sending. */
      readonly progress: ProgressStatus;
    }
  | {
      readonly kind: "snapshot_not_sent";
      readonly to: NodeId;
      readonly reason: "inactive" | "unavailable" | "outdated";
    }
  | {
      readonly kind: "replication_paused" | "replication_resumed";
      readonly node: NodeId;
      readonly progress: ProgressStatus;
    }
  | {
      readonly kind: "snapshot_reported";
      readonly node: NodeId;
      readonly arrived: boolean;
      readonly progress: ProgressStatus;
    }
  | {
      readonly kind: "snapshot_restore_started";
      readonly committed: Index;
      readonly applied: Index;
      readonly applying: Index;
      readonly unstableOffset: Index;
      readonly unstableOffsetInProgress: Index;
      readonly unstableCount: number;
      readonly snapshot: EntryId;
    }
  | {
      readonly kind: "snapshot_restored" | "snapshot_fast_forwarded";
      readonly commit: Index;
      readonly last: EntryId;
      readonly snapshot: EntryId;
    }
  | { readonly kind: "snapshot_ignored"; readonly commit: Index; readonly snapshot: EntryId }
  | { readonly kind: "snapshot_not_for_us"; readonly confState: ConfState };

/** Why a proposed membership change was replaced by an empty entry. */
export type ConfChangeRefusal =
  | { readonly kind: "unapplied"; readonly pendingIndex: Index; readonly applied: Index }
  | { readonly kind: "must_leave_joint" }
  | { readonly kind: "not_joint" }
  | { readonly kind: "invalid"; readonly error: ConfChangeError };

/** Who is a member. */
export type MembershipTrace =
  | { readonly kind: "config_switched"; readonly config: ConfState }
  | { readonly kind: "auto_leave_started"; readonly config: ConfState }
  | {
      readonly kind: "auto_leave_dropped";
      readonly config: ConfState;
      readonly error: ProposeError;
    }
  | {
      readonly kind: "conf_change_refused";
      readonly change: ConfChange;
      readonly config: ConfState;
      readonly reason: ConfChangeRefusal;
    };

/** Proposals and reads that went nowhere. */
export type ProposalTrace =
  | {
      readonly kind: "proposal_dropped";
      readonly error: ProposeError;
      readonly term: Term;
      readonly leader: NodeId | undefined;
      readonly transferee: NodeId | undefined;
    }
  | {
      readonly kind: "read_index_dropped";
      readonly reason: "no_leader" | "too_many";
      readonly term: Term;
    };

/** Handing over leadership. */
export type TransferTrace =
  | { readonly kind: "transfer_started"; readonly target: NodeId; readonly term: Term }
  | { readonly kind: "transfer_aborted"; readonly target: NodeId; readonly term: Term }
  | {
      readonly kind: "transfer_ignored";
      readonly reason: "no_leader" | "learner" | "under_way" | "already_leader";
      readonly target: NodeId;
      readonly term: Term;
    }
  | { readonly kind: "timeout_now_sent"; readonly target: NodeId; readonly immediately: boolean }
  | { readonly kind: "timeout_now_received"; readonly from: NodeId; readonly term: Term }
  | {
      readonly kind: "timeout_now_ignored";
      readonly from: NodeId;
      readonly term: Term;
      readonly role: RoleKind;
    };
