/**
 * Replication, the follower's side: appends, heartbeats and snapshots from the leader.
 *
 * Source: thesis §3.5 (AppendEntries), §5.1 (InstallSnapshot), §5.3 (back-tracking hint).
 *
 * @module
 */
import { decodeIndex, type Index, type NodeId } from "../../base/ids.ts";
import { isMember } from "./conf-change.ts";
import { type Core, send, sendAfterAppend, TERM_NONE } from "./core.ts";
import { switchConfig } from "./membership.ts";
import type {
  AppendRequest,
  AppendResponse,
  EntryId,
  HeartbeatRequest,
  Snapshot,
  SnapshotRequest,
} from "./types.ts";

/** Takes in entries from the leader, or tells it where our log may agree with its own. */
export function handleAppendRequest(core: Core, request: AppendRequest): void {
  const { previous, entries, from } = request;
  const { log } = core;
  if (previous.index < log.committed) {
    acknowledge(core, from, log.committed);
    return;
  }
  const matched = log.maybeAppend(previous, entries);
  if (matched !== undefined) {
    log.commitTo(decodeIndex(Math.min(request.commit, matched)));
    acknowledge(core, from, matched);
    return;
  }
  core.trace?.({
    kind: "append_rejected",
    from,
    previous,
    ownTerm: log.term(previous.index) ?? TERM_NONE,
  });
  // All the leader's entries up to there are of its `previous.term` or below: skip our own ones
  // that are above.
  const start = decodeIndex(Math.min(previous.index, log.lastIndex()));
  const hint = log.findConflictByTerm(start, previous.term);
  answer(core, from, previous.index, { hint });
}

/** Takes in the commit index, which the leader keeps within what we are known to hold. */
export function handleHeartbeatRequest(core: Core, request: HeartbeatRequest): void {
  const { from, context } = request;
  core.log.commitTo(request.commit);
  send(core, { kind: "heartbeat_response", to: from, from: core.id, term: core.term, context });
}

/** Takes in a whole state, unless we have as much already. */
export function handleSnapshotRequest(core: Core, request: SnapshotRequest): void {
  const { snapshot, from } = request;
  if (maybeRestore(core, snapshot)) {
    acknowledge(core, from, core.log.lastIndex());
    return;
  }
  const { index, term } = snapshot;
  core.trace?.({
    kind: "snapshot_ignored",
    commit: core.log.committed,
    snapshot: { index, term },
  });
  acknowledge(core, from, core.log.committed);
}

/** Answers a message of a deposed leader, so that it learns of our term. */
export function answerStaleLeader(core: Core, to: NodeId): void {
  acknowledge(core, to, decodeIndex(0));
}

function maybeRestore(core: Core, snapshot: Snapshot): boolean {
  const { log } = core;
  if (snapshot.index <= log.committed) return false;
  if (!core.config.restoresAsOutsider && !isMember(snapshot.confState, core.id)) {
    core.trace?.({ kind: "snapshot_not_for_us", confState: snapshot.confState });
    return false;
  }
  const id: EntryId = { term: snapshot.term, index: snapshot.index };
  if (log.matches(id)) {
    // We hold everything up to there: knowing that it is committed is enough.
    core.trace?.({
      kind: "snapshot_fast_forwarded",
      commit: log.committed,
      last: log.last(),
      snapshot: id,
    });
    log.commitTo(snapshot.index);
    return false;
  }
  log.restore(snapshot);
  switchConfig(core, { config: snapshot.confState, fresh: new Set() });
  core.trace?.({
    kind: "snapshot_restored",
    commit: log.committed,
    last: log.last(),
    snapshot: id,
  });
  return true;
}

function acknowledge(core: Core, to: NodeId, index: Index): void {
  answer(core, to, index, undefined);
}

function answer(core: Core, to: NodeId, index: Index, rejected: AppendResponse["rejected"]): void {
  const { id: from, term } = core;
  sendAfterAppend(core, { kind: "append_response", to, from, term, index, rejected });
}
