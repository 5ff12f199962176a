import { describe, expect, test } from "bun:test";
import { TickCounter } from "./tick-counter.ts";

describe("TickCounter", () => {
  const start = { tickMs: 100, countMax: 9, nowMs: 1_000 };
  const cases = [
    { times: [1_100, 1_200, 1_300], counts: [1, 1, 1], why: "on time" },
    { times: [1_099, 1_201, 1_298], counts: [1, 1, 1], why: "a little early and late" },
    { times: [1_010, 1_020, 1_100], counts: [0, 0, 1], why: "asked too often" },
    { times: [1_350, 1_400], counts: [4, 0], why: "late ticks are made up" },
    { times: [61_000, 61_100], counts: [9, 1], why: "a stall is not made up whole" },
    { times: [900, 1_000, 1_100], counts: [0, 0, 1], why: "a clock that steps back" },
  ];
  for (const { times, counts, why } of cases) {
    test(why, () => {
      const counter = new TickCounter(start);
      expect(times.map((time) => counter.take(time))).toEqual(counts);
    });
  }
});
