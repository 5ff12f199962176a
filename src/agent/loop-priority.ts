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
 * Nor does it go before others while it is woken for packet after packet: to preempt the sender at
 * every small one would undo all batching (26 in place of 80 thousand datagrams of 64 bytes a
 * second). As an ordinary thread it finds several each time that its turn comes.
 *
 * @module
 */
import type { LoopClock } from "../host/packet-ports.ts";

/** How long without rest is too long; well below the 950 ms a second that Linux allows at most. */
const BUSY_MS = 20;
/** A wait from here on was a rest; a poll(2) that finds something at once takes 1 µs. */
const REST_MS = 0.01;
/** A rest after fewer bytes than this was a wake-up for little: a packet or two. */
const LIGHT_BYTES = 4096;
/** Over what time such rests are counted. */
const WINDOW_MS = 10;
/** More of them a window than this is a flood of small packets. */
const FLOOD_REST_COUNT = 100;
/** Fewer than this end it. */
const CALM_REST_COUNT = 30;

/** The priority of one thread; made and used in the loop's thread only. */
export class LoopPriority {
  readonly #clock: LoopClock;
  readonly #setRealtime: (isRealtime: boolean) => boolean;
  /** False once the host has said no. */
  #isAllowed = true;
  #isRaised = false;
  #isFlooded = false;
  #restedMs = 0;
  #windowMs = 0;
  #restCount = 0;

  /** `setRealtime` changes the calling thread and says whether it did. */
  constructor(clock: LoopClock, setRealtime: (isRealtime: boolean) => boolean) {
    this.#clock = clock;
    this.#setRealtime = setRealtime;
  }

  /** To be told after each turn what it moved and how long the loop then waited; 0: not at all. */
  note(movedBytes: number, waitedMs: number): void {
    const nowMs = this.#clock.nowMs();
    if (waitedMs >= REST_MS) {
      this.#restedMs = nowMs;
      if (movedBytes < LIGHT_BYTES) this.#restCount++;
    }
    if (nowMs - this.#windowMs >= WINDOW_MS) this.#closeWindow(nowMs);
    const isBusy = nowMs - this.#restedMs >= BUSY_MS;
    const isWanted = !isBusy && !this.#isFlooded;
    if (isWanted === this.#isRaised || !this.#isAllowed) return;
    this.#isAllowed = this.#setRealtime(isWanted);
    this.#isRaised = isWanted && this.#isAllowed;
  }

  #closeWindow(nowMs: number): void {
    const rests = (this.#restCount * WINDOW_MS) / (nowMs - this.#windowMs);
    this.#isFlooded = rests > (this.#isFlooded ? CALM_REST_COUNT : FLOOD_REST_COUNT);
    this.#windowMs = nowMs;
    this.#restCount = 0;
  }
}
