/**
 * Snapshots as bytes.
 *
 *     header   version u8 | CBOR {c: cluster, g: generation, s: membership, r: revision}
 *     body     (length u32 big-endian | CBOR part)* | length 0
 *
 * The version is the cluster's at that moment: a node that reads less takes none of it.
 * The body is one stream, cut into chunks without regard to parts; the zero length at its end
 * tells a whole one from one that was cut off. Parts are the state machine's own business.
 *
 * @module
 */
import type { ClusterId, Revision } from "../../../base/ids.ts";
import { parseClusterId } from "../../../base/ids.ts";
import { CLUSTER_VERSION_FIRST, CLUSTER_VERSION_NEWEST } from "../../kv/cluster-version.ts";
import type { SnapshotPart } from "../../kv/types.ts";
import type { ConfState } from "../../raft/types.ts";
import { decodeOwnRecord, decodeRecord, encodeValue } from "./codec.ts";
import { FieldReader } from "./fields.ts";
import { confStateFromRecord, confStateToRecord } from "./message-codec.ts";

/** Small enough to leave room for others on a link, large enough to amortize a frame. */
export const SNAPSHOT_CHUNK_SIZE_BYTES = 64 * 1024;
/** A state beyond this is not ours: it must fit in memory twice while it is installed. */
export const SNAPSHOT_SIZE_MAX_BYTES = 512 * 1024 * 1024;
/** The state machine promises parts well under 1 MiB. */
const PART_SIZE_MAX_BYTES = 2 * 1024 * 1024;

const LENGTH_SIZE_BYTES = 4;
const CLUSTER_ID_LENGTH = 32;

/** What is known of a snapshot before its body. */
export interface SnapshotHeader {
  readonly clusterId: ClusterId;
  readonly generation: number;
  readonly confState: ConfState;
  readonly revision: Revision;
  /** The cluster's at that moment. */
  readonly version: number;
}

/** `header` as bytes. */
export function encodeSnapshotHeader(header: SnapshotHeader): Uint8Array {
  const body = encodeValue({
    c: header.clusterId,
    g: header.generation,
    s: confStateToRecord(header.confState),
    r: header.revision,
  });
  const bytes = new Uint8Array(1 + body.length);
  bytes[0] = header.version;
  bytes.set(body, 1);
  return bytes;
}

/** The cluster version that a reader of the snapshot behind the header `bytes` must know. */
export function versionOfSnapshot(bytes: Uint8Array): number {
  return bytes[0] ?? 0;
}

/** The header in `bytes`; undefined when it is malformed or needs a newer program. */
export function decodeSnapshotHeader(bytes: Uint8Array): SnapshotHeader | undefined {
  const version = versionOfSnapshot(bytes);
  if (version < CLUSTER_VERSION_FIRST || version > CLUSTER_VERSION_NEWEST) return undefined;
  const fields = new FieldReader(decodeRecord(bytes.subarray(1)));
  const clusterId = parseClusterId(fields.text("c", CLUSTER_ID_LENGTH));
  const generation = fields.counter("g");
  const confState = confStateFromRecord(fields.raw("s"));
  const revision = fields.revision("r");
  if (fields.failed || clusterId === undefined || confState === undefined) return undefined;
  return { clusterId, generation, confState, revision, version };
}

/**
 * The body of `parts` in chunks. Lazy: a part is encoded when its chunk is asked for. A chunk ends
 * early, after a part, when `isSpent` says so.
 */
export function* encodeSnapshotBody(
  parts: Iterable<SnapshotPart>,
  isSpent: () => boolean = () => false,
): Generator<Uint8Array> {
  let chunk = new Uint8Array(SNAPSHOT_CHUNK_SIZE_BYTES);
  let used = 0;
  for (const piece of bodyPieces(parts)) {
    let taken = 0;
    while (taken < piece.length) {
      const count = Math.min(piece.length - taken, chunk.length - used);
      chunk.set(piece.subarray(taken, taken + count), used);
      used += count;
      taken += count;
      if (used === chunk.length) {
        yield chunk;
        chunk = new Uint8Array(SNAPSHOT_CHUNK_SIZE_BYTES);
        used = 0;
      }
    }
    if (used > 0 && isSpent()) {
      yield chunk.slice(0, used);
      used = 0;
    }
  }
  if (used > 0) yield chunk.subarray(0, used);
}

/** The parts in the body that `chunks` make up together, or undefined when it is not whole. */
export function decodeSnapshotBody(chunks: readonly Uint8Array[]): SnapshotPart[] | undefined {
  const decoder = new SnapshotBodyDecoder();
  for (const chunk of chunks) if (!decoder.push(chunk)) return undefined;
  return decoder.finish();
}

/**
 * Takes a body chunk by chunk: no more of it is in memory than one part, and the parts that nobody
 * has taken yet.
 */
export class SnapshotBodyDecoder {
  #parts: SnapshotPart[] = [];
  /** Of the length or part that is coming in, `#filled` bytes are here. */
  #piece = new Uint8Array(LENGTH_SIZE_BYTES);
  #filled = 0;
  #isPart = false;
  #isEnded = false;

  /** Takes the next chunk; false when the body makes no sense. */
  push(chunk: Uint8Array): boolean {
    for (let at = 0; at < chunk.length; ) {
      if (this.#isEnded) return false;
      const count = Math.min(chunk.length - at, this.#piece.length - this.#filled);
      this.#piece.set(chunk.subarray(at, at + count), this.#filled);
      this.#filled += count;
      at += count;
      if (this.#filled === this.#piece.length && !this.#takePiece()) return false;
    }
    return true;
  }

  /** The parts that came since the last call; they are not kept here. */
  drain(): readonly SnapshotPart[] {
    const parts = this.#parts;
    this.#parts = [];
    return parts;
  }

  /** The parts that were not drained, once the body was whole; undefined when it was not. */
  finish(): SnapshotPart[] | undefined {
    return this.#isEnded ? this.#parts : undefined;
  }

  #takePiece(): boolean {
    const piece = this.#piece;
    this.#filled = 0;
    if (this.#isPart) {
      // Values of their own, so that a small one that stays does not keep the whole part.
      const part = decodeOwnRecord(piece);
      if (part === undefined) return false;
      this.#parts.push(part);
      this.#isPart = false;
      this.#piece = new Uint8Array(LENGTH_SIZE_BYTES);
      return true;
    }
    const length = new DataView(piece.buffer).getUint32(0);
    if (length > PART_SIZE_MAX_BYTES) return false;
    this.#isEnded = length === 0;
    this.#isPart = !this.#isEnded;
    this.#piece = new Uint8Array(this.#isEnded ? LENGTH_SIZE_BYTES : length);
    return true;
  }
}

function* bodyPieces(parts: Iterable<SnapshotPart>): Generator<Uint8Array> {
  for (const part of parts) {
    const bytes = encodeValue(part);
    yield lengthBytes(bytes.length);
    yield bytes;
  }
  yield lengthBytes(0);
}

function lengthBytes(length: number): Uint8Array {
  const bytes = new Uint8Array(LENGTH_SIZE_BYTES);
  new DataView(bytes.buffer).setUint32(0, length);
  return bytes;
}
