/**
 * The settings of the consensus core, from the limits of the cluster.
 *
 * @module
 */
import { assert } from "../../base/assert.ts";
import type { NodeId } from "../../base/ids.ts";
import type { StateMachine } from "../kv/types.ts";
import type { RaftConfig } from "../raft/config.ts";
import {
  COMMITTED_SIZE_MAX_BYTES,
  ELECTION_TICKS,
  HEARTBEAT_TICKS,
  INFLIGHT_COUNT_MAX,
  INFLIGHT_SIZE_MAX_BYTES,
  MESSAGE_SIZE_MAX_BYTES,
  UNCOMMITTED_SIZE_MAX_BYTES,
} from "./limits.ts";
import type { Recovered } from "./recovery.ts";

/** The settings of a node that begins with what was recovered. */
export function createRaftConfig(options: {
  readonly nodeId: NodeId;
  readonly recovered: Recovered;
  readonly machine: StateMachine;
}): RaftConfig {
  const { recovered, machine } = options;
  assert(
    machine.appliedIndex === (recovered.memoryLog.snapshot()?.index ?? 0),
    "the state machine must be where the snapshot is",
  );
  return {
    id: options.nodeId,
    electionTicks: ELECTION_TICKS,
    heartbeatTicks: HEARTBEAT_TICKS,
    preVote: true,
    checkQuorum: true,
    asyncStorageWrites: true,
    stepDownOnRemoval: true,
    restoresAsOutsider: true,
    messageSizeMaxBytes: MESSAGE_SIZE_MAX_BYTES,
    inflightCountMax: INFLIGHT_COUNT_MAX,
    inflightSizeMaxBytes: INFLIGHT_SIZE_MAX_BYTES,
    uncommittedSizeMaxBytes: UNCOMMITTED_SIZE_MAX_BYTES,
    committedSizeMaxBytes: COMMITTED_SIZE_MAX_BYTES,
    readOnly: "safe",
    forwardProposals: false, // `Proposals` does it, with request ids.
    validateConfChange: true,
    applied: machine.appliedIndex,
    confState: recovered.confState,
    hardState: recovered.hardState,
  };
}
