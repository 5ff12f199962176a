import { expect, test } from "bun:test";
import { LoopPriority } from "./loop-priority.ts";

function openPriority(isAllowed = true) {
  const calls: boolean[] = [];
  const clock = { ms: 0, nowMs: () => clock.ms };
  const priority = new LoopPriority(clock, (isRealtime) => {
    calls.push(isRealtime);
    return isAllowed;
  });
  /** Busy turns without rest, a millisecond each. */
  const busy = (turns: number) => {
    for (let i = 0; i < turns; i++) {
      clock.ms++;
      priority.note(60_000, 0.001);
    }
  };
  return { priority, calls, clock, busy };
}

test("LoopPriority: raised once, by the first rest", () => {
  const { priority, calls, busy } = openPriority();
  busy(20);
  calls.length = 0;
  busy(100);
  expect(calls).toEqual([]);
  priority.note(60_000, 5);
  priority.note(60_000, 5);
  expect(calls).toEqual([true]);
});

test("LoopPriority: a loop that rests in time stays raised, however much it does", () => {
  const { priority, calls, busy } = openPriority();
  for (let i = 0; i < 100; i++) {
    priority.note(60_000, 5);
    busy(15);
  }
  expect(calls).toEqual([true]);
});

test("LoopPriority: a loop that never rests takes turns with others, until it does", () => {
  const { priority, calls, busy } = openPriority();
  priority.note(60_000, 5);
  busy(200);
  expect(calls).toEqual([true, false]);
  priority.note(60_000, 5);
  expect(calls).toEqual([true, false, true]);
});

test("LoopPriority: woken for packet after packet, it takes turns until that is over", () => {
  const { priority, calls, clock } = openPriority();
  const rest = (perWindow: number, windows: number, bytes = 100) => {
    for (let i = 0; i < perWindow * windows; i++) {
      clock.ms += 10 / perWindow;
      priority.note(bytes, 0.02);
    }
  };
  rest(90, 5);
  rest(500, 5, 60_000);
  expect(calls).toEqual([true]);
  rest(300, 3);
  expect(calls).toEqual([true, false]);
  rest(50, 5);
  expect(calls).toEqual([true, false]);
  rest(20, 3);
  expect(calls).toEqual([true, false, true]);
});

test("LoopPriority: a host that does not allow it is asked once", () => {
  const { priority, calls, busy } = openPriority(false);
  priority.note(60_000, 5);
  busy(200);
  priority.note(60_000, 5);
  expect(calls).toEqual([true]);
});
