import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { PATH_MTU_BASE, PATH_MTU_MIN, PathMtu } from "./path-mtu.ts";

const MISSES = 3;
const PROBE_COUNT_MAX = 120;

/** Probes until the search rests; the sizes that were tried. */
function search(mtu: PathMtu, pathMtu: number, onStep: () => void = () => undefined): number[] {
  const tried: number[] = [];
  while (mtu.candidate !== 0) {
    const size = mtu.candidate;
    tried.push(size);
    expect(tried.length).toBeLessThan(PROBE_COUNT_MAX);
    if (size <= pathMtu) mtu.answered(size);
    else mtu.missed(size, MISSES);
    onStep();
  }
  return tried;
}

describe("PathMtu", () => {
  test("a path that carries what the link does: one probe", () => {
    const mtu = new PathMtu(1500);
    expect([mtu.found, mtu.limit]).toEqual([undefined, 1500]);
    expect(search(mtu, 1500)).toEqual([1500]);
    expect([mtu.found, mtu.limit, mtu.isNarrow]).toEqual([1500, 1500, false]);
  });

  test("RFC 8899 §5.1.2: one loss is none, MAX_PROBES are", () => {
    const mtu = new PathMtu(1500);
    mtu.missed(1500, MISSES);
    mtu.missed(1500, MISSES);
    expect([mtu.candidate, mtu.limit]).toEqual([1500, 1500]);
    mtu.missed(1500, MISSES);
    expect([mtu.candidate, mtu.limit]).toEqual([PATH_MTU_BASE, PATH_MTU_BASE]);
  });

  test("a size that cannot be sent is tried once", () => {
    const mtu = new PathMtu(9000);
    mtu.refused(9000);
    expect(mtu.candidate).toBe(PATH_MTU_BASE);
  });

  test("any path from 576 to jumbo is found to the byte, and nothing larger is ever let through", () => {
    const sizes = fc.record({
      link: fc.integer({ min: 1280, max: 65_535 }),
      path: fc.integer({ min: PATH_MTU_MIN, max: 65_535 }),
    });
    fc.assert(
      fc.property(sizes, ({ link, path }) => {
        const mtu = new PathMtu(link);
        let wasNarrow = false;
        search(mtu, path, () => {
          wasNarrow ||= mtu.isNarrow;
          if (wasNarrow && path >= PATH_MTU_BASE) expect(mtu.limit).toBeLessThanOrEqual(path);
        });
        expect(mtu.found).toBe(Math.min(link, path));
        expect(mtu.limit).toBe(Math.min(link, path));
        expect(mtu.blackHoleCount).toBe(0);
      }),
    );
  });

  test("usual sizes are found by few probes", () => {
    for (const path of [1280, 1400, 1420, 1450, 1492]) {
      const mtu = new PathMtu(1500);
      expect(search(mtu, path).length).toBeLessThan(40);
      expect(mtu.found).toBe(path);
    }
  });

  test("a hint that is right ends the search at once, one that is wrong costs a few probes", () => {
    const right = new PathMtu(1500, () => 1387);
    expect(new Set(search(right, 1387))).toEqual(new Set([1500, 1387, 1388]));
    expect(right.limit).toBe(1387);
    fc.assert(
      fc.property(
        fc.integer({ min: 576, max: 1500 }),
        fc.integer({ min: -10, max: 70_000 }),
        (path, hint) => {
          const mtu = new PathMtu(1500, () => hint);
          search(mtu, path);
          expect(mtu.limit).toBe(path);
        },
      ),
    );
  });

  test("a forged hint never lowers what passes", () => {
    const mtu = new PathMtu(1500, () => 600);
    search(mtu, 1500);
    expect(mtu.limit).toBe(1500);
  });

  test("a path below the floor: the floor is kept, and raising looks again", () => {
    const mtu = new PathMtu(1500);
    search(mtu, 100);
    expect([mtu.found, mtu.limit]).toEqual([undefined, PATH_MTU_MIN]);
    mtu.raise();
    search(mtu, 1500);
    expect(mtu.limit).toBe(1500);
  });

  test("RFC 8899 §4.3: a black hole sends the search back to the base, at once", () => {
    const mtu = new PathMtu(1500);
    search(mtu, 1500);
    for (let i = 0; i < MISSES; i++) mtu.missed(1500, MISSES);
    expect([mtu.limit, mtu.candidate, mtu.blackHoleCount]).toEqual([1280, 1280, 1]);
    search(mtu, 1400);
    expect([mtu.found, mtu.limit]).toEqual([1400, 1400]);
  });

  test("an answer between the misses forgives them", () => {
    const mtu = new PathMtu(1500);
    search(mtu, 1500);
    for (let i = 0; i < 10; i++) {
      mtu.missed(1500, MISSES);
      mtu.missed(1500, MISSES);
      mtu.answered(1500);
    }
    expect([mtu.limit, mtu.blackHoleCount]).toEqual([1500, 0]);
  });

  test("RFC 8899 §5.1.1: raised again, the found size in use until more is proven", () => {
    const mtu = new PathMtu(1500);
    search(mtu, 1400);
    mtu.raise();
    expect([mtu.candidate, mtu.limit]).toEqual([1500, 1400]);
    search(mtu, 1450, () => expect(mtu.limit).toBeGreaterThanOrEqual(1400));
    expect(mtu.found).toBe(1450);
    mtu.raise();
    expect(search(mtu, 1500)).toEqual([1500]);
    expect([mtu.limit, mtu.isNarrow]).toEqual([1500, false]);
  });

  test("raised in the middle of a search: what was missed before counts no more", () => {
    const mtu = new PathMtu(1500);
    mtu.refused(1500);
    mtu.answered(1280);
    mtu.refused(mtu.candidate);
    mtu.raise();
    expect([mtu.candidate, mtu.limit]).toEqual([1500, 1280]);
    expect(search(mtu, 1500)).toEqual([1500]);
  });

  test("the link's MTU changes: everything is looked at anew", () => {
    const mtu = new PathMtu(1500);
    search(mtu, 1400);
    mtu.restart(9000);
    expect([mtu.candidate, mtu.limit, mtu.found]).toEqual([9000, 9000, undefined]);
    search(mtu, 8950);
    expect(mtu.found).toBe(8950);
  });

  test("any order of events: the limit stays between the floor and the link's MTU", () => {
    const event = fc.record({
      kind: fc.constantFrom("answered", "missed", "refused", "raise"),
      size: fc.integer({ min: 1, max: 10_000 }),
      asked: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(event, { maxLength: 60 }), (events) => {
        const mtu = new PathMtu(1500);
        for (const { kind, size, asked } of events) {
          const about = asked && mtu.candidate !== 0 ? mtu.candidate : size;
          if (kind === "answered") mtu.answered(about);
          else if (kind === "missed") mtu.missed(about, MISSES);
          else if (kind === "refused") mtu.refused(about);
          else mtu.raise();
          expect(mtu.limit).toBeLessThanOrEqual(1500);
          expect(mtu.limit).toBeGreaterThan(0);
          expect(mtu.candidate).toBeLessThanOrEqual(1500);
        }
      }),
    );
  });
});
