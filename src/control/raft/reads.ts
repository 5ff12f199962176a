/**
 * Linearizable reads: who asks, who answers, and when.
 *
 *   follower: asks its leader, gets an index back
 *   leader:   waits for a commit of its own term, then for a quorum to confirm its leadership
 *
 * Source: thesis §6.4. An answer is a read state: serve the read once that index is applied.
 *
 * @module
 */
import type { NodeId } from "../../base/ids.ts";
import { type Core, type Leader, leaderOf, send, TERM_NONE } from "./core.ts";
import { broadcastHeartbeat } from "./heartbeat.ts";
import type { ReadRequest } from "./read-index.ts";
import type { ReadIndexResponse } from "./types.ts";

/** A read that starts on this node or was forwarded to it. Without a leader it is dropped. */
export function requestRead(core: Core, request: ReadRequest): void {
  if (core.role.kind === "leader") {
    requestReadAsLeader(core, core.role, request);
    return;
  }
  const leader = leaderOf(core);
  if (leader === undefined) {
    core.trace?.({ kind: "read_index_dropped", reason: "no_leader", term: core.term });
    return;
  }
  const { from, context } = request;
  send(core, { kind: "read_index_request", to: leader, from, term: TERM_NONE, context });
}

/** The leader's answer to a read of this node. */
export function handleReadIndexResponse(core: Core, response: ReadIndexResponse): void {
  core.readStates.push({ index: response.index, context: response.context });
}

/** Starts the confirmation of reads that waited for the first commit of this term. */
export function releasePostponedReads(core: Core, leader: Leader): void {
  const requests = leader.reads.takePostponed();
  for (const request of requests) startConfirmation(core, leader, request);
  if (requests.length > 0 && leader.reads.heartbeatContext() !== undefined) {
    broadcastHeartbeat(core, leader);
  }
}

/** A member answered a heartbeat: it confirms reads that arrived before that was sent. */
export function confirmReads(core: Core, leader: Leader, from: NodeId, context: number): void {
  for (const read of leader.reads.acknowledge(from, context, core.membership, core.id)) {
    answer(core, read, read.index);
  }
}

function requestReadAsLeader(core: Core, leader: Leader, request: ReadRequest): void {
  if (leader.reads.full) {
    core.trace?.({ kind: "read_index_dropped", reason: "too_many", term: core.term });
    return;
  }
  // Until an entry of this term commits, our commit index may lag behind what was committed.
  if (core.log.term(core.log.committed) !== core.term) {
    leader.reads.postpone(request);
    return;
  }
  startConfirmation(core, leader, request);
  if (leader.reads.heartbeatContext() !== undefined) broadcastHeartbeat(core, leader);
}

function startConfirmation(core: Core, leader: Leader, request: ReadRequest): void {
  const index = core.log.committed;
  if (core.config.readOnly === "lease_based" || isOnlyVoter(core)) answer(core, request, index);
  else leader.reads.add({ ...request, index });
}

function isOnlyVoter(core: Core): boolean {
  const { voters, votersOutgoing } = core.membership;
  return voters.length === 1 && voters[0] === core.id && votersOutgoing.length === 0;
}

function answer(core: Core, request: ReadRequest, index: ReadIndexResponse["index"]): void {
  const { from, context } = request;
  if (from === core.id) {
    core.readStates.push({ index, context });
    return;
  }
  send(core, {
    kind: "read_index_response",
    to: from,
    from: core.id,
    term: core.term,
    context,
    index,
  });
}
