/**
 * The part of the log that is not known to be on this node's disk: a snapshot that came from the
 * leader, and entries at the end.
 *
 *      durable log                    unstable
 *   ... 8  9 | 10 11 12 | 13 14
 *              ^offset    ^offsetInProgress
 *              being written    not yet handed out
 *
 * `offset` may lie before the end of the durable log: its tail is then about to be replaced.
 * Arrays handed out are copies; they stay as they are while this goes on changing. Pure.
 *
 * @module
 */
import { assert } from "../../base/assert.ts";
import { decodeIndex, type Index, type Term } from "../../base/ids.ts";
import { countWithin, type SizeBudget } from "./entry-size.ts";
import type { TraceSink } from "./trace.ts";
import type { Entry, EntryId, Snapshot } from "./types.ts";

/** Entries and snapshot on their way to the disk. */
export class Unstable {
  readonly #trace: TraceSink | undefined;
  #entries: Entry[] = [];
  #offset: Index;
  /** Invariant: offset <= offsetInProgress <= offset + entries. */
  #offsetInProgress: Index;
  #snapshot: Snapshot | undefined;
  #snapshotInProgress = false;

  /** Empty, after a durable log that ends just before `offset`. */
  constructor(offset: Index, trace: TraceSink | undefined) {
    this.#offset = offset;
    this.#offsetInProgress = offset;
    this.#trace = trace;
  }

  /** Index of the first entry here, or of the next one while there is none. */
  get offset(): Index {
    return this.#offset;
  }

  /** Index after the last entry that was handed out for writing. */
  get offsetInProgress(): Index {
    return this.#offsetInProgress;
  }

  get count(): number {
    return this.#entries.length;
  }

  /** The snapshot that is not yet installed, being written or not. */
  get snapshot(): Snapshot | undefined {
    return this.#snapshot;
  }

  /** The last index, if it lies here. */
  lastIndex(): Index | undefined {
    const count = this.#entries.length;
    if (count > 0) return decodeIndex(this.#offset + count - 1);
    return this.#snapshot?.index;
  }

  /** The term of `index`, if it lies here. */
  term(index: Index): Term | undefined {
    if (index >= this.#offset) return this.#entries[index - this.#offset]?.term;
    return this.#snapshot?.index === index ? this.#snapshot.term : undefined;
  }

  /** Whether there are entries that were not handed out for writing. */
  hasNextEntries(): boolean {
    return this.#entries.length > this.#offsetInProgress - this.#offset;
  }

  nextEntries(): readonly Entry[] {
    return this.#entries.slice(this.#offsetInProgress - this.#offset);
  }

  /** The snapshot, unless it was handed out for writing. */
  nextSnapshot(): Snapshot | undefined {
    return this.#snapshotInProgress ? undefined : this.#snapshot;
  }

  /** Everything here was handed out for writing. */
  acceptInProgress(): void {
    this.#offsetInProgress = decodeIndex(this.#offset + this.#entries.length);
    if (this.#snapshot !== undefined) this.#snapshotInProgress = true;
  }

  /**
   * Entries up to `id` are on disk and nothing that is being written can replace them: forgets
   * them. Ignored when the entries were replaced in the meantime.
   */
  stableTo(id: EntryId): void {
    const term = this.term(id.index);
    if (term === undefined) {
      this.#trace?.({ kind: "stable_entry_missing", index: id.index });
      return;
    }
    if (id.index < this.#offset) {
      this.#trace?.({ kind: "stable_entry_is_snapshot", index: id.index });
      return;
    }
    if (term !== id.term) {
      this.#trace?.({ kind: "stable_entry_mismatched", entry: id, term });
      return;
    }
    this.#entries.splice(0, id.index + 1 - this.#offset);
    this.#offset = decodeIndex(id.index + 1);
    if (this.#offsetInProgress < this.#offset) this.#offsetInProgress = this.#offset;
  }

  /** The snapshot at `index` is installed. */
  stableSnapshotTo(index: Index): void {
    if (this.#snapshot?.index !== index) return;
    this.#snapshot = undefined;
    this.#snapshotInProgress = false;
  }

  /** Starts anew after a snapshot that came from the leader. */
  restore(snapshot: Snapshot): void {
    this.#entries = [];
    this.#offset = decodeIndex(snapshot.index + 1);
    this.#offsetInProgress = this.#offset;
    this.#snapshot = snapshot;
    this.#snapshotInProgress = false;
  }

  /** Adds `entries`, which replace everything from the first one's index on. */
  truncateAndAppend(entries: readonly Entry[]): void {
    const from = entries[0]!.index;
    assert(from <= this.#offset + this.#entries.length, "entries must not leave a gap");
    if (from === this.#offset + this.#entries.length) {
      // The common case: continues the log.
    } else if (from <= this.#offset) {
      this.#trace?.({ kind: "unstable_replaced", from });
      this.#entries.length = 0;
      this.#offset = from;
      this.#offsetInProgress = from;
    } else {
      this.#trace?.({ kind: "unstable_truncated", from });
      this.#entries.length = from - this.#offset;
      if (this.#offsetInProgress > from) this.#offsetInProgress = from;
    }
    for (const entry of entries) this.#entries.push(entry);
  }

  /** Entries from `low` up to but excluding `high`, all of which lie here, cut to the budget. */
  entries(low: Index, high: Index, budget: SizeBudget): readonly Entry[] {
    const start = low - this.#offset;
    const end = high - this.#offset;
    assert(start >= 0 && end <= this.#entries.length, "unstable entries out of range");
    return this.#entries.slice(start, start + countWithin(this.#entries, start, end, budget));
  }
}
