/**
 * Sizes and delays of the log and of snapshots, in one place.
 *
 * @module
 */
import { assert } from "../../base/assert.ts";

const KIB = 1024;
const MIB = 1024 * KIB;

/** Sizes that the file formats fix. */

/** First bytes of a segment, one disk sector: written once, never in one sector with frames. */
export const SEGMENT_HEADER_SIZE = 512;
/** Frames start at multiples of this, so a frame's length and checksum never tear. */
export const FRAME_ALIGNMENT = 8;
/** The largest snapshot chunk; also what is hashed between two turns of the event loop. */
export const SNAPSHOT_CHUNK_SIZE_MAX = MIB;
/** The largest `StoredSnapshotMeta.header`. */
export const SNAPSHOT_META_SIZE_MAX = MIB;
/** The largest payload of an entry: far above what the store's own limits let through. */
export const ENTRY_PAYLOAD_SIZE_MAX = 16 * MIB;

/** Our own choices. */

/** How much is read, or filled with zeros, in one call: bounds memory and bursts on the disk. */
export const IO_CHUNK_SIZE = MIB;
/**
 * Of a snapshot, read at a time when the log is opened: a call costs 0.3 ms whatever its size, and
 * nobody waits for the loop yet.
 */
export const SNAPSHOT_OPEN_READ_SIZE = MIB;
/**
 * A snapshot up to this size is checked and read in one pass when the log is opened: its chunks
 * stay in memory until they are asked for. A larger one is read a second time.
 */
export const SNAPSHOT_KEPT_SIZE_MAX = 32 * MIB;
/** Snapshot bytes between two syncs: one sync of it all would hold up the log's own. */
export const SNAPSHOT_SYNC_INTERVAL_BYTES = 4 * MIB;
/** Snapshot files kept: the newest, and the one before for when the newest is damaged. */
export const SNAPSHOTS_KEPT_COUNT = 2;
/** The encoder's buffer is given back after a batch larger than this. */
export const BATCH_BUFFER_KEPT_SIZE_MAX = 2 * MIB;

/** What may be set, so that tests need no large files. */
export interface WalLimits {
  /** Size of a segment file, but of the first ones; a larger batch gets one of its own size. */
  readonly segmentSizeBytes: number;
  /**
   * Size of a log's first one; those that follow grow from it. Most nodes of a large cluster never
   * write much, and a hundred that start together would fill gigabytes with zeros first.
   */
  readonly firstSegmentSizeBytes: number;
  /** A batch is closed to further appends at this size; one append may be larger. */
  readonly batchSizeBytesMax: number;
  /** How long after the last batch an idle log is sealed (see `wal-store.ts`). */
  readonly sealDelayMs: number;
}

/** Those that say how large a segment is. */
export type SegmentLimits = Pick<WalLimits, "segmentSizeBytes" | "firstSegmentSizeBytes">;

/** 16 MiB hold a day of a small cluster and take about 50 ms to fill with zeros. */
export const DEFAULT_WAL_LIMITS: WalLimits = {
  segmentSizeBytes: 16 * MIB,
  firstSegmentSizeBytes: 256 * KIB,
  batchSizeBytesMax: MIB,
  sealDelayMs: 1000,
};

/** How much larger a segment is than the one before, until it has the full size. */
const SEGMENT_GROWTH = 4;

/** Bytes of the segment with the number `sequence`, from 1. */
export function segmentSize(sequence: number, limits: SegmentLimits): number {
  const { segmentSizeBytes, firstSegmentSizeBytes } = limits;
  return Math.min(segmentSizeBytes, firstSegmentSizeBytes * SEGMENT_GROWTH ** (sequence - 1));
}

/** Fills in defaults. Asserts that the limits fit each other. */
export function resolveWalLimits(given: Partial<WalLimits> = {}): WalLimits {
  const limits = { ...DEFAULT_WAL_LIMITS, ...given };
  for (const size of [limits.segmentSizeBytes, limits.firstSegmentSizeBytes]) {
    assert(size >= 2 * SEGMENT_HEADER_SIZE, "a segment must hold more than its header");
    assert(size % FRAME_ALIGNMENT === 0, "segment size must be a multiple of 8");
  }
  assert(limits.batchSizeBytesMax > 0, "batch size must be positive");
  assert(limits.sealDelayMs >= 0, "seal delay must not be negative");
  return limits;
}
