/**
 * A trace event of the core as fields of a log line: its plain facts, nested ones left out.
 *
 * @module
 */
import type { LogFields } from "../../base/log.ts";
import type { TraceEvent } from "../raft/raft.ts";

/** The facts of `event` that fit on a line. */
export function traceFields(event: TraceEvent): LogFields {
  const fields: Record<string, string | number | boolean> = {};
  for (const [name, value] of Object.entries(event)) {
    if (name === "kind") continue;
    if (typeof value === "string" || typeof value === "number" || typeof value === "boolean") {
      fields[name] = value;
    }
  }
  return fields;
}
