/**
 * Reads one segment batch by batch, until the first thing that is not the next frame.
 *
 * What that means (the end, a torn batch, damage) is for the caller to decide: `recovery.ts` to
 * open a log, `describe-wal.ts` to print one. Reads through a window of 1 MiB, so that a start
 * needs little memory. Changes nothing.
 *
 * @module
 */
import { crc32c } from "../../base/crc32c.ts";
import type { DiskFile } from "../files/disk.ts";
import {
  type BatchCommit,
  COMMIT_FRAME_SIZE,
  decodeFrame,
  decodeLoneCommit,
  FRAME_HEADER_SIZE,
  frameSize,
  type WalFrame,
} from "./frame.ts";
import { FRAME_ALIGNMENT, IO_CHUNK_SIZE, SEGMENT_HEADER_SIZE } from "./limits.ts";
import type { DecodedSegmentHeader } from "./segment-header.ts";

/** A frame and where it begins in its segment, in bytes. */
export interface PlacedFrame {
  readonly offset: number;
  readonly frame: WalFrame;
}

/** A whole batch. */
export interface ScannedBatch {
  readonly commit: BatchCommit;
  /** Without the commit frame. */
  readonly frames: readonly PlacedFrame[];
  /** Where the commit frame begins. */
  readonly commitOffset: number;
}

/**
 * Why reading stopped: `blank` (zeros, or the end of the file), `checksum` (also an impossible
 * length), or `nonsense`: a right checksum over a frame that this program would not have written.
 */
export type ScanStop =
  | { readonly kind: "blank" }
  | { readonly kind: "checksum" }
  | { readonly kind: "nonsense"; readonly reason: string };

/** Where the whole batches of a segment end. */
export interface ScanEnd {
  /** End of the last whole batch: where the next one belongs. */
  readonly offset: number;
  /** Checksum and number of that batch. */
  readonly crc: number;
  readonly batch: number;
  /** It says that the log goes on in the next segment. */
  readonly continued: boolean;
  /** It is a seal: a batch of nothing, which proves the one before it. */
  readonly sealed: boolean;
  readonly stop: ScanStop;
  /** First byte that could not be read as a frame. */
  readonly stopOffset: number;
  /** Whole frames after the last whole batch. */
  readonly uncommitted: readonly PlacedFrame[];
}

/** What lies beyond the last whole batch. */
export interface TailContent {
  /** Something other than zeros is there. */
  readonly isDirty: boolean;
  /** The latest batch of this segment whose commit frame is there, recognized by itself. */
  readonly latestBatch: number | undefined;
}

const ZEROS = Buffer.alloc(IO_CHUNK_SIZE);

/** One pass over a segment. Call `next` until it answers undefined; then `end` tells why. */
export class SegmentScan {
  readonly #file: DiskFile;
  readonly #segment: DecodedSegmentHeader;
  readonly #window: FileWindow;
  #offset = SEGMENT_HEADER_SIZE;
  #crc: number;
  #frames: PlacedFrame[] = [];
  #stop: ScanStop | undefined;
  #whole: Pick<ScanEnd, "offset" | "crc" | "batch" | "continued" | "sealed">;

  constructor(file: DiskFile, segment: DecodedSegmentHeader) {
    this.#file = file;
    this.#segment = segment;
    this.#window = new FileWindow(file);
    this.#crc = segment.crc;
    this.#whole = {
      offset: SEGMENT_HEADER_SIZE,
      crc: segment.crc,
      batch: segment.header.previousBatch,
      continued: false,
      sealed: true,
    };
  }

  /** The next whole batch; undefined when there is none. */
  async next(): Promise<ScannedBatch | undefined> {
    while (this.#stop === undefined) {
      const offset = this.#offset;
      const frame = await this.#readFrame();
      if (frame === undefined) break;
      if (frame.kind !== "commit") {
        this.#frames.push({ offset, frame });
        continue;
      }
      const batch = this.#closeBatch(frame.commit, offset);
      if (batch !== undefined) return batch;
    }
    return undefined;
  }

  /** Valid once `next` has answered undefined. */
  get end(): ScanEnd {
    return {
      ...this.#whole,
      stop: this.#stop ?? { kind: "blank" },
      stopOffset: this.#offset,
      uncommitted: this.#frames,
    };
  }

  /** Looks at everything from `end.offset` on. */
  async inspectTail(): Promise<TailContent> {
    let isDirty = false;
    let latestBatch: number | undefined;
    const { sizeBytes } = this.#file;
    for (let at = this.#whole.offset; at < sizeBytes; ) {
      const length = Math.min(IO_CHUNK_SIZE, sizeBytes - at);
      const found = await this.#window.load(at, length);
      const chunk = found.bytes.subarray(found.offset, found.offset + length);
      if (!ZEROS.subarray(0, length).equals(chunk)) {
        isDirty = true;
        latestBatch = this.#findLatestCommit(found, length, latestBatch);
      }
      if (at + length === sizeBytes) break;
      // The next chunk begins early enough for a commit frame across the boundary.
      at += length - COMMIT_FRAME_SIZE + FRAME_ALIGNMENT;
    }
    return { isDirty, latestBatch };
  }

  async #readFrame(): Promise<WalFrame | undefined> {
    const left = this.#file.sizeBytes - this.#offset;
    if (left < FRAME_HEADER_SIZE) return this.#halt({ kind: "blank" });
    const at = this.#offset;
    let found =
      this.#window.peek(at, FRAME_HEADER_SIZE) ?? (await this.#window.load(at, FRAME_HEADER_SIZE));
    const length = found.view.getUint32(found.offset + 4, true);
    const size = frameSize(length);
    if (isBlank(found)) return this.#halt({ kind: "blank" });
    if (size > left) return this.#halt({ kind: "checksum" });
    found = this.#window.peek(at, size) ?? (await this.#window.load(at, size));
    const crc = crc32c(found.bytes, found.offset + 4, size - 4, this.#crc);
    if (found.view.getUint32(found.offset, true) !== crc) return this.#halt({ kind: "checksum" });
    const { bytes, view, offset } = found;
    const frame = decodeFrame({ bytes, view, nonce: this.#segment.header.nonce }, offset);
    if (frame === undefined) return this.#halt({ kind: "nonsense", reason: "an unknown frame" });
    this.#offset += size;
    this.#crc = crc;
    return frame;
  }

  #closeBatch(commit: BatchCommit, commitOffset: number): ScannedBatch | undefined {
    const frames = this.#frames;
    if (commit.batch !== this.#whole.batch + 1 || commit.frameCount !== frames.length) {
      return this.#halt({ kind: "nonsense", reason: "a commit frame of another batch" });
    }
    if (this.#whole.continued) {
      return this.#halt({ kind: "nonsense", reason: "a batch after the end of the segment" });
    }
    this.#frames = [];
    this.#whole = {
      offset: this.#offset,
      crc: this.#crc,
      batch: commit.batch,
      continued: commit.continued,
      sealed: frames.length === 0,
    };
    return { commit, frames, commitOffset };
  }

  #halt(stop: ScanStop): undefined {
    this.#stop = stop;
    return undefined;
  }

  #findLatestCommit(
    { bytes, view, offset }: WindowPart,
    length: number,
    latest: number | undefined,
  ): number | undefined {
    const source = { bytes, view, nonce: this.#segment.header.nonce };
    let found = latest;
    for (let skip = 0; skip + COMMIT_FRAME_SIZE <= length; skip += FRAME_ALIGNMENT) {
      const batch = decodeLoneCommit(source, offset + skip)?.batch;
      if (batch !== undefined) found = Math.max(batch, found ?? 0);
    }
    return found;
  }
}

/** Bytes of a file, somewhere in the window's buffer. Borrowed until the next `load`. */
interface WindowPart {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly offset: number;
}

/** A sliding buffer over a file. */
class FileWindow {
  readonly #file: DiskFile;
  #bytes: Uint8Array;
  #view: DataView;
  #start = 0;
  #end = 0;

  constructor(file: DiskFile) {
    this.#file = file;
    this.#bytes = new Uint8Array(Math.min(IO_CHUNK_SIZE, file.sizeBytes));
    this.#view = new DataView(this.#bytes.buffer);
  }

  /** What `load` would give, without waiting; undefined when it is not in the buffer. */
  peek(position: number, length: number): WindowPart | undefined {
    if (position < this.#start || position + length > this.#end) return undefined;
    return { bytes: this.#bytes, view: this.#view, offset: position - this.#start };
  }

  /** `length` bytes from `position`, which must lie inside the file; zeros where it is shorter. */
  async load(position: number, length: number): Promise<WindowPart> {
    if (length > this.#bytes.length) {
      this.#bytes = new Uint8Array(length);
      this.#view = new DataView(this.#bytes.buffer);
    }
    const count = Math.min(this.#bytes.length, this.#file.sizeBytes - position);
    const got = await this.#file.read(this.#bytes.subarray(0, count), position);
    this.#bytes.fill(0, got);
    this.#start = position;
    this.#end = position + this.#bytes.length;
    return { bytes: this.#bytes, view: this.#view, offset: 0 };
  }
}

function isBlank({ bytes, view, offset }: WindowPart): boolean {
  // The length of a frame is next to never zero, and views cost.
  if (view.getUint32(offset + 4, true) !== 0) return false;
  return ZEROS.subarray(0, FRAME_HEADER_SIZE).equals(
    bytes.subarray(offset, offset + FRAME_HEADER_SIZE),
  );
}
