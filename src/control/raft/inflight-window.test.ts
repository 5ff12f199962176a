/**
 * The inflight window against a plain list.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { InflightWindow } from "./inflight-window.ts";
import { I } from "./test-cluster.ts";

describe("InflightWindow", () => {
  test("is full at the count limit", () => {
    const window = new InflightWindow({ countMax: 2, sizeMaxBytes: Number.POSITIVE_INFINITY });
    window.add(I(1), 10);
    expect(window.full).toBe(false);
    window.add(I(2), 10);
    expect([window.full, window.count]).toEqual([true, 2]);
  });

  test("the message that crosses the byte limit still goes, the next one waits", () => {
    const window = new InflightWindow({ countMax: 100, sizeMaxBytes: 15 });
    window.add(I(1), 10);
    expect(window.full).toBe(false);
    window.add(I(2), 10);
    expect(window.full).toBe(true);
    window.freeUpTo(I(1));
    expect(window.full).toBe(false);
  });

  test("adding to a full window is our bug", () => {
    const window = new InflightWindow({ countMax: 1, sizeMaxBytes: 10 });
    window.add(I(1), 1);
    expect(() => window.add(I(2), 1)).toThrow("full inflight window");
  });

  test("agrees with a list, whatever is added and freed", () => {
    const limits = fc.record({
      countMax: fc.integer({ min: 1, max: 20 }),
      sizeMaxBytes: fc.integer({ min: 1, max: 60 }),
    });
    const steps = fc.array(fc.tuple(fc.boolean(), fc.nat(6)), { maxLength: 200 });
    fc.assert(
      fc.property(limits, steps, (limit, todo) => {
        const window = new InflightWindow(limit);
        let list: { index: number; size: number }[] = [];
        let next = 0;
        for (const [isAdding, amount] of todo) {
          if (isAdding && !window.full) {
            next += amount;
            window.add(I(next), amount);
            list.push({ index: next, size: amount });
          } else {
            const index = Math.max(0, next - amount);
            window.freeUpTo(I(index));
            list = list.filter((message) => message.index > index);
          }
          const size = list.reduce((sum, message) => sum + message.size, 0);
          const full = list.length >= limit.countMax || size >= limit.sizeMaxBytes;
          expect([window.count, window.full]).toEqual([list.length, full]);
        }
      }),
      { numRuns: 300 },
    );
  });
});
