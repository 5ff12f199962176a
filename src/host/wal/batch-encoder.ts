/**
 * Turns frames into the bytes of one batch: the frames, then the commit frame that closes it.
 *
 * Keeps one buffer and reuses it; a batch's bytes are borrowed until the next one.
 *
 * @module
 */
import { COMMIT_FRAME_SIZE, encodedSize, encodeFrame, type WalFrame } from "./frame.ts";
import { BATCH_BUFFER_KEPT_SIZE_MAX } from "./limits.ts";

const BUFFER_SIZE_MIN = 64 * 1024;

export interface BatchSeal {
  /** Number of this batch. */
  readonly batch: number;
  /** The log goes on in the next segment. */
  readonly continued: boolean;
  /** Checksum that the first frame continues. */
  readonly previousCrc: number;
  /** Nonce of the segment. */
  readonly nonce: Uint8Array;
}

export interface EncodedBatch {
  /** Borrowed until the next batch is encoded. */
  readonly bytes: Uint8Array;
  /** Checksum of the commit frame. */
  readonly crc: number;
}

/** Size in bytes of `frames` as a batch, its commit frame included. */
export function batchSize(frames: readonly WalFrame[]): number {
  let size = COMMIT_FRAME_SIZE;
  for (const frame of frames) size += encodedSize(frame);
  return size;
}

/** Encodes one batch after the other into one growing buffer. */
export class BatchEncoder {
  #bytes = new Uint8Array(BUFFER_SIZE_MIN);
  #view = new DataView(this.#bytes.buffer);

  /** The bytes of `frames` (no commit among them) closed by `seal`. */
  encode(frames: readonly WalFrame[], seal: BatchSeal): EncodedBatch {
    this.#makeRoom(batchSize(frames));
    const target = { bytes: this.#bytes, view: this.#view, nonce: seal.nonce };
    let length = 0;
    let crc = seal.previousCrc;
    for (const frame of frames) {
      crc = encodeFrame(target, frame, length, crc);
      length += encodedSize(frame);
    }
    const { batch, continued } = seal;
    const commit = { batch, continued, frameCount: frames.length };
    crc = encodeFrame(target, { kind: "commit", commit }, length, crc);
    return { bytes: this.#bytes.subarray(0, length + COMMIT_FRAME_SIZE), crc };
  }

  #makeRoom(size: number): void {
    const kept = this.#bytes.length;
    const isOversized = kept > BATCH_BUFFER_KEPT_SIZE_MAX && size <= BATCH_BUFFER_KEPT_SIZE_MAX;
    if (size <= kept && !isOversized) return;
    let capacity = BUFFER_SIZE_MIN;
    while (capacity < size) capacity *= 2;
    this.#bytes = new Uint8Array(capacity);
    this.#view = new DataView(this.#bytes.buffer);
  }
}
