/**
 * What the consensus driver is made of: its ports and what was recovered.
 *
 * Types only.
 *
 * @module
 */
import type { HostError } from "../../base/host-error.ts";
import type { NodeId } from "../../base/ids.ts";
import type { Log } from "../../base/log.ts";
import type { Clock, LogStore, Random, SnapshotStaging } from "../../host/ports.ts";
import type { StateMachine } from "../kv/types.ts";
import type { PlainRecord } from "./codec/codec.ts";
import type { ClusterRef, Recovered } from "./recovery.ts";
import type { CallAnswer, CallMethod, Transport } from "./transport/peer-port.ts";
import type { HostPort } from "./types.ts";

export interface DriverOptions {
  readonly nodeId: NodeId;
  readonly cluster: ClusterRef;
  readonly recovered: Recovered;
  readonly logStore: LogStore;
  /** Where snapshots on their way in are kept; absent where the transport hands them over whole. */
  readonly staging?: SnapshotStaging;
  /** Filled by recovery. */
  readonly machine: StateMachine;
  readonly clock: Clock;
  readonly random: Random;
  readonly transport: Transport;
  readonly log: Log;
  /** Nodes that this one knew before it had any state: they may feed it. */
  readonly knownPeers?: readonly NodeId[];
  /** Another member says where `node` is, of which there may be no record here. */
  readonly located?: (node: NodeId, address: HostPort) => void;
  /** Answers the calls that are not the driver's own. */
  readonly answer: (from: NodeId, method: CallMethod, body: PlainRecord) => Promise<CallAnswer>;
  /** The machine failed: nothing more is acknowledged. */
  readonly onFatal: (error: HostError) => void;
  /** Something failed that never may: our own bug. Ends the process with its stack when absent. */
  readonly onBug?: (cause: unknown) => void;
  /** Entries between snapshots; smaller in tests. */
  readonly snapshotEntries?: number;
}
