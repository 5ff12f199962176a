/**
 * LogState against a twin that keeps every entry in a list.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import { seededChance } from "../../../tests/contract/memory-disk.ts";
import type { WalFrame } from "./frame.ts";
import { EMPTY_LOG, LogState } from "./log-state.ts";

const entry = (index: number, term: number): WalFrame => ({
  kind: "entry",
  entry: { index, term, kind: 0, payload: new Uint8Array(0) },
});
const hardState = (term: number, vote = 0, commit = 0): WalFrame => ({
  kind: "hard_state",
  hardState: { term, vote, commit },
});
const mark = (index: number, term: number, resets: boolean): WalFrame => ({
  kind: "snapshot_mark",
  mark: { index, term, fileSize: 0, digest: new Uint8Array(32) },
  resets,
});

/** Every entry, by index; the slow way. */
class Twin {
  terms = new Map<number, number>([[0, 0]]);
  firstIndex = 1;
  lastIndex = 0;

  append(index: number, term: number): void {
    for (let later = index; later <= this.lastIndex; later++) this.terms.delete(later);
    this.terms.set(index, term);
    this.lastIndex = index;
  }

  reset(index: number, term: number): void {
    this.terms = new Map([[index, term]]);
    this.firstIndex = index + 1;
    this.lastIndex = index;
  }

  forget(index: number): void {
    for (let older = 0; older < index; older++) this.terms.delete(older);
    this.firstIndex = index + 1;
  }
}

describe("LogState", () => {
  test("equals the slow twin over random appends, cuts, resets and forgotten prefixes", () => {
    const chance = seededChance(11);
    const below = (limit: number) => Math.floor(chance() * limit);
    for (let round = 0; round < 200; round++) {
      const state = new LogState(EMPTY_LOG);
      const twin = new Twin();
      let term = 1;
      let floor = 0;
      for (let step = 0; step < 60; step++) {
        if (chance() < 0.2) term++;
        state.apply(hardState(term));
        const choice = chance();
        if (choice < 0.05) {
          floor = floor + 1 + below(twin.lastIndex - floor + 5);
          state.apply(mark(floor, term, true));
          twin.reset(floor, term);
        } else if (choice < 0.1 && twin.lastIndex > twin.firstIndex) {
          floor = Math.max(floor, twin.firstIndex + below(twin.lastIndex - twin.firstIndex));
          state.forget(floor);
          twin.forget(floor);
        } else {
          const replaces = choice < 0.3 && twin.lastIndex > floor;
          const index = replaces ? floor + 1 + below(twin.lastIndex - floor) : twin.lastIndex + 1;
          expect(state.refusal(entry(index, term))).toBeUndefined();
          state.apply(entry(index, term));
          twin.append(index, term);
        }
        expect([state.firstIndex, state.lastIndex]).toEqual([twin.firstIndex, twin.lastIndex]);
        for (let index = 0; index <= twin.lastIndex + 1; index++) {
          expect(state.termAt(index)).toBe(twin.terms.get(index));
        }
        expect(state.summary.lastTerm).toBe(twin.terms.get(twin.lastIndex) ?? -1);
        expect(state.copy()).toEqual(state);
      }
    }
  }, 60_000);

  test("a log that begins with a later segment learns from the entries that it finds", () => {
    const state = new LogState({ ...EMPTY_LOG, lastIndex: 100, lastTerm: 4 });
    state.apply(hardState(5));
    expect([state.firstIndex, state.lastIndex, state.termAt(100)]).toEqual([101, 100, 4]);
    state.apply(entry(90, 5));
    expect([state.firstIndex, state.lastIndex]).toEqual([90, 90]);
    expect([state.termAt(89), state.termAt(90), state.termAt(100)]).toEqual([
      undefined,
      5,
      undefined,
    ]);
    state.apply(entry(91, 5));
    expect(state.summary).toMatchObject({ lastIndex: 91, lastTerm: 5 });
  });

  const refusals: { why: string; after: WalFrame[]; frame: WalFrame; refused: boolean }[] = [
    { why: "the next entry", after: [hardState(1)], frame: entry(1, 1), refused: false },
    { why: "a gap", after: [hardState(1)], frame: entry(2, 1), refused: true },
    { why: "a term above ours", after: [hardState(1)], frame: entry(1, 2), refused: true },
    {
      why: "a term below the last entry's",
      after: [hardState(2), entry(1, 2)],
      frame: entry(2, 1),
      refused: true,
    },
    {
      why: "a lower term than an entry that it replaces, not than the one before",
      after: [hardState(2), entry(1, 1), entry(2, 2)],
      frame: entry(2, 1),
      refused: false,
    },
    {
      why: "an entry under a snapshot",
      after: [hardState(1), entry(1, 1), entry(2, 1), mark(1, 1, false)],
      frame: entry(1, 1),
      refused: true,
    },
    { why: "a vote withdrawn", after: [hardState(1, 5)], frame: hardState(1, 0), refused: true },
    { why: "a first vote", after: [hardState(1, 0)], frame: hardState(1, 5), refused: false },
    {
      why: "another vote in a new term",
      after: [hardState(1, 5)],
      frame: hardState(2, 6),
      refused: false,
    },
    {
      why: "a snapshot beyond the log that keeps it",
      after: [hardState(1), entry(1, 1)],
      frame: mark(2, 1, false),
      refused: true,
    },
    {
      why: "a snapshot older than the last that replaces the log",
      after: [mark(9, 1, true)],
      frame: mark(8, 2, true),
      refused: true,
    },
  ];
  for (const { why, after, frame, refused } of refusals) {
    test(`${refused ? "refuses" : "takes"} ${why}`, () => {
      const state = new LogState(EMPTY_LOG);
      for (const earlier of after) state.apply(earlier);
      expect(state.refusal(frame) !== undefined).toBe(refused);
    });
  }
});
