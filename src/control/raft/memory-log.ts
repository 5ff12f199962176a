/**
 * The durable log as the core reads it: a mirror in memory of what the disk holds.
 *
 * Entry `firstIndex() - 1` is known by its term only: it is the last one that the snapshot or the
 * compaction swallowed. The driver appends here what it has made durable. No I/O.
 *
 * @module
 */
import { assert } from "../../base/assert.ts";
import { decodeIndex, decodeTerm, type Index, type Term } from "../../base/ids.ts";
import type { Result } from "../../base/result.ts";
import { err, ok } from "../../base/result.ts";
import { countWithin } from "./entry-size.ts";
import type { ConfState, Entry, LogReader, Snapshot } from "./types.ts";

/** `out_of_date`: what we hold is as new or newer. `compacted`: already gone. */
export type MemoryLogError = { readonly kind: "out_of_date" } | { readonly kind: "compacted" };

const EMPTY_SNAPSHOT: Snapshot = {
  index: decodeIndex(0),
  term: decodeTerm(0),
  confState: { voters: [], votersOutgoing: [], learners: [], learnersNext: [], autoLeave: false },
  data: new Uint8Array(0),
};

/** An in-memory `LogReader` that the driver keeps equal to its disk. */
export class MemoryLog implements LogReader {
  /** Entries after `#base`, contiguous. */
  #entries: Entry[] = [];
  /** Index and term of the entry before the first one held. */
  #baseIndex: Index = decodeIndex(0);
  #baseTerm: Term = decodeTerm(0);
  #snapshot: Snapshot = EMPTY_SNAPSHOT;

  firstIndex(): Index {
    return decodeIndex(this.#baseIndex + 1);
  }

  lastIndex(): Index {
    return decodeIndex(this.#baseIndex + this.#entries.length);
  }

  term(index: Index): Term | undefined {
    if (index === this.#baseIndex) return this.#baseTerm;
    return this.#entries[index - this.#baseIndex - 1]?.term;
  }

  entries(low: Index, high: Index, sizeMaxBytes: number): readonly Entry[] | undefined {
    if (low <= this.#baseIndex) return undefined;
    assert(high <= this.lastIndex() + 1, "entries beyond the end of the log were asked for");
    const start = low - this.#baseIndex - 1;
    const end = high - this.#baseIndex - 1;
    const count = countWithin(this.#entries, start, end, { sizeMaxBytes, usedBytes: 0 });
    return this.#entries.slice(start, start + count);
  }

  snapshot(): Snapshot | undefined {
    return this.#snapshot;
  }

  /**
   * Adds `entries`, which must be contiguous and must not leave a gap; they replace the tail from
   * the first one's index on. Those already compacted away are passed over.
   */
  append(entries: readonly Entry[]): void {
    let first = 0;
    while (first < entries.length && entries[first]!.index <= this.#baseIndex) first++;
    if (first === entries.length) return;
    const keep = entries[first]!.index - this.#baseIndex - 1;
    assert(keep <= this.#entries.length, "appended entries must not leave a gap");
    this.#entries.length = keep;
    for (let i = first; i < entries.length; i++) {
      assert(entries[i]!.index === this.lastIndex() + 1, "appended entries must be contiguous");
      this.#entries.push(entries[i]!);
    }
  }

  /** Replaces the whole log by `snapshot`, received from a leader. */
  applySnapshot(snapshot: Snapshot): Result<void, MemoryLogError> {
    if (this.#snapshot.index >= snapshot.index) return err({ kind: "out_of_date" });
    this.#snapshot = snapshot;
    this.#entries = [];
    this.#baseIndex = snapshot.index;
    this.#baseTerm = snapshot.term;
    return ok(undefined);
  }

  /** Makes and keeps the snapshot of the state at `index`; entries stay until `compact`. */
  createSnapshot(
    index: Index,
    confState: ConfState,
    data: Uint8Array,
  ): Result<Snapshot, MemoryLogError> {
    if (index <= this.#snapshot.index) return err({ kind: "out_of_date" });
    const term = this.term(index);
    assert(term !== undefined, "a snapshot needs its last entry in the log");
    this.#snapshot = { index, term, confState, data };
    return ok(this.#snapshot);
  }

  /** Forgets entries up to `index`, of which the term stays known. */
  compact(index: Index): Result<void, MemoryLogError> {
    if (index <= this.#baseIndex) return err({ kind: "compacted" });
    const term = this.term(index);
    assert(term !== undefined, "compaction beyond the end of the log");
    this.#entries = this.#entries.slice(index - this.#baseIndex);
    this.#baseIndex = index;
    this.#baseTerm = term;
    return ok(undefined);
  }
}
