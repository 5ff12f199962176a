/**
 * Failures as a command tells them: one line with what was attempted, what is wrong and the next
 * step, and the exit code that scripts see.
 *
 * Pure.
 *
 * @module
 */
import type { ClientFailure } from "../admin/ask.ts";
import { formatIssue } from "../admin/field-issue.ts";
import { EXIT_FAILED, EXIT_NO_AGENT, EXIT_NOT_NOW } from "./exit-code.ts";
import { formatPlural, safe } from "./format.ts";

/** The exit code of a command that ran into `failure`. */
export function exitCodeOf(failure: ClientFailure): number {
  switch (failure.kind) {
    case "no_agent":
      return EXIT_NO_AGENT;
    case "no_answer":
    case "timeout":
    case "no_leader":
    case "no_quorum":
    case "overloaded":
      return EXIT_NOT_NOW;
    default:
      return EXIT_FAILED;
  }
}

/** "Cannot <action>: <state>; <next step>". `action` is an imperative: "set the network config". */
export function explainFailure(action: string, failure: ClientFailure): string {
  // "Write to the cluster" is what it takes to do what was asked for, and nobody typed that.
  const state = safe(stateOf(failure)).replace(/^Cannot (write to|read from) the cluster: /, "");
  // The agent's details are whole sentences; they know better what was attempted.
  const sentence = state.startsWith("Cannot ") ? state : `Cannot ${action}: ${state}`;
  const next = nextStep(failure);
  return next === undefined || sentence.includes("; ") ? sentence : `${sentence}; ${next}`;
}

function stateOf(failure: ClientFailure): string {
  switch (failure.kind) {
    case "invalid_config": {
      const listed = failure.errors.map(formatIssue);
      return listed.length === 0 ? failure.detail : listed.join(", ");
    }
    case "reservation_refused": {
      const listed = failure.errors.map(formatIssue);
      return listed.length === 0 ? failure.detail : listed.join(", ");
    }
    case "would_renumber": {
      const { renumbered } = failure.plan;
      const listed = renumbered.map(({ subnet, node }) => `${node} (${subnet})`).join(", ");
      return `${formatPlural(renumbered.length, "lease")} would get another subnet: ${listed}`;
    }
    case "invalid_json":
    case "invalid_request":
      // It speaks of a request, which who typed a command knows nothing of.
      return failure.detail.replace(/^Cannot read the [a-z]+ of the request: /, "");
    default:
      return failure.detail;
  }
}

/** What a person can do, for details that do not say so themselves. */
function nextStep(failure: ClientFailure): string | undefined {
  switch (failure.kind) {
    case "no_config":
      return `set one: overlay config set '{"Network":"10.0.0.0/16"}'`;
    case "revision_mismatch":
      return 'look at it with "overlay config get --json" and try again';
    case "would_renumber":
      return "repeat it with --renumber if that is wanted";
    case "no_leader":
    case "no_quorum":
    case "overloaded":
      return 'try again, and see "overlay status"';
    case "timeout":
      return 'see with "overlay status" whether it happened before you repeat it';
    case "invalid_token":
      return 'get a new token with "overlay token" on a node of the cluster';
    case "pin_mismatch":
      return "check the address of the peer, somebody may be in between";
    case "peer_unreachable":
    case "peer_not_overlay":
      return "check the address of the peer, and that port 8286 is open there";
    case "already_member":
      return "repeat it with --reset to give that up";
    default:
      return undefined;
  }
}
