/**
 * Opens the write-ahead log and the snapshots of one node, or makes them.
 *
 * @module
 */
import { assert } from "../../base/assert.ts";
import type { HostError } from "../../base/host-error.ts";
import { parseClusterId } from "../../base/ids.ts";
import { type Disk, openDisk } from "../files/disk.ts";
import type { Clock, Random } from "../ports.ts";
import { NONCE_SIZE } from "./frame.ts";
import { resolveWalLimits, SEGMENT_HEADER_SIZE, segmentSize, type WalLimits } from "./limits.ts";
import { EMPTY_LOG, LogState } from "./log-state.ts";
import { type RecoveredSegments, recoverSegments } from "./recovery.ts";
import { prepareSpare, startSegment } from "./segment-file.ts";
import { SegmentWriter, type WriterPlace } from "./segment-writer.ts";
import { SnapshotStore } from "./snapshot-store.ts";
import { damaged } from "./wal-errors.ts";
import { createWalStore, type WalStore } from "./wal-store.ts";

export interface OpenWalOptions {
  /** Directory of the log's segments; made when it is missing. No other process may use it. */
  readonly dir: string;
  /** Directory of the snapshots; made when it is missing. */
  readonly snapshotDir: string;
  /** Cluster that the log belongs to: 32 lower-case hexadecimal digits. */
  readonly clusterId: string;
  /** Node that the log belongs to. */
  readonly nodeId: number;
  readonly clock: Pick<Clock, "after">;
  readonly random: Pick<Random, "bytes">;
  readonly limits?: Partial<WalLimits>;
  /** Called once when the disk fails; the process must end. Every call fails from then on. */
  readonly onFatal?: (error: HostError) => void;
  /** The file system; this machine's when absent. */
  readonly disk?: Disk;
}

/**
 * The log and snapshots in `options.dir` and `options.snapshotDir`. Drops a torn last batch, which
 * was never acknowledged, and says so in `report`. Throws `HostError` on any other damage, when
 * the files are another node's, and when there is no room.
 */
export async function openWal(options: OpenWalOptions): Promise<WalStore> {
  const { dir, snapshotDir, clusterId, nodeId, clock, random } = options;
  assert(parseClusterId(clusterId) !== undefined, "a cluster id has 32 hexadecimal digits");
  assert(Number.isSafeInteger(nodeId) && nodeId > 0, "a node id is a safe integer from 1");
  const limits = resolveWalLimits(options.limits);
  const disk = options.disk ?? openDisk();
  const identity = { clusterId, nodeId };
  await disk.makeDirectory(dir);
  await disk.makeDirectory(snapshotDir);
  const place: WriterPlace = { disk, directory: dir, identity, random, limits };
  const snapshots = new SnapshotStore({ disk, directory: snapshotDir, identity });

  const log = (await recoverSegments(disk, dir, identity)) ?? (await createLog(place, snapshots));
  const { state, current, segments, entries, torn, end } = log;
  try {
    const { meta, fallback } = await snapshots.open(state);
    const { hardState } = state;
    const { offset, crc, batch, sealed } = end;
    const writerState = state.copy();
    const start = { state: writerState, current, offset, crc, batch, sealed, segments };
    return createWalStore({
      recovered: { hardState, snapshot: meta, entries },
      report: { torn, fallback },
      state,
      writer: new SegmentWriter(place, start),
      snapshots,
      limits,
      clock,
      onFatal: options.onFatal ?? (() => undefined),
    });
  } catch (cause) {
    await current.file.close();
    throw cause;
  }
}

/** Makes the first segment of a log. */
async function createLog(place: WriterPlace, snapshots: SnapshotStore): Promise<RecoveredSegments> {
  const { disk, directory, identity, random, limits } = place;
  if (!(await snapshots.isEmpty())) {
    throw damaged(directory, "the log is missing, although there are snapshots");
  }
  const spare = await prepareSpare(disk, directory, segmentSize(1, limits));
  const current = await startSegment(disk, directory, {
    spare,
    header: {
      ...identity,
      sequence: 1,
      sizeBytes: spare.sizeBytes,
      nonce: random.bytes(NONCE_SIZE),
      previousBatch: 0,
      previousCrc: 0,
      before: EMPTY_LOG,
    },
  });
  return {
    state: new LogState(EMPTY_LOG),
    entries: [],
    segments: [{ path: current.path, highestIndex: 0 }],
    current,
    end: {
      offset: SEGMENT_HEADER_SIZE,
      crc: current.segment.crc,
      batch: 0,
      continued: false,
      sealed: true,
      stop: { kind: "blank" },
      stopOffset: SEGMENT_HEADER_SIZE,
      uncommitted: [],
    },
    torn: undefined,
  };
}
