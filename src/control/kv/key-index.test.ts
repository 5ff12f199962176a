import { expect, test } from "bun:test";
import fc from "fast-check";
import { KeyIndex } from "./key-index.ts";

interface Entry {
  readonly key: string;
  readonly value: number;
}

test("KeyIndex: agrees with a Map after any history", () => {
  // Few keys in a small table: runs wrap around its end, and gaps open in the middle of them.
  const key = fc.integer({ min: 0, max: 40 }).map((n) => `k${n}`);
  const step = fc.record({ key, value: fc.option(fc.nat(), { nil: undefined }) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300, size: "max" }), (steps) => {
      const index = new KeyIndex<Entry>();
      const model = new Map<string, Entry>();
      for (const { key, value } of steps) {
        if (value === undefined) {
          expect(index.delete(key)).toBe(model.delete(key));
        } else {
          index.set({ key, value });
          model.set(key, { key, value });
        }
        expect(index.size).toBe(model.size);
      }
      for (let n = 0; n <= 40; n++) expect(index.get(`k${n}`)).toEqual(model.get(`k${n}`));
    }),
  );
});

test("KeyIndex: as many as a large store has", () => {
  const index = new KeyIndex<Entry>();
  const count = 50_000;
  const keyOf = (n: number) => `/overlay/network/subnets/10.${n >> 8}.${n & 255}.0-24`;
  for (let n = 0; n < count; n++) index.set({ key: keyOf(n), value: n });
  expect(index.size).toBe(count);
  for (let n = 0; n < count; n += 2) expect(index.delete(keyOf(n))).toBe(true);
  for (let n = 0; n < count; n++) {
    expect(index.get(keyOf(n))?.value).toBe(n % 2 === 0 ? undefined : n);
  }
});

test("KeyIndex: keys made to meet do not slow it down", () => {
  // At each position two endings that lead to one state, under the seed that a new index has.
  let keys = [""];
  let state = Math.imul(1, 0x9e3779b1) ^ 0x811c9dc5;
  while (keys.length < 4096) {
    const ends = endsThatMeet(state);
    keys = keys.flatMap((key) => ends.map((end) => key + end));
    state = after(state, ends[0]!);
  }
  const index = new KeyIndex<Entry>();
  let looks = 0;
  for (const [value, key] of keys.entries()) {
    index.set({
      get key() {
        looks += 1;
        return key;
      },
      value,
    });
  }
  expect(index.size).toBe(keys.length);
  for (const [value, key] of keys.entries()) expect(index.get(key)?.value).toBe(value);
  // One run of them all takes 16 million.
  expect(looks).toBeLessThan(5_000_000);
});

/** The hash's state behind `text`. */
function after(state: number, text: string): number {
  for (let at = 0; at < text.length; at++) {
    state = Math.imul(state ^ text.charCodeAt(at), 0x01000193);
  }
  return state;
}

/** Two texts of two units each that lead from `state` to the same one. */
function endsThatMeet(state: number): string[] {
  const seen = new Map<number, number>();
  for (let first = 0; ; first++) {
    const between = after(state, String.fromCharCode(first));
    const other = seen.get(between >>> 16);
    seen.set(between >>> 16, first);
    if (other === undefined) continue;
    // The second unit makes up for what differs, which is in the low half.
    const differs = (between ^ after(state, String.fromCharCode(other))) & 0xffff;
    return [String.fromCharCode(first, differs), String.fromCharCode(other, 0)];
  }
}
