/**
 * Proposals: taken in by a leader, passed on by a follower.
 *
 * Source: thesis §3.5 (log replication), §4.1 (one membership change at a time).
 *
 * A leader that cannot keep up refuses: what is proposed and not yet applied is limited in bytes.
 * An empty proposal is never refused, so that a new leader can always open its term.
 *
 * @module
 */
import { decodeIndex } from "../../base/ids.ts";
import { err, ok, type Result } from "../../base/result.ts";
import { changeConfig, isJoint, isMember } from "./conf-change.ts";
import {
  type Core,
  type Follower,
  type Leader,
  leaderOf,
  send,
  sendAfterAppend,
  TERM_NONE,
} from "./core.ts";
import { payloadsSizeBytes } from "./entry-size.ts";
import type { ProposeError } from "./ready.ts";
import { broadcastAppend } from "./replicate.ts";
import type { ConfChangeRefusal } from "./trace.ts";
import type { ConfChange, Entry, NormalEntry, ProposedEntry, ProposeRequest } from "./types.ts";

const ACCEPTED = ok(undefined);
const EMPTY_PROPOSAL: ProposedEntry = { kind: "normal", data: new Uint8Array(0) };

type ProposeResult = Result<void, ProposeError>;

/** Takes in a proposal, made here or forwarded by another node. */
export function propose(core: Core, request: ProposeRequest): ProposeResult {
  switch (core.role.kind) {
    case "leader":
      return proposeAsLeader(core, core.role, request.entries);
    case "follower":
      return forward(core, core.role, request);
    default:
      return drop(core, { kind: "no_leader" });
  }
}

/** Appends what was proposed and sends it to everybody. */
export function proposeAsLeader(
  core: Core,
  leader: Leader,
  proposals: readonly ProposedEntry[],
): ProposeResult {
  if (!isMember(core.membership, core.id))
    return drop(core, { kind: "dropped", reason: "removed" });
  if (leader.transferee !== undefined) {
    return drop(core, { kind: "dropped", reason: "transferring" });
  }
  const accepted = proposals.some((proposal) => proposal.kind === "conf_change")
    ? proposals.map((proposal, i) => admitConfChange(core, leader, proposal, i))
    : proposals;
  if (!appendProposals(core, leader, accepted)) {
    return drop(core, { kind: "dropped", reason: "too_busy" });
  }
  broadcastAppend(core, leader);
  return ACCEPTED;
}

/**
 * Appends entries of the leader's own term. False, and nothing changed, when they would exceed
 * the limit on what is uncommitted.
 */
export function appendProposals(
  core: Core,
  leader: Leader,
  proposals: readonly ProposedEntry[],
): boolean {
  const size = payloadsSizeBytes(proposals);
  const sizeAfter = leader.uncommittedSizeBytes + size;
  if (
    leader.uncommittedSizeBytes > 0 &&
    size > 0 &&
    sizeAfter > core.config.uncommittedSizeMaxBytes
  ) {
    return false;
  }
  leader.uncommittedSizeBytes = sizeAfter;

  const { term } = core;
  const first = core.log.lastIndex() + 1;
  const entries = proposals.map((proposal, i): Entry => {
    const index = decodeIndex(first + i);
    return proposal.kind === "normal"
      ? ({ kind: "normal", term, index, data: proposal.data } satisfies NormalEntry)
      : { kind: "conf_change", term, index, change: proposal.change };
  });
  core.log.append(entries);
  // The leader counts its own entries when they are on its own disk, like everybody else's: by
  // an acknowledgement that waits for the disk.
  sendAfterAppend(core, {
    kind: "append_response",
    to: core.id,
    from: core.id,
    term,
    index: core.log.lastIndex(),
    rejected: undefined,
  });
  return true;
}

/** Replaces a membership change that must not be made now by an empty entry. */
function admitConfChange(
  core: Core,
  leader: Leader,
  proposal: ProposedEntry,
  position: number,
): ProposedEntry {
  if (proposal.kind === "normal") return proposal;
  const reason = refusal(core, leader, proposal.change);
  if (reason !== undefined && core.config.validateConfChange) {
    core.trace?.({
      kind: "conf_change_refused",
      change: proposal.change,
      config: core.membership,
      reason,
    });
    return EMPTY_PROPOSAL;
  }
  leader.pendingConfIndex = decodeIndex(core.log.lastIndex() + position + 1);
  return proposal;
}

function refusal(core: Core, leader: Leader, change: ConfChange): ConfChangeRefusal | undefined {
  const { applied } = core.log;
  if (leader.pendingConfIndex > applied) {
    return { kind: "unapplied", pendingIndex: leader.pendingConfIndex, applied };
  }
  const joint = isJoint(core.membership);
  const leaves = change.changes.length === 0;
  if (joint && !leaves) return { kind: "must_leave_joint" };
  if (!joint && leaves) return { kind: "not_joint" };
  // Every earlier change is applied, so this one will meet exactly today's membership.
  const outcome = changeConfig(core.membership, change);
  return outcome.ok ? undefined : { kind: "invalid", error: outcome.error };
}

function forward(core: Core, follower: Follower, request: ProposeRequest): ProposeResult {
  if (follower.leader === undefined) return drop(core, { kind: "no_leader" });
  if (!core.config.forwardProposals) {
    return drop(core, { kind: "dropped", reason: "not_forwarded" });
  }
  send(core, { ...request, to: follower.leader, term: TERM_NONE });
  return ACCEPTED;
}

function drop(core: Core, error: ProposeError): ProposeResult {
  core.trace?.({
    kind: "proposal_dropped",
    error,
    term: core.term,
    leader: leaderOf(core),
    transferee: core.role.kind === "leader" ? core.role.transferee : undefined,
  });
  return err(error);
}
