/**
 * Waiting for what must come true, by asking again, never by a fixed sleep.
 *
 * @module
 */

export interface WaitOptions {
  /** How long to go on asking; 10 s when absent. */
  readonly timeoutMs?: number;
  /** What is waited for, as the end of "Waited 10000 ms for …". */
  readonly describe: string;
  /** Added to the message of a failure: what there was instead. */
  readonly details?: () => string;
}

const TIMEOUT_DEFAULT_MS = 10_000;
const PAUSE_MIN_MS = 5;
const PAUSE_MAX_MS = 100;

/** What did not come true in time. */
export class WaitError extends Error {
  override readonly name = "WaitError";
}

/**
 * Asks until `condition` gives something other than undefined and false, and gives that. An error
 * of `condition` counts as "not yet" and is the cause of the failure when time runs out.
 */
export async function waitFor<T>(
  condition: () => T | undefined | false | Promise<T | undefined | false>,
  options: WaitOptions,
): Promise<T> {
  const timeoutMs = options.timeoutMs ?? TIMEOUT_DEFAULT_MS;
  const endMs = performance.now() + timeoutMs;
  let pauseMs = PAUSE_MIN_MS;
  let cause: unknown;
  for (;;) {
    try {
      const value = await condition();
      if (value !== undefined && value !== false) return value;
      cause = undefined;
    } catch (error) {
      cause = error;
    }
    if (performance.now() >= endMs) {
      const details = options.details === undefined ? "" : `; ${options.details()}`;
      const last = cause instanceof Error ? `; last error: ${cause.message}` : "";
      throw new WaitError(`Waited ${timeoutMs} ms for ${options.describe}${details}${last}`, {
        cause,
      });
    }
    await Bun.sleep(pauseMs);
    pauseMs = Math.min(pauseMs * 1.5, PAUSE_MAX_MS);
  }
}

/** Runs `task` and says how long it took, in milliseconds. */
export async function timed<T>(task: () => Promise<T>): Promise<{ value: T; elapsedMs: number }> {
  const startMs = performance.now();
  const value = await task();
  return { value, elapsedMs: performance.now() - startMs };
}
