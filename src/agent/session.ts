/**
 * One life of this node in one cluster: log, state machine, cluster, network, opened together and
 * closed together. A join or a leave closes one session and opens the next; the data plane, the
 * kernel and the admin API outlive it.
 *
 * @module
 */
import { join } from "node:path";
import type { IpAddress, Prefix } from "../base/address.ts";
import type { HostError } from "../base/host-error.ts";
import { formatNodeId } from "../base/ids.ts";
import type { Log } from "../base/log.ts";
import { VERSION } from "../base/version.ts";
import { openCluster } from "../control/cluster/cluster.ts";
import { writeBackup } from "../control/cluster/snapshots/backup.ts";
import {
  clusterPaths,
  type Identity,
  type IdentityStore,
} from "../control/cluster/trust/identity.ts";
import type { Cluster, HostPort, MemberInfo } from "../control/cluster/types.ts";
import { clusterVersion } from "../control/kv/cluster-version.ts";
import type { StateMachine } from "../control/kv/types.ts";
import { ownBackend } from "../dataplane/backends/auto.ts";
import type { Way } from "../dataplane/ways/way.ts";
import { openDisk } from "../host/files/disk.ts";
import type { Clock, Random } from "../host/ports.ts";
import { openSnapshotStaging } from "../host/wal/snapshot-staging.ts";
import type { DataPlane } from "./data-plane.ts";
import { openHandOut } from "./hand-out.ts";
import { KvService } from "./kv-service.ts";
import { openLeaseMemory } from "./lease-memory.ts";
import { NetworkAgent } from "./network-agent.ts";
import { emptyMachine, openLog } from "./refound.ts";
import { type KeptSeal, SealKeeper } from "./seal-keeper.ts";
import { StoreKeeper } from "./store-keeper.ts";

export interface SessionOptions {
  readonly identity: Identity;
  readonly identityStore: IdentityStore;
  readonly dataDir: string;
  readonly listen: HostPort;
  readonly self: MemberInfo;
  readonly publicIp: IpAddress;
  readonly dataPlane: DataPlane;
  /** With the backend "auto": what this node takes part in. */
  readonly ways: readonly Way[];
  /** Where this node's keys outlive the process. */
  readonly keptSeal: KeptSeal;
  readonly wantedSubnet: Prefix | undefined;
  readonly findConflict: (network: Prefix, leases: readonly Prefix[]) => string | undefined;
  readonly usedBy: (subnet: Prefix) => string | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly onFatal: (error: HostError) => void;
}

export interface Session {
  readonly identity: Identity;
  readonly cluster: Cluster;
  readonly network: NetworkAgent;
  /** The store, for the admin API. */
  readonly kv: KvService;
  /** A backup of the state as it is now. */
  backup(): AsyncGenerator<Uint8Array, void, void>;
  /** Hands leadership over when it can, then closes everything. Kernel state stays. */
  close(): Promise<void>;
}

/** Opens the node's part in the cluster of `identity`. Throws `HostError`. */
export async function openSession(options: SessionOptions): Promise<Session> {
  const { identity, clock, dataPlane, random } = options;
  const log = options.log.with({ node: formatNodeId(identity.nodeId) });
  const paths = clusterPaths(identity.clusterId);
  const logStore = await openLog({ dataDir: options.dataDir, clock, random }, identity);
  const machine = emptyMachine();
  const cluster = await openCluster({
    identity,
    identityStore: options.identityStore,
    logStore,
    staging: openSnapshotStaging(openDisk(), join(options.dataDir, paths.snapshots)),
    machine,
    clock,
    random,
    listen: options.listen,
    self: options.self,
    handOut: openHandOut(identity.keys.certificate),
    log,
    onFatal: options.onFatal,
  });
  const memory = await openLeaseMemory(join(options.dataDir, paths.lease));
  const network = new NetworkAgent({
    nodeId: identity.nodeId,
    cluster,
    dataPlane,
    publicIp: options.publicIp,
    own: (backend) => dataPlane.extension.own(ownBackend({ backend }, options.ways)),
    wantedSubnet: options.wantedSubnet,
    findConflict: options.findConflict,
    usedBy: options.usedBy,
    memory,
    seal: new SealKeeper({
      nodeId: identity.nodeId,
      clusterId: identity.clusterId,
      generation: identity.generation,
      engine: () => dataPlane.engine,
      kept: options.keptSeal,
      clock,
      random,
    }),
    clock,
    random,
    log,
  });
  network.start();
  const kv = new KvService({ cluster, machine, clock });
  const keeper = new StoreKeeper({ nodeId: identity.nodeId, cluster, machine, clock, log });
  return {
    identity,
    cluster,
    network,
    kv,
    backup: () => sessionBackup({ identity, cluster, machine, clock }),
    async close() {
      kv.close();
      keeper.close();
      await network.close();
      await cluster.close();
    },
  };
}

function sessionBackup(session: {
  readonly identity: Identity;
  readonly cluster: Cluster;
  readonly machine: StateMachine;
  readonly clock: Clock;
}): AsyncGenerator<Uint8Array, void, void> {
  const { identity, cluster, machine, clock } = session;
  const { nodeId, name, clusterId, generation } = identity;
  const head = {
    ...{ clusterId, generation, nodeId, nodeName: name, program: VERSION },
    version: clusterVersion(machine.reader),
    index: machine.appliedIndex,
    term: cluster.status().term,
    revision: machine.reader.revision,
    madeAtMs: clock.wallMs(),
  };
  return writeBackup(head, machine.snapshot(), clock);
}
