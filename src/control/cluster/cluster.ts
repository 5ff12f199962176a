/**
 * One node's part of the cluster, put together: consensus driver, peer connections, membership,
 * join server. Composition only; the logic is in the files beside this one.
 *
 * @module
 */
import type { HostError } from "../../base/host-error.ts";
import type { Log } from "../../base/log.ts";
import type { Clock, LogStore, Random } from "../../host/ports.ts";
import type { StateMachine } from "../kv/types.ts";
import type { Identity, IdentityStore } from "./identity.ts";
import type { Cluster, HostPort, MemberInfo } from "./types.ts";

export interface ClusterOptions {
  readonly identity: Identity;
  readonly identityStore: IdentityStore;
  /** Opened at `clusterPaths(identity.clusterId)`; closed by the cluster. */
  readonly logStore: LogStore;
  /** Empty; it is filled from snapshot and log. */
  readonly machine: StateMachine;
  readonly clock: Clock;
  readonly random: Random;
  /** Where the cluster port listens. Port 0: any free one. */
  readonly listen: HostPort;
  /** What the members table is to say about this node. Port 0: the one listened on. */
  readonly self: MemberInfo;
  readonly log: Log;
  /** The machine failed in a way that cannot be mended: the agent must end the process. */
  readonly onFatal: (error: HostError) => void;
}

/**
 * Starts this node's part of the cluster: recovers the state, listens, connects to its peers.
 * Resolves when the recovered state is applied; there may be no leader yet. Throws `HostError`
 * when the port is taken or the stored state is not usable.
 */
export async function openCluster(_options: ClusterOptions): Promise<Cluster> {
  throw new Error("not implemented yet");
}
