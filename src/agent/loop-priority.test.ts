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
      priority.note(0.001);
    }
  };
  return { priority, calls, busy };
}

test("LoopPriority: ordinary until it first rests, then raised, once", () => {
  const { priority, calls, busy } = openPriority();
  busy(100);
  expect(calls).toEqual([]);
  priority.note(5);
  priority.note(5);
  expect(calls).toEqual([true]);
});

test("LoopPriority: a loop that rests in time stays raised, however much it does", () => {
  const { priority, calls, busy } = openPriority();
  for (let i = 0; i < 100; i++) {
    priority.note(5);
    busy(15);
  }
  expect(calls).toEqual([true]);
});

test("LoopPriority: a loop that never rests takes turns with others, until it does", () => {
  const { priority, calls, busy } = openPriority();
  priority.note(5);
  busy(200);
  expect(calls).toEqual([true, false]);
  priority.note(5);
  expect(calls).toEqual([true, false, true]);
});

test("LoopPriority: a host that does not allow it is asked once", () => {
  const { priority, calls, busy } = openPriority(false);
  priority.note(5);
  busy(200);
  priority.note(5);
  expect(calls).toEqual([true]);
});
