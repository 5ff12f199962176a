/**
 * The append messages that are on their way to one follower: how many, and how many bytes.
 *
 * A ring of (last index of the message, its payload bytes), oldest first, which grows up to the
 * limit. An acknowledgement of an index frees every message that ends at or before it.
 *
 * The byte limit is soft: the message that crosses it still goes, the next one waits. Pure.
 *
 * @module
 */
import { assert } from "../../base/assert.ts";
import type { Index } from "../../base/ids.ts";

/** Limits of one window. */
export interface InflightLimits {
  readonly countMax: number;
  /** `Number.POSITIVE_INFINITY` lifts it. */
  readonly sizeMaxBytes: number;
}

const CAPACITY_START = 4;

/** Flow control towards one follower in `replicate`. */
export class InflightWindow {
  readonly #limits: InflightLimits;
  #indexes: number[] = [];
  #sizes: number[] = [];
  /** Position of the oldest message in the ring. */
  #start = 0;
  #count = 0;
  #sizeBytes = 0;

  constructor(limits: InflightLimits) {
    this.#limits = limits;
  }

  /** Messages not yet acknowledged. */
  get count(): number {
    return this.#count;
  }

  /** Whether no further message may be sent. */
  get full(): boolean {
    return this.#count >= this.#limits.countMax || this.#sizeBytes >= this.#limits.sizeMaxBytes;
  }

  /** Records a message that ends at `last`. Indexes must not decrease; must not be full. */
  add(last: Index, sizeBytes: number): void {
    assert(!this.full, "cannot add to a full inflight window");
    if (this.#count === this.#indexes.length) this.#grow();
    const end = (this.#start + this.#count) % this.#indexes.length;
    this.#indexes[end] = last;
    this.#sizes[end] = sizeBytes;
    this.#count++;
    this.#sizeBytes += sizeBytes;
  }

  /** Frees every message that ends at or before `index`. */
  freeUpTo(index: Index): void {
    while (this.#count > 0 && this.#indexes[this.#start]! <= index) {
      this.#sizeBytes -= this.#sizes[this.#start]!;
      this.#start = (this.#start + 1) % this.#indexes.length;
      this.#count--;
    }
    if (this.#count === 0) this.#start = 0;
  }

  /** Doubles the ring and unrolls it, so that the oldest message is at position 0 again. */
  #grow(): void {
    const before = this.#indexes.length;
    const doubled = Math.max(CAPACITY_START, before * 2);
    const capacity = Math.min(doubled, this.#limits.countMax);
    const indexes = new Array<number>(capacity).fill(0);
    const sizes = new Array<number>(capacity).fill(0);
    for (let i = 0; i < this.#count; i++) {
      indexes[i] = this.#indexes[(this.#start + i) % before]!;
      sizes[i] = this.#sizes[(this.#start + i) % before]!;
    }
    this.#indexes = indexes;
    this.#sizes = sizes;
    this.#start = 0;
  }
}
