/**
 * When the packet loop's thread goes before all others, and when it does not.
 *
 * A kernel tunnel works in soft interrupts: before every ordinary thread, but handed to an ordinary
 * one when there is too much of it (ksoftirqd). The loop does the same. While it keeps up with its
 * packets it is a real-time thread, so that busy containers cannot make packets wait: beside three
 * threads that compute for ever on two cores, 0.5 ms in place of 12 ms for the slowest of a hundred
 * pings, and 2 Gbit/s in place of 0.6 (Bun 1.4.5, Linux 6.18). Once it has not come to rest for
 * BUSY_MS it takes turns with everything else, until it comes to rest again.
 *
 * @module
 */
import type { LoopClock } from "../host/packet-ports.ts";

/** How long without rest is too long; well below the 950 ms a second that Linux allows at most. */
const BUSY_MS = 20;
/** A wait from here on was a rest; a poll(2) that finds something at once takes 1 µs. */
const REST_MS = 0.01;

/** The priority of one thread; made and used in the loop's thread only. */
export class LoopPriority {
  readonly #clock: LoopClock;
  readonly #setRealtime: (isRealtime: boolean) => boolean;
  /** False once the host has said no. */
  #isAllowed = true;
  #isRaised = false;
  #restedMs = 0;

  /** `setRealtime` changes the calling thread and says whether it did. */
  constructor(clock: LoopClock, setRealtime: (isRealtime: boolean) => boolean) {
    this.#clock = clock;
    this.#setRealtime = setRealtime;
  }

  /** To be told after each turn how long the loop then waited; 0 when it did not. */
  note(waitedMs: number): void {
    if (waitedMs >= REST_MS) {
      this.#restedMs = this.#clock.nowMs();
      if (!this.#isRaised && this.#isAllowed) {
        this.#isAllowed = this.#setRealtime(true);
        this.#isRaised = this.#isAllowed;
      }
    } else if (this.#isRaised && this.#clock.nowMs() - this.#restedMs >= BUSY_MS) {
      this.#setRealtime(false);
      this.#isRaised = false;
    }
  }
}
