/**
 * The end of the log: writes one batch at a time, and moves to the next segment when one is full.
 *
 * Order of a move, so that every crash in it can be told from damage (`recovery.ts` reads it):
 *
 *     1. the spare becomes segment n + 1: header written, renamed, directory synced
 *     2. an empty batch marked "continued" ends segment n
 *     3. batches go to n + 1
 *
 * Not safe for calls that overlap: `wal-store.ts` makes one at a time.
 *
 * @module
 */
import { assert } from "../../base/assert.ts";
import type { Disk } from "../files/disk.ts";
import type { Random } from "../ports.ts";
import { BatchEncoder, batchSize } from "./batch-encoder.ts";
import { COMMIT_FRAME_SIZE, NONCE_SIZE, type WalFrame } from "./frame.ts";
import { FRAME_ALIGNMENT, SEGMENT_HEADER_SIZE, type SegmentLimits, segmentSize } from "./limits.ts";
import type { LogState } from "./log-state.ts";
import {
  isDiskFull,
  type OpenSegment,
  prepareSpare,
  type SpareSegment,
  startSegment,
} from "./segment-file.ts";
import type { WalIdentity } from "./segment-header.ts";

/** A segment file, as compaction sees it. */
export interface SegmentInfo {
  readonly path: string;
  /** Highest index of any entry in it, replaced ones included; 0 when it has none. */
  readonly highestIndex: number;
}

/** Where the log is written. */
export interface WriterPlace {
  readonly disk: Disk;
  readonly directory: string;
  readonly identity: WalIdentity;
  readonly random: Pick<Random, "bytes">;
  readonly limits: SegmentLimits;
}

/** Where writing goes on. */
export interface WriterStart {
  /** The log up to here. The writer owns it from now on. */
  readonly state: LogState;
  readonly current: OpenSegment;
  readonly offset: number;
  readonly crc: number;
  readonly batch: number;
  readonly sealed: boolean;
  /** All segments in order, the current one last. */
  readonly segments: readonly SegmentInfo[];
}

type SpareResult =
  | { readonly kind: "ready"; readonly spare: SpareSegment }
  | { readonly kind: "failed"; readonly cause: unknown };

/** Appends batches to the last segment of a log. */
export class SegmentWriter {
  readonly #place: WriterPlace;
  readonly #encoder = new BatchEncoder();
  readonly #state: LogState;
  #older: SegmentInfo[];
  #current: OpenSegment;
  #highestIndex: number;
  #offset: number;
  #crc: number;
  #batch: number;
  #sealed: boolean;
  #spare: Promise<SpareResult> | undefined;

  constructor(place: WriterPlace, start: WriterStart) {
    this.#place = place;
    this.#state = start.state;
    this.#older = start.segments.slice(0, -1);
    this.#highestIndex = start.segments.at(-1)?.highestIndex ?? 0;
    this.#current = start.current;
    this.#offset = start.offset;
    this.#crc = start.crc;
    this.#batch = start.batch;
    this.#sealed = start.sealed;
  }

  /** Number of the last batch written. */
  get batch(): number {
    return this.#batch;
  }

  /** Whether a later batch proves that the last one with content was synced. */
  get sealed(): boolean {
    return this.#sealed;
  }

  /**
   * Writes `frames` as one batch; on stable storage when it resolves. After a rejection the log's
   * end is unknown: never call again.
   */
  async write(frames: readonly WalFrame[]): Promise<void> {
    const size = batchSize(frames);
    // Room for the frame that ends a segment is kept at all times.
    if (this.#offset + size + COMMIT_FRAME_SIZE > this.#sizeBytes) await this.#move(size);
    await this.#writeBatch(frames, false);
    for (const frame of frames) {
      this.#state.apply(frame);
      if (frame.kind === "entry") {
        this.#highestIndex = Math.max(this.#highestIndex, frame.entry.index);
      }
    }
    // An idle node never gets to the second half, and never takes a second segment's room.
    if (this.#offset * 2 > this.#sizeBytes) this.#spare ??= this.#prepareSpare();
  }

  /**
   * Deletes the oldest segments as far as they hold nothing above `index`. One at a time, so that
   * a crash leaves no hole.
   */
  async deleteUpTo(index: number): Promise<void> {
    const { disk, directory } = this.#place;
    for (let oldest = this.#older[0]; oldest !== undefined; oldest = this.#older[0]) {
      if (oldest.highestIndex > index) return;
      await disk.remove(oldest.path);
      await disk.syncDirectory(directory);
      this.#older = this.#older.slice(1);
    }
  }

  /** Closes the files and removes the spare. */
  async close(): Promise<void> {
    const result = await this.#spare;
    this.#spare = undefined;
    await this.#current.file.close();
    if (result?.kind === "ready") await this.#place.disk.remove(result.spare.path);
  }

  get #sizeBytes(): number {
    return this.#current.segment.header.sizeBytes;
  }

  get #nextSizeBytes(): number {
    const { sequence } = this.#current.segment.header;
    return segmentSize(sequence + 1, this.#place.limits);
  }

  async #writeBatch(frames: readonly WalFrame[], continued: boolean): Promise<void> {
    const { nonce } = this.#current.segment.header;
    const batch = this.#batch + 1;
    const seal = { batch, continued, previousCrc: this.#crc, nonce };
    const { bytes, crc } = this.#encoder.encode(frames, seal);
    await this.#current.file.write(bytes, this.#offset);
    this.#offset += bytes.length;
    this.#crc = crc;
    this.#batch = batch;
    this.#sealed = frames.length === 0;
  }

  async #move(size: number): Promise<void> {
    const { disk, directory, identity, random } = this.#place;
    const old = this.#current;
    const spare = await this.#takeSpare(SEGMENT_HEADER_SIZE + size + COMMIT_FRAME_SIZE);
    const { nonce, sequence } = old.segment.header;
    const batch = this.#batch + 1;
    const end = { batch, continued: true, previousCrc: this.#crc, nonce };
    const next = await startSegment(disk, directory, {
      spare,
      header: {
        ...identity,
        sequence: sequence + 1,
        sizeBytes: spare.sizeBytes,
        nonce: random.bytes(NONCE_SIZE),
        previousBatch: batch,
        previousCrc: this.#encoder.encode([], end).crc,
        before: this.#state.summary,
      },
    });
    await this.#writeBatch([], true);
    await old.file.close();
    this.#older.push({ path: old.path, highestIndex: this.#highestIndex });
    this.#current = next;
    this.#highestIndex = 0;
    this.#offset = SEGMENT_HEADER_SIZE;
    this.#crc = next.segment.crc;
  }

  async #takeSpare(sizeNeeded: number): Promise<SpareSegment> {
    const result = await this.#spare;
    this.#spare = undefined;
    if (result?.kind === "ready" && result.spare.sizeBytes >= sizeNeeded) return result.spare;
    // A full disk may have been relieved since; anything else is not tried again.
    if (result?.kind === "failed" && !isDiskFull(result.cause)) throw result.cause;
    const { disk, directory } = this.#place;
    const size = Math.max(this.#nextSizeBytes, sizeNeeded);
    assert(size % FRAME_ALIGNMENT === 0, "frames must fill a segment");
    return prepareSpare(disk, directory, size);
  }

  async #prepareSpare(): Promise<SpareResult> {
    const { disk, directory } = this.#place;
    try {
      return { kind: "ready", spare: await prepareSpare(disk, directory, this.#nextSizeBytes) };
    } catch (cause) {
      return { kind: "failed", cause };
    }
  }
}
