/**
 * A digest of a set that costs nothing to keep: each member is hashed by itself, and the set's
 * digest is the sum, so that adding and removing a member is one addition or subtraction.
 *
 * It finds replicas that went apart (a bug, a flipped bit), not forgers: 64 bits, mixing after
 * MurmurHash3 (two 32-bit lanes with its multipliers and finalizer), no secret. Pure.
 *
 * @module
 */
import type { NodeId } from "../../base/ids.ts";
import type { KeyValue } from "./types.ts";

const TWO_32 = 2 ** 32;
const LOW_MULTIPLIER = 0xcc9e2d51;
const HIGH_MULTIPLIER = 0x1b873593;
const LOW_SEED = 0x9747b28c;
const HIGH_SEED = 0x3c6ef372;

/** First number of the members that are no pairs. */
const CLIENT = 0;
const OUTCOME = 1;

/** Sum of the hashes of a set of members. */
export class SetDigest {
  #low = 0;
  #high = 0;

  /** Adds a pair, or takes it out (`sign` −1). */
  pair(pair: KeyValue, sign: 1 | -1): void {
    const { key, value } = pair;
    // Both lanes in local variables and one pass: twice as fast as a hash object with fields.
    let low = LOW_SEED ^ key.length;
    let high = HIGH_SEED ^ value.length;
    for (let i = 0; i < key.length; i++) {
      const word = key.charCodeAt(i);
      low = mixLow(low, word);
      high = mixHigh(high, word);
    }
    const whole = value.length & ~3;
    for (let i = 0; i < whole; i += 4) {
      const word = value[i]! | (value[i + 1]! << 8) | (value[i + 2]! << 16) | (value[i + 3]! << 24);
      low = mixLow(low, word);
      high = mixHigh(high, word);
    }
    for (let i = whole; i < value.length; i++) {
      low = mixLow(low, value[i]!);
      high = mixHigh(high, value[i]!);
    }
    const { createRevision, modRevision, version, ttl } = pair;
    low = mixLow3(low, createRevision, modRevision, version);
    high = mixHigh3(high, createRevision, modRevision, version);
    if (ttl !== undefined) {
      low = mixLowNumber(mixLowNumber(low, ttl.seconds), ttl.epoch);
      high = mixHighNumber(mixHighNumber(high, ttl.seconds), ttl.epoch);
    }
    this.#add(low, high, sign);
  }

  /** Adds a client of which everything up to `floor` (from −1) is forgotten, or takes it out. */
  client(client: NodeId, floor: number, sign: 1 | -1): void {
    this.#request(CLIENT, client, floor + 1, sign);
  }

  /** Adds a request of `client` whose outcome is remembered, or takes it out. */
  outcome(client: NodeId, sequence: number, sign: 1 | -1): void {
    this.#request(OUTCOME, client, sequence, sign);
  }

  /** The digest, with `salt` mixed in, as 16 hexadecimal digits. */
  toHex(salt: readonly number[]): string {
    let low = this.#low;
    let high = this.#high;
    for (const number of salt) {
      low = mixLowNumber(low, number);
      high = mixHighNumber(high, number);
    }
    return hex(finish(low)) + hex(finish(high));
  }

  #request(kind: number, client: number, number: number, sign: 1 | -1): void {
    const low = mixLow3(LOW_SEED, kind, client, number);
    this.#add(low, mixHigh3(HIGH_SEED, kind, client, number), sign);
  }

  #add(low: number, high: number, sign: 1 | -1): void {
    this.#low = (this.#low + sign * finish(low)) | 0;
    this.#high = (this.#high + sign * finish(high)) | 0;
  }
}

function mixLow3(lane: number, a: number, b: number, c: number): number {
  return mixLowNumber(mixLowNumber(mixLowNumber(lane, a), b), c);
}

function mixHigh3(lane: number, a: number, b: number, c: number): number {
  return mixHighNumber(mixHighNumber(mixHighNumber(lane, a), b), c);
}

/** A safe integer from 0 is two words. */
function mixLowNumber(lane: number, number: number): number {
  return mixLow(mixLow(lane, number | 0), (number / TWO_32) | 0);
}

function mixHighNumber(lane: number, number: number): number {
  return mixHigh(mixHigh(lane, number | 0), (number / TWO_32) | 0);
}

function mixLow(lane: number, word: number): number {
  const mixed = lane ^ Math.imul(word, LOW_MULTIPLIER);
  return (Math.imul((mixed << 13) | (mixed >>> 19), 5) + 0xe6546b64) | 0;
}

function mixHigh(lane: number, word: number): number {
  const mixed = lane ^ Math.imul(word, HIGH_MULTIPLIER);
  return (Math.imul((mixed << 15) | (mixed >>> 17), 9) + 0x52dce729) | 0;
}

/** MurmurHash3's finalizer: every input bit reaches every output bit. */
function finish(word: number): number {
  let mixed = word ^ (word >>> 16);
  mixed = Math.imul(mixed, 0x85ebca6b);
  mixed ^= mixed >>> 13;
  mixed = Math.imul(mixed, 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}

function hex(word: number): string {
  return (word >>> 0).toString(16).padStart(8, "0");
}
