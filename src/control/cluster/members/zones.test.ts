import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { decodeNodeId } from "../../../base/ids.ts";
import { choose, parseZone } from "./zones.ts";

/** "aab" are nodes 1, 2 and 3 in zones a, a and b. */
function chosen(zones: string, count: number): readonly number[] {
  const candidates = [...zones].map((_, position) => decodeNodeId(position + 1));
  const zoneOf = (id: number) => zones[id - 1] ?? "";
  return choose({ candidates, count, zoneOf, maySwap: () => true });
}

function squares(zones: readonly string[]): number {
  const counts = new Map<string, number>();
  for (const zone of zones) counts.set(zone, (counts.get(zone) ?? 0) + 1);
  return [...counts.values()].reduce((sum, each) => sum + each * each, 0);
}

describe("choose", () => {
  test("the first ones where zones say nothing", () => {
    expect(chosen("aaaa", 3)).toEqual([1, 2, 3]);
    expect(chosen("abca", 3)).toEqual([1, 2, 3]);
  });

  test("of a full zone the last one goes, of an empty one the first comes", () => {
    expect(chosen("aabcc", 3)).toEqual([1, 4, 3]);
  });

  test("as even as can be, whatever the order", () => {
    const zones = fc.string({ unit: fc.constantFrom("a", "b", "c"), minLength: 1, maxLength: 7 });
    fc.assert(
      fc.property(zones, fc.integer({ min: 1, max: 5 }), (text, count) => {
        const own = squares(chosen(text, count).map((id) => text[id - 1]!));
        // The slow twin: all subsets.
        let best = Number.POSITIVE_INFINITY;
        for (let mask = 0; mask < 2 ** text.length; mask++) {
          const picked = [...text].filter((_, position) => mask & (1 << position));
          if (picked.length === Math.min(count, text.length)) {
            best = Math.min(best, squares(picked));
          }
        }
        expect(own).toBe(best);
      }),
    );
  });
});

test("parseZone: short, printable, without blanks", () => {
  expect(parseZone("")).toBe("");
  expect(parseZone("eu-west/rack-7")).toBe("eu-west/rack-7");
  for (const wrong of ["a b", "a\n", "é", "x".repeat(64)]) {
    expect(parseZone(wrong)).toBeUndefined();
  }
});
