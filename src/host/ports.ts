/**
 * What the two planes need from the machine, as interfaces.
 *
 * Types only: the real implementations are beside this file, the simulated ones in `tests/sim`.
 * Methods that touch the outside throw `HostError`.
 *
 * @module
 */

/** Monotonic and wall time, and timers. The planes read no other clock. */
export interface Clock {
  /** Milliseconds from an arbitrary start; never goes back, does not know of wall-clock jumps. */
  nowMs(): number;
  /** Milliseconds since 1970. For certificates, tokens and time stamps only. */
  wallMs(): number;
  /** Runs `task` once after `delayMs`; the returned function cancels it. */
  after(delayMs: number, task: () => void): () => void;
  /** Runs `task` every `intervalMs` until cancelled; missed runs are not made up. */
  every(intervalMs: number, task: () => void): () => void;
  /**
   * Runs `task` once all that has come in by now was handled, before the loop waits for more.
   * Tasks run in order; one that another asks for joins the same round.
   */
  soon?(task: () => void): void;
}

/** The only source of randomness. */
export interface Random {
  /** `count` random bytes, fit for keys. */
  bytes(count: number): Uint8Array;
  /** An integer from 0 to `limit` − 1, for jitter. */
  below(limit: number): number;
}

/** What a node must find again after a crash, beside its entries (thesis §3.8). */
export interface StoredHardState {
  readonly term: number;
  /** Node id voted for in `term`; 0 when none. */
  readonly vote: number;
  readonly commit: number;
}

/** One log entry as bytes; `kind` is the codec's business. */
export interface StoredEntry {
  readonly term: number;
  readonly index: number;
  readonly kind: number;
  readonly payload: Uint8Array;
}

export interface StoredSnapshotMeta {
  readonly index: number;
  readonly term: number;
  /** Encoded membership at `index`, and whatever else the driver must know before the body. */
  readonly header: Uint8Array;
}

/** One group commit. Entries continue the log or replace its tail from the first one's index on. */
export interface LogBatch {
  readonly hardState?: StoredHardState;
  readonly entries: readonly StoredEntry[];
}

/** What `open` found on the disk, after dropping a torn tail that was never acknowledged. */
export interface RecoveredLog {
  readonly hardState: StoredHardState | undefined;
  readonly snapshot: StoredSnapshotMeta | undefined;
  /** Entries after the snapshot (some may precede it), contiguous. */
  readonly entries: readonly StoredEntry[];
}

/**
 * The write-ahead log and snapshots of one node in one cluster.
 *
 * Calls take effect in order, except that appends need not wait for a snapshot of what the log
 * holds already. A rejected promise of `append` or `saveSnapshot` means that the disk can no longer
 * be trusted: the caller must end the process and never retry (fsync errors are reported once, then
 * the kernel may call the pages clean).
 *
 * Asserts on what the thesis rules out: a gap, an entry that a snapshot covers, a term above the
 * current one, a current term or commit that goes back, a second vote in a term.
 */
export interface LogStore {
  /** What was there when it was opened. To be read before the first `append`, which drops it. */
  readonly recovered: RecoveredLog;
  /** Resolves when the batch is on stable storage. Payloads are borrowed until then. */
  append(batch: LogBatch): Promise<void>;
  /**
   * Writes a snapshot out of `chunks` (each at most 1 MiB) and resolves when it is on stable
   * storage under its final name. The log keeps its entries until `compact`, unless it does not
   * hold the entry at `meta.index` and `meta.term`: then the snapshot takes the place of all of
   * them. What `chunks` itself throws is passed on, and changes nothing. A snapshot that is not
   * newer than the last one is covered by that: it resolves without being read.
   */
  saveSnapshot(
    meta: StoredSnapshotMeta,
    chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  ): Promise<void>;
  /** The chunks of the newest snapshot, checked; throws `HostError` when one is damaged. */
  readSnapshot(): AsyncIterable<Uint8Array>;
  /** Forgets entries up to `index`; they must be covered by a saved snapshot. */
  compact(index: number): Promise<void>;
  /** Waits for what was appended and closes the files. */
  close(): Promise<void>;
}

/**
 * The body of one snapshot on its way in, kept while its transfer is interrupted.
 *
 * Nothing here is acknowledged to anybody: what a crash loses is sent again.
 */
export interface SnapshotStage {
  /** Bytes of the body that are here, checked. */
  readonly sizeBytes: number;
  /**
   * Adds `chunk` (at most 1 MiB, borrowed until then) when it begins where the body ends so far;
   * any other is left out. Resolves to `sizeBytes` after it. Calls take effect in order.
   */
  append(offset: number, chunk: Uint8Array): Promise<number>;
  /** The body so far in chunks, each checked; throws `HostError` when one is damaged. */
  read(): AsyncIterable<Uint8Array>;
  /** Gives the room back. Later appends add nothing. */
  discard(): Promise<void>;
}

/** Where snapshots on their way in are kept. */
export interface SnapshotStaging {
  /**
   * A stage for the snapshot that `key` names: with what an earlier process left of it, or an empty
   * one. What was left of any other is discarded. Throws `HostError`, for instance without room.
   */
  open(key: string): Promise<SnapshotStage>;
  /** Discards what earlier processes left and nobody has opened. Throws `HostError`. */
  clear(): Promise<void>;
}
