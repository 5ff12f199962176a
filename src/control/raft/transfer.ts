/**
 * Handing over leadership: let the target catch up, then tell it to start an election at once.
 *
 * Source: thesis §3.10. Proposals are refused meanwhile; it is given up after one election
 * timeout.
 *
 * @module
 */
import type { NodeId } from "../../base/ids.ts";
import { type Core, type Leader, leaderOf, send } from "./core.ts";
import { maybeCampaign } from "./election.ts";
import { maybeSendAppend } from "./replicate.ts";
import type { TimeoutNow } from "./types.ts";

/** A wish to hand over to `target`, from here or from another node; `from` is who asked. */
export function requestTransfer(core: Core, from: NodeId, target: NodeId): void {
  if (core.role.kind === "leader") {
    startTransfer(core, core.role, target);
    return;
  }
  if (core.role.kind !== "follower") return;
  const leader = leaderOf(core);
  if (leader === undefined) {
    core.trace?.({ kind: "transfer_ignored", reason: "no_leader", target, term: core.term });
    return;
  }
  send(core, { kind: "transfer_request", to: leader, from, term: core.term, target });
}

/** The leader wants us to take over: no rehearsal, and others may vote although it lives. */
export function handleTimeoutNow(core: Core, message: TimeoutNow): void {
  const { from } = message;
  const { term } = core;
  if (core.role.kind === "follower") {
    core.trace?.({ kind: "timeout_now_received", from, term });
    maybeCampaign(core, "transfer");
  } else if (core.role.kind !== "leader") {
    core.trace?.({ kind: "timeout_now_ignored", from, term, role: core.role.kind });
  }
}

function startTransfer(core: Core, leader: Leader, target: NodeId): void {
  const { term } = core;
  const progress = leader.progress.get(target);
  if (progress === undefined) {
    core.trace?.({ kind: "progress_missing", node: target });
    return;
  }
  if (progress.isLearner) {
    core.trace?.({ kind: "transfer_ignored", reason: "learner", target, term });
    return;
  }
  if (leader.transferee === target) {
    core.trace?.({ kind: "transfer_ignored", reason: "under_way", target, term });
    return;
  }
  if (leader.transferee !== undefined) {
    core.trace?.({ kind: "transfer_aborted", target: leader.transferee, term });
    leader.transferee = undefined;
  }
  if (target === core.id) {
    core.trace?.({ kind: "transfer_ignored", reason: "already_leader", target, term });
    return;
  }
  core.trace?.({ kind: "transfer_started", target, term });
  // It has one election timeout from now.
  core.electionElapsedTicks = 0;
  leader.transferee = target;
  if (progress.match === core.log.lastIndex()) {
    send(core, { kind: "timeout_now", to: target, from: core.id, term });
    core.trace?.({ kind: "timeout_now_sent", target, immediately: true });
  } else {
    maybeSendAppend(core, target, progress, "send");
  }
}
