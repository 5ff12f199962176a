/**
 * One frame of the log: its bytes, and back.
 *
 *          0       1       2       3       4       5       6       7
 *         +-------+-------+-------+-------+-------+-------+-------+-------+
 *       0 | crc32c                        | length of the payload         |
 *       8 | type                          | detail                        |
 *      16 | term                                                          |
 *      24 | index                                                         |
 *      32 | payload, then zeros to a multiple of 8                        |
 *
 *     type            detail        term           index          payload
 *     1 entry         entry kind    of the entry   of the entry   the entry's
 *     2 hard state    0             current term   commit         vote (8)
 *     3 snapshot mark 1 = resets    of snapshot    of snapshot    size (8), SHA-256 (32)
 *     4 commit        1 = continued 0              batch number   nonce (8), frames (4), crc (4)
 *
 * All integers are little-endian; 64-bit ones are below 2^53. The checksum covers everything after
 * itself, padding included, and continues that of the frame before: a frame is valid only after
 * exactly the frames that it was written after. The checksum comes first so that one pass covers
 * the rest.
 *
 * A commit frame must also be recognized where that chain is broken: its payload repeats the
 * segment's random nonce, which no stored value can know, and a checksum of its own.
 *
 * Pure.
 *
 * @module
 */
import { assert, unreachable } from "../../base/assert.ts";
import { crc32c } from "../../base/crc32c.ts";
import type { StoredEntry, StoredHardState, StoredSnapshotMeta } from "../ports.ts";
import { FRAME_ALIGNMENT } from "./limits.ts";

export const FRAME_HEADER_SIZE = 32;
export const NONCE_SIZE = 8;
export const SHA256_SIZE = 32;

const TYPE_ENTRY = 1;
const TYPE_HARD_STATE = 2;
const TYPE_SNAPSHOT_MARK = 3;
const TYPE_COMMIT = 4;

const HARD_STATE_PAYLOAD_SIZE = 8;
const SNAPSHOT_MARK_PAYLOAD_SIZE = 8 + SHA256_SIZE;
const COMMIT_PAYLOAD_SIZE = NONCE_SIZE + 8;
/** What a commit frame's own checksum covers: from the length to the frame count. */
const COMMIT_CHECKED_SIZE = FRAME_HEADER_SIZE - 4 + NONCE_SIZE + 4;

/** Bytes of a commit frame; the end of every batch. */
export const COMMIT_FRAME_SIZE = FRAME_HEADER_SIZE + COMMIT_PAYLOAD_SIZE;

const U32_COUNT = 2 ** 32;
/** High word of the largest safe integer. */
const SAFE_HIGH_MAX = 0x1fffff;

/** "The snapshot file of this index and term is whole on the disk, and is this one." */
export interface SnapshotMark extends Pick<StoredSnapshotMeta, "index" | "term"> {
  /** Size of the file in bytes. */
  readonly fileSize: number;
  /** SHA-256 of the file up to its trailer. */
  readonly digest: Uint8Array;
}

/** The end of a batch. Batches count from 1 through the life of the log. */
export interface BatchCommit {
  readonly batch: number;
  /** Frames before this one in the batch. */
  readonly frameCount: number;
  /** The log goes on in the next segment. */
  readonly continued: boolean;
}

/** What a frame says. A mark that `resets` voids every entry before it. */
export type WalFrame =
  | { readonly kind: "entry"; readonly entry: StoredEntry }
  | { readonly kind: "hard_state"; readonly hardState: StoredHardState }
  | { readonly kind: "snapshot_mark"; readonly mark: SnapshotMark; readonly resets: boolean }
  | { readonly kind: "commit"; readonly commit: BatchCommit };

/** Size in bytes of a frame with a payload of `payloadSize` bytes. */
export function frameSize(payloadSize: number): number {
  const unaligned = FRAME_HEADER_SIZE + payloadSize;
  return Math.ceil(unaligned / FRAME_ALIGNMENT) * FRAME_ALIGNMENT;
}

/** Size in bytes of `frame`. */
export function encodedSize(frame: WalFrame): number {
  switch (frame.kind) {
    case "entry":
      return frameSize(frame.entry.payload.length);
    case "hard_state":
      return frameSize(HARD_STATE_PAYLOAD_SIZE);
    case "snapshot_mark":
      return frameSize(SNAPSHOT_MARK_PAYLOAD_SIZE);
    case "commit":
      return COMMIT_FRAME_SIZE;
    default:
      return unreachable(frame);
  }
}

/** Where a frame goes and what it continues. */
export interface FrameTarget {
  readonly bytes: Uint8Array;
  /** A view of all of `bytes`. */
  readonly view: DataView;
  /** The nonce of the segment. */
  readonly nonce: Uint8Array;
}

/**
 * Writes `frame` at `offset`, continuing checksum `previousCrc`; all of its bytes are set.
 *
 * @returns the frame's checksum, which the next one continues.
 */
export function encodeFrame(
  target: FrameTarget,
  frame: WalFrame,
  offset: number,
  previousCrc: number,
): number {
  const { bytes, view } = target;
  const payload = offset + FRAME_HEADER_SIZE;
  switch (frame.kind) {
    case "entry": {
      const { entry } = frame;
      putHeader(view, offset, [entry.payload.length, TYPE_ENTRY, entry.kind]);
      putTermAndIndex(view, offset, entry);
      bytes.set(entry.payload, payload);
      bytes.fill(0, payload + entry.payload.length, offset + frameSize(entry.payload.length));
      break;
    }
    case "hard_state": {
      const { term, vote, commit } = frame.hardState;
      putHeader(view, offset, [HARD_STATE_PAYLOAD_SIZE, TYPE_HARD_STATE, 0]);
      putTermAndIndex(view, offset, { term, index: commit });
      putSafe(view, payload, vote);
      break;
    }
    case "snapshot_mark": {
      const { mark } = frame;
      assert(mark.digest.length === SHA256_SIZE, "a SHA-256 has 32 bytes");
      const resets = frame.resets ? 1 : 0;
      putHeader(view, offset, [SNAPSHOT_MARK_PAYLOAD_SIZE, TYPE_SNAPSHOT_MARK, resets]);
      putTermAndIndex(view, offset, mark);
      putSafe(view, payload, mark.fileSize);
      bytes.set(mark.digest, payload + 8);
      break;
    }
    case "commit": {
      const { batch, frameCount, continued } = frame.commit;
      putHeader(view, offset, [COMMIT_PAYLOAD_SIZE, TYPE_COMMIT, continued ? 1 : 0]);
      putTermAndIndex(view, offset, { term: 0, index: batch });
      bytes.set(target.nonce, payload);
      view.setUint32(payload + NONCE_SIZE, frameCount, true);
      const own = crc32c(bytes, offset + 4, COMMIT_CHECKED_SIZE);
      view.setUint32(payload + NONCE_SIZE + 4, own, true);
      break;
    }
    default:
      return unreachable(frame);
  }
  const crc = crc32c(bytes, offset + 4, encodedSize(frame) - 4, previousCrc);
  view.setUint32(offset, crc, true);
  return crc;
}

/**
 * The commit frame at `offset`, recognized by itself, without the frames before it; undefined when
 * there is none of this segment. At least `COMMIT_FRAME_SIZE` bytes must be there.
 */
export function decodeLoneCommit(source: FrameTarget, offset: number): BatchCommit | undefined {
  const { bytes, view, nonce } = source;
  if (view.getUint32(offset + 4, true) !== COMMIT_PAYLOAD_SIZE) return undefined;
  if (view.getUint32(offset + 8, true) !== TYPE_COMMIT) return undefined;
  const payload = offset + FRAME_HEADER_SIZE;
  for (let i = 0; i < NONCE_SIZE; i++) if (bytes[payload + i] !== nonce[i]) return undefined;
  const own = crc32c(bytes, offset + 4, COMMIT_CHECKED_SIZE);
  if (view.getUint32(payload + NONCE_SIZE + 4, true) !== own) return undefined;
  const detail = view.getUint32(offset + 12, true);
  const batch = decodeSafe(view, offset + 24);
  if (detail > 1 || batch === undefined) return undefined;
  const frameCount = view.getUint32(payload + NONCE_SIZE, true);
  return { batch, frameCount, continued: detail === 1 };
}

/**
 * What the frame of `length` payload bytes at `offset` says; undefined when that makes no sense.
 * Its checksum must have been checked. The result owns its bytes.
 */
export function decodeFrame(source: FrameTarget, offset: number): WalFrame | undefined {
  const { bytes, view } = source;
  const length = view.getUint32(offset + 4, true);
  const detail = view.getUint32(offset + 12, true);
  const term = decodeSafe(view, offset + 16);
  const index = decodeSafe(view, offset + 24);
  if (term === undefined || index === undefined) return undefined;
  const payload = offset + FRAME_HEADER_SIZE;
  switch (view.getUint32(offset + 8, true)) {
    case TYPE_ENTRY: {
      const entry = { term, index, kind: detail, payload: bytes.slice(payload, payload + length) };
      return index === 0 ? undefined : { kind: "entry", entry };
    }
    case TYPE_HARD_STATE: {
      if (length !== HARD_STATE_PAYLOAD_SIZE || detail !== 0) return undefined;
      const vote = decodeSafe(view, payload);
      if (vote === undefined) return undefined;
      return { kind: "hard_state", hardState: { term, vote, commit: index } };
    }
    case TYPE_SNAPSHOT_MARK: {
      if (length !== SNAPSHOT_MARK_PAYLOAD_SIZE || detail > 1) return undefined;
      const fileSize = decodeSafe(view, payload);
      if (fileSize === undefined) return undefined;
      const digest = bytes.slice(payload + 8, payload + 8 + SHA256_SIZE);
      return {
        kind: "snapshot_mark",
        mark: { term, index, fileSize, digest },
        resets: detail === 1,
      };
    }
    case TYPE_COMMIT: {
      const commit = decodeLoneCommit(source, offset);
      return commit === undefined ? undefined : { kind: "commit", commit };
    }
    default:
      return undefined;
  }
}

/** Writes a safe integer from 0 as 64 bits, little-endian. */
export function putSafe(view: DataView, offset: number, value: number): void {
  assert(Number.isSafeInteger(value) && value >= 0, "a stored counter must be a safe integer");
  view.setUint32(offset, value % U32_COUNT, true);
  view.setUint32(offset + 4, Math.floor(value / U32_COUNT), true);
}

/** The 64-bit integer at `offset`; undefined when it is not a safe one. */
export function decodeSafe(view: DataView, offset: number): number | undefined {
  const high = view.getUint32(offset + 4, true);
  if (high > SAFE_HIGH_MAX) return undefined;
  return high * U32_COUNT + view.getUint32(offset, true);
}

function putHeader(
  view: DataView,
  offset: number,
  [length, type, detail]: readonly [length: number, type: number, detail: number],
): void {
  assert(detail >= 0 && detail < U32_COUNT, "an entry kind must fit 32 bits");
  view.setUint32(offset + 4, length, true);
  view.setUint32(offset + 8, type, true);
  view.setUint32(offset + 12, detail, true);
}

function putTermAndIndex(
  view: DataView,
  offset: number,
  id: { readonly term: number; readonly index: number },
): void {
  putSafe(view, offset + 16, id.term);
  putSafe(view, offset + 24, id.index);
}
