/**
 * What the log says, frame by frame, without the entries' payloads.
 *
 * The same fold runs when callers' batches are accepted, when they are written (a segment's header
 * repeats the state before it) and when a log is read back, so the three cannot disagree.
 *
 *     1 ........ firstIndex ................... lastIndex
 *     deleted    entries whose terms are known
 *
 * A log that begins with a later segment knows only the last entry before it. Those deleted
 * entries count as a snapshot's business until one is found that does not cover them.
 *
 * Pure, mutable.
 *
 * @module
 */
import { unreachable } from "../../base/assert.ts";
import type { StoredHardState } from "../ports.ts";
import type { SnapshotMark, WalFrame } from "./frame.ts";

/** A `LogState` as a segment's header holds it. */
export interface LogSummary {
  /** Index of the last entry; 0 for an empty log. */
  readonly lastIndex: number;
  readonly lastTerm: number;
  readonly hardState: StoredHardState | undefined;
  /** The newest snapshot. */
  readonly mark: SnapshotMark | undefined;
}

/** Entries of one term, up to the next run or the end of the log. */
interface TermRun {
  readonly firstIndex: number;
  readonly term: number;
}

interface EntryId {
  readonly term: number;
  readonly index: number;
}

/** The state of a log that never held anything. */
export const EMPTY_LOG: LogSummary = {
  lastIndex: 0,
  lastTerm: 0,
  hardState: undefined,
  mark: undefined,
};

/** The state of a log after some prefix of its frames. */
export class LogState {
  #hardState: StoredHardState | undefined;
  #mark: SnapshotMark | undefined;
  #firstIndex: number;
  #lastIndex: number;
  /** The entry before `firstIndex`; undefined when it was deleted with its segment. */
  #before: EntryId | undefined;
  /** Ascending; the first one starts at `firstIndex`, unless there are no entries. */
  #runs: TermRun[] = [];

  /** Goes on from `summary`, knowing nothing of the entries up to its last. */
  constructor(summary: LogSummary) {
    this.#hardState = summary.hardState;
    this.#mark = summary.mark;
    this.#lastIndex = summary.lastIndex;
    this.#firstIndex = summary.lastIndex + 1;
    this.#before = { index: summary.lastIndex, term: summary.lastTerm };
  }

  get hardState(): StoredHardState | undefined {
    return this.#hardState;
  }

  get mark(): SnapshotMark | undefined {
    return this.#mark;
  }

  /** Index of the first entry known; `lastIndex + 1` when there is none. */
  get firstIndex(): number {
    return this.#firstIndex;
  }

  get lastIndex(): number {
    return this.#lastIndex;
  }

  get summary(): LogSummary {
    const lastTerm = this.termAt(this.#lastIndex) ?? 0;
    const { lastIndex, hardState, mark } = this;
    return { lastIndex, lastTerm, hardState, mark };
  }

  /** Term of entry `index`, or of the one before the first; undefined when it is not known. */
  termAt(index: number): number | undefined {
    if (index === this.#before?.index) return this.#before.term;
    if (index < this.#firstIndex || index > this.#lastIndex) return undefined;
    return this.#runs.findLast((run) => run.firstIndex <= index)?.term;
  }

  /** Why `frame` cannot come next; undefined when it can. */
  refusal(frame: WalFrame): string | undefined {
    switch (frame.kind) {
      case "entry":
        return this.#entryRefusal(frame.entry);
      case "hard_state":
        return this.#hardStateRefusal(frame.hardState);
      case "snapshot_mark": {
        const { mark, resets } = frame;
        // One of what the log holds may be older than the last: that one's file may be damaged.
        if (!resets && mark.index > this.#lastIndex) return "a snapshot lies beyond the log";
        if (!resets || mark.index > (this.#mark?.index ?? 0)) return undefined;
        return "a snapshot that replaces the log is not newer than the last";
      }
      case "commit":
        return undefined;
      default:
        return unreachable(frame);
    }
  }

  /** Applies `frame`, which must not be refused. */
  apply(frame: WalFrame): void {
    switch (frame.kind) {
      case "entry":
        this.#applyEntry(frame.entry);
        break;
      case "hard_state":
        this.#hardState = frame.hardState;
        break;
      case "snapshot_mark":
        this.#mark = frame.mark;
        if (frame.resets) this.#reset(frame.mark);
        break;
      case "commit":
        break;
      default:
        unreachable(frame);
    }
  }

  /** An independent copy. */
  copy(): LogState {
    const copy = new LogState(this.summary);
    copy.#firstIndex = this.#firstIndex;
    copy.#before = this.#before;
    copy.#runs = [...this.#runs];
    return copy;
  }

  /** Lets go of what is known about entries up to `index`; they stay in the log. */
  forget(index: number): void {
    if (index < this.#firstIndex || index > this.#lastIndex) return;
    const term = this.termAt(index);
    const next = this.termAt(index + 1);
    if (term === undefined) return;
    this.#before = { index, term };
    this.#firstIndex = index + 1;
    const later = this.#runs.filter((run) => run.firstIndex > index + 1);
    this.#runs = next === undefined ? [] : [{ firstIndex: index + 1, term: next }, ...later];
  }

  #entryRefusal({ index, term }: EntryId): string | undefined {
    if (index > this.#lastIndex + 1) return "an entry leaves a gap in the log";
    if (index <= (this.#mark?.index ?? 0)) return "an entry is covered by a snapshot";
    const previous = this.termAt(index - 1);
    if (previous !== undefined && term < previous) return "an entry's term is below the last one's";
    if (term > (this.#hardState?.term ?? 0)) return "an entry's term is above the current term";
    return undefined;
  }

  #hardStateRefusal(next: StoredHardState): string | undefined {
    const now = this.#hardState;
    if (now === undefined) return undefined;
    if (next.term < now.term) return "the current term goes back";
    if (next.commit < now.commit) return "the commit index goes back";
    const revoted = next.term === now.term && now.vote !== 0 && next.vote !== now.vote;
    return revoted ? "the vote changes within a term" : undefined;
  }

  #applyEntry({ index, term }: EntryId): void {
    if (index <= this.#lastIndex) this.#cutFrom(index);
    if (this.#runs.at(-1)?.term !== term) this.#runs.push({ firstIndex: index, term });
    this.#lastIndex = index;
  }

  #cutFrom(index: number): void {
    if (index < this.#firstIndex) {
      // The entry replaces ones that were deleted with their segment.
      this.#firstIndex = index;
      if (index !== (this.#before?.index ?? 0) + 1) this.#before = undefined;
    }
    while (this.#runs.length > 0 && this.#runs.at(-1)!.firstIndex >= index) this.#runs.pop();
    this.#lastIndex = index - 1;
  }

  #reset({ index, term }: EntryId): void {
    this.#runs = [];
    this.#before = { index, term };
    this.#firstIndex = index + 1;
    this.#lastIndex = index;
  }
}
