/**
 * Frames on a connection between nodes: a length and one CBOR record.
 *
 *     length u32 big-endian | CBOR {v: version, c: cluster, g: generation, f: from, t: to,
 *                                   k: kind, ...}
 *
 * Every frame says whose it is and for whom, so that a node of another cluster, of an older
 * generation or at a reused address is found out at its first word.
 *
 * @module
 */
import { assert } from "../../../base/assert.ts";
import type { NodeId } from "../../../base/ids.ts";
import type { ClusterRef } from "../recovery.ts";
import { decodeRecord, encodeValue, type PlainRecord } from "./codec.ts";

const FRAME_VERSION = 1;
const LENGTH_SIZE_BYTES = 4;

/** An append message (1 MiB), or one with the largest single entry (1.5 MiB), with its envelope. */
export const FRAME_SIZE_MAX_BYTES = 4 * 1024 * 1024;
/** A join request or its answer: two certificates and a few addresses. */
export const JOIN_FRAME_SIZE_MAX_BYTES = 64 * 1024;

/** Both ends of a connection, as every frame on it must name them. */
export interface FrameEnds {
  readonly cluster: ClusterRef;
  readonly from: NodeId;
  readonly to: NodeId;
}

/** `body`, which has a `k`, as a frame from one end to the other. */
export function encodePeerFrame(ends: FrameEnds, body: PlainRecord): Uint8Array {
  return encodeFrame({ ...envelopeOf(ends), ...body });
}

/** The record in the frame `bytes`, or why it is not one from `from` to `to`. */
export function decodePeerFrame(
  ends: FrameEnds,
  bytes: Uint8Array,
): { readonly record: PlainRecord } | { readonly problem: FrameProblem } {
  const record = decodeRecord(bytes);
  if (record === undefined || record["v"] !== FRAME_VERSION) return { problem: "malformed" };
  const isSameCluster =
    record["c"] === ends.cluster.clusterId && record["g"] === ends.cluster.generation;
  if (!isSameCluster) return { problem: "other_cluster" };
  if (record["f"] !== ends.from || record["t"] !== ends.to) return { problem: "other_node" };
  return { record };
}

/**
 * `encodePeerFrame` and `decodePeerFrame` for the many frames of one connection: what names the
 * ends is the same in all of them, so it is encoded once, then copied and compared.
 *
 *     length | map of 5 + n | v c g f t, always the same bytes | the n pairs of the body
 */
export class FrameCodec {
  readonly #incoming: FrameEnds;
  readonly #sentPairs: Uint8Array;
  readonly #expectedPairs: Uint8Array;

  constructor(cluster: ClusterRef, nodes: { readonly self: NodeId; readonly peer: NodeId }) {
    const { self, peer } = nodes;
    this.#incoming = { cluster, from: peer, to: self };
    this.#sentPairs = envelopePairs({ cluster, from: self, to: peer });
    this.#expectedPairs = envelopePairs(this.#incoming);
  }

  /** As `encodePeerFrame` to the peer. */
  encode(body: PlainRecord): Uint8Array {
    return this.#enclose(encodeValue(body, LENGTH_SIZE_BYTES + this.#sentPairs.length));
  }

  /** The same of `body`, which `encodeValue` has encoded once for many peers; copies it. */
  wrap(body: Uint8Array): Uint8Array {
    const headSize = LENGTH_SIZE_BYTES + this.#sentPairs.length;
    const frame = new Uint8Array(headSize + body.length);
    frame.set(body, headSize);
    return this.#enclose(frame);
  }

  /** Fills the space before the body with its length and the envelope. */
  #enclose(frame: Uint8Array): Uint8Array {
    const pairs = this.#sentPairs;
    // The head of the body's own map is where the envelope's last byte belongs.
    const head = frame[LENGTH_SIZE_BYTES + pairs.length]!;
    assert(head >= MAP_HEAD && head + ENVELOPE_PAIR_COUNT <= SHORT_MAP_HEAD_MAX, "a body is short");
    new DataView(frame.buffer).setUint32(0, frame.length - LENGTH_SIZE_BYTES);
    frame[LENGTH_SIZE_BYTES] = head + ENVELOPE_PAIR_COUNT;
    frame.set(pairs, LENGTH_SIZE_BYTES + 1);
    return frame;
  }

  /** As `decodePeerFrame` from the peer; may write to `bytes`. */
  decode(bytes: Uint8Array): ReturnType<typeof decodePeerFrame> {
    const pairs = this.#expectedPairs;
    const head = bytes[0] ?? 0;
    const isShort = head >= MAP_HEAD + ENVELOPE_PAIR_COUNT && head <= SHORT_MAP_HEAD_MAX;
    // Anything unusual the slow way, which can say what is wrong with it.
    if (!isShort || !hasAt(bytes, 1, pairs)) return decodePeerFrame(this.#incoming, bytes);
    bytes[pairs.length] = head - ENVELOPE_PAIR_COUNT;
    const record = decodeRecord(bytes.subarray(pairs.length));
    return record === undefined ? { problem: "malformed" } : { record };
  }
}

/** CBOR's head of a map without pairs (RFC 8949 §3.1); up to 23 pairs are counted in it. */
const MAP_HEAD = 0xa0;
const SHORT_MAP_HEAD_MAX = MAP_HEAD + 23;
const ENVELOPE_PAIR_COUNT = 5;

function envelopeOf({ cluster, from, to }: FrameEnds): PlainRecord {
  return { v: FRAME_VERSION, c: cluster.clusterId, g: cluster.generation, f: from, t: to };
}

/** The pairs of the envelope without the head of their map. */
function envelopePairs(ends: FrameEnds): Uint8Array {
  return encodeValue(envelopeOf(ends)).subarray(1);
}

function hasAt(bytes: Uint8Array, offset: number, part: Uint8Array): boolean {
  if (bytes.length < offset + part.length) return false;
  for (let i = 0; i < part.length; i++) if (bytes[offset + i] !== part[i]) return false;
  return true;
}

export type FrameProblem = "malformed" | "other_cluster" | "other_node";

/** `record` with its length in front. */
export function encodeFrame(record: PlainRecord): Uint8Array {
  const frame = encodeValue(record, LENGTH_SIZE_BYTES);
  new DataView(frame.buffer).setUint32(0, frame.length - LENGTH_SIZE_BYTES);
  return frame;
}

/**
 * Cuts a stream of bytes into frames. Holds at most one incomplete frame; a length beyond the
 * limit breaks it for good, since where the next frame begins is then unknown.
 */
export class FrameSplitter {
  readonly #sizeMaxBytes: number;
  #head = new Uint8Array(LENGTH_SIZE_BYTES);
  #headCount = 0;
  #body: Uint8Array | undefined;
  #bodyCount = 0;
  #isBroken = false;

  constructor(sizeMaxBytes: number) {
    this.#sizeMaxBytes = sizeMaxBytes;
  }

  /**
   * The frames, without their lengths, that `chunk` completes; undefined when the stream is
   * broken. Frames are the caller's; `chunk` may be reused.
   */
  push(chunk: Uint8Array): readonly Uint8Array[] | undefined {
    const frames: Uint8Array[] = [];
    let at = 0;
    while (at < chunk.length && !this.#isBroken) {
      if (this.#body === undefined) at += this.#takeHead(chunk, at);
      if (this.#body !== undefined) {
        const count = Math.min(this.#body.length - this.#bodyCount, chunk.length - at);
        this.#body.set(chunk.subarray(at, at + count), this.#bodyCount);
        this.#bodyCount += count;
        at += count;
        if (this.#bodyCount === this.#body.length) {
          frames.push(this.#body);
          this.#body = undefined;
          this.#headCount = 0;
        }
      }
    }
    return this.#isBroken ? undefined : frames;
  }

  #takeHead(chunk: Uint8Array, start: number): number {
    const count = Math.min(LENGTH_SIZE_BYTES - this.#headCount, chunk.length - start);
    this.#head.set(chunk.subarray(start, start + count), this.#headCount);
    this.#headCount += count;
    if (this.#headCount === LENGTH_SIZE_BYTES) {
      const size = new DataView(this.#head.buffer).getUint32(0);
      // An empty frame is no record, so it is as wrong as one that is too long.
      if (size === 0 || size > this.#sizeMaxBytes) this.#isBroken = true;
      else this.#body = new Uint8Array(size);
      this.#bodyCount = 0;
    }
    return count;
  }
}
