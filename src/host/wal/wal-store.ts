/**
 * The `LogStore` port on our own write-ahead log: group commit, snapshots, compaction.
 *
 * Source: Ongaro's thesis §3.8 (what must be durable), §5 (snapshots); group commit after the
 * usual practice of databases: while one batch is being synced, callers queue for the next.
 *
 *     append --> queue --> one batch at a time: write + sync --> everybody in it is answered
 *     saveSnapshot --> file, synced and renamed (beside appends) --> mark through the same queue
 *
 * Calls take effect in order. Appends do not wait for a snapshot of what the log holds already;
 * they do wait for one that replaces the log (received from a leader), since they build on it.
 *
 * After the first disk error nothing is tried again: an fsync that failed once may succeed later
 * without having written anything (Rebello et al., "Can Applications Recover from fsync
 * Failures?", USENIX ATC 2020). Every later call fails with that first error.
 *
 * An idle log is sealed: after `sealDelayMs` without a batch, and on `close`, an empty batch
 * follows the last one. From then on the last batch with content cannot be taken for a torn one.
 *
 * @module
 */
import { assert } from "../../base/assert.ts";
import { HostError } from "../../base/host-error.ts";
import type { Clock, LogBatch, LogStore, RecoveredLog, StoredSnapshotMeta } from "../ports.ts";
import { encodedSize, type SnapshotMark, type WalFrame } from "./frame.ts";
import { ENTRY_PAYLOAD_SIZE_MAX, type WalLimits } from "./limits.ts";
import type { LogState } from "./log-state.ts";
import type { TornBatch } from "./recovery.ts";
import type { SegmentWriter } from "./segment-writer.ts";
import { type SnapshotChunks, SnapshotSourceError } from "./snapshot-file.ts";
import type { SnapshotFallback, SnapshotStore } from "./snapshot-store.ts";

/** What `openWal` had to put right; for the log of the agent and its status. */
export interface RecoveryReport {
  /** A batch without an acknowledgement that was dropped. */
  readonly torn: TornBatch | undefined;
  readonly fallback: SnapshotFallback | undefined;
}

/** A `LogStore` on this machine's files. */
export interface WalStore extends LogStore, AsyncDisposable {
  readonly report: RecoveryReport;
}

/** The parts of an opened log. */
export interface WalStoreParts {
  readonly recovered: RecoveredLog;
  readonly report: RecoveryReport;
  /** The log as recovered. The store owns it from now on. */
  readonly state: LogState;
  readonly writer: SegmentWriter;
  readonly snapshots: SnapshotStore;
  readonly limits: WalLimits;
  readonly clock: Pick<Clock, "after">;
  /** Called once, with the error after which every call fails. */
  readonly onFatal: (error: HostError) => void;
}

/** Frames that go into one batch together, and who waits for them. */
interface Pending {
  readonly frames: readonly WalFrame[];
  readonly size: number;
  resolve(): void;
  reject(cause: unknown): void;
}

/** An append that waits for a snapshot. */
interface Deferred {
  run(): void;
  reject(cause: unknown): void;
}

/** Builds the store out of what recovery found. Use `openWal`. */
export function createWalStore(parts: WalStoreParts): WalStore {
  return new FileLogStore(parts);
}

class FileLogStore implements WalStore {
  readonly report: RecoveryReport;
  /** Without what was recovered, which must not be held for the store's whole life. */
  readonly #parts: Omit<WalStoreParts, "recovered">;
  #recovered: RecoveredLog;
  /** The log with everything accepted so far, written or not. */
  readonly #accepted: LogState;
  #queue: Pending[] = [];
  /** Runs while the queue is being worked off. */
  #drain: Promise<void> | undefined;
  #failure: unknown;
  #closing: Promise<void> | undefined;
  /** Saves and compactions, one after the other. */
  #maintenance: Promise<void> = Promise.resolve();
  /** For each snapshot being saved that appends must wait for, in order: those that came after. */
  #deferred: Deferred[][] = [];
  #cancelSeal: (() => void) | undefined;

  constructor({ recovered, ...parts }: WalStoreParts) {
    this.#parts = parts;
    this.#recovered = recovered;
    this.#accepted = parts.state;
    this.report = parts.report;
    this.#planSeal();
  }

  /** Without its entries as soon as they would only take memory. */
  get recovered(): RecoveredLog {
    return this.#recovered;
  }

  append(batch: LogBatch): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    assert(this.#closing === undefined, "a closed log takes no entries");
    this.#dropRecovered(Number.POSITIVE_INFINITY);
    const waiting = this.#deferred.at(-1);
    if (waiting === undefined) return this.#enqueue(this.#accept(batch));
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const run = () => {
      try {
        this.#enqueue(this.#accept(batch)).then(resolve, reject);
      } catch (cause) {
        reject(cause);
      }
    };
    waiting.push({ run, reject });
    return promise;
  }

  saveSnapshot(meta: StoredSnapshotMeta, chunks: SnapshotChunks): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    assert(this.#closing === undefined, "a closed log takes no snapshot");
    const replacesLog =
      this.#deferred.length > 0 || this.#accepted.termAt(meta.index) !== meta.term;
    if (!replacesLog) return this.#maintain(() => this.#save(meta, chunks));
    this.#deferred.push([]);
    return this.#maintain(async () => {
      try {
        await this.#save(meta, chunks);
      } catch (cause) {
        // What was to come after it makes no sense without it.
        if (!(cause instanceof SnapshotSourceError)) this.#fail(cause);
        else for (const { reject } of this.#deferred.shift() ?? []) reject(cause.cause);
        throw cause;
      }
      // Before the next snapshot is looked at.
      for (const { run } of this.#deferred.shift() ?? []) run();
    });
  }

  readSnapshot(): AsyncIterable<Uint8Array> {
    return this.#parts.snapshots.read();
  }

  compact(index: number): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    assert(this.#closing === undefined, "a closed log is not compacted");
    return this.#maintain(async () => {
      const { snapshots, writer } = this.#parts;
      assert(index <= snapshots.newestIndex, "only what a snapshot covers may be forgotten");
      this.#accepted.forget(index);
      this.#dropRecovered(index);
      await writer.deleteUpTo(index);
    });
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    const { writer } = this.#parts;
    this.#cancelSeal?.();
    await this.#maintenance;
    await this.#drain;
    try {
      if (this.#failure === undefined && !writer.sealed) await writer.write([]);
    } catch (cause) {
      this.#fail(cause);
    }
    await writer.close();
    if (this.#failure !== undefined) throw this.#failure;
  }

  #dropRecovered(index: number): void {
    if (this.#recovered.entries.length === 0) return;
    const entries = this.#recovered.entries.filter((entry) => entry.index > index);
    this.#recovered = { ...this.#recovered, entries };
  }

  /** Frames of `batch`, in the order of thesis §3.8: term and vote before entries of that term. */
  #accept({ hardState, entries }: LogBatch): WalFrame[] {
    const frames: WalFrame[] = hardState === undefined ? [] : [{ kind: "hard_state", hardState }];
    for (const entry of entries) {
      assert(entry.payload.length <= ENTRY_PAYLOAD_SIZE_MAX, "an entry is at most 16 MiB");
      frames.push({ kind: "entry", entry });
    }
    for (const frame of frames) {
      const refusal = this.#accepted.refusal(frame);
      assert(refusal === undefined, refusal ?? "");
      this.#accepted.apply(frame);
    }
    return frames;
  }

  #enqueue(frames: readonly WalFrame[]): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    let size = 0;
    for (const frame of frames) size += encodedSize(frame);
    this.#queue.push({ frames, size, resolve, reject });
    this.#drain ??= this.#work();
    return promise;
  }

  /** Writes batch after batch until the queue is empty or the disk fails. */
  async #work(): Promise<void> {
    // Whoever is about to append in this turn of the event loop joins the first batch.
    await Promise.resolve();
    while (this.#queue.length > 0) {
      const group = this.#takeGroup();
      try {
        if (this.#failure !== undefined) throw this.#failure;
        await this.#parts.writer.write(group.flatMap((pending) => pending.frames));
        for (const pending of group) pending.resolve();
      } catch (cause) {
        const failure = this.#fail(cause);
        for (const pending of group) pending.reject(failure);
      }
    }
    this.#drain = undefined;
    this.#planSeal();
  }

  #takeGroup(): Pending[] {
    let count = 0;
    let size = 0;
    for (const pending of this.#queue) {
      if (count > 0 && size + pending.size > this.#parts.limits.batchSizeBytesMax) break;
      size += pending.size;
      count++;
    }
    return this.#queue.splice(0, count);
  }

  async #save(meta: StoredSnapshotMeta, chunks: SnapshotChunks): Promise<void> {
    const { snapshots } = this.#parts;
    // A newer one came from the leader while this one was being asked for: it covers this one.
    if (meta.index <= snapshots.newestIndex) return;
    const mark: SnapshotMark = await snapshots.write(meta, chunks);
    const resets = this.#accepted.termAt(meta.index) !== meta.term;
    const frame: WalFrame = { kind: "snapshot_mark", mark, resets };
    const refusal = this.#accepted.refusal(frame);
    assert(refusal === undefined, refusal ?? "");
    this.#accepted.apply(frame);
    await this.#enqueue([frame]);
    await snapshots.adopt(mark);
  }

  /** Runs `task` after the saves and compactions before it; a disk error in it is fatal. */
  #maintain(task: () => Promise<void>): Promise<void> {
    const run = this.#maintenance.then(async () => {
      if (this.#failure !== undefined) throw this.#failure;
      try {
        await task();
      } catch (cause) {
        if (cause instanceof SnapshotSourceError) throw cause.cause;
        throw this.#fail(cause);
      }
    });
    this.#maintenance = run.catch(() => undefined);
    return run;
  }

  /** Ends the store because of `cause`; the result is what everybody is told: the first cause. */
  #fail(cause: unknown): unknown {
    if (this.#failure !== undefined) return this.#failure;
    this.#failure = cause;
    this.#cancelSeal?.();
    for (const { reject } of this.#deferred.flat()) reject(cause);
    this.#deferred = [];
    if (cause instanceof HostError) this.#parts.onFatal(cause);
    return cause;
  }

  /** Looks again after a while; a log that has not moved by then is sealed. */
  #planSeal(): void {
    const { writer, limits, clock } = this.#parts;
    if (this.#cancelSeal !== undefined || writer.sealed) return;
    if (this.#failure !== undefined || this.#closing !== undefined) return;
    const { batch } = writer;
    this.#cancelSeal = clock.after(limits.sealDelayMs, () => {
      this.#cancelSeal = undefined;
      if (writer.batch !== batch) this.#planSeal();
      else if (this.#drain === undefined) this.#enqueue([]).catch(() => undefined);
    });
  }
}
