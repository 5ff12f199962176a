/**
 * The clock of one machine: monotonic time that drifts and may stand still, wall time that jumps.
 *
 * Belongs to the machine, not to a run: monotonic time goes on across restarts. `portFor` gives one
 * run its `Clock`; timers die with the run.
 *
 * @module
 */
import type { Clock } from "../../../src/host/ports.ts";
import type { Scheduler, SimEvent } from "./scheduler.ts";
import type { SimProcess } from "./sim-process.ts";

const WALL_START_MS = 1_700_000_000_000;
/** Far below any time that matters, far above what is lost to rounding. */
const RESOLUTION_MS = 1e-6;

interface Timer {
  dueMs: number;
  readonly process: SimProcess;
  readonly task: () => void;
  /** Undefined when it runs once. */
  readonly intervalMs: number | undefined;
  event: SimEvent | undefined;
}

/** One machine's clock. */
export class NodeClock {
  readonly #scheduler: Scheduler;
  /** Own time and true time when the rate was last set. */
  #anchorMs: number;
  #trueAnchorMs: number;
  /** Own milliseconds in a true one; 0 while it stands still. */
  #rate: number;
  #wallOffsetMs = 0;
  readonly #timers = new Set<Timer>();

  constructor(scheduler: Scheduler, start: { readonly nowMs: number; readonly rate: number }) {
    this.#scheduler = scheduler;
    this.#anchorMs = start.nowMs;
    this.#trueAnchorMs = scheduler.nowMs;
    this.#rate = start.rate;
  }

  nowMs(): number {
    return this.#anchorMs + (this.#scheduler.nowMs - this.#trueAnchorMs) * this.#rate;
  }

  wallMs(): number {
    return Math.floor(WALL_START_MS + this.nowMs() + this.#wallOffsetMs);
  }

  get rate(): number {
    return this.#rate;
  }

  /** The true time at which this clock will show `ownMs`, if its rate stays. */
  trueTimeOf(ownMs: number): number {
    if (this.#rate === 0) return Number.POSITIVE_INFINITY;
    return this.#trueAnchorMs + (ownMs - this.#anchorMs) / this.#rate;
  }

  /** Lets the clock go on at another rate; 0 stops it, and its timers with it. */
  setRate(rate: number): void {
    this.#anchorMs = this.nowMs();
    this.#trueAnchorMs = this.#scheduler.nowMs;
    this.#rate = rate;
    for (const timer of this.#timers) this.#plan(timer);
  }

  /** Moves the wall clock only. */
  jumpWall(byMs: number): void {
    this.#wallOffsetMs += byMs;
  }

  /** The clock as `process` sees it. */
  portFor(process: SimProcess, hasTurns = false): Clock {
    const soon = (task: () => void) => {
      if (process.touch()) process.after(0, "timer", task, "end of the turn");
    };
    return {
      ...(hasTurns ? { soon } : {}),
      nowMs: () => this.nowMs(),
      wallMs: () => this.wallMs(),
      after: (delayMs, task) => this.#set(process, { delayMs, task, intervalMs: undefined }),
      every: (intervalMs, task) => this.#set(process, { delayMs: intervalMs, task, intervalMs }),
    };
  }

  /** Forgets the timers of a run that ended. */
  drop(process: SimProcess): void {
    for (const timer of this.#timers) if (timer.process === process) this.#cancel(timer);
  }

  #set(
    process: SimProcess,
    plan: {
      readonly delayMs: number;
      readonly task: () => void;
      readonly intervalMs: number | undefined;
    },
  ): () => void {
    if (!process.touch()) return () => undefined;
    const { task, intervalMs } = plan;
    const dueMs = this.nowMs() + Math.max(0, plan.delayMs);
    const timer: Timer = { dueMs, process, task, intervalMs, event: undefined };
    this.#timers.add(timer);
    this.#plan(timer);
    return () => this.#cancel(timer);
  }

  #plan(timer: Timer): void {
    if (timer.event !== undefined) timer.event.run = undefined;
    timer.event = undefined;
    if (this.#rate === 0) return;
    const leftMs = timer.dueMs - this.nowMs();
    // What is lost to rounding would never pass, and somebody waits for it.
    const delayMs = leftMs > 0 ? Math.max(leftMs / this.#rate, RESOLUTION_MS) : 0;
    timer.event = timer.process.after(delayMs, "timer", () => this.#fire(timer));
  }

  #fire(timer: Timer): void {
    if (timer.intervalMs === undefined) {
      this.#cancel(timer);
    } else {
      // Runs that were missed are not made up.
      const nowMs = this.nowMs();
      const nextMs = timer.dueMs + timer.intervalMs;
      timer.dueMs = nextMs > nowMs ? nextMs : nowMs + timer.intervalMs;
      this.#plan(timer);
    }
    timer.task();
  }

  #cancel(timer: Timer): void {
    this.#timers.delete(timer);
    if (timer.event !== undefined) timer.event.run = undefined;
    timer.event = undefined;
  }
}
