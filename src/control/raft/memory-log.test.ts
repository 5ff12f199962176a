/**
 * The in-memory mirror of the durable log.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import { MemoryLog } from "./memory-log.ts";
import { configOf, I, normalEntry, T } from "./test-cluster.ts";
import type { Snapshot } from "./types.ts";

const NO_DATA = new Uint8Array(0);

function logOf(terms: readonly number[]): MemoryLog {
  const log = new MemoryLog();
  log.append(terms.map((term, i) => normalEntry(term, i + 1)));
  return log;
}

function terms(log: MemoryLog): (number | undefined)[] {
  const found = log.entries(log.firstIndex(), I(log.lastIndex() + 1), Number.POSITIVE_INFINITY);
  return found!.map((entry) => entry.term);
}

function snapshotAt(index: number, term: number): Snapshot {
  return { index: I(index), term: T(term), confState: configOf([1]), data: NO_DATA };
}

describe("MemoryLog.append", () => {
  const TABLE = [
    { from: 4, added: [2], left: [1, 1, 1, 2], why: "continues" },
    { from: 2, added: [2], left: [1, 2], why: "replaces the tail" },
    { from: 1, added: [2, 2], left: [2, 2], why: "replaces everything" },
  ] as const;
  for (const { from, added, left, why } of TABLE) {
    test(`[1 1 1], [${added}] from ${from}: ${why}`, () => {
      const log = logOf([1, 1, 1]);
      log.append(added.map((term, i) => normalEntry(term, from + i)));
      expect(terms(log)).toEqual([...left]);
    });
  }

  test("what was compacted away is passed over", () => {
    const log = logOf([1, 1, 1]);
    log.compact(I(2));
    log.append([1, 1, 2].map((term, i) => normalEntry(term, i + 1)));
    expect([log.firstIndex(), ...terms(log)]).toEqual([I(3), 2]);
    log.append([normalEntry(1, 1)]);
    expect(terms(log)).toEqual([2]);
  });

  test("a gap is our bug, at the start and within", () => {
    expect(() => logOf([1]).append([normalEntry(1, 3)])).toThrow("gap");
    expect(() => logOf([1]).append([normalEntry(1, 2), normalEntry(1, 4)])).toThrow("contiguous");
  });
});

describe("MemoryLog.compact", () => {
  test("forgets entries, but not the term of the last one", () => {
    const log = logOf([1, 2, 3, 4]);
    expect(log.compact(I(3))).toEqual({ ok: true, value: undefined });
    expect([log.firstIndex(), log.lastIndex()]).toEqual([I(4), I(4)]);
    expect([log.term(I(2)), log.term(I(3)), log.term(I(4))]).toEqual([undefined, T(3), T(4)]);
    expect(log.entries(I(3), I(5), 100)).toBeUndefined();
    expect(log.compact(I(3))).toEqual({ ok: false, error: { kind: "compacted" } });
  });

  test("everything may go", () => {
    const log = logOf([1, 2]);
    log.compact(I(2));
    expect([log.firstIndex(), log.lastIndex(), log.term(I(2))]).toEqual([I(3), I(2), T(2)]);
  });
});

describe("MemoryLog snapshots", () => {
  test("one from a leader replaces the log", () => {
    const log = logOf([1, 1]);
    expect(log.applySnapshot(snapshotAt(9, 3)).ok).toBe(true);
    expect([log.firstIndex(), log.lastIndex(), log.term(I(9))]).toEqual([I(10), I(9), T(3)]);
    expect(log.applySnapshot(snapshotAt(9, 3))).toEqual({
      ok: false,
      error: { kind: "out_of_date" },
    });
  });

  test("one of our own keeps the entries", () => {
    const log = logOf([1, 2, 2]);
    const made = log.createSnapshot(I(2), configOf([1]), NO_DATA);
    expect(made).toMatchObject({ ok: true, value: { index: 2, term: 2 } });
    expect(log.snapshot()?.index).toBe(I(2));
    expect(terms(log)).toEqual([1, 2, 2]);
    const again = log.createSnapshot(I(2), configOf([1]), NO_DATA);
    expect(again).toEqual({ ok: false, error: { kind: "out_of_date" } });
  });
});
