import { describe, expect, test } from "bun:test";
import {
  claimFrom,
  formatKeptLife,
  isSameNode,
  type KeptLife,
  type Life,
  nextLife,
  parseKeptLife,
  parseLife,
} from "./life.ts";

/** Life number `number` of branch "a", "b", … */
function life(number: number, branch: string): Life {
  return { number, nonce: branch.repeat(16) };
}

const random = {
  below: () => 0,
  bytes: (count: number) => new Uint8Array(count).fill(0xab),
};

describe("isSameNode", () => {
  const cases = [
    { why: "the recorded life", now: life(6, "a"), before: life(5, "a"), good: true },
    { why: "the next start", now: life(7, "b"), before: life(6, "a"), good: true },
    {
      why: "the next start of another branch",
      now: life(7, "b"),
      before: life(6, "c"),
      good: false,
    },
    { why: "a first life, though there is one", now: life(1, "b"), before: undefined, good: false },
    {
      why: "the same number of another branch",
      now: life(6, "b"),
      before: life(5, "a"),
      good: false,
    },
    { why: "an old copy", now: life(5, "d"), before: life(4, "a"), good: false },
    { why: "one that we have yet to hear of", now: life(9, "d"), before: life(8, "c"), good: true },
  ];
  for (const { why, now, before, good } of cases) {
    test(`${why}: ${good}`, () => {
      expect(isSameNode({ life: now, previous: before }, life(6, "a"))).toBe(good);
    });
  }

  test("whoever the cluster has no record of", () => {
    expect(isSameNode({ life: life(1, "a"), previous: undefined }, undefined)).toBeTrue();
  });
});

describe("nextLife", () => {
  test("the first is number one, the next follows the recorded one", () => {
    const first = nextLife(undefined, random);
    const own = { number: 1, nonce: "ab".repeat(8) };
    expect(first).toEqual({ life: own, previous: undefined, isRecorded: false });
    const second = nextLife({ ...first, isRecorded: true }, random);
    expect(second.life.number).toBe(2);
    expect(second.previous).toEqual(first.life);
  });

  test("one that was never recorded is used again", () => {
    const kept: KeptLife = { life: life(4, "a"), previous: life(3, "b"), isRecorded: false };
    expect(nextLife(kept, random)).toEqual(kept);
  });
});

describe("texts", () => {
  test("a file comes back as it was", () => {
    for (const previous of [undefined, life(3, "b")]) {
      const kept: KeptLife = { life: life(4, "a"), previous, isRecorded: true };
      expect(parseKeptLife(formatKeptLife(kept))).toEqual(kept);
    }
  });

  test("what is no life is none", () => {
    const wrong = ["", "7", "0-aaaaaaaaaaaaaaaa", "7-AAAAAAAAAAAAAAAA", "-7-aaaaaaaaaaaaaaaa"];
    for (const text of [...wrong, `${"9".repeat(16)}-aaaaaaaaaaaaaaaa`]) {
      expect(parseLife(text)).toBeUndefined();
    }
    expect(claimFrom("7-aaaaaaaaaaaaaaaa", 5)).toBeUndefined();
    expect(claimFrom("7-aaaaaaaaaaaaaaaa", "x")).toBeUndefined();
    for (const text of ["", "{}", "null", '{"life":"1-a","previous":"","isRecorded":true}']) {
      expect(parseKeptLife(text)).toBeUndefined();
    }
  });
});
