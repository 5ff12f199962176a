/**
 * The only source of chance in a simulation: a small generator whose whole state follows from the
 * seed (sfc32, of PractRand), with the draws that faults and workloads need.
 *
 * @module
 */
import type { Random } from "../../../src/host/ports.ts";

/** Draws that are thrown away at first, so that near seeds do not begin alike. */
const WARM_UP_DRAWS = 12;

/** A reproducible generator. Also serves the nodes as their `Random` port. */
export class SimRandom implements Random {
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  /** `stream` tells generators of one seed apart. */
  constructor(seed: number, stream = 0) {
    this.#a = seed >>> 0;
    this.#b = Math.floor(seed / 2 ** 32) >>> 0;
    this.#c = stream >>> 0;
    for (let i = 0; i < WARM_UP_DRAWS; i++) this.word();
  }

  /** 32 random bits. */
  word(): number {
    const sum = (this.#a + this.#b + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + sum) | 0;
    return sum >>> 0;
  }

  /** From 0 up to, not including, 1. */
  fraction(): number {
    return this.word() / 2 ** 32;
  }

  below(limit: number): number {
    return Math.floor(this.fraction() * limit);
  }

  bytes(count: number): Uint8Array {
    return Uint8Array.from({ length: count }, () => this.word() & 0xff);
  }

  /** True with `probability` from 0 to 1. */
  chance(probability: number): boolean {
    return probability > 0 && this.fraction() < probability;
  }

  /** A number from `low` up to, not including, `high`. */
  between(low: number, high: number): number {
    return low + this.fraction() * (high - low);
  }

  /** An integer from `low` to `high`, both included. */
  integer(low: number, high: number): number {
    return low + this.below(high - low + 1);
  }

  /** Mostly little, now and then much: the exponential distribution. */
  exponential(mean: number): number {
    return -mean * Math.log(1 - this.fraction());
  }

  /** One of `list`, which must not be empty. */
  pick<Item>(list: readonly Item[]): Item {
    if (list.length === 0) throw new Error("Cannot pick from an empty list");
    return list[this.below(list.length)] as Item;
  }

  /** One of `list`, or undefined when it is empty. */
  maybePick<Item>(list: readonly Item[]): Item | undefined {
    return list.length === 0 ? undefined : this.pick(list);
  }

  /** `list` in another order. */
  shuffled<Item>(list: readonly Item[]): Item[] {
    const result = [...list];
    for (let i = result.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      [result[i], result[j]] = [result[j] as Item, result[i] as Item];
    }
    return result;
  }
}
