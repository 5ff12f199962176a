/**
 * The unstable part of the log.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import { configOf, I, normalEntry, T } from "./test-cluster.ts";
import type { Entry, Snapshot } from "./types.ts";
import { Unstable } from "./unstable.ts";

const UNLIMITED = { sizeMaxBytes: Number.POSITIVE_INFINITY, usedBytes: 0 };

/** Entries of these terms from `offset` on, of which the first `inProgress` are being written. */
function unstable(offset: number, terms: readonly number[], inProgress = 0) {
  const events: string[] = [];
  const part = new Unstable(I(offset), (event) => events.push(event.kind));
  const entries = terms.map((term, i) => normalEntry(term, offset + i));
  if (inProgress > 0) part.truncateAndAppend(entries.slice(0, inProgress));
  part.acceptInProgress();
  if (inProgress < entries.length) part.truncateAndAppend(entries.slice(inProgress));
  return { part, events };
}

function termsOf(entries: readonly Entry[]): number[] {
  return entries.map((entry) => entry.term);
}

function terms(part: Unstable): number[] {
  return termsOf(part.entries(part.offset, I(part.offset + part.count), UNLIMITED));
}

function snapshotAt(index: number, term: number): Snapshot {
  return { index: I(index), term: T(term), confState: configOf([1]), data: new Uint8Array(0) };
}

describe("Unstable.truncateAndAppend", () => {
  const TABLE = [
    {
      from: 8,
      added: [2],
      left: [1, 1, 1, 2],
      offset: 5,
      next: [1, 2],
      trace: [],
      why: "at the end",
    },
    {
      from: 5,
      added: [2],
      left: [2],
      offset: 5,
      next: [2],
      trace: ["unstable_replaced"],
      why: "all",
    },
    {
      from: 4,
      added: [2, 2],
      left: [2, 2],
      offset: 4,
      next: [2, 2],
      trace: ["unstable_replaced"],
      why: "also what is durable",
    },
    {
      from: 6,
      added: [2],
      left: [1, 2],
      offset: 5,
      next: [2],
      trace: ["unstable_truncated"],
      why: "something that is being written is handed out anew",
    },
    {
      from: 7,
      added: [2],
      left: [1, 1, 2],
      offset: 5,
      next: [2],
      trace: ["unstable_truncated"],
      why: "only what was not handed out",
    },
  ] as const;
  for (const { from, added, left, offset, next, trace, why } of TABLE) {
    test(`[1 1 | 1] from 5, [${added}] from ${from}: ${why}`, () => {
      const { part, events } = unstable(5, [1, 1, 1], 2);
      part.truncateAndAppend(added.map((term, i) => normalEntry(term, from + i)));
      expect(terms(part)).toEqual([...left]);
      expect(part.offset).toBe(I(offset));
      expect(termsOf(part.nextEntries())).toEqual([...next]);
      expect(events).toEqual([...trace]);
    });
  }

  test("a gap is our bug", () => {
    const { part } = unstable(5, [1]);
    expect(() => part.truncateAndAppend([normalEntry(1, 7)])).toThrow("gap");
  });

  test("what was handed out stays as it was", () => {
    const { part } = unstable(5, [1, 1, 1]);
    const handedOut = part.nextEntries();
    part.acceptInProgress();
    part.truncateAndAppend([normalEntry(2, 6)]);
    expect(termsOf(handedOut)).toEqual([1, 1, 1]);
  });
});

describe("Unstable.stableTo", () => {
  const TABLE = [
    { id: [1, 5], left: 2, trace: [], why: "part of it" },
    { id: [1, 7], left: 0, trace: [], why: "all of it" },
    { id: [2, 6], left: 3, trace: ["stable_entry_mismatched"], why: "replaced in the meantime" },
    { id: [1, 4], left: 3, trace: ["stable_entry_missing"], why: "known already" },
    { id: [1, 8], left: 3, trace: ["stable_entry_missing"], why: "truncated in the meantime" },
  ] as const;
  for (const { id, left, trace, why } of TABLE) {
    test(`[1 1 1] from 5, ${id.join("/")} is durable: ${why}`, () => {
      const { part, events } = unstable(5, [1, 1, 1], 3);
      part.stableTo({ term: T(id[0]), index: I(id[1]) });
      expect(part.count).toBe(left);
      expect(events).toEqual([...trace]);
    });
  }
});

describe("Unstable snapshot", () => {
  test("stands for everything before it until it is installed", () => {
    const { part, events } = unstable(5, [1, 1], 1);
    part.restore(snapshotAt(9, 3));
    expect({ count: part.count, last: part.lastIndex(), term: part.term(I(9)) }).toEqual({
      count: 0,
      last: I(9),
      term: T(3),
    });
    expect(part.nextSnapshot()?.index).toBe(I(9));
    part.acceptInProgress();
    expect(part.nextSnapshot()).toBeUndefined();
    expect(part.snapshot?.index).toBe(I(9));
    // The word on a write from before the snapshot does not concern it.
    part.stableTo({ term: T(3), index: I(9) });
    part.stableSnapshotTo(I(8));
    expect(part.snapshot?.index).toBe(I(9));
    expect(events).toEqual(["stable_entry_is_snapshot"]);
    part.stableSnapshotTo(I(9));
    expect(part.snapshot).toBeUndefined();
    expect(part.lastIndex()).toBeUndefined();
  });

  test("entries go on after it", () => {
    const { part } = unstable(5, []);
    part.restore(snapshotAt(9, 3));
    part.truncateAndAppend([normalEntry(3, 10)]);
    expect(part.lastIndex()).toBe(I(10));
    expect([part.term(I(9)), part.term(I(10))]).toEqual([T(3), T(3)]);
  });
});
