/**
 * Which packets of a session have come already: a sliding window over their counters.
 *
 * Source: RFC 6479. A ring of 32-bit blocks; one block more than the window spans, so that sliding
 * clears whole blocks and shifts nothing. A counter is judged before the packet is opened and
 * noted only after it was found authentic, so a forger moves nothing.
 *
 * @module
 */
import { REPLAY_WINDOW_PACKETS } from "./limits.ts";

const BLOCK_BITS = 32;
/** A power of two, so that a block's place in the ring is a mask. */
const BLOCK_COUNT = REPLAY_WINDOW_PACKETS / BLOCK_BITS + 1;
const BLOCK_MASK = BLOCK_COUNT - 1;

/** The window of one receiving session. Counters are safe integers from 0. */
export class ReplayWindow {
  readonly #blocks = new Int32Array(BLOCK_COUNT);
  /** Where the window ends: the largest counter noted and one; 0: none was. */
  readonly #ends: Float64Array;
  readonly #at: number;

  /**
   * A window that ends at `ends[at]`, and keeps its end there. What is behind the end that it finds
   * there counts as noted.
   */
  constructor(ends: Float64Array = new Float64Array(1), at = 0) {
    this.#ends = ends;
    this.#at = at;
    const end = this.#ends[at]!;
    if (end === 0) return;
    this.#blocks.fill(-1);
    // Not what is still to come in the block that the end is in.
    this.#blocks[placeOf(end)] = bitOf(end) - 1;
  }

  /** Whether `counter` was not noted and is not too far behind. */
  isFresh(counter: number): boolean {
    const end = this.#ends[this.#at]!;
    if (counter >= end) return true;
    if (end - counter > REPLAY_WINDOW_PACKETS) return false;
    return (this.#blocks[placeOf(counter)]! & bitOf(counter)) === 0;
  }

  /** Notes `counter`, which `isFresh` has allowed. */
  note(counter: number): void {
    const place = placeOf(counter);
    const newest = this.#ends[this.#at]! - 1;
    if (counter > newest) {
      const steps = Math.floor(counter / BLOCK_BITS) - Math.floor(newest / BLOCK_BITS);
      if (steps > 0) this.#slide(steps, place);
      this.#ends[this.#at] = counter + 1;
    }
    this.#blocks[place] = this.#blocks[place]! | bitOf(counter);
  }

  /** Clears the `count` blocks up to `place`, which the window now reaches for the first time. */
  #slide(count: number, place: number): void {
    if (count >= BLOCK_COUNT) {
      this.#blocks.fill(0);
      return;
    }
    for (let i = 0; i < count; i++) this.#blocks[(place - i) & BLOCK_MASK] = 0;
  }
}

/** Where the bit of `counter` is; the operators take its low 32 bits, and the ring divides 2^32. */
function placeOf(counter: number): number {
  return (counter >>> 5) & BLOCK_MASK;
}

function bitOf(counter: number): number {
  return 1 << (counter & 31);
}
