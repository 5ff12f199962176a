/**
 * The name and the first sector of a segment file.
 *
 *          0       1       2       3       4       5       6       7
 *         +-------+-------+-------+-------+-------+-------+-------+-------+
 *       0 | "OVLYWAL" 0x0a                                                |
 *       8 | crc32c of the rest            | version                       |
 *      16 | cluster id                                                    |
 *      32 | node id                                                       |
 *      40 | sequence number of the segment, from 1                        |
 *      48 | size of the file in bytes                                     |
 *      56 | nonce, random                                                 |
 *      64 | last batch of the segment before                              |
 *      72 | its last checksum             | flags: 1 hard state, 2 mark   |
 *      80 | last index before             | (88) its term                 |
 *      96 | current term                  | (104) vote   | (112) commit   |
 *     120 | snapshot index                | (128) term   | (136) size     |
 *     144 | SHA-256 of the snapshot                                       |
 *     176 | zeros to 512                                                  |
 *
 * Integers as in `frame.ts`. The header repeats the state of the log before the segment, so that
 * older segments can be deleted. Its own checksum is what the first frame's continues.
 *
 * A file is `<sequence>-<first index>.wal`, both with 16 digits, so that they sort.
 *
 * Pure.
 *
 * @module
 */
import { assert } from "../../base/assert.ts";
import { crc32c } from "../../base/crc32c.ts";
import { err, ok, type Result } from "../../base/result.ts";
import { decodeSafe, NONCE_SIZE, putSafe, SHA256_SIZE, type SnapshotMark } from "./frame.ts";
import { SEGMENT_HEADER_SIZE } from "./limits.ts";
import type { LogSummary } from "./log-state.ts";

/** Whose log it is: a file of another cluster or node is refused. */
export interface WalIdentity {
  /** 32 lower-case hexadecimal digits. */
  readonly clusterId: string;
  readonly nodeId: number;
}

export interface SegmentHeader extends WalIdentity {
  readonly sequence: number;
  readonly sizeBytes: number;
  readonly nonce: Uint8Array;
  /** Last batch of the segment before, its continuation mark included; 0 for the first segment. */
  readonly previousBatch: number;
  /** Checksum of that batch's commit frame; 0 for the first segment. */
  readonly previousCrc: number;
  /** The log before this segment. */
  readonly before: LogSummary;
}

/** A decoded header and its checksum, which the first frame continues. */
export interface DecodedSegmentHeader {
  readonly header: SegmentHeader;
  readonly crc: number;
}

export type SegmentHeaderError =
  | { readonly kind: "not_a_segment" }
  | { readonly kind: "checksum" }
  | { readonly kind: "version"; readonly version: number };

/** What a segment's file name says. */
export interface SegmentName {
  readonly sequence: number;
  /** One more than the last index before it; its first entry may be lower. */
  readonly firstIndex: number;
}

/** Of the whole log format. A change that older versions cannot read must raise it. */
export const WAL_FORMAT_VERSION = 1;

const MAGIC = Uint8Array.of(0x4f, 0x56, 0x4c, 0x59, 0x57, 0x41, 0x4c, 0x0a);
const HAS_HARD_STATE = 1;
const HAS_MARK = 2;
const NAME_DIGITS = 16;
const NAME_PATTERN = /^(\d{16})-(\d{16})\.wal$/;

/** The file name of a segment, without its directory. */
export function formatSegmentName(name: SegmentName): string {
  const sequence = String(name.sequence).padStart(NAME_DIGITS, "0");
  return `${sequence}-${String(name.firstIndex).padStart(NAME_DIGITS, "0")}.wal`;
}

/** What the file name `text` says; undefined when it is not a segment's. */
export function parseSegmentName(text: string): SegmentName | undefined {
  const match = NAME_PATTERN.exec(text);
  if (match === null) return undefined;
  const name = { sequence: Number(match[1]), firstIndex: Number(match[2]) };
  const safe = Number.isSafeInteger(name.sequence) && Number.isSafeInteger(name.firstIndex);
  return safe ? name : undefined;
}

/** The first sector of a segment, and its checksum, which the first frame continues. */
export function encodeSegmentHeader(header: SegmentHeader): {
  readonly bytes: Uint8Array;
  readonly crc: number;
} {
  assert(header.nonce.length === NONCE_SIZE, "a nonce has 8 bytes");
  const bytes = new Uint8Array(SEGMENT_HEADER_SIZE);
  const view = new DataView(bytes.buffer);
  const { hardState, mark } = header.before;
  bytes.set(MAGIC, 0);
  view.setUint32(12, WAL_FORMAT_VERSION, true);
  bytes.set(Buffer.from(header.clusterId, "hex"), 16);
  putSafe(view, 32, header.nodeId);
  putSafe(view, 40, header.sequence);
  putSafe(view, 48, header.sizeBytes);
  bytes.set(header.nonce, 56);
  putSafe(view, 64, header.previousBatch);
  view.setUint32(72, header.previousCrc, true);
  const flags = (hardState ? HAS_HARD_STATE : 0) | (mark ? HAS_MARK : 0);
  view.setUint32(76, flags, true);
  putSafe(view, 80, header.before.lastIndex);
  putSafe(view, 88, header.before.lastTerm);
  if (hardState) {
    putSafe(view, 96, hardState.term);
    putSafe(view, 104, hardState.vote);
    putSafe(view, 112, hardState.commit);
  }
  if (mark) {
    putSafe(view, 120, mark.index);
    putSafe(view, 128, mark.term);
    putSafe(view, 136, mark.fileSize);
    bytes.set(mark.digest, 144);
  }
  const crc = headerCrc(bytes);
  view.setUint32(8, crc, true);
  return { bytes, crc };
}

/** The header in `bytes`, one sector. The result owns its bytes. */
export function decodeSegmentHeader(
  bytes: Uint8Array,
): Result<DecodedSegmentHeader, SegmentHeaderError> {
  assert(bytes.length === SEGMENT_HEADER_SIZE, "a segment header is one sector");
  if (!MAGIC.every((byte, at) => bytes[at] === byte)) return err({ kind: "not_a_segment" });
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const crc = headerCrc(bytes);
  if (view.getUint32(8, true) !== crc) return err({ kind: "checksum" });
  const version = view.getUint32(12, true);
  if (version !== WAL_FORMAT_VERSION) return err({ kind: "version", version });
  const header: SegmentHeader = {
    clusterId: Buffer.from(bytes.subarray(16, 32)).toString("hex"),
    nodeId: counterAt(view, 32),
    sequence: counterAt(view, 40),
    sizeBytes: counterAt(view, 48),
    nonce: bytes.slice(56, 56 + NONCE_SIZE),
    previousBatch: counterAt(view, 64),
    previousCrc: view.getUint32(72, true),
    before: decodeSummary(bytes, view),
  };
  return ok({ header, crc });
}

function headerCrc(bytes: Uint8Array): number {
  return crc32c(bytes, 12, SEGMENT_HEADER_SIZE - 12);
}

/** A header with a right checksum was written by this program, which writes safe integers only. */
function counterAt(view: DataView, offset: number): number {
  return decodeSafe(view, offset) ?? 0;
}

function decodeSummary(bytes: Uint8Array, view: DataView): LogSummary {
  const flags = view.getUint32(76, true);
  const mark: SnapshotMark = {
    index: counterAt(view, 120),
    term: counterAt(view, 128),
    fileSize: counterAt(view, 136),
    digest: bytes.slice(144, 144 + SHA256_SIZE),
  };
  const hardState = {
    term: counterAt(view, 96),
    vote: counterAt(view, 104),
    commit: counterAt(view, 112),
  };
  return {
    lastIndex: counterAt(view, 80),
    lastTerm: counterAt(view, 88),
    hardState: (flags & HAS_HARD_STATE) === 0 ? undefined : hardState,
    mark: (flags & HAS_MARK) === 0 ? undefined : mark,
  };
}
