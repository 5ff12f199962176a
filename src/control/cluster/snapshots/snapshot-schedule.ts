/**
 * When a node makes a snapshot of its own accord.
 *
 * Applying an entry again at a start takes several times what a pair of a snapshot takes, so a
 * snapshot should not be long ago when a node stops, and nobody knows when it will:
 *
 *     due           so many entries or bytes since the last: memory and disk are at stake
 *     worthwhile    a tenth of that, and the state is small: at a stop
 *     ripe          worthwhile, and either nothing has happened for a while, or the last snapshot
 *                   is old: a burst is not disturbed, and a trickle never ends
 *
 * Pure.
 *
 * @module
 */
import {
  SNAPSHOT_EARLY_FRACTION,
  SNAPSHOT_EARLY_SIZE_MAX_BYTES,
  SNAPSHOT_LOG_SIZE_BYTES,
  SNAPSHOT_OLD_MS,
  SNAPSHOT_QUIET_MS,
} from "../limits.ts";

/** What has happened since the last snapshot of one node. */
export class SnapshotSchedule {
  readonly #entriesMax: number;
  readonly #entriesEarly: number;
  #entryCount = 0;
  #entrySizeBytes = 0;
  #snapshotSizeBytes = 0;
  #begunAtMs: number;
  #countedAtMs: number;
  /** Entries at the last look. */
  #seenCount = 0;

  constructor(options: { readonly entriesMax: number; readonly nowMs: number }) {
    this.#entriesMax = options.entriesMax;
    this.#entriesEarly = Math.max(1, Math.floor(options.entriesMax * SNAPSHOT_EARLY_FRACTION));
    this.#begunAtMs = options.nowMs;
    this.#countedAtMs = options.nowMs;
  }

  get isDue(): boolean {
    return this.#entryCount >= this.#entriesMax || this.#entrySizeBytes >= SNAPSHOT_LOG_SIZE_BYTES;
  }

  get isWorthwhile(): boolean {
    const isSmall = this.#snapshotSizeBytes <= SNAPSHOT_EARLY_SIZE_MAX_BYTES;
    return this.isDue || (isSmall && this.#entryCount >= this.#entriesEarly);
  }

  /** An entry of so many bytes was applied. */
  counted(sizeBytes: number): void {
    this.#entryCount += 1;
    this.#entrySizeBytes += sizeBytes;
  }

  /** A snapshot of everything counted so far is being made, or came from a leader. */
  begun(nowMs: number): void {
    this.#entryCount = 0;
    this.#entrySizeBytes = 0;
    this.#begunAtMs = nowMs;
  }

  /** How large the newest snapshot is. */
  measured(sizeBytes: number): void {
    this.#snapshotSizeBytes = sizeBytes;
  }

  /** Whether one is ripe; to be asked every now and then, since it tells time by the calls. */
  isRipe(nowMs: number): boolean {
    if (this.#entryCount !== this.#seenCount) {
      this.#seenCount = this.#entryCount;
      this.#countedAtMs = nowMs;
    }
    const isQuiet = nowMs - this.#countedAtMs >= SNAPSHOT_QUIET_MS;
    return this.isWorthwhile && (isQuiet || nowMs - this.#begunAtMs >= SNAPSHOT_OLD_MS);
  }
}
