/**
 * Heartbeats out: they keep followers from electing somebody else, tell them the commit index,
 * and ask them to confirm that this leader still leads (§6.4).
 *
 * @module
 */
import { decodeIndex } from "../../base/ids.ts";
import { type Core, type Leader, send } from "./core.ts";

/** Sends a heartbeat to every other member, with the newest read that waits for confirmation. */
export function broadcastHeartbeat(core: Core, leader: Leader): void {
  const context = leader.reads.heartbeatContext();
  for (const [node, progress] of leader.progress) {
    if (node === core.id) continue;
    // Never beyond what the member is known to hold: its tail may still be another leader's.
    const commit = decodeIndex(Math.min(progress.match, core.log.committed));
    send(core, {
      kind: "heartbeat_request",
      to: node,
      from: core.id,
      term: core.term,
      commit,
      context,
    });
    progress.sentCommit(commit);
  }
}
