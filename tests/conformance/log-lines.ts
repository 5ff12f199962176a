/**
 * The log lines of etcd-io/raft, out of what the core traces.
 *
 * @module
 */
import { unreachable } from "../../src/base/assert.ts";
import type { NodeId } from "../../src/base/ids.ts";
import type { TraceEvent } from "../../src/control/raft/raft.ts";
import type {
  ConfChangeRefusal,
  LogTrace,
  MembershipTrace,
  ProposalTrace,
  ReplicationTrace,
  RoleTrace,
  SnapshotTrace,
  TermTrace,
} from "../../src/control/raft/trace.ts";
import type { EntryId } from "../../src/control/raft/types.ts";
import {
  describeConfChange,
  describeConfig,
  describeConfState,
  describeError,
  describeProgress,
  hex,
  messageName,
} from "./describe.ts";
import { electionLine, position, transferLine } from "./log-lines-election.ts";
import type { LogLine } from "./output.ts";

const ROLE_WORDS = {
  follower: "follower",
  pre_candidate: "pre-candidate",
  candidate: "candidate",
  leader: "leader",
} as const;

/** What etcd logs for `event` on node `self`: mostly one line. */
export function logLines(self: NodeId, event: TraceEvent): LogLine[] {
  const id = hex(self);
  switch (event.kind) {
    case "started":
    case "became":
    case "quorum_lost":
    case "leader_forgotten":
    case "forget_leader_refused":
      return [roleLine(id, event)];
    case "election_started":
    case "campaign_refused":
    case "vote_requested":
    case "vote_received":
    case "votes_counted":
    case "vote_answered":
    case "vote_ignored":
      return [electionLine(id, event)];
    case "higher_term":
    case "lower_term_ignored":
    case "stale_append_ignored":
      return [["INFO", termLine(id, event)]];
    case "conflict_found":
    case "unstable_replaced":
    case "unstable_truncated":
    case "stable_entry_missing":
    case "stable_entry_is_snapshot":
    case "stable_entry_mismatched":
      return [["INFO", logLine(event)]];
    case "append_rejected":
    case "append_rejection_received":
    case "progress_decreased":
    case "unreachable":
    case "progress_missing":
      return [["DEBUG", replicationLine(id, event)]];
    case "snapshot_sent":
    case "snapshot_not_sent":
    case "replication_paused":
    case "replication_resumed":
    case "snapshot_reported":
    case "snapshot_restore_started":
    case "snapshot_restored":
    case "snapshot_fast_forwarded":
    case "snapshot_ignored":
    case "snapshot_not_for_us":
      return snapshotLines(id, event);
    case "config_switched":
    case "auto_leave_started":
    case "auto_leave_dropped":
    case "conf_change_refused":
      return [membershipLine(id, event)];
    case "proposal_dropped":
    case "read_index_dropped":
      return proposalLines(id, event);
    case "transfer_started":
    case "transfer_aborted":
    case "transfer_ignored":
    case "timeout_now_sent":
    case "timeout_now_received":
    case "timeout_now_ignored":
      return [transferLine(id, event)];
    default:
      return unreachable(event);
  }
}

function roleLine(id: string, event: RoleTrace): LogLine {
  switch (event.kind) {
    case "started": {
      const { term, commit, applied, last } = event;
      const peers = event.voters.map(hex).join(",");
      return [
        "INFO",
        `newRaft ${id} [peers: [${peers}], term: ${term}, commit: ${commit}, applied: ${applied},` +
          ` lastindex: ${last.index}, lastterm: ${last.term}]`,
      ];
    }
    case "became":
      return ["INFO", `${id} became ${ROLE_WORDS[event.role]} at term ${event.term}`];
    case "quorum_lost":
      return ["WARN", `${id} stepped down to follower since quorum is not active`];
    case "leader_forgotten":
      return ["INFO", `${id} forgetting leader ${hex(event.leader)} at term ${event.term}`];
    case "forget_leader_refused":
      return ["ERROR", "ignoring MsgForgetLeader due to ReadOnlyLeaseBased"];
    default:
      return unreachable(event);
  }
}

function snapshotId(entry: EntryId): string {
  return `[index: ${entry.index}, term: ${entry.term}]`;
}

function termLine(id: string, event: TermTrace): string {
  const own = `${id} [term: ${event.term}]`;
  if (event.kind === "stale_append_ignored") {
    return (
      `${own} ignored entry appends from a MsgStorageAppendResp message with lower term ` +
      `[term: ${event.messageTerm}]`
    );
  }
  const { message } = event;
  const [verb, comparison] =
    event.kind === "higher_term" ? ["received", "higher"] : ["ignored", "lower"];
  const from = message.kind === "transfer_request" ? message.target : message.from;
  return (
    `${own} ${verb} a ${messageName(message)} message with ${comparison} term from ` +
    `${hex(from)} [term: ${message.term}]`
  );
}

function logLine(event: LogTrace): string {
  switch (event.kind) {
    case "conflict_found":
      return (
        `found conflict at index ${event.index} [existing term: ${event.existingTerm}, ` +
        `conflicting term: ${event.conflictingTerm}]`
      );
    case "unstable_replaced":
      return `replace the unstable entries from index ${event.from}`;
    case "unstable_truncated":
      return `truncate the unstable entries before index ${event.from}`;
    case "stable_entry_missing":
      return `entry at index ${event.index} missing from unstable log; ignoring`;
    case "stable_entry_is_snapshot":
      return `entry at index ${event.index} matched unstable snapshot; ignoring`;
    case "stable_entry_mismatched": {
      const { index, term } = event.entry;
      return (
        `entry at (index,term)=(${index},${term}) mismatched with entry at ` +
        `(${index},${event.term}) in unstable log; ignoring`
      );
    }
    default:
      return unreachable(event);
  }
}

function replicationLine(id: string, event: ReplicationTrace): string {
  switch (event.kind) {
    case "append_rejected": {
      const { previous } = event;
      const own = `[logterm: ${event.ownTerm}, index: ${previous.index}]`;
      return `${id} ${own} rejected MsgApp ${position(previous)} from ${hex(event.from)}`;
    }
    case "append_rejection_received":
      return (
        `${id} received MsgAppResp(rejected, hint: (index ${event.hint.index}, ` +
        `term ${event.hint.term})) from ${hex(event.from)} for index ${event.index}`
      );
    case "progress_decreased":
      return (
        `${id} decreased progress of ${hex(event.node)} to ` +
        `[${describeProgress(event.progress)}]`
      );
    case "unreachable":
      return (
        `${id} failed to send message to ${hex(event.node)} because it is unreachable ` +
        `[${describeProgress(event.progress)}]`
      );
    case "progress_missing":
      return `${id} no progress available for ${hex(event.node)}`;
    default:
      return unreachable(event);
  }
}

function snapshotLines(id: string, event: SnapshotTrace): LogLine[] {
  switch (event.kind) {
    case "snapshot_sent":
    case "snapshot_not_sent":
    case "replication_paused":
    case "replication_resumed":
    case "snapshot_reported":
      return [["DEBUG", snapshotSenderLine(id, event)]];
    case "snapshot_restore_started": {
      const state = [
        `committed=${event.committed}`,
        `applied=${event.applied}`,
        `applying=${event.applying}`,
        `unstable.offset=${event.unstableOffset}`,
        `unstable.offsetInProgress=${event.unstableOffsetInProgress}`,
        `len(unstable.Entries)=${event.unstableCount}`,
      ].join(", ");
      const text = `log [${state}] starts to restore snapshot ${snapshotId(event.snapshot)}`;
      return [["INFO", text]];
    }
    case "snapshot_restored":
    case "snapshot_fast_forwarded": {
      const { commit, last } = event;
      const snapshot = snapshotId(event.snapshot);
      const state = `commit: ${commit}, lastindex: ${last.index}, lastterm: ${last.term}`;
      if (event.kind === "snapshot_fast_forwarded") {
        return [["INFO", `${id} [${state}] fast-forwarded commit to snapshot ${snapshot}`]];
      }
      return [
        ["INFO", `${id} [${state}] restored snapshot ${snapshot}`],
        ["INFO", `${id} [commit: ${commit}] restored snapshot ${snapshot}`],
      ];
    }
    case "snapshot_ignored": {
      const snapshot = snapshotId(event.snapshot);
      return [["INFO", `${id} [commit: ${event.commit}] ignored snapshot ${snapshot}`]];
    }
    case "snapshot_not_for_us":
      return [
        [
          "WARN",
          `${id} attempted to restore snapshot but it is not in the ConfState ` +
            `${describeConfState(event.confState)}; should never happen`,
        ],
      ];
    default:
      return unreachable(event);
  }
}

function snapshotSenderLine(
  id: string,
  event: Extract<SnapshotTrace, { kind: `replication_${string}` }> | SnapshotSenderTrace,
): string {
  switch (event.kind) {
    case "snapshot_sent":
      return (
        `${id} [firstindex: ${event.firstIndex}, commit: ${event.commit}] sent ` +
        `snapshot${snapshotId(event.snapshot)} to ${hex(event.to)} ` +
        `[${describeProgress(event.progress)}]`
      );
    case "snapshot_not_sent":
      // etcd has no word for one that is outdated; it is as good as none.
      return event.reason === "inactive"
        ? `ignore sending snapshot to ${hex(event.to)} since it is not recently active`
        : `${id} failed to send snapshot to ${hex(event.to)} because snapshot is temporarily` +
            " unavailable";
    case "replication_paused":
      return (
        `${id} paused sending replication messages to ${hex(event.node)} ` +
        `[${describeProgress(event.progress)}]`
      );
    case "replication_resumed":
      return (
        `${id} recovered from needing snapshot, resumed sending replication messages to ` +
        `${hex(event.node)} [${describeProgress(event.progress)}]`
      );
    case "snapshot_reported":
      return (
        `${id} snapshot ${event.arrived ? "succeeded" : "failed"}, resumed sending replication ` +
        `messages to ${hex(event.node)} [${describeProgress(event.progress)}]`
      );
    default:
      return unreachable(event);
  }
}

type SnapshotSenderTrace = Extract<
  SnapshotTrace,
  { kind: "snapshot_sent" | "snapshot_not_sent" | "snapshot_reported" }
>;

function membershipLine(id: string, event: MembershipTrace): LogLine {
  const config = describeConfig(event.config);
  switch (event.kind) {
    case "config_switched":
      return ["INFO", `${id} switched to configuration ${config}`];
    case "auto_leave_started":
      return ["INFO", `initiating automatic transition out of joint configuration ${config}`];
    case "auto_leave_dropped":
      return [
        "DEBUG",
        `not initiating automatic transition out of joint configuration ${config}: ` +
          describeError(event.error),
      ];
    case "conf_change_refused":
      return [
        "INFO",
        `${id} ignoring conf change ${describeConfChange(event.change)} at config ${config}: ` +
          describeRefusal(event.reason),
      ];
    default:
      return unreachable(event);
  }
}

function describeRefusal(reason: ConfChangeRefusal): string {
  switch (reason.kind) {
    case "unapplied":
      return (
        `possible unapplied conf change at index ${reason.pendingIndex} ` +
        `(applied to ${reason.applied})`
      );
    case "must_leave_joint":
      return "must transition out of joint config first";
    case "not_joint":
      return "not in joint state; refusing empty conf change";
    case "invalid":
      return describeError(reason.error);
    default:
      return unreachable(reason);
  }
}

function proposalLines(id: string, event: ProposalTrace): LogLine[] {
  if (event.kind === "read_index_dropped") {
    return event.reason === "no_leader"
      ? [["INFO", `${id} no leader at term ${event.term}; dropping index reading msg`]]
      : [];
  }
  const { error, term, leader, transferee } = event;
  if (error.kind === "no_leader") {
    return [["INFO", `${id} no leader at term ${term}; dropping proposal`]];
  }
  switch (error.reason) {
    case "removed":
      return [];
    case "transferring":
      return [
        [
          "DEBUG",
          `${id} [term ${term}] transfer leadership to ${hex(transferee)} is in progress; ` +
            "dropping proposal",
        ],
      ];
    case "too_busy":
      return [
        [
          "WARN",
          `${id} appending new entries to log would exceed uncommitted entry size limit; ` +
            "dropping proposal",
        ],
      ];
    case "not_forwarded":
      return [
        [
          "INFO",
          `${id} not forwarding to leader ${hex(leader)} at term ${term}; dropping proposal`,
        ],
      ];
    default:
      return unreachable(error.reason);
  }
}
