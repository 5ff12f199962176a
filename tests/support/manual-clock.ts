/**
 * A clock that goes only when a test says so: timers run in order, and no test sleeps.
 *
 * @module
 */
import type { Clock } from "../../src/host/ports.ts";

interface Timer {
  dueAtMs: number;
  readonly order: number;
  readonly task: () => void;
}

export class ManualClock implements Clock {
  #nowMs = 0;
  #orders = 0;
  readonly #timers = new Set<Timer>();

  nowMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return this.#nowMs;
  }

  after(delayMs: number, task: () => void): () => void {
    const timer: Timer = { dueAtMs: this.#nowMs + delayMs, order: this.#orders++, task };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  every(intervalMs: number, task: () => void): () => void {
    let cancel = () => {};
    const arm = () => {
      cancel = this.after(intervalMs, () => {
        arm();
        task();
      });
    };
    arm();
    return () => cancel();
  }

  /**
   * Lets `durationMs` pass. What a timer set going is let go as far as it can without more time;
   * timers that it sets are run too, when they are due within the duration.
   */
  async advance(durationMs: number): Promise<void> {
    const untilMs = this.#nowMs + durationMs;
    await settle();
    for (;;) {
      const next = this.#next(untilMs);
      if (next === undefined) break;
      this.#timers.delete(next);
      this.#nowMs = Math.max(this.#nowMs, next.dueAtMs);
      next.task();
      await settle();
    }
    this.#nowMs = untilMs;
  }

  #next(untilMs: number): Timer | undefined {
    let first: Timer | undefined;
    for (const timer of this.#timers) {
      if (timer.dueAtMs > untilMs) continue;
      const sooner =
        first === undefined ||
        timer.dueAtMs < first.dueAtMs ||
        (timer.dueAtMs === first.dueAtMs && timer.order < first.order);
      if (sooner) first = timer;
    }
    return first;
  }
}

/** Lets every promise that can resolve now do so. */
function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
