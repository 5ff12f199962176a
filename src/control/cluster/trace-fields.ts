/**
 * A trace event of the core as fields of a log line: its plain facts, nested ones left out.
 *
 * @module
 */
import { decodeNodeId, formatNodeId } from "../../base/ids.ts";
import type { LogFields } from "../../base/log.ts";
import type { TraceEvent } from "../raft/raft.ts";

/** Fields that name a node; a log shows it as everything else does. */
const NODE_FIELDS: ReadonlySet<string> = new Set([
  ...["from", "to", "node", "leader", "vote", "target", "transferee"],
]);

/** The facts of `event` that fit on a line. */
export function traceFields(event: TraceEvent): LogFields {
  const fields: Record<string, string | number | boolean> = {};
  for (const [name, value] of Object.entries(event)) {
    if (name === "kind") continue;
    if (typeof value === "number" && NODE_FIELDS.has(name)) {
      fields[name] = formatNodeId(decodeNodeId(value));
      continue;
    }
    if (typeof value === "string" || typeof value === "number" || typeof value === "boolean") {
      fields[name] = value;
    }
  }
  return fields;
}
