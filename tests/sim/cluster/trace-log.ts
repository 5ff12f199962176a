/**
 * The nodes' log, as the simulation keeps it: counts of what was said, and notes of what matters.
 *
 * Every trace event of the consensus core comes by here, so the counts tell which of its decisions
 * a campaign has reached.
 *
 * @module
 */
import type { NodeId } from "../../../src/base/ids.ts";
import type { Log, LogFields } from "../../../src/base/log.ts";
import type { World } from "./world.ts";

/** Events that are worth a line in the trace. */
const NOTED: ReadonlySet<string> = new Set([
  "raft became",
  "raft quorum_lost",
  "raft snapshot_restored",
  "raft transfer_started",
  "raft timeout_now_received",
]);

/** The `Log` of one node. */
export function createTraceLog(world: World, node: NodeId): Log {
  const note = (message: string, fields?: LogFields) => {
    const text = `${message} ${fields === undefined ? "" : JSON.stringify(fields)}`;
    world.trace.note(world.scheduler.nowMs, node, text);
  };
  const log: Log = {
    debug(message, fields) {
      world.coverage.hit(message);
      if (NOTED.has(message)) note(message, fields);
    },
    info: note,
    warn: note,
    error: note,
    with: () => log,
  };
  return log;
}
