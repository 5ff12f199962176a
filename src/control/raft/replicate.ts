/**
 * Replication, the leader's side: append messages out, acknowledgements in, commit forward.
 *
 * Source: thesis §3.5, §3.6.2 (only entries of the own term commit by counting), §5.3 (finding
 * where logs agree), §10.2.1 (pipelining).
 *
 * @module
 */
import { assert } from "../../base/assert.ts";
import { decodeIndex, type Index, type NodeId } from "../../base/ids.ts";
import { isMember } from "./conf-change.ts";
import { type Core, type Leader, send } from "./core.ts";
import { payloadsSizeBytes } from "./entry-size.ts";
import type { Progress } from "./progress.ts";
import { quorumAcked } from "./quorum.ts";
import { releasePostponedReads } from "./reads.ts";
import type { AppendResponse, Entry } from "./types.ts";

const NO_ENTRIES: readonly Entry[] = [];

/** Whether a message without entries, which only tells the commit index, is worth sending. */
export type WhenEmpty = "send" | "skip";

/** Sends everybody what they lack, as far as flow control admits. */
export function broadcastAppend(core: Core, leader: Leader, whenEmpty: WhenEmpty = "send"): void {
  for (const [node, progress] of leader.progress) {
    if (node !== core.id) maybeSendAppend(core, node, progress, whenEmpty);
  }
}

/** Sends one append message, or a snapshot in its place. False when nothing was sent. */
export function maybeSendAppend(
  core: Core,
  to: NodeId,
  progress: Progress,
  whenEmpty: WhenEmpty,
): boolean {
  if (progress.paused) return false;
  const previousIndex = decodeIndex(progress.next - 1);
  const previousTerm = core.log.term(previousIndex);
  if (previousTerm === undefined) return maybeSendSnapshot(core, to, progress);

  // A full window still lets empty messages through: were all those under way lost, an answer to
  // an empty one is what gets replication going again.
  const entries = progress.inflightFull
    ? NO_ENTRIES
    : core.log.entriesFrom(progress.next, core.config.messageSizeMaxBytes);
  assert(entries !== undefined, "entries after a known one must not be compacted");
  if (entries.length === 0 && whenEmpty === "skip") return false;

  const commit = core.log.committed;
  send(core, {
    kind: "append_request",
    to,
    from: core.id,
    term: core.term,
    previous: { term: previousTerm, index: previousIndex },
    entries,
    commit,
  });
  progress.sentEntries(entries.length, payloadsSizeBytes(entries));
  progress.sentCommit(commit);
  return true;
}

function maybeSendSnapshot(core: Core, to: NodeId, progress: Progress): boolean {
  if (!progress.recentActive) {
    core.trace?.({ kind: "snapshot_not_sent", to, reason: "inactive" });
    return false;
  }
  const snapshot = core.log.snapshot();
  if (snapshot === undefined) {
    core.trace?.({ kind: "snapshot_not_sent", to, reason: "unavailable" });
    return false;
  }
  assert(
    snapshot.index > 0 && snapshot.index + 1 >= core.log.firstIndex(),
    "a compacted log needs a snapshot that it continues",
  );
  if (!isMember(snapshot.confState, to)) {
    // It was taken before that member joined, which would refuse it: wait for a newer one.
    core.trace?.({ kind: "snapshot_not_sent", to, reason: "outdated" });
    return false;
  }
  core.trace?.({
    kind: "snapshot_sent",
    to,
    snapshot: { index: snapshot.index, term: snapshot.term },
    firstIndex: core.log.firstIndex(),
    commit: core.log.committed,
    progress: progress.status(),
  });
  progress.becomeSnapshot(snapshot.index);
  core.trace?.({ kind: "replication_paused", node: to, progress: progress.status() });
  send(core, { kind: "snapshot_request", to, from: core.id, term: core.term, snapshot });
  return true;
}

/** Takes in an answer to an append message or snapshot; also our own, from our own disk. */
export function handleAppendResponse(
  core: Core,
  leader: Leader,
  progress: Progress,
  response: AppendResponse,
): void {
  progress.recentActive = true;
  if (response.rejected !== undefined) {
    handleRejection(core, progress, response, response.rejected.hint.index);
    return;
  }
  const { from, index } = response;
  // A probe that was answered without news still ends the probing: the logs agree.
  const isProbeAnswer = progress.kind === "probe" && progress.match === index;
  if (!progress.maybeUpdate(index) && !isProbeAnswer) return;

  advanceState(core, progress, from, index);
  if (maybeCommit(core, leader)) {
    broadcastAppend(core, leader);
  } else if (from !== core.id && progress.canBumpCommit(core.log.committed)) {
    maybeSendAppend(core, from, progress, "send");
  }
  if (from === core.id) return;
  // The answer may have made room for several messages.
  while (maybeSendAppend(core, from, progress, "skip"));

  if (leader.transferee === from && progress.match === core.log.lastIndex()) {
    core.trace?.({ kind: "timeout_now_sent", target: from, immediately: false });
    send(core, { kind: "timeout_now", to: from, from: core.id, term: core.term });
  }
}

function advanceState(core: Core, progress: Progress, from: NodeId, index: Index): void {
  switch (progress.kind) {
    case "probe":
      progress.becomeReplicate();
      return;
    case "snapshot":
      // Whichever snapshot it was: what matters is that our log continues it.
      if (progress.match + 1 < core.log.firstIndex()) return;
      core.trace?.({ kind: "replication_resumed", node: from, progress: progress.status() });
      progress.becomeReplicate();
      return;
    case "replicate":
      progress.freeInflight(index);
  }
}

/**
 * The member's log differs before the refused message. Its hint says where its log may agree;
 * our own log may tell that it cannot before an even earlier place.
 */
function handleRejection(
  core: Core,
  progress: Progress,
  response: AppendResponse,
  hintIndex: Index,
): void {
  const { from, index, rejected } = response;
  assert(rejected !== undefined, "only a refusal has a hint");
  const { hint } = rejected;
  core.trace?.({ kind: "append_rejection_received", from, hint, index });
  const probeIndex =
    hint.term > 0 ? core.log.findConflictByTerm(hintIndex, hint.term).index : hintIndex;
  if (!progress.maybeDecrease(index, probeIndex)) return;
  core.trace?.({ kind: "progress_decreased", node: from, progress: progress.status() });
  if (progress.kind === "replicate") progress.becomeProbe();
  maybeSendAppend(core, from, progress, "send");
}

/** Moves the commit index to what a quorum holds. True when it moved; tell the members then. */
export function maybeCommit(core: Core, leader: Leader): boolean {
  const acked = quorumAcked(core.membership, (node) => leader.progress.get(node)?.match);
  if (acked <= core.log.committed || acked === Number.POSITIVE_INFINITY) return false;
  const index = decodeIndex(acked);
  // Figure 3.7: an entry of an earlier term may still be replaced although a majority holds it.
  if (core.log.term(index) !== core.term) return false;
  core.log.commitTo(index);
  releasePostponedReads(core, leader);
  return true;
}
