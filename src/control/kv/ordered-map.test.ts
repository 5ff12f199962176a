import { expect, test } from "bun:test";
import fc from "fast-check";
import { type FrozenMap, OrderedMap } from "./ordered-map.ts";

type Step =
  | { readonly kind: "set"; readonly key: string; readonly value: number }
  | { readonly kind: "delete"; readonly key: string }
  | { readonly kind: "freeze" };

/** Few distinct keys with common prefixes, so that steps meet each other. */
const keys = fc.integer({ min: 0, max: 600 }).map((n) => `${n % 7}/${n}`);

const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    { weight: 6, arbitrary: fc.record({ kind: fc.constant("set"), key: keys, value: fc.nat() }) },
    { weight: 4, arbitrary: fc.record({ kind: fc.constant("delete"), key: keys }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("freeze") }) },
  ) as fc.Arbitrary<Step>,
  { minLength: 200, maxLength: 2000, size: "max" },
);

function naiveEntries(model: ReadonlyMap<string, number>, prefix: string): [string, number][] {
  const found = [...model].filter(([key]) => key.startsWith(prefix));
  return found.sort(([a], [b]) => (a < b ? -1 : 1));
}

test("OrderedMap: agrees with a sorted list after any history, and frozen views stay", () => {
  fc.assert(
    fc.property(steps, (history) => {
      const map = new OrderedMap<number>();
      const model = new Map<string, number>();
      const frozen: [FrozenMap<number>, [string, number][]][] = [];
      for (const step of history) {
        if (step.kind === "set") {
          map.set(step.key, step.value);
          model.set(step.key, step.value);
        } else if (step.kind === "delete") {
          expect(map.delete(step.key)).toBe(model.delete(step.key));
        } else {
          frozen.push([map.freeze(), naiveEntries(model, "")]);
        }
      }
      expect(map.size).toBe(model.size);
      for (const [key, value] of model) expect(map.get(key)).toBe(value);
      const end = map.freeze();
      for (const prefix of ["", "3", "3/", "3/1", "6/600", "9"]) {
        expect([...end.entries(prefix)].map(([k, v]): [string, number] => [k, v])).toEqual(
          naiveEntries(model, prefix),
        );
        for (const after of ["", "0/7", "3/1", "3/10", "3/100", "3/99", "6/600", "9"]) {
          const later = naiveEntries(model, prefix).filter(([key]) => key > after);
          expect([...end.entries(prefix, after)].map(([k, v]): [string, number] => [k, v])).toEqual(
            later,
          );
        }
      }
      for (const [view, expected] of frozen) {
        expect(view.size).toBe(expected.length);
        expect([...view.entries("")].map(([k, v]): [string, number] => [k, v])).toEqual(expected);
      }
    }),
    { seed: 1, numRuns: 60 },
  );
}, 60_000);

test("OrderedMap: empties and fills again through several levels", () => {
  const map = new OrderedMap<number>();
  const key = (i: number) => `/${String((i * 7919) % 20_011).padStart(6, "0")}`;
  for (let round = 0; round < 2; round++) {
    for (let i = 0; i < 20_000; i++) map.set(key(i), i);
    const listed = [...map.freeze().entries("")].map(([k]) => k);
    expect(listed).toEqual(listed.toSorted());
    expect(listed).toHaveLength(20_000);
    for (let i = 0; i < 20_000; i++) expect(map.delete(key((i * 13) % 20_000))).toBe(true);
    expect(map.size).toBe(0);
    expect([...map.freeze().entries("")]).toEqual([]);
  }
}, 60_000);

test("FrozenMap: an iteration under way does not see what changes meanwhile", () => {
  const map = new OrderedMap<number>();
  for (let i = 0; i < 1000; i++) map.set(String(i).padStart(4, "0"), 0);
  let count = 0;
  for (const [key, value] of map.freeze().entries("")) {
    expect(value).toBe(0);
    map.delete(key);
    map.set(`0000-${key}`, 1);
    map.set("9999", 1);
    count += 1;
  }
  expect(count).toBe(1000);
});

test("OrderedMap: appending in order makes the same map as setting, whatever comes in between", () => {
  const key = (i: number) => `/${String(i).padStart(6, "0")}`;
  const map = new OrderedMap<number>();
  const model = new Map<string, number>();
  const frozen: [FrozenMap<number>, number][] = [];
  for (let i = 0; i < 5000; i++) {
    map.append(key(i), i);
    model.set(key(i), i);
    if (i % 700 === 699) frozen.push([map.freeze(), map.size]);
    // Each in a leaf that was the last one a moment ago.
    if (i % 97 === 96) {
      map.set(`${key(i - 1)}+`, -i);
      model.set(`${key(i - 1)}+`, -i);
    }
    if (i % 301 === 300) {
      for (const gone of [i, i - 50]) expect(map.delete(key(gone))).toBe(model.delete(key(gone)));
    }
  }
  expect([...map.freeze().entries("")].map(([k, v]): [string, number] => [k, v])).toEqual(
    naiveEntries(model, ""),
  );
  for (const [view, size] of frozen) expect([...view.entries("")]).toHaveLength(size);
});
