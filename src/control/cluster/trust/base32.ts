/**
 * Base 32 (RFC 4648 §6), lower case, without padding: fit for reading aloud and for typing.
 *
 * @module
 */

const ALPHABET = "abcdefghijklmnopqrstuvwxyz234567";
const BITS_PER_DIGIT = 5;

/** `bytes` as text of `Math.ceil(bytes.length * 8 / 5)` characters. */
export function encodeBase32(bytes: Uint8Array): string {
  let text = "";
  let buffer = 0;
  let bitCount = 0;
  for (const byte of bytes) {
    buffer = (buffer << 8) | byte;
    bitCount += 8;
    while (bitCount >= BITS_PER_DIGIT) {
      bitCount -= BITS_PER_DIGIT;
      text += ALPHABET[(buffer >> bitCount) & 31];
    }
    buffer &= (1 << bitCount) - 1;
  }
  return bitCount === 0 ? text : text + ALPHABET[(buffer << (BITS_PER_DIGIT - bitCount)) & 31];
}

/** The bytes that `text` writes, upper or lower case; undefined when it is not canonical. */
export function decodeBase32(text: string): Uint8Array | undefined {
  const bytes: number[] = [];
  let buffer = 0;
  let bitCount = 0;
  for (const digit of text.toLowerCase()) {
    const value = ALPHABET.indexOf(digit);
    if (value < 0) return undefined;
    buffer = (buffer << BITS_PER_DIGIT) | value;
    bitCount += BITS_PER_DIGIT;
    if (bitCount >= 8) {
      bitCount -= 8;
      bytes.push((buffer >> bitCount) & 255);
    }
    buffer &= (1 << bitCount) - 1;
  }
  // Left-over bits must be fewer than a digit and zero, or two texts would mean the same bytes.
  return bitCount < BITS_PER_DIGIT && buffer === 0 ? new Uint8Array(bytes) : undefined;
}
