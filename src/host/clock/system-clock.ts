/**
 * The `Clock` port on the machine's own clocks and timers.
 *
 * `nowMs` is CLOCK_MONOTONIC: a jump of the wall clock moves nothing that is measured with it.
 *
 * @module
 */
import type { Clock } from "../ports.ts";

/** The clock of this machine. */
export function openSystemClock(): Clock {
  const rounds = new Rounds();
  return {
    nowMs: () => performance.now(),
    wallMs: () => Date.now(),
    after(delayMs, task) {
      const timer = setTimeout(task, delayMs);
      return () => clearTimeout(timer);
    },
    every(intervalMs, task) {
      const timer = setInterval(task, intervalMs);
      return () => clearInterval(timer);
    },
    soon: (task) => rounds.add(task),
  };
}

/**
 * Tasks at the end of a turn. Bun runs immediates after it has handed out everything that one wait
 * for the kernel brought, so what came in on many connections is there together.
 */
class Rounds {
  #tasks: (() => void)[] = [];

  add(task: () => void): void {
    if (this.#tasks.push(task) === 1) setImmediate(() => this.#run());
  }

  #run(): void {
    // The list grows while it is walked: tasks that tasks ask for are part of the round.
    for (let i = 0; i < this.#tasks.length; i++) this.#tasks[i]!();
    this.#tasks = [];
  }
}
