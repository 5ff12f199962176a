/**
 * A leader's duties between proposals: heartbeats, the quorum check, and what members answer.
 *
 * Source: thesis §3.4 (heartbeats), §6.2 (a leader without a quorum steps down).
 *
 * @module
 */
import type { NodeId } from "../../base/ids.ts";
import type { Core, Leader } from "./core.ts";
import { broadcastHeartbeat } from "./heartbeat.ts";
import type { Progress } from "./progress.ts";
import { quorumVote } from "./quorum.ts";
import { confirmReads } from "./reads.ts";
import { handleAppendResponse, maybeSendAppend } from "./replicate.ts";
import { becomeFollower } from "./role.ts";
import type { AppendResponse, HeartbeatResponse } from "./types.ts";

/** Our own choice: one election timeout, and one more for a transfer that began at its end. */
const UNCHECKED_TIMEOUTS_MAX = 2;

/** A tick of a leader. */
export function tickLeader(core: Core, leader: Leader): void {
  const { electionTicks } = core.config;
  leader.heartbeatElapsedTicks++;
  leader.uncheckedTicks++;
  core.electionElapsedTicks++;
  const isTimeOver = core.electionElapsedTicks >= electionTicks;
  // Each transfer begins the timeout anew, so that its target has a whole one. Somebody who tries
  // and tries again must not keep a leader in office that has no quorum.
  if (isTimeOver || leader.uncheckedTicks >= UNCHECKED_TIMEOUTS_MAX * electionTicks) {
    leader.uncheckedTicks = 0;
    if (isTimeOver) core.electionElapsedTicks = 0;
    if (core.config.checkQuorum && !checkQuorum(core, leader)) return;
    // The target had its time: this leader goes on.
    if (isTimeOver) leader.transferee = undefined;
  }
  if (leader.heartbeatElapsedTicks < core.config.heartbeatTicks) return;
  leader.heartbeatElapsedTicks = 0;
  broadcastHeartbeat(core, leader);
}

/** Takes in an answer of a member; answers of others say nothing about the log. */
export function handleMemberResponse(
  core: Core,
  leader: Leader,
  response: AppendResponse | HeartbeatResponse,
): void {
  const progress = leader.progress.get(response.from);
  if (progress === undefined) {
    core.trace?.({ kind: "progress_missing", node: response.from });
  } else if (response.kind === "append_response") {
    handleAppendResponse(core, leader, progress, response);
  } else {
    handleHeartbeatResponse(core, leader, progress, response);
  }
}

/** A message to `node` could not be delivered: appends under way to it are probably lost. */
export function handleUnreachable(core: Core, leader: Leader, node: NodeId): void {
  const progress = leader.progress.get(node);
  if (progress === undefined) {
    core.trace?.({ kind: "progress_missing", node });
    return;
  }
  if (progress.kind === "replicate") progress.becomeProbe();
  core.trace?.({ kind: "unreachable", node, progress: progress.status() });
}

/** Sending a snapshot to `node` ended. The next append waits for its answer or a heartbeat. */
export function handleSnapshotReport(
  core: Core,
  leader: Leader,
  node: NodeId,
  arrived: boolean,
): void {
  const progress = leader.progress.get(node);
  if (progress === undefined) {
    core.trace?.({ kind: "progress_missing", node });
    return;
  }
  if (progress.kind !== "snapshot") return;
  progress.snapshotEnded(arrived);
  core.trace?.({ kind: "snapshot_reported", node, arrived, progress: progress.status() });
  progress.pauseProbe();
}

function handleHeartbeatResponse(
  core: Core,
  leader: Leader,
  progress: Progress,
  response: HeartbeatResponse,
): void {
  progress.recentActive = true;
  progress.resume();
  // Also when nothing is missing but the member is being probed: the answer ends the probing.
  if (progress.match < core.log.lastIndex() || progress.kind === "probe") {
    maybeSendAppend(core, response.from, progress, "send");
  }
  if (response.context === undefined || core.config.readOnly !== "safe") return;
  confirmReads(core, leader, response.from, response.context);
}

/** Steps down, and returns false, unless a quorum was heard from since the last check. */
function checkQuorum(core: Core, leader: Leader): boolean {
  const active = new Map<NodeId, boolean>();
  for (const [node, progress] of leader.progress) {
    if (!progress.isLearner) active.set(node, progress.recentActive);
    progress.recentActive = node === core.id;
  }
  if (quorumVote(core.membership, active) === "won") return true;
  core.trace?.({ kind: "quorum_lost" });
  becomeFollower(core, core.term, undefined);
  return false;
}
