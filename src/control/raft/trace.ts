/**
 * What the core tells about its decisions: typed facts, no text.
 *
 * A sink is called synchronously, at the moment of the decision, and must not call back into the
 * core. Without a sink nothing is even allocated. Types only.
 *
 * @module
 */
import type { NodeId, Term } from "../../base/ids.ts";

/** Placeholder until the union is complete. */
export type TraceEvent = {
  readonly kind: "became_follower";
  readonly id: NodeId;
  readonly term: Term;
};

/** Receives trace events. */
export type TraceSink = (event: TraceEvent) => void;
