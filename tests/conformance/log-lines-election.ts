/**
 * The log lines of etcd-io/raft about elections and the transfer of leadership.
 *
 * @module
 */
import { unreachable } from "../../src/base/assert.ts";
import type { NodeId } from "../../src/base/ids.ts";
import type { ElectionTrace, TransferTrace } from "../../src/control/raft/trace.ts";
import type { EntryId, VoteRequest } from "../../src/control/raft/types.ts";
import { describeRole, hex, messageName } from "./describe.ts";
import type { LogLine } from "./output.ts";

/** What etcd logs for `event` on node `id`. */
export function electionLine(id: string, event: ElectionTrace): LogLine {
  switch (event.kind) {
    case "election_started":
      return ["INFO", `${id} is starting a new election at term ${event.term}`];
    case "campaign_refused":
      return campaignRefusedLine(id, event);
    case "vote_requested": {
      const name = event.round === "vote" ? "MsgVote" : "MsgPreVote";
      const request = `${name} request to ${hex(event.to)} at term ${event.term}`;
      return ["INFO", `${id} ${position(event.last)} sent ${request}`];
    }
    case "vote_received": {
      const name = event.round === "vote" ? "MsgVoteResp" : "MsgPreVoteResp";
      const rejection = event.rejected ? " rejection" : "";
      return [
        "INFO",
        `${id} received ${name}${rejection} from ${hex(event.from)} at term ${event.term}`,
      ];
    }
    case "votes_counted": {
      const name = event.round === "vote" ? "MsgVoteResp" : "MsgPreVoteResp";
      return [
        "INFO",
        `${id} has received ${event.granted} ${name} votes and ${event.rejected} vote rejections`,
      ];
    }
    case "vote_answered": {
      const [verb, preposition] = event.granted ? ["cast", "for"] : ["rejected", "from"];
      const own = `[${voteFields(event)}]`;
      return [
        "INFO",
        `${id} ${own} ${verb} ${messageName(event.request)} ${preposition} ` +
          `${candidate(event.request)} at term ${event.term}`,
      ];
    }
    case "vote_ignored":
      return [
        "INFO",
        `${id} [${voteFields(event)}] ignored ${messageName(event.request)} from ` +
          `${candidate(event.request)} at term ${event.term}: lease is not expired ` +
          `(remaining ticks: ${event.remainingTicks})`,
      ];
    default:
      return unreachable(event);
  }
}

function campaignRefusedLine(
  id: string,
  event: Extract<ElectionTrace, { kind: "campaign_refused" }>,
): LogLine {
  switch (event.reason) {
    case "already_leader":
      return ["DEBUG", `${id} ignoring MsgHup because already leader`];
    case "not_promotable":
      return ["WARN", `${id} is unpromotable and can not campaign`];
    case "conf_change_unapplied":
      return [
        "WARN",
        `${id} cannot campaign at term ${event.term} since there are still pending configuration` +
          " changes to apply",
      ];
    default:
      return unreachable(event.reason);
  }
}

function voteFields(event: { last: EntryId; vote: NodeId | undefined }): string {
  const { last, vote } = event;
  return `logterm: ${last.term}, index: ${last.index}, vote: ${hex(vote)}`;
}

function candidate(request: VoteRequest): string {
  return `${hex(request.from)} ${position(request.last)}`;
}

/** Where a log ends, or where a message claims to fit on. */
export function position(entry: EntryId): string {
  return `[logterm: ${entry.term}, index: ${entry.index}]`;
}

/** What etcd logs for `event` on node `id`. */
export function transferLine(id: string, event: TransferTrace): LogLine {
  switch (event.kind) {
    case "transfer_started":
      return [
        "INFO",
        `${id} [term ${event.term}] starts to transfer leadership to ${hex(event.target)}`,
      ];
    case "transfer_aborted":
      return [
        "INFO",
        `${id} [term ${event.term}] abort previous transferring leadership to ${hex(event.target)}`,
      ];
    case "transfer_ignored":
      return transferIgnoredLine(id, event);
    case "timeout_now_sent": {
      const target = hex(event.target);
      return event.immediately
        ? [
            "INFO",
            `${id} sends MsgTimeoutNow to ${target} immediately as ${target} already has ` +
              "up-to-date log",
          ]
        : ["INFO", `${id} sent MsgTimeoutNow to ${target} after received MsgAppResp`];
    }
    case "timeout_now_received":
      return [
        "INFO",
        `${id} [term ${event.term}] received MsgTimeoutNow from ${hex(event.from)} and starts an ` +
          "election to get leadership.",
      ];
    case "timeout_now_ignored":
      return [
        "DEBUG",
        `${id} [term ${event.term} state ${describeRole(event.role)}] ignored MsgTimeoutNow from ` +
          hex(event.from),
      ];
    default:
      return unreachable(event);
  }
}

function transferIgnoredLine(
  id: string,
  event: Extract<TransferTrace, { kind: "transfer_ignored" }>,
): LogLine {
  const target = hex(event.target);
  switch (event.reason) {
    case "no_leader":
      return ["INFO", `${id} no leader at term ${event.term}; dropping leader transfer msg`];
    case "learner":
      return ["DEBUG", `${id} is learner. Ignored transferring leadership`];
    case "under_way":
      return [
        "INFO",
        `${id} [term ${event.term}] transfer leadership to ${target} is in progress, ignores ` +
          `request to same node ${target}`,
      ];
    case "already_leader":
      return ["DEBUG", `${id} is already leader. Ignored transferring leadership to self`];
    default:
      return unreachable(event.reason);
  }
}
