/**
 * Prints what a log holds, frame by frame, for a person who must find out what happened to it.
 *
 * Reads only, stops at nothing: a segment that cannot be read is a record, too. Needs no lock; on
 * the log of a running agent the end is wherever it was when it was read.
 *
 * @module
 */
import { unreachable } from "../../base/assert.ts";
import { HostError } from "../../base/host-error.ts";
import { type Disk, type DiskFile, openDisk } from "../files/disk.ts";
import type { WalFrame } from "./frame.ts";
import { listSegments } from "./recovery.ts";
import { readSegmentHeader } from "./segment-file.ts";
import type { DecodedSegmentHeader } from "./segment-header.ts";
import { type PlacedFrame, type ScanEnd, SegmentScan } from "./segment-scan.ts";

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
    | { readonly kind: "unreadable"; readonly reason: string }
  );

/** What the segments in `directory` hold, in order. Throws `HostError` when it cannot be listed. */
export async function* describeWal(
  directory: string,
  disk: Disk = openDisk(),
): AsyncGenerator<WalRecord, void, void> {
  for (const { path } of listSegments(directory, await disk.list(directory))) {
    const file = await disk.open(path, "read");
    try {
      yield* describeSegment(file);
    } catch (cause) {
      if (!(cause instanceof HostError)) throw cause;
      yield { kind: "unreadable", file: path, offset: 0, reason: cause.message };
    } finally {
      await file.close();
    }
  }
}

async function* describeSegment(file: DiskFile): AsyncGenerator<WalRecord, void, void> {
  const segment = await readSegmentHeader(file, undefined);
  yield describeHeader(file.path, segment);
  const scan = new SegmentScan(file, segment);
  for (let batch = await scan.next(); batch !== undefined; batch = await scan.next()) {
    for (const placed of batch.frames) yield describeFrame(file.path, placed, true);
    yield { kind: "commit", file: file.path, offset: batch.commitOffset, ...batch.commit };
  }
  const { end } = scan;
  for (const placed of end.uncommitted) yield describeFrame(file.path, placed, false);
  const { isDirty, latestBatch } = await scan.inspectTail();
  yield {
    kind: "end",
    file: file.path,
    offset: end.stopOffset,
    reason: describeStop(end),
    dirty: isDirty,
    latestBatch,
  };
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
