/**
 * A data directory whose store holds many leases, made by the program's own parts.
 *
 * @module
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { openIdentityFiles } from "../../../src/agent/identity-files.ts";
import { parseAddress } from "../../../src/base/address.ts";
import { decodeNodeId } from "../../../src/base/ids.ts";
import { createSilentLog } from "../../../src/base/log.ts";
import { openCluster } from "../../../src/control/cluster/cluster.ts";
import { clusterPaths, IdentityStore } from "../../../src/control/cluster/trust/identity.ts";
import type { Cluster } from "../../../src/control/cluster/types.ts";
import { kvHandlers } from "../../../src/control/kv/handlers.ts";
import { createStateMachine } from "../../../src/control/kv/state-machine.ts";
import { acquireLease, putConfig } from "../../../src/control/network/commands.ts";
import { networkHandlers } from "../../../src/control/network/handlers.ts";
import { openSystemClock } from "../../../src/host/clock/system-clock.ts";
import { openDisk } from "../../../src/host/files/disk.ts";
import { openSystemRandom } from "../../../src/host/random/system-random.ts";
import { openSnapshotStaging } from "../../../src/host/wal/snapshot-staging.ts";
import { openWal } from "../../../src/host/wal/wal.ts";
import { waitFor } from "../../../tests/lab/wait.ts";

/** 16,384 subnets of 24 bits. */
const NETWORK = "10.0.0.0/10";
/** Commands in flight: as many as make full batches, and no more than are let in. */
const CONCURRENCY = 128;
const DATA_MODE = 0o700;

export interface FillOptions {
  /** Made here. */
  readonly dataDir: string;
  readonly leaseCount: number;
  /** Address of this node. */
  readonly publicIp: string;
}

/** Makes a cluster of one with `leaseCount` leases of other nodes, each with its own address. */
export async function fillWithLeases(options: FillOptions): Promise<void> {
  const { dataDir, leaseCount, publicIp } = options;
  mkdirSync(dataDir, { recursive: true, mode: DATA_MODE });
  const clock = openSystemClock();
  const random = openSystemRandom();
  const identityStore = new IdentityStore(openIdentityFiles(dataDir));
  const identity = await identityStore.create({ name: "bench", clock, random });
  const paths = clusterPaths(identity.clusterId);
  const cluster = await openCluster({
    identity,
    identityStore,
    logStore: await openWal({
      dir: join(dataDir, paths.wal),
      snapshotDir: join(dataDir, paths.snapshots),
      clusterId: identity.clusterId,
      nodeId: identity.nodeId,
      clock,
      random,
    }),
    staging: openSnapshotStaging(openDisk(), join(dataDir, paths.snapshots)),
    machine: createStateMachine({ ...kvHandlers, ...networkHandlers }),
    clock,
    random,
    listen: { host: "127.0.0.1", port: 0 },
    self: {
      ...{ name: "bench", address: { host: publicIp, port: 0 }, publicIp },
      ...{ underlayPrefixes: [], zone: "" },
    },
    log: createSilentLog(),
    onFatal: (error) => {
      throw error;
    },
  });
  await waitFor(() => cluster.status().hasQuorum, { describe: "the cluster of one" });
  await fill(cluster, leaseCount);
  await cluster.close();
}

async function fill(cluster: Cluster, leaseCount: number): Promise<void> {
  const stored = await cluster.execute(putConfig({ config: { Network: NETWORK } }));
  if (!stored.ok || stored.value.kind !== "stored") {
    throw new Error(`Cannot store the network config: ${JSON.stringify(stored)}`);
  }
  let next = 1;
  const clients = Array.from({ length: CONCURRENCY }, async () => {
    while (next <= leaseCount) {
      const number = next++;
      const node = decodeNodeId(0x1000_0000_0000 + number * 7919);
      const acquired = await cluster.execute(
        acquireLease({ node, attributes: attributes(number) }),
      );
      if (!acquired.ok || acquired.value.kind !== "acquired") {
        throw new Error(`Cannot acquire lease ${number}: ${JSON.stringify(acquired)}`);
      }
    }
  });
  await Promise.all(clients);
}

/** What node `number` says of itself; addresses of 198.18.0.0/15, which is for benchmarks. */
function attributes(number: number) {
  const publicIp = parseAddress(`198.18.${number >> 8}.${number & 0xff}`);
  if (publicIp === undefined) throw new Error(`Cannot give node ${number} an address`);
  const backend = { kind: "udp", port: 8285, partialChecksum: true } as const;
  return { publicIp, publicIpv6: null, backend };
}
