/**
 * The end of a turn: what comes in together is answered together.
 *
 * @module
 */
import type { Clock } from "../../host/ports.ts";

/** Runs `task` at the end of this turn of the loop, or as a microtask where there are no turns. */
export function soon(clock: Clock, task: () => void): void {
  if (clock.soon === undefined) queueMicrotask(task);
  else clock.soon(task);
}
