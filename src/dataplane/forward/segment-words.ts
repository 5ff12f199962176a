/**
 * Two TCP segments over IPv4 compared word by word: the receiver's innermost loop.
 *
 * segment-joiner.ts compares any two segments, field by field. Nearly all are whole ones of one
 * super-packet, at multiples of four, and for these twelve words of 32 bits say the same in a third
 * of the time. Words are little-endian, as every machine that we build for. Pure.
 *
 *   0 length, type of service, version    5 ports                    8 window, flags, data offset
 *   1 fragment, identification            6 sequence                 9 urgent, checksum
 *   2 checksum, protocol, TTL             7 acknowledgement         10 options …
 *
 * @module
 */
import { FRAME_PARTIAL_BIT } from "../wire/frame.ts";
import { TCP_FIN, TCP_PSH } from "../wire/transport.ts";

const LOW_HALF = 0xffff;
/** "Don't fragment" in word 1. */
const DONT_FRAGMENT = 0x40_0000;
const UNMARKED = ~FRAME_PARTIAL_BIT;
/** In word 8, without the flags that only a last segment has. */
const NOT_LAST_FLAGS = ~((TCP_PSH | TCP_FIN) << 8);
const LAST_FLAGS = (TCP_PSH | TCP_FIN) << 8;
const OPTIONS_AT = 10;

/**
 * Whether the segments whose headers begin at words `a` and `b` belong together but for their
 * sequence numbers: everything is equal that a joined packet says once, lengths included, nothing
 * may be cut further, and the IPv4 header checksum of `b` is as right as that of `a`. The partial
 * mark is left out. `headerWords`: of IP and TCP headers together. True is an answer; false says
 * only that it takes a closer look.
 */
export function isSameButPlace(
  words: Int32Array,
  a: number,
  b: number,
  headerWords: number,
): boolean {
  const idA = words[a + 1]!;
  const idB = words[b + 1]!;
  const sumA = words[a + 2]!;
  const sumB = words[b + 2]!;
  const isEqual =
    ((words[a]! ^ words[b]!) & UNMARKED) === 0 &&
    ((idA ^ idB) & ~LOW_HALF) === 0 &&
    (idB & DONT_FRAGMENT) !== 0 &&
    ((sumA ^ sumB) & LOW_HALF) === 0 &&
    words[a + 3] === words[b + 3] &&
    words[a + 4] === words[b + 4] &&
    words[a + 5] === words[b + 5] &&
    words[a + 7] === words[b + 7] &&
    ((words[a + 8]! ^ words[b + 8]!) & NOT_LAST_FLAGS) === 0 &&
    // All else being equal, identification and checksum must sum up alike. RFC 1071 §2 B: a sum
    // does not mind bytes that are swapped in all its words.
    ((idA & LOW_HALF) + (sumA >>> 16) - (idB & LOW_HALF) - (sumB >>> 16)) % LOW_HALF === 0;
  if (!isEqual) return false;
  for (let at = OPTIONS_AT; at < headerWords; at++) {
    if (words[a + at] !== words[b + at]) return false;
  }
  return true;
}

/** Whether the segment at word `at` has PSH or FIN: nothing can follow it. */
export function endsRun(words: Int32Array, at: number): boolean {
  return (words[at + 8]! & LAST_FLAGS) !== 0;
}

/** Whether the packet at word `at` is marked: its checksum is unfinished. */
export function isMarked(words: Int32Array, at: number): boolean {
  return (words[at]! & FRAME_PARTIAL_BIT) !== 0;
}
