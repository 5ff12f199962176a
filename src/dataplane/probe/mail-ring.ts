/**
 * Messages of a few numbers between two threads: one writes, one reads, nobody waits.
 *
 * A ring in shared memory. Two counters in front say how many messages were ever put and taken;
 * each is written by one side only, after the message itself. Full means "not now": the writer is
 * told and decides. Counters are 32 bits wide and may wrap.
 *
 * Pure over its memory: no clock, no allocation after construction.
 *
 * @module
 */
import { assert } from "../../base/assert.ts";

/** Numbers of one message. */
export const MAIL_WIDTH = 8;

const HEADER_SIZE = 16;
const NUMBER_SIZE = 8;
const PUT = 0;
const TAKEN = 1;

/** Memory for `capacity` messages, a power of two. */
export function createMailMemory(capacity: number): SharedArrayBuffer {
  assert(capacity > 0 && (capacity & (capacity - 1)) === 0, "capacity must be a power of two");
  return new SharedArrayBuffer(HEADER_SIZE + capacity * MAIL_WIDTH * NUMBER_SIZE);
}

/** One side's hold of a ring. */
export class MailRing {
  readonly #counters: Int32Array;
  readonly #numbers: Float64Array;
  readonly #capacity: number;

  constructor(memory: SharedArrayBuffer) {
    this.#counters = new Int32Array(memory, 0, HEADER_SIZE / 4);
    this.#numbers = new Float64Array(memory, HEADER_SIZE);
    this.#capacity = this.#numbers.length / MAIL_WIDTH;
  }

  /** Whether there is nothing to take. */
  get isEmpty(): boolean {
    return Atomics.load(this.#counters, PUT) === Atomics.load(this.#counters, TAKEN);
  }

  /** The writer's side: puts the MAIL_WIDTH numbers of `message`; false when the ring is full. */
  put(message: Float64Array): boolean {
    const put = Atomics.load(this.#counters, PUT);
    const waiting = (put - Atomics.load(this.#counters, TAKEN)) | 0;
    if (waiting >= this.#capacity) return false;
    this.#numbers.set(message, this.#at(put));
    Atomics.store(this.#counters, PUT, (put + 1) | 0);
    return true;
  }

  /** The reader's side: copies the oldest message into `out`; false when there is none. */
  take(out: Float64Array): boolean {
    const taken = Atomics.load(this.#counters, TAKEN);
    if (taken === Atomics.load(this.#counters, PUT)) return false;
    const at = this.#at(taken);
    for (let i = 0; i < MAIL_WIDTH; i++) out[i] = this.#numbers[at + i]!;
    Atomics.store(this.#counters, TAKEN, (taken + 1) | 0);
    return true;
  }

  #at(count: number): number {
    return (count & (this.#capacity - 1)) * MAIL_WIDTH;
  }
}
