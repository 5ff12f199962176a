/**
 * Longest-prefix match over flat arrays of 32-bit words, for one address family.
 *
 * One hash table holds the prefixes of all lengths. A lookup masks the address once per length in
 * use, longest first, and probes; leases of one network mostly have one length, so it costs the
 * same for ten prefixes and for a hundred thousand. The builder grows the table until no probe
 * sequence is longer than PROBE_COUNT_MAX, which bounds the worst lookup by construction.
 *
 * Layout, in words, from `at`:
 *
 *    0 capacity − 1 (capacity is a power of two)
 *    1 how many lengths
 *    2 the lengths, longest first, room for 129
 *    LENGTHS_END  entries: key words (1 or 4), length + 1 (0: empty), value
 *
 * An IPv4 key is one word, an IPv6 key four; the same code serves both. Pure.
 *
 * @module
 */
import { assert } from "../../base/assert.ts";

/** What a lookup gives when no prefix holds the address. */
export const NO_MATCH = -1;

/** Longest probe sequence that the builder accepts. The mean is below 2 at any size. */
const PROBE_COUNT_MAX = 32;
const LENGTH_COUNT_MAX = 129;
const LENGTHS_AT = 2;
const LENGTHS_END = LENGTHS_AT + LENGTH_COUNT_MAX + 1;
const CAPACITY_MIN = 16;
/** Odd constants with well-spread bits (golden ratio; MurmurHash3's finalizer). */
const HASH_START = 0x9e3779b1;
const HASH_MIX_A = 0x85ebca6b;
const HASH_MIX_B = 0xc2b2ae35;

/** Words of an address: 1 for IPv4, 4 for IPv6. */
export type KeyWordCount = 1 | 4;

/** One prefix: its address in `words` (host bits zero), its length in bits, and what it maps to. */
export interface IndexedPrefix {
  readonly words: readonly number[];
  readonly length: number;
  /** From 0, or below NO_MATCH for values with a meaning of their own. */
  readonly value: number;
}

/** The words of an index over `prefixes`; of equal prefixes the last one counts. */
export function buildPrefixIndex(
  wordCount: KeyWordCount,
  prefixes: readonly IndexedPrefix[],
): Int32Array {
  let capacity = CAPACITY_MIN;
  while (capacity < prefixes.length * 2) capacity *= 2;
  for (;;) {
    const words = tryBuild(wordCount, prefixes, capacity);
    if (words !== undefined) return words;
    capacity *= 2;
    assert(capacity <= 2 ** 26, "prefix index must not grow without bound");
  }
}

function tryBuild(
  wordCount: KeyWordCount,
  prefixes: readonly IndexedPrefix[],
  capacity: number,
): Int32Array | undefined {
  const entrySize = wordCount + 2;
  const index = new Int32Array(LENGTHS_END + capacity * entrySize);
  index[0] = capacity - 1;
  const lengths = [...new Set(prefixes.map((prefix) => prefix.length))].sort((a, b) => b - a);
  assert(lengths.length <= LENGTH_COUNT_MAX, "prefix lengths must fit");
  index[1] = lengths.length;
  index.set(lengths, LENGTHS_AT);
  for (const prefix of prefixes) {
    assert(prefix.words.length === wordCount, "prefix must be of the index's family");
    assert(prefix.length >= 0 && prefix.length <= wordCount * 32, "prefix length out of range");
    let slot = startHash(prefix.length);
    for (const word of prefix.words) slot = mixHash(slot, word);
    let probes = 0;
    for (; ; probes++) {
      if (probes === PROBE_COUNT_MAX) return undefined;
      const entry = LENGTHS_END + ((slot + probes) & (capacity - 1)) * entrySize;
      const taken = index[entry + wordCount]!;
      if (taken !== 0 && !isEntry(index, entry, prefix)) continue;
      index.set(prefix.words, entry);
      index[entry + wordCount] = prefix.length + 1;
      index[entry + wordCount + 1] = prefix.value;
      break;
    }
  }
  return index;
}

function isEntry(index: Int32Array, entry: number, prefix: IndexedPrefix): boolean {
  const wordCount = prefix.words.length;
  if (index[entry + wordCount] !== prefix.length + 1) return false;
  return prefix.words.every((word, i) => index[entry + i] === (word | 0));
}

/** Looks addresses up in an index that lies in `words` from `at`. Allocates nothing. */
export class PrefixIndex {
  readonly #words: Int32Array;
  readonly #at: number;
  readonly #entries: number;
  readonly #mask: number;
  readonly #lengthCount: number;

  constructor(words: Int32Array, at: number) {
    this.#words = words;
    this.#at = at;
    this.#entries = at + LENGTHS_END;
    this.#mask = words[at]!;
    this.#lengthCount = words[at + 1]!;
  }

  /** Value of the longest prefix that holds the IPv4 address `word`, or NO_MATCH. */
  lookupV4(word: number): number {
    const words = this.#words;
    for (let i = 0; i < this.#lengthCount; i++) {
      const length = words[this.#at + LENGTHS_AT + i]!;
      const key = word & prefixMask(length);
      const slot = mixHash(startHash(length), key);
      for (let probe = 0; probe < PROBE_COUNT_MAX; probe++) {
        const entry = this.#entries + ((slot + probe) & this.#mask) * 3;
        const taken = words[entry + 1]!;
        if (taken === 0) break;
        if (taken === length + 1 && words[entry] === key) return words[entry + 2]!;
      }
    }
    return NO_MATCH;
  }

  /** Value of the longest prefix that holds the IPv6 address at `at` of `view`, or NO_MATCH. */
  lookupV6(view: DataView, at: number): number {
    const words = this.#words;
    for (let i = 0; i < this.#lengthCount; i++) {
      const length = words[this.#at + LENGTHS_AT + i]!;
      const a = view.getInt32(at) & prefixMask(length);
      const b = view.getInt32(at + 4) & prefixMask(length - 32);
      const c = view.getInt32(at + 8) & prefixMask(length - 64);
      const d = view.getInt32(at + 12) & prefixMask(length - 96);
      const slot = mixHash(mixHash(mixHash(mixHash(startHash(length), a), b), c), d);
      for (let probe = 0; probe < PROBE_COUNT_MAX; probe++) {
        const entry = this.#entries + ((slot + probe) & this.#mask) * 6;
        const taken = words[entry + 4]!;
        if (taken === 0) break;
        if (
          taken === length + 1 &&
          words[entry] === a &&
          words[entry + 1] === b &&
          words[entry + 2] === c &&
          words[entry + 3] === d
        ) {
          return words[entry + 5]!;
        }
      }
    }
    return NO_MATCH;
  }
}

/** The first `length` bits of a word set; shifts alone would take 32 for 0. */
function prefixMask(length: number): number {
  if (length <= 0) return 0;
  return length >= 32 ? -1 : -1 << (32 - length);
}

function startHash(length: number): number {
  return Math.imul(length + 1, HASH_START);
}

function mixHash(hash: number, word: number): number {
  let mixed = Math.imul(hash ^ word, HASH_MIX_A);
  mixed = Math.imul(mixed ^ (mixed >>> 15), HASH_MIX_B);
  return mixed ^ (mixed >>> 13);
}
