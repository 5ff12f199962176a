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
  };
}
