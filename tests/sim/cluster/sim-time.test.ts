/**
 * Time and chance of a simulation: the order of events, machines' clocks, runs that end and pause,
 * reproducible draws.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import { decodeNodeId } from "../../../src/base/ids.ts";
import { NodeClock } from "./node-clock.ts";
import { Scheduler } from "./scheduler.ts";
import { SimProcess } from "./sim-process.ts";
import { SimRandom } from "./sim-random.ts";

const ID = { node: decodeNodeId(1), run: 1 };

/** Lets everything happen up to `untilMs` of true time, as the world does. */
function runUntil(scheduler: Scheduler, untilMs: number): void {
  for (;;) {
    const event = scheduler.take();
    if (event === undefined) return;
    if (event.atMs > untilMs) {
      scheduler.again(event);
      return;
    }
    const { process } = event;
    if (process?.isAlive === false) continue;
    if (process?.isPaused) process.keep(event);
    else event.run?.();
  }
}

function createProcess(scheduler: Scheduler): SimProcess {
  return new SimProcess(ID, scheduler, () => undefined);
}

describe("scheduler", () => {
  test("takes events by time, and at equal times in the order of planning", () => {
    const scheduler = new Scheduler();
    const random = new SimRandom(1);
    const planned: { atMs: number; order: number }[] = [];
    for (let order = 0; order < 500; order++) {
      const atMs = random.below(40);
      planned.push({ atMs, order });
      scheduler.after(atMs, { kind: "timer", subject: order, run: () => undefined });
    }
    const taken: unknown[] = [];
    for (let event = scheduler.take(); event !== undefined; event = scheduler.take()) {
      expect(scheduler.nowMs).toBe(event.atMs);
      taken.push(event.subject);
    }
    planned.sort((a, b) => a.atMs - b.atMs || a.order - b.order);
    expect(taken).toEqual(planned.map(({ order }) => order));
  });

  test("passes over what was cancelled, and never goes back", () => {
    const scheduler = new Scheduler();
    const cancelled = scheduler.after(1, { kind: "timer", run: () => undefined });
    scheduler.after(2, { kind: "timer", subject: "kept", run: () => undefined });
    cancelled.run = undefined;
    expect(scheduler.take()?.subject).toBe("kept");
    scheduler.after(-5, { kind: "timer", run: () => undefined });
    expect(scheduler.take()?.atMs).toBe(2);
    expect(scheduler.take()).toBeUndefined();
  });
});

describe("random", () => {
  test("the same seed gives the same draws, another seed or stream does not", () => {
    const draws = (seed: number, stream = 0) => {
      const random = new SimRandom(seed, stream);
      return Array.from({ length: 20 }, () => random.word());
    };
    expect(draws(7)).toEqual(draws(7));
    expect(draws(7)).not.toEqual(draws(8));
    expect(draws(7)).not.toEqual(draws(7, 1));
    expect(draws(7)).not.toEqual(draws(7 + 2 ** 32));
  });

  test("draws keep to their ranges and reach all of them", () => {
    const random = new SimRandom(3);
    const seen = new Set<number>();
    let sum = 0;
    for (let i = 0; i < 5_000; i++) {
      seen.add(random.integer(2, 5));
      const exponential = random.exponential(10);
      expect(exponential).toBeGreaterThanOrEqual(0);
      sum += exponential;
    }
    expect([...seen].sort()).toEqual([2, 3, 4, 5]);
    expect(sum / 5_000).toBeWithin(9, 11);
    expect(random.chance(0)).toBeFalse();
    expect(random.chance(1)).toBeTrue();
    expect(random.shuffled([1, 2, 3]).sort()).toEqual([1, 2, 3]);
    expect(random.maybePick([])).toBeUndefined();
    expect(() => random.pick([])).toThrow("Cannot pick");
  });
});

describe("node clock", () => {
  test("a clock that is fast fires early, in true time", () => {
    const scheduler = new Scheduler();
    const clock = new NodeClock(scheduler, { nowMs: 5_000, rate: 1.25 });
    const firedMs: number[] = [];
    clock.portFor(createProcess(scheduler)).after(1_000, () => firedMs.push(scheduler.nowMs));
    runUntil(scheduler, 10_000);
    expect(firedMs).toEqual([800]);
    expect(clock.trueTimeOf(5_000 + 2_500)).toBe(2_000);
  });

  test("a clock that stands still fires nothing, and goes on where it was", () => {
    const scheduler = new Scheduler();
    const clock = new NodeClock(scheduler, { nowMs: 0, rate: 1 });
    const firedMs: number[] = [];
    clock.portFor(createProcess(scheduler)).every(100, () => firedMs.push(scheduler.nowMs));
    scheduler.after(250, { kind: "nemesis", run: () => clock.setRate(0) });
    scheduler.after(1_000, { kind: "nemesis", run: () => clock.setRate(1) });
    runUntil(scheduler, 1_200);
    expect(firedMs).toEqual([100, 200, 1_050, 1_150]);
  });

  test("a timer for less than can be told apart fires, and time has passed", () => {
    const scheduler = new Scheduler();
    const clock = new NodeClock(scheduler, { nowMs: 1274.0855759410158, rate: 1.0123 });
    const port = clock.portFor(createProcess(scheduler));
    const startMs = port.nowMs();
    let firedMs = 0;
    port.after(6.8e-13, () => {
      firedMs = port.nowMs();
    });
    runUntil(scheduler, 1);
    expect(firedMs).toBeGreaterThan(startMs);
  });

  test("wall time jumps, monotonic time does not", () => {
    const clock = new NodeClock(new Scheduler(), { nowMs: 10, rate: 1 });
    const before = clock.wallMs();
    clock.jumpWall(-5_000);
    expect(clock.wallMs()).toBe(before - 5_000);
    expect(clock.nowMs()).toBe(10);
  });

  test("timers end with their run, tasks of a turn as well", () => {
    const scheduler = new Scheduler();
    const clock = new NodeClock(scheduler, { nowMs: 0, rate: 1 });
    const process = createProcess(scheduler);
    const port = clock.portFor(process, true);
    const done: string[] = [];
    port.soon?.(() => done.push("soon"));
    port.after(10, () => done.push("late"));
    runUntil(scheduler, 5);
    process.kill();
    clock.drop(process);
    port.after(1, () => done.push("after its end"));
    runUntil(scheduler, 100);
    expect(done).toEqual(["soon"]);
  });
});

describe("process", () => {
  test("ends between two effects on the outside", () => {
    const ended: SimProcess[] = [];
    const process = new SimProcess(ID, new Scheduler(), (each) => ended.push(each));
    process.killAfter(2);
    expect([process.touch(), process.touch(), process.touch()]).toEqual([true, true, false]);
    expect(ended).toEqual([process]);
    expect(process.touch()).toBeFalse();
    process.kill();
    expect(ended).toHaveLength(1);
  });

  test("a pause keeps what comes, in order; timers may come first after it", () => {
    for (const timersFirst of [false, true]) {
      const scheduler = new Scheduler();
      const process = createProcess(scheduler);
      const done: string[] = [];
      process.pause();
      process.after(1, "message", () => done.push("message"));
      process.after(2, "timer", () => done.push("timer"));
      runUntil(scheduler, 10);
      expect(done).toEqual([]);
      process.resume(timersFirst);
      runUntil(scheduler, 20);
      expect(done).toEqual(timersFirst ? ["timer", "message"] : ["message", "timer"]);
    }
  });
});
