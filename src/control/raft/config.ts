/**
 * What a node of the consensus core is told when it is made, and the checks on it.
 *
 * Time is counted in ticks; how long a tick lasts is the driver's business. Pure.
 *
 * @module
 */
import { assert } from "../../base/assert.ts";
import type { Index, NodeId } from "../../base/ids.ts";
import type { ConfState, HardState } from "./types.ts";

/** How linearizable reads are confirmed: by a heartbeat round (§6.4) or by trusting the clock. */
export type ReadOnlyMode = "safe" | "lease_based";

/** Settings of one node. All sizes are bytes; `Number.POSITIVE_INFINITY` lifts a limit. */
export interface RaftConfig {
  readonly id: NodeId;
  /** Least ticks without a leader before an election; the real wait is up to twice as long. */
  readonly electionTicks: number;
  /** Ticks between two heartbeats of a leader. Less than `electionTicks`. */
  readonly heartbeatTicks: number;
  /** Ask whether an election could be won before disturbing anybody with one (§9.6). */
  readonly preVote: boolean;
  /** A leader that has not heard from a quorum for `electionTicks` steps down (§6.2). */
  readonly checkQuorum: boolean;
  /** Storage work travels as messages with responses; `advance` must then not be called. */
  readonly asyncStorageWrites: boolean;
  /** A leader that is removed, or made a learner, steps down when it applies that (§4.2.2). */
  readonly stepDownOnRemoval: boolean;
  /** Entries in one append message are cut after this size, but there is at least one. */
  readonly messageSizeMaxBytes: number;
  /** Append messages to one follower that may be unacknowledged at a time. At least 1. */
  readonly inflightCountMax: number;
  /** Bytes of entries in those messages. At least `messageSizeMaxBytes`. */
  readonly inflightSizeMaxBytes: number;
  /** Payload that a leader takes in before it must commit some of it; beyond, proposals drop. */
  readonly uncommittedSizeMaxBytes: number;
  /** Committed entries handed out for applying and not yet reported as applied. Above 0. */
  readonly committedSizeMaxBytes: number;
  /** `lease_based` needs `checkQuorum` and clocks that do not drift; production uses `safe`. */
  readonly readOnly: ReadOnlyMode;
  /** Whether a follower passes proposals on to its leader; else it refuses them. */
  readonly forwardProposals: boolean;
  /** Whether a leader refuses membership changes that could not be applied (§4.1). */
  readonly validateConfChange: boolean;
  /**
   * Whether a node takes a snapshot whose membership lacks it: as a copy of the state, which gives
   * it no part in anything. It may have been a member when it last heard. Else it waits for one
   * that knows it.
   */
  readonly restoresAsOutsider: boolean;
  /** Last index that the state machine holds; entries up to it are not handed out again. */
  readonly applied: Index;
  /** Membership at `applied`. */
  readonly confState: ConfState;
  /** What was durable when this node last stopped; undefined on a first start. */
  readonly hardState: HardState | undefined;
}

/** The only randomness: spreads election timeouts, so that votes are seldom split (§3.4). */
export interface RandomSource {
  /** An integer from 0 to `limit` − 1. */
  below(limit: number): number;
}

/** Asserts the relations between the settings: a wrong one is a bug of the caller. */
export function assertConfig(config: RaftConfig): void {
  assert(config.heartbeatTicks > 0, "heartbeat ticks must be greater than 0");
  assert(config.electionTicks > config.heartbeatTicks, "election ticks must exceed heartbeat's");
  assert(config.inflightCountMax > 0, "inflight count must be greater than 0");
  assert(config.committedSizeMaxBytes > 0, "committed size must be greater than 0");
  assert(
    config.inflightSizeMaxBytes >= config.messageSizeMaxBytes,
    "inflight size must be at least the message size",
  );
  assert(
    config.readOnly === "safe" || config.checkQuorum,
    "lease based reads need the quorum check",
  );
}
