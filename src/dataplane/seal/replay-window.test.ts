import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { REPLAY_WINDOW_PACKETS, SEAL_COUNTER_LIMIT } from "./limits.ts";
import { ReplayWindow } from "./replay-window.ts";

/** The slow twin: remembers everything. */
class SlowWindow {
  readonly #seen = new Set<number>();
  #newest = -1;

  isFresh(counter: number): boolean {
    return !this.#seen.has(counter) && counter > this.#newest - REPLAY_WINDOW_PACKETS;
  }

  note(counter: number): void {
    this.#seen.add(counter);
    this.#newest = Math.max(this.#newest, counter);
  }
}

function accept(window: ReplayWindow | SlowWindow, counter: number): boolean {
  if (!window.isFresh(counter)) return false;
  window.note(counter);
  return true;
}

describe("ReplayWindow", () => {
  test("each counter passes once, in order, backwards and shuffled", () => {
    const window = new ReplayWindow();
    const counters = [0, 1, 2, 9, 8, 7, 3, 64, 31, 32, 33, 63];
    expect(counters.map((counter) => accept(window, counter))).toEqual(counters.map(() => true));
    expect(counters.map((counter) => accept(window, counter))).toEqual(counters.map(() => false));
  });

  test("the oldest counter in the window passes, the one before it does not", () => {
    for (const newest of [REPLAY_WINDOW_PACKETS, 2 ** 32 + 17, SEAL_COUNTER_LIMIT - 1]) {
      const window = new ReplayWindow();
      expect(accept(window, newest)).toBe(true);
      expect(accept(window, newest - REPLAY_WINDOW_PACKETS)).toBe(false);
      expect(accept(window, newest - REPLAY_WINDOW_PACKETS + 1)).toBe(true);
      expect(accept(window, newest - REPLAY_WINDOW_PACKETS + 1)).toBe(false);
    }
  });

  test("a jump by many windows forgets nothing that could come again", () => {
    const window = new ReplayWindow();
    for (const counter of [5, 5 + 8192, 5 + 3 * 8192, 2 ** 40, 2 ** 40 + 8192]) {
      expect(accept(window, counter)).toBe(true);
      expect(accept(window, counter)).toBe(false);
    }
    expect(accept(window, 2 ** 40)).toBe(false);
  });

  test("8,000 packets may come in any order: 64-segment bursts reversed", () => {
    const window = new ReplayWindow();
    for (let burst = 124; burst >= 0; burst--) {
      for (let i = 63; i >= 0; i--) expect(accept(window, burst * 64 + i)).toBe(true);
    }
  });

  test("random counters: agrees with the slow twin", () => {
    const step = fc.oneof(
      fc.integer({ min: -9000, max: 200 }),
      fc.integer({ min: -40, max: 40 }),
      fc.integer({ min: 8000, max: 20_000 }),
      fc.constant(2 ** 32),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
        const window = new ReplayWindow();
        const slow = new SlowWindow();
        let at = 2 ** 33;
        for (const by of steps) {
          const counter = Math.max(0, at + by);
          if (by > 0) at = counter;
          expect(accept(window, counter)).toBe(accept(slow, counter));
        }
      }),
      { numRuns: 200 },
    );
  });
});
