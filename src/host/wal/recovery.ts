/**
 * Opens the log's segments after whatever happened to them, or refuses.
 *
 * A batch is written only after the one before it was synced, into zeros. So, reading in order up
 * to the first thing that is not the next frame:
 *
 *     what is found                                              what it is
 *     zeros to the end of the last segment                       the end
 *     a broken or incomplete batch, nothing of a later one       torn: never acknowledged; dropped
 *     the same, but a commit frame of a later batch lies beyond  damage: it had been synced
 *     the same in a segment that another one follows             damage
 *     a segment is missing, has another size, or does not        damage
 *       continue the checksum of the one before
 *     n does not end in a "continued" batch, n + 1 is empty      a move cut short: n + 1 is undone
 *
 * What is found whole is synced before it is given out: it may never have been acknowledged.
 *
 * What cannot be seen: damage to the very last batch looks like a torn one. An idle or cleanly
 * closed log ends in a seal (an empty batch), so that batch then holds nothing. This counts on
 * disks that replace a sector wholly or not at all, and do not harm its neighbours meanwhile.
 *
 * @module
 */
import { assert } from "../../base/assert.ts";
import type { Disk, DiskFile } from "../files/disk.ts";
import type { StoredEntry } from "../ports.ts";
import type { WalFrame } from "./frame.ts";
import { EMPTY_LOG, LogState } from "./log-state.ts";
import {
  fillWithZeros,
  isTemporarySegment,
  type OpenSegment,
  readSegmentHeader,
} from "./segment-file.ts";
import {
  type DecodedSegmentHeader,
  parseSegmentName,
  type SegmentName,
  type WalIdentity,
} from "./segment-header.ts";
import { type ScanEnd, SegmentScan } from "./segment-scan.ts";
import type { SegmentInfo } from "./segment-writer.ts";
import { damaged } from "./wal-errors.ts";

/** A batch that was being written when the agent or the machine stopped. */
export interface TornBatch {
  readonly path: string;
  /** Where it began, in bytes. */
  readonly offset: number;
  readonly batch: number;
}

/** A log that was read back. */
export interface RecoveredSegments {
  readonly state: LogState;
  /** From `state.firstIndex` to `state.lastIndex`. */
  readonly entries: readonly StoredEntry[];
  /** In order. */
  readonly segments: readonly SegmentInfo[];
  /** The last segment, open for appending at `end`. */
  readonly current: OpenSegment;
  readonly end: ScanEnd;
  readonly torn: TornBatch | undefined;
}

/** A segment's file, by its name. */
export interface SegmentFile extends SegmentName {
  readonly path: string;
}

/** The log in `directory`; undefined when there is none yet. Throws `HostError` on damage. */
export async function recoverSegments(
  disk: Disk,
  directory: string,
  identity: WalIdentity,
): Promise<RecoveredSegments | undefined> {
  const names = await disk.list(directory);
  for (const name of names) {
    if (isTemporarySegment(name)) await disk.remove(`${directory}/${name}`);
  }
  const files = listSegments(directory, names);
  if (files.length === 0) return undefined;
  for (const [position, file] of files.entries()) {
    const expected = files[0]!.sequence + position;
    if (file.sequence > expected) throw missingSegment(directory, expected);
    if (file.sequence < expected) {
      throw damaged(directory, `log segment ${file.sequence} is there twice`);
    }
  }
  return new Recovery({ disk, directory, identity }, files).run();
}

/** The segments among `names`, in order; there may be holes. */
export function listSegments(directory: string, names: readonly string[]): SegmentFile[] {
  const files = names.flatMap((name) => {
    const parsed = parseSegmentName(name);
    return parsed === undefined ? [] : [{ ...parsed, path: `${directory}/${name}` }];
  });
  return files.sort((a, b) => a.sequence - b.sequence);
}

function missingSegment(directory: string, sequence: number): Error {
  return damaged(directory, `log segment ${sequence} is missing`);
}

interface RecoveryPlace {
  readonly disk: Disk;
  readonly directory: string;
  readonly identity: WalIdentity;
}

/** One segment, read to its end. */
interface ReadSegment {
  readonly file: SegmentFile;
  readonly segment: DecodedSegmentHeader;
  readonly scan: SegmentScan;
  readonly end: ScanEnd;
  readonly highestIndex: number;
}

class Recovery {
  readonly #place: RecoveryPlace;
  #files: readonly SegmentFile[];
  #state = new LogState(EMPTY_LOG);
  #entries: StoredEntry[] = [];
  readonly #segments: SegmentInfo[] = [];

  constructor(place: RecoveryPlace, files: readonly SegmentFile[]) {
    this.#place = place;
    this.#files = files;
  }

  async run(): Promise<RecoveredSegments> {
    let previous: ScanEnd | undefined;
    for (let position = 0; position < this.#files.length; position++) {
      const file = this.#files[position]!;
      const handle = await this.#place.disk.open(file.path, "read");
      try {
        const read = await this.#readSegment(file, handle, previous);
        // A killed process may have left what it wrote in the page cache only: it can be read, but
        // must not be acted upon before it cannot be lost any more.
        await handle.sync();
        this.#segments.push({ path: file.path, highestIndex: read.highestIndex });
        if (position < this.#files.length - 1) await this.#checkContinues(read, position);
        // The check may have undone the segment that followed.
        if (position === this.#files.length - 1) return await this.#finish(read);
        previous = read.end;
      } finally {
        await handle.close();
      }
    }
    assert(false, "there is at least one segment");
  }

  async #readSegment(
    file: SegmentFile,
    handle: DiskFile,
    previous: ScanEnd | undefined,
  ): Promise<ReadSegment> {
    const segment = await readSegmentHeader(handle, this.#place.identity);
    this.#checkHeader(file, segment, previous);
    const scan = new SegmentScan(handle, segment);
    let highestIndex = 0;
    for (let batch = await scan.next(); batch !== undefined; batch = await scan.next()) {
      for (const { offset, frame } of batch.frames) {
        const refusal = this.#state.refusal(frame);
        if (refusal !== undefined) throw damaged(byteOf(file, offset), refusal);
        this.#apply(frame);
        if (frame.kind === "entry") highestIndex = Math.max(highestIndex, frame.entry.index);
      }
    }
    const { end } = scan;
    if (end.stop.kind === "nonsense") {
      throw damaged(byteOf(file, end.stopOffset), end.stop.reason);
    }
    return { file, segment, scan, end, highestIndex };
  }

  #checkHeader(
    { path, sequence, firstIndex }: SegmentFile,
    { header }: DecodedSegmentHeader,
    previous: ScanEnd | undefined,
  ): void {
    const { before } = header;
    if (header.sequence !== sequence || before.lastIndex + 1 !== firstIndex) {
      throw damaged(path, "its header does not fit its name");
    }
    if (previous === undefined) {
      // The oldest segment left: what came before it is known by its header only.
      this.#state = new LogState(before);
      return;
    }
    const continues =
      header.previousBatch === previous.batch &&
      header.previousCrc === previous.crc &&
      Bun.deepEquals(before, this.#state.summary);
    if (!continues) throw damaged(path, "it does not continue the segment before it");
  }

  #apply(frame: WalFrame): void {
    this.#state.apply(frame);
    if (frame.kind === "entry") {
      const position = frame.entry.index - this.#state.firstIndex;
      this.#entries.length = position;
      this.#entries.push(frame.entry);
    } else if (frame.kind === "snapshot_mark" && frame.resets) {
      this.#entries = [];
    }
  }

  /** Asserts by error that the segment at `position` was ended, or undoes a move cut short. */
  async #checkContinues(read: ReadSegment, position: number): Promise<void> {
    const { end, file } = read;
    if (end.continued) return;
    const next = this.#files[position + 1]!;
    const isLast = position + 2 === this.#files.length;
    if (!(isLast && (await this.#isUnusedAfter(next, end)))) {
      const reason = `${describeStop(end)}, although segment ${next.sequence} was begun after it`;
      throw damaged(byteOf(file, end.stopOffset), reason);
    }
    await this.#place.disk.remove(next.path);
    await this.#place.disk.syncDirectory(this.#place.directory);
    this.#files = this.#files.slice(0, -1);
  }

  /** Whether `file` is an empty segment that waits for one more batch after `end`. */
  async #isUnusedAfter(file: SegmentFile, end: ScanEnd): Promise<boolean> {
    const handle = await this.#place.disk.open(file.path, "read");
    try {
      const segment = await readSegmentHeader(handle, this.#place.identity);
      if (segment.header.previousBatch !== end.batch + 1) return false;
      const scan = new SegmentScan(handle, segment);
      if ((await scan.next()) !== undefined) return false;
      return !(await scan.inspectTail()).isDirty;
    } finally {
      await handle.close();
    }
  }

  /** Judges what follows the last whole batch of the last segment, and clears a torn one. */
  async #finish(read: ReadSegment): Promise<RecoveredSegments> {
    const { file, segment, scan, end } = read;
    const { disk, directory } = this.#place;
    if (end.continued) throw missingSegment(directory, file.sequence + 1);
    const tail = await scan.inspectTail();
    const expected = end.batch + 1;
    const { latestBatch } = tail;
    if (latestBatch !== undefined && latestBatch !== expected) {
      const later = `although batch ${latestBatch} was written after it`;
      const reason = `${describeStop(end)} in batch ${expected}, ${later}`;
      throw damaged(byteOf(file, end.stopOffset), reason);
    }
    // For the same reason as each file is.
    await disk.syncDirectory(directory);
    const handle = await disk.open(file.path, "durable");
    if (tail.isDirty) await fillWithZeros(handle, end.offset, handle.sizeBytes);
    const { path } = file;
    return {
      state: this.#state,
      entries: this.#entries,
      segments: this.#segments,
      current: { file: handle, path, segment },
      end,
      torn: tail.isDirty ? { path, offset: end.offset, batch: expected } : undefined,
    };
  }
}

function byteOf({ path }: SegmentFile, offset: number): string {
  return `byte ${offset} of ${path}`;
}

function describeStop({ stop }: ScanEnd): string {
  switch (stop.kind) {
    case "blank":
      return "zeros";
    case "checksum":
      return "wrong checksum";
    case "nonsense":
      return stop.reason;
  }
}
