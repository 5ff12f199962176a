/**
 * Tells what a log holds, frame by frame, for a person who must find out what happened to it.
 *
 * Reads only, up to the end or to the first damage, which is judged as a start would judge it
 * (`recovery.ts`). Needs no lock: on the log of a running agent the end is wherever it was when it
 * was read. What looks like damage there is looked at again, since it may just have been written.
 *
 * @module
 */
import { unreachable } from "../../base/assert.ts";
import { HostError } from "../../base/host-error.ts";
import { type Disk, type DiskFile, openDisk } from "../files/disk.ts";
import type { WalFrame } from "./frame.ts";
import { LogState } from "./log-state.ts";
import { listSegments, type SegmentFile } from "./recovery.ts";
import { readSegmentHeader } from "./segment-file.ts";
import type { DecodedSegmentHeader } from "./segment-header.ts";
import {
  type PlacedFrame,
  type ScanEnd,
  type ScannedBatch,
  SegmentScan,
  type TailContent,
} from "./segment-scan.ts";

interface Placed {
  readonly file: string;
  /** In bytes from the start of `file`. */
  readonly offset: number;
}

/** One line of a description: plain values, fit for JSON. Digests are hexadecimal. */
export type WalRecord = Placed &
  (
    | {
        readonly kind: "segment";
        readonly clusterId: string;
        readonly nodeId: number;
        readonly sequence: number;
        readonly sizeBytes: number;
        readonly lastIndexBefore: number;
        readonly lastBatchBefore: number;
      }
    | {
        readonly kind: "entry";
        readonly index: number;
        readonly term: number;
        readonly entryKind: number;
        readonly payloadSize: number;
        /** False when no commit frame follows: not part of the log. */
        readonly committed: boolean;
      }
    | {
        readonly kind: "hard_state";
        readonly term: number;
        readonly vote: number;
        readonly commit: number;
        readonly committed: boolean;
      }
    | {
        readonly kind: "snapshot_mark";
        readonly index: number;
        readonly term: number;
        readonly fileSize: number;
        readonly sha256: string;
        readonly resets: boolean;
        readonly committed: boolean;
      }
    | {
        readonly kind: "commit";
        readonly batch: number;
        readonly frameCount: number;
        readonly continued: boolean;
      }
    /** Where reading a segment stopped, and what is beyond. */
    | {
        readonly kind: "end";
        readonly reason: string;
        /** Something other than zeros is there. */
        readonly dirty: boolean;
        /** The latest batch that a commit frame beyond speaks of. */
        readonly latestBatch: number | undefined;
      }
    /** The last record of a damaged log. */
    | { readonly kind: "damage"; readonly reason: string }
  );

/** What looks like damage is read again so often. */
const LOOKS_MAX = 3;

/** What the segments in `directory` hold, in order. Throws `HostError` when it cannot be listed. */
export async function* describeWal(
  directory: string,
  disk: Disk = openDisk(),
): AsyncGenerator<WalRecord, void, void> {
  yield* new WalReader(directory, disk).read();
}

/** A segment that was read to its end. */
interface ReadSegment {
  readonly file: SegmentFile;
  readonly end: ScanEnd;
}

class WalReader {
  readonly #directory: string;
  readonly #disk: Disk;
  /** What the next segment must continue; undefined when that cannot be known. */
  #previous: ReadSegment | undefined;
  #sequence = 0;
  #state: LogState | undefined;

  constructor(directory: string, disk: Disk) {
    this.#directory = directory;
    this.#disk = disk;
  }

  async *read(): AsyncGenerator<WalRecord, void, void> {
    for (;;) {
      const files = await this.#list();
      const previous = this.#previous;
      const next = files.find((file) => file.sequence > this.#sequence);
      // A running agent has deleted what was just read, and perhaps more.
      const isCompacted = files.every((file) => file.sequence !== previous?.file.sequence);
      if (isCompacted) this.#previous = undefined;
      const missing = this.#previous?.end.continued ? this.#sequence + 1 : next?.sequence;
      if (missing !== next?.sequence) {
        yield this.#damage(this.#directory, `log segment ${missing} is missing`);
        return;
      }
      if (next === undefined) return;
      this.#sequence = next.sequence;
      if (yield* this.#readFile(next)) return;
    }
  }

  /** Describes `file`; true when it is damaged. */
  async *#readFile(file: SegmentFile): AsyncGenerator<WalRecord, boolean, void> {
    let handle: DiskFile | undefined;
    try {
      handle = await this.#disk.open(file.path, "read");
      return yield* this.#readSegment(file, handle);
    } catch (cause) {
      if (!(cause instanceof HostError)) throw cause;
      const files = await this.#list();
      if (!files.some(({ path }) => path === file.path)) return false; // Compacted meanwhile.
      yield this.#damage(file.path, cause.message);
      return true;
    } finally {
      await handle?.close();
    }
  }

  async *#readSegment(
    file: SegmentFile,
    handle: DiskFile,
  ): AsyncGenerator<WalRecord, boolean, void> {
    const segment = await readSegmentHeader(handle, undefined);
    yield describeHeader(file.path, segment);
    const problem = this.#headerProblem(file, segment);
    if (problem !== undefined) {
      yield this.#damage(file.path, problem);
      return true;
    }
    let batch = segment.header.previousBatch;
    for (let look = 1; ; look++) {
      const scan = new SegmentScan(handle, segment);
      for (let next = await scan.next(); next !== undefined; next = await scan.next()) {
        if (next.commit.batch <= batch) continue;
        batch = next.commit.batch;
        if (yield* this.#readBatch(file, next)) return true;
      }
      const { end } = scan;
      const tail = await scan.inspectTail();
      const damage = await this.#judge(file, end, tail);
      if (damage !== undefined && look < LOOKS_MAX) continue;
      for (const placed of end.uncommitted) yield describeFrame(file.path, placed, false);
      yield describeEnd(file.path, end, tail);
      this.#previous = { file, end };
      if (damage !== undefined) yield this.#damage(file.path, damage, end.stopOffset);
      return damage !== undefined;
    }
  }

  async *#readBatch(
    { path }: SegmentFile,
    { commit, commitOffset, frames }: ScannedBatch,
  ): AsyncGenerator<WalRecord, boolean, void> {
    for (const placed of frames) {
      yield describeFrame(path, placed, true);
      const refusal = this.#state?.refusal(placed.frame);
      if (refusal !== undefined) {
        yield this.#damage(path, refusal, placed.offset);
        return true;
      }
      this.#state?.apply(placed.frame);
    }
    yield { kind: "commit", file: path, offset: commitOffset, ...commit };
    return false;
  }

  /** Why `segment` is not the one that belongs here; undefined when it is. */
  #headerProblem(file: SegmentFile, { header }: DecodedSegmentHeader): string | undefined {
    const { before } = header;
    if (header.sequence !== file.sequence || before.lastIndex + 1 !== file.firstIndex) {
      return "its header does not fit its name";
    }
    const previous = this.#previous;
    if (previous === undefined || this.#state === undefined) {
      this.#state = new LogState(before);
      return undefined;
    }
    const { end } = previous;
    const continues =
      header.previousBatch === end.batch &&
      header.previousCrc === end.crc &&
      Bun.deepEquals(before, this.#state.summary);
    // The segment before was not ended: this one is empty, or the judge has spoken.
    return continues || !end.continued ? undefined : "it does not continue the segment before it";
  }

  /** Why the log cannot end at `end`; undefined when it can, or goes on in another segment. */
  async #judge(file: SegmentFile, end: ScanEnd, tail: TailContent): Promise<string | undefined> {
    if (end.stop.kind === "nonsense") return end.stop.reason;
    if (end.continued) return undefined;
    const expected = end.batch + 1;
    const { latestBatch } = tail;
    if (latestBatch !== undefined && latestBatch !== expected) {
      return `${describeStop(end)} in batch ${expected}, although batch ${latestBatch} was written after it`;
    }
    const next = (await this.#list()).find(({ sequence }) => sequence > file.sequence);
    if (next === undefined || (await this.#isUnused(next, end))) return undefined;
    return `${describeStop(end)}, although segment ${next.sequence} was begun after it`;
  }

  /** Whether `file` is an empty segment that waits for one more batch after `end`. */
  async #isUnused(file: SegmentFile, end: ScanEnd): Promise<boolean> {
    const handle = await this.#disk.open(file.path, "read");
    try {
      const segment = await readSegmentHeader(handle, undefined);
      const scan = new SegmentScan(handle, segment);
      const isEmpty = (await scan.next()) === undefined;
      return isEmpty && segment.header.previousBatch === end.batch + 1;
    } finally {
      await handle.close();
    }
  }

  async #list(): Promise<SegmentFile[]> {
    return listSegments(this.#directory, await this.#disk.list(this.#directory));
  }

  #damage(file: string, reason: string, offset = 0): WalRecord {
    return { kind: "damage", file, offset, reason };
  }
}

function describeEnd(file: string, end: ScanEnd, { isDirty, latestBatch }: TailContent): WalRecord {
  const reason = describeStop(end);
  return { kind: "end", file, offset: end.stopOffset, reason, dirty: isDirty, latestBatch };
}

function describeHeader(file: string, { header }: DecodedSegmentHeader): WalRecord {
  const { clusterId, nodeId, sequence, sizeBytes, before, previousBatch } = header;
  return {
    kind: "segment",
    file,
    offset: 0,
    clusterId,
    nodeId,
    sequence,
    sizeBytes,
    lastIndexBefore: before.lastIndex,
    lastBatchBefore: previousBatch,
  };
}

function describeFrame(file: string, placed: PlacedFrame, committed: boolean): WalRecord {
  const { offset } = placed;
  const frame: WalFrame = placed.frame;
  switch (frame.kind) {
    case "entry": {
      const { index, term, kind: entryKind, payload } = frame.entry;
      const payloadSize = payload.length;
      return { kind: "entry", file, offset, index, term, entryKind, payloadSize, committed };
    }
    case "hard_state":
      return { kind: "hard_state", file, offset, ...frame.hardState, committed };
    case "snapshot_mark": {
      const { digest, ...mark } = frame.mark;
      const sha256 = Buffer.from(digest).toString("hex");
      const { resets } = frame;
      return { kind: "snapshot_mark", file, offset, ...mark, sha256, resets, committed };
    }
    case "commit":
      return { kind: "commit", file, offset, ...frame.commit };
    default:
      return unreachable(frame);
  }
}

function describeStop({ stop }: ScanEnd): string {
  return stop.kind === "nonsense" ? stop.reason : stop.kind;
}
