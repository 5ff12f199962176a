/**
 * The whole log: what it holds, where it agrees with another one, what may be applied.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import { isWellFormed, RaftLog } from "./log.ts";
import { MemoryLog } from "./memory-log.ts";
import { configOf, I, normalEntry, T } from "./test-cluster.ts";
import type { Entry } from "./types.ts";

const UNLIMITED = Number.POSITIVE_INFINITY;
/** What an empty entry counts. */
const ENTRY_BYTES = 24;

/** A log of these terms from index 1 on, durable up to `durable`, compacted up to `compacted`. */
function logOf(terms: readonly number[], options: { durable?: number; compacted?: number } = {}) {
  const { durable = terms.length, compacted = 0 } = options;
  const memory = new MemoryLog();
  const entries = terms.map((term, i) => normalEntry(term, i + 1));
  memory.append(entries.slice(0, durable));
  if (compacted > 0) memory.compact(I(compacted));
  const log = new RaftLog(memory, UNLIMITED, undefined);
  log.append(entries.slice(durable));
  return { log, memory };
}

function indexes(entries: readonly Entry[] | undefined): number[] | undefined {
  return entries?.map((entry) => entry.index);
}

describe("RaftLog.term", () => {
  const { log } = logOf([1, 1, 2, 3, 3], { durable: 4, compacted: 2 });
  const TABLE = [
    { index: 1, term: undefined, why: "compacted" },
    { index: 2, term: 1, why: "the last compacted entry's term stays known" },
    { index: 3, term: 2, why: "durable" },
    { index: 5, term: 3, why: "unstable" },
    { index: 6, term: undefined, why: "not yet here" },
  ] as const;
  for (const { index, term, why } of TABLE) {
    test(`${index}: ${why}`, () => {
      expect(log.term(I(index))).toBe(term === undefined ? undefined : T(term));
    });
  }

  test("what is about to be replaced on the disk does not count", () => {
    const { log } = logOf([1, 1, 1]);
    log.append([normalEntry(2, 2)]);
    expect([log.lastIndex(), log.term(I(2)), log.term(I(3))]).toEqual([I(2), T(2), undefined]);
  });
});

describe("RaftLog.entries", () => {
  const { log } = logOf([1, 1, 1, 1, 1], { durable: 3, compacted: 1 });
  const TABLE = [
    { low: 2, high: 6, limit: UNLIMITED, found: [2, 3, 4, 5], why: "across both parts" },
    { low: 1, high: 3, limit: UNLIMITED, found: undefined, why: "compacted" },
    { low: 2, high: 2, limit: UNLIMITED, found: [], why: "nothing was asked for" },
    { low: 2, high: 6, limit: 0, found: [2], why: "one at least" },
    { low: 2, high: 6, limit: ENTRY_BYTES * 2, found: [2, 3], why: "up to the limit" },
    { low: 2, high: 6, limit: ENTRY_BYTES * 3, found: [2, 3, 4], why: "over the seam" },
    { low: 2, high: 6, limit: ENTRY_BYTES * 3 - 1, found: [2, 3], why: "no byte too many" },
    { low: 4, high: 6, limit: 1, found: [4], why: "one at least, unstable" },
  ] as const;
  for (const { low, high, limit, found, why } of TABLE) {
    test(`[${low}, ${high}) within ${limit}: ${why}`, () => {
      const expected = found === undefined ? undefined : [...found];
      expect(indexes(log.entries(I(low), I(high), limit))).toEqual(expected);
    });
  }
});

describe("RaftLog.findConflictByTerm", () => {
  const TABLE = [
    { terms: [2, 2, 5, 5, 5], index: 5, term: 5, found: [5, 5], why: "the same term" },
    { terms: [2, 2, 5, 5, 5], index: 5, term: 4, found: [2, 2], why: "a whole term is skipped" },
    { terms: [2, 2, 5, 5, 5], index: 5, term: 2, found: [2, 2], why: "the last of that term" },
    { terms: [2, 2, 5, 5, 5], index: 5, term: 1, found: [0, 0], why: "nothing in common" },
    { terms: [2, 2, 5, 5, 5], index: 1, term: 9, found: [1, 2], why: "not beyond the index" },
    { terms: [2, 2], index: 7, term: 1, found: [7, 0], why: "unknown there: may match" },
  ] as const;
  for (const { terms, index, term, found, why } of TABLE) {
    test(`[${terms}] at ${index} with term ${term}: ${why}`, () => {
      const { log } = logOf(terms);
      const { index: at, term: its } = log.findConflictByTerm(I(index), T(term));
      expect([at, its]).toEqual([I(found[0]), T(found[1])]);
    });
  }
});

describe("RaftLog commit and apply", () => {
  test("only what is durable is applied, unless that is allowed", () => {
    const { log } = logOf([1, 1, 1, 1], { durable: 2 });
    log.commitTo(I(3));
    expect(indexes(log.nextCommitted(false))).toEqual([1, 2]);
    expect(indexes(log.nextCommitted(true))).toEqual([1, 2, 3]);
  });

  test("entries are handed out once, and only in order", () => {
    const { log } = logOf([1, 1, 1]);
    log.commitTo(I(2));
    const first = log.nextCommitted(true);
    log.acceptApplying(first, true);
    expect(log.hasNextCommitted(true)).toBe(false);
    expect(() => log.acceptApplying(first, true)).toThrow("once and in order");
    log.commitTo(I(3));
    expect(indexes(log.nextCommitted(true))).toEqual([3]);
  });

  test("what is being applied is limited until it is reported", () => {
    const memory = new MemoryLog();
    memory.append([1, 2, 3].map((index) => normalEntry(1, index)));
    const log = new RaftLog(memory, ENTRY_BYTES, undefined);
    log.commitTo(I(3));
    const first = log.nextCommitted(false);
    expect(indexes(first)).toEqual([1]);
    log.acceptApplying(first, false);
    expect(log.hasNextCommitted(false)).toBe(false);
    log.appliedTo(I(1), ENTRY_BYTES);
    expect(indexes(log.nextCommitted(false))).toEqual([2]);
  });

  test("nothing is applied while a snapshot waits", () => {
    const { log } = logOf([1, 1]);
    log.commitTo(I(1));
    const snapshot = { index: I(9), term: T(2), confState: configOf([1]), data: new Uint8Array(0) };
    log.restore(snapshot);
    expect([log.committed, log.lastIndex(), log.firstIndex()]).toEqual([I(9), I(9), I(10)]);
    expect(log.hasNextCommitted(true)).toBe(false);
  });

  const BUGS = [
    {
      task: (log: RaftLog) => log.commitTo(I(9)),
      text: "was the log damaged or lost",
      why: "commits what it does not hold",
    },
    {
      task: (log: RaftLog) => log.append([normalEntry(2, 1)]),
      text: "committed entry must not be replaced",
      why: "replaces what is committed",
    },
    {
      task: (log: RaftLog) => log.appliedTo(I(2), 0),
      text: "applied index out of range",
      why: "applies what is not committed",
    },
  ] as const;
  for (const { task, text, why } of BUGS) {
    test(`stops when it ${why}`, () => {
      const { log } = logOf([1, 1, 1]);
      log.commitTo(I(1));
      expect(() => task(log)).toThrow(text);
    });
  }
});

describe("isWellFormed", () => {
  const previous = { term: T(2), index: I(4) };
  const TABLE = [
    { entries: [], ok: true, why: "nothing to check" },
    { entries: [normalEntry(2, 5), normalEntry(3, 6)], ok: true, why: "contiguous, terms grow" },
    { entries: [normalEntry(2, 6)], ok: false, why: "a gap" },
    { entries: [normalEntry(2, 5), normalEntry(2, 5)], ok: false, why: "a repetition" },
    { entries: [normalEntry(1, 5)], ok: false, why: "a term that falls" },
    { entries: [normalEntry(9, 5)], ok: false, why: "a term above the sender's" },
  ] as const;
  for (const { entries, ok, why } of TABLE) {
    test(why, () => expect(isWellFormed(previous, entries, T(5))).toBe(ok));
  }
});
