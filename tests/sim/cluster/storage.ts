/**
 * Where a simulated node keeps its log: the real write-ahead log on a simulated disk, or a store
 * that only behaves like one and is several times faster.
 *
 * @module
 */
import type { NodeId } from "../../../src/base/ids.ts";
import type { LogStore, SnapshotStaging } from "../../../src/host/ports.ts";
import { openSnapshotStaging } from "../../../src/host/wal/snapshot-staging.ts";
import { openWal } from "../../../src/host/wal/wal.ts";
import type { Coverage } from "./coverage.ts";
import type { DiskWeather } from "./device.ts";
import type { NodeClock } from "./node-clock.ts";
import { SimDisk } from "./sim-disk.ts";
import { SimLog } from "./sim-log.ts";
import type { SimProcess } from "./sim-process.ts";
import type { SimRandom } from "./sim-random.ts";

/** Identity of every simulated cluster. */
export const CLUSTER_ID = "5eed5eed5eed5eed5eed5eed5eed5eed";
export const WAL_DIRECTORY = "/wal";
export const SNAPSHOT_DIRECTORY = "/snapshots";

/** One node's storage, for all its runs. */
export interface Storage {
  readonly weather: DiskWeather;
  /** Opens the log for one run. Throws `HostError` as the real one does. */
  open(process: SimProcess): Promise<LogStore>;
  /** Where snapshots on their way in are kept in one run; undefined: they are handed over whole. */
  staging(process: SimProcess): SnapshotStaging | undefined;
  /** `process` ended; `isMachineDown`: with the power. */
  ended(process: SimProcess, isMachineDown: boolean): void;
  wipe(): void;
  /** A copy of everything, to be put back later by calling it. The node must be down both times. */
  copy(): () => void;
  /** The disk below, when there is a real log on it. */
  readonly disk: SimDisk | undefined;
}

export interface StorageParts {
  readonly node: NodeId;
  readonly random: SimRandom;
  readonly coverage: Coverage;
  readonly nowMs: () => number;
  readonly clock: NodeClock;
  readonly segmentSizeBytes: number;
  readonly syncMeanMs: number;
}

/** Storage without files. */
export function createLogStorage(parts: StorageParts): Storage {
  const log = new SimLog(parts);
  return {
    weather: log.weather,
    open: (process) => Promise.resolve(log.open(process)),
    staging: () => undefined,
    ended: () => log.ended(),
    wipe: () => log.wipe(),
    copy() {
      const image = log.image();
      return () => log.restore(image);
    },
    disk: undefined,
  };
}

/** The real log on a simulated disk. */
export function createWalStorage(parts: StorageParts): Storage {
  const { random, clock, segmentSizeBytes, coverage } = parts;
  const disk = new SimDisk(parts);
  return {
    weather: disk.weather,
    async open(process) {
      const temporary = [WAL_DIRECTORY, SNAPSHOT_DIRECTORY]
        .flatMap((directory) => disk.names(directory))
        .filter((name) => name.endsWith(".tmp"));
      if (temporary.length > 0) coverage.hit("disk.temporary-left");
      const store = await openWal({
        dir: WAL_DIRECTORY,
        snapshotDir: SNAPSHOT_DIRECTORY,
        clusterId: CLUSTER_ID,
        nodeId: parts.node,
        clock: clock.portFor(process),
        random,
        limits: { segmentSizeBytes },
        disk: disk.portFor(process),
      });
      if (store.report.torn !== undefined) coverage.hit("sometimes.torn-batch-dropped");
      if (store.report.fallback !== undefined) coverage.hit("sometimes.older-snapshot-used");
      return store;
    },
    staging: (process) => openSnapshotStaging(disk.portFor(process), SNAPSHOT_DIRECTORY),
    ended(process, isMachineDown) {
      disk.processEnded(process);
      if (isMachineDown) disk.powerLost();
    },
    wipe: () => disk.wipe(),
    copy() {
      const image = disk.image();
      return () => disk.restore(image);
    },
    disk,
  };
}
