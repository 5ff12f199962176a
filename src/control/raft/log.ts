/**
 * The whole log of a node: what is durable, what is not yet, and how far it is committed and
 * applied.
 *
 *   firstIndex - 1 <= applied <= applying <= committed <= lastIndex
 *
 * Source: thesis §3.5 (log matching), §3.6.1 (up-to-date), §5.3 (back-tracking by term).
 * Pure: reads the durable part through `LogReader`.
 *
 * @module
 */
import { assert } from "../../base/assert.ts";
import { decodeIndex, decodeTerm, type Index, type Term } from "../../base/ids.ts";
import { entriesSizeBytes } from "./entry-size.ts";
import type { TraceSink } from "./trace.ts";
import type { Entry, EntryId, LogReader, Snapshot } from "./types.ts";
import { Unstable } from "./unstable.ts";

const TERM_NONE = decodeTerm(0);
const INDEX_NONE = decodeIndex(0);

/** One node's log. */
export class RaftLog {
  readonly #durable: LogReader;
  readonly #applyingSizeMaxBytes: number;
  readonly #trace: TraceSink | undefined;
  readonly unstable: Unstable;
  #committed: Index;
  #applying: Index;
  #applied: Index;
  /** Bytes handed out for applying and not yet reported as applied. */
  #applyingSizeBytes = 0;
  #applyingPaused = false;

  constructor(durable: LogReader, applyingSizeMaxBytes: number, trace: TraceSink | undefined) {
    this.#durable = durable;
    this.#applyingSizeMaxBytes = applyingSizeMaxBytes;
    this.#trace = trace;
    this.unstable = new Unstable(decodeIndex(durable.lastIndex() + 1), trace);
    const compacted = decodeIndex(durable.firstIndex() - 1);
    this.#committed = compacted;
    this.#applying = compacted;
    this.#applied = compacted;
  }

  get committed(): Index {
    return this.#committed;
  }

  /** Last index handed out for applying. */
  get applying(): Index {
    return this.#applying;
  }

  get applied(): Index {
    return this.#applied;
  }

  firstIndex(): Index {
    const snapshot = this.unstable.snapshot;
    return snapshot === undefined ? this.#durable.firstIndex() : decodeIndex(snapshot.index + 1);
  }

  lastIndex(): Index {
    return this.unstable.lastIndex() ?? this.#durable.lastIndex();
  }

  /** Identity of the last entry: what this node's log is judged by in elections. */
  last(): EntryId {
    const index = this.lastIndex();
    const term = this.term(index);
    assert(term !== undefined, "the last entry's term must be known");
    return { term, index };
  }

  /** Term of entry `index`; undefined when it is compacted or not yet here. */
  term(index: Index): Term | undefined {
    const term = this.unstable.term(index);
    if (term !== undefined) return term;
    if (index + 1 < this.firstIndex() || index > this.lastIndex()) return undefined;
    return this.#durable.term(index);
  }

  /** Whether this log holds the entry `id`; by log matching, then also all before it (§3.5). */
  matches(id: EntryId): boolean {
    return this.term(id.index) === id.term;
  }

  /** Whether a log that ends with `last` holds every entry that ours may have committed. */
  isUpToDate(last: EntryId): boolean {
    const own = this.last();
    return last.term > own.term || (last.term === own.term && last.index >= own.index);
  }

  /**
   * Entries from `low` to the end, cut after `sizeMaxBytes` but at least one when there is one;
   * undefined when `low` was compacted away.
   */
  entriesFrom(low: Index, sizeMaxBytes: number): readonly Entry[] | undefined {
    const last = this.lastIndex();
    return low > last ? [] : this.entries(low, decodeIndex(last + 1), sizeMaxBytes);
  }

  /** Entries from `low` up to but excluding `high`, cut likewise. */
  entries(low: Index, high: Index, sizeMaxBytes: number): readonly Entry[] | undefined {
    assert(low <= high && high <= this.lastIndex() + 1, "entries out of range");
    if (low < this.firstIndex()) return undefined;
    const offset = this.unstable.offset;
    if (low >= offset) return this.unstable.entries(low, high, { sizeMaxBytes, usedBytes: 0 });

    const middle = high < offset ? high : offset;
    const durable = this.#durable.entries(low, middle, sizeMaxBytes);
    if (durable === undefined || high <= offset) return durable;
    // Shorter than asked for: the size limit was reached within the durable part.
    if (durable.length < middle - low) return durable;
    const usedBytes = entriesSizeBytes(durable);
    return [...durable, ...this.unstable.entries(offset, high, { sizeMaxBytes, usedBytes })];
  }

  /** The newest snapshot; undefined while there is none to be had. */
  snapshot(): Snapshot | undefined {
    return this.unstable.snapshot ?? this.#durable.snapshot();
  }

  /** Adds entries after those before them; they replace what conflicts, never what is committed. */
  append(entries: readonly Entry[]): void {
    if (entries.length === 0) return;
    assert(entries[0]!.index > this.#committed, "a committed entry must not be replaced");
    this.unstable.truncateAndAppend(entries);
  }

  /**
   * Takes in `entries` that follow `previous` in the leader's log. Undefined when our log does
   * not hold `previous`; else the last index that is now known to match the leader's log.
   */
  maybeAppend(previous: EntryId, entries: readonly Entry[]): Index | undefined {
    if (!this.matches(previous)) return undefined;
    const first = this.#firstNew(entries);
    if (first < entries.length) this.append(first === 0 ? entries : entries.slice(first));
    return decodeIndex(previous.index + entries.length);
  }

  /** Position of the first of `entries` that we do not hold: missing or of another term. */
  #firstNew(entries: readonly Entry[]): number {
    const last = this.lastIndex();
    for (let i = 0; i < entries.length; i++) {
      const { index, term } = entries[i]!;
      if (index > last) return i;
      const own = this.term(index);
      if (own === term) continue;
      this.#trace?.({
        kind: "conflict_found",
        index,
        existingTerm: own ?? TERM_NONE,
        conflictingTerm: term,
      });
      return i;
    }
    return entries.length;
  }

  /**
   * The last place at or before `index` where this log may agree with one that has `term` at
   * `index`: a whole divergent term is skipped at once (§5.3). Term 0 means "not known here".
   */
  findConflictByTerm(index: Index, term: Term): EntryId {
    for (let i: Index = index; i > 0; i = decodeIndex(i - 1)) {
      const own = this.term(i);
      if (own === undefined) return { index: i, term: TERM_NONE };
      if (own <= term) return { index: i, term: own };
    }
    return { index: INDEX_NONE, term: TERM_NONE };
  }

  /** Raises the commit index; lower ones are old news. */
  commitTo(index: Index): void {
    if (index <= this.#committed) return;
    assert(index <= this.lastIndex(), "commit beyond the end: was the log damaged or lost?");
    this.#committed = index;
  }

  /** What was durable when the node stopped. */
  restoreCommit(index: Index): void {
    assert(
      index >= this.#committed && index <= this.lastIndex(),
      "stored commit index out of range of the log",
    );
    this.#committed = index;
  }

  /** Replaces the whole log by a snapshot from the leader. */
  restore(snapshot: Snapshot): void {
    this.#trace?.({
      kind: "snapshot_restore_started",
      committed: this.#committed,
      applied: this.#applied,
      applying: this.#applying,
      unstableOffset: this.unstable.offset,
      unstableOffsetInProgress: this.unstable.offsetInProgress,
      unstableCount: this.unstable.count,
      snapshot: { index: snapshot.index, term: snapshot.term },
    });
    assert(snapshot.index > this.#committed, "a snapshot must not take commits back");
    this.#committed = snapshot.index;
    this.unstable.restore(snapshot);
  }

  /** Whether committed entries wait for being applied; with the rules of `nextCommitted`. */
  hasNextCommitted(allowUnstable: boolean): boolean {
    if (this.#applyingPaused || this.unstable.snapshot !== undefined) return false;
    return this.#applying < this.#appliableIndex(allowUnstable);
  }

  /**
   * Committed entries to apply next, within the limit on what is being applied. Unless
   * `allowUnstable`, only such as are on this node's disk.
   */
  nextCommitted(allowUnstable: boolean): readonly Entry[] {
    if (!this.hasNextCommitted(allowUnstable)) return [];
    const budget = this.#applyingSizeMaxBytes - this.#applyingSizeBytes;
    assert(budget > 0, "applying must be paused when its limit is reached");
    const low = decodeIndex(this.#applying + 1);
    const high = decodeIndex(this.#appliableIndex(allowUnstable) + 1);
    const entries = this.entries(low, high, budget);
    assert(entries !== undefined, "entries must not be compacted before they are applied");
    return entries;
  }

  /** `entries` were handed out for applying. */
  acceptApplying(entries: readonly Entry[], allowUnstable: boolean): void {
    const last = entries.at(-1)!.index;
    assert(
      entries[0]!.index === this.#applying + 1 && last <= this.#committed,
      "entries must be applied once and in order",
    );
    this.#applying = last;
    this.#applyingSizeBytes += entriesSizeBytes(entries);
    this.#applyingPaused =
      this.#applyingSizeBytes >= this.#applyingSizeMaxBytes ||
      last < this.#appliableIndex(allowUnstable);
  }

  /** The state machine holds everything up to `index`; `sizeBytes` of it need no room any more. */
  appliedTo(index: Index, sizeBytes: number): void {
    assert(index >= this.#applied && index <= this.#committed, "applied index out of range");
    this.#applied = index;
    if (this.#applying < index) this.#applying = index;
    this.#applyingSizeBytes = Math.max(0, this.#applyingSizeBytes - sizeBytes);
    this.#applyingPaused = this.#applyingSizeBytes >= this.#applyingSizeMaxBytes;
  }

  /** Whether a committed membership change still waits for being applied. */
  hasUnappliedConfChange(): boolean {
    const high = decodeIndex(this.#committed + 1);
    let low = decodeIndex(this.#applied + 1);
    while (low < high) {
      const page = this.entries(low, high, SCAN_PAGE_BYTES);
      assert(page !== undefined, "entries must not be compacted before they are applied");
      if (page.some((entry) => entry.kind === "conf_change")) return true;
      low = decodeIndex(low + page.length);
    }
    return false;
  }

  #appliableIndex(allowUnstable: boolean): number {
    if (allowUnstable) return this.#committed;
    return Math.min(this.#committed, this.unstable.offset - 1);
  }
}

/** Bytes of entries looked at in one step of a scan, so that it needs little memory. */
const SCAN_PAGE_BYTES = 1024 * 1024;

/** Whether `entries` follow `previous` without a gap, and terms only grow, up to `termMax`. */
export function isWellFormed(previous: EntryId, entries: readonly Entry[], termMax: Term): boolean {
  let { index, term }: { index: number; term: number } = previous;
  for (const entry of entries) {
    if (entry.index !== index + 1 || entry.term < term || entry.term > termMax) return false;
    index = entry.index;
    term = entry.term;
  }
  return true;
}
