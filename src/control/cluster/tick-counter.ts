/**
 * How many ticks of the core have passed, from a timer that is late at times.
 *
 * After a stall of the event loop the messages that would have reset the election timer still
 * wait to be read. Making up a whole election timeout would then start an election against a
 * leader that lives, so at most one tick less is made up. Pure.
 *
 * @module
 */

/** Turns times into counts of ticks. */
export class TickCounter {
  readonly #tickMs: number;
  readonly #countMax: number;
  #lastMs: number;

  /** Counts ticks of `tickMs` from `nowMs` on, at most `countMax` at once. */
  constructor(options: {
    readonly tickMs: number;
    readonly countMax: number;
    readonly nowMs: number;
  }) {
    this.#tickMs = options.tickMs;
    this.#countMax = options.countMax;
    this.#lastMs = options.nowMs;
  }

  /** Ticks since the last call. Rounded, so that a timer that is a little early counts. */
  take(nowMs: number): number {
    const count = Math.round((nowMs - this.#lastMs) / this.#tickMs);
    this.#lastMs += Math.max(0, count) * this.#tickMs;
    return Math.min(Math.max(0, count), this.#countMax);
  }
}
