/**
 * CBOR (RFC 8949) to plain values, in one pass, for bytes from a peer or a disk: hostile ones.
 *
 * Takes the subset that `cbor-encoder.ts` writes and nothing else: integers below 2^32, floats of
 * eight bytes, byte and text strings, arrays and maps of known length, maps with text keys only,
 * booleans, null and undefined. No tags, nothing indefinite. Depth and number of items have
 * limits, and a count beyond the bytes that are left is refused before anything is made for it.
 * Malformed UTF-8 is replaced, as everywhere. Whatever the bytes: no exception, no side effect.
 *
 * @module
 */

/** Nesting of arrays and maps. Ours need at most half of it. */
export const VALUE_DEPTH_MAX = 16;
/** Items in one value: an append message of 1 MiB full of the smallest entries has half of it. */
export const VALUE_ITEM_COUNT_MAX = 500_000;

const UNSIGNED = 0;
const NEGATIVE = 1;
const BYTES = 2;
const TEXT = 3;
const ARRAY = 4;
const MAP = 5;
const SIMPLE = 7;

/** A name that `{}` understands in its own way is given another. */
const PROTO = "__proto__";
const PROTO_SAFE = "__proto_";

/** Keys up to this length are looked up among those seen before. */
const KEY_WORD_SIZE_MAX = 16;
/** Other texts up to this length too: "txn", "put". Longer ones hardly ever come again. */
const TEXT_WORD_SIZE_MAX = 6;
/** Places for words; a word takes the place of another with the same hash. A power of two. */
const WORD_COUNT = 512;

/** Half as dear as a TextDecoder (Bun 1.4.5), and it does the same with what is no UTF-8. */
const textOf = Buffer.prototype.toString;
const sliceOf = Uint8Array.prototype.slice;

const NOTHING = new Uint8Array(0);
const NOTHING_VIEW = new DataView(NOTHING.buffer);

interface Word {
  readonly bytes: Uint8Array;
  readonly text: string;
}

/** Reads one value after the other. */
export class CborDecoder {
  #bytes: Uint8Array = NOTHING;
  #view: DataView = NOTHING_VIEW;
  #at = 0;
  #itemCount = 0;
  #isBad = false;
  #ownsBytes = false;
  readonly #words: (Word | undefined)[] = new Array(WORD_COUNT).fill(undefined);

  /**
   * The value that `bytes` are, wholly; undefined also when they are malformed. Byte strings in it
   * are views of `bytes`, or with `ownsBytes` copies.
   */
  decode(bytes: Uint8Array, ownsBytes = false): unknown {
    this.#ownsBytes = ownsBytes;
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#at = 0;
    this.#itemCount = 0;
    this.#isBad = false;
    const value = this.#value(0);
    if (this.#at !== bytes.length) this.#isBad = true;
    this.#bytes = NOTHING; // What was read must not be kept by the reader.
    this.#view = NOTHING_VIEW;
    return this.#isBad ? undefined : value;
  }

  #value(depth: number): unknown {
    const bytes = this.#bytes;
    if (this.#at >= bytes.length || ++this.#itemCount > VALUE_ITEM_COUNT_MAX) return this.#bad();
    const major = bytes[this.#at]! >> 5;
    if (major === SIMPLE) return this.#simple();
    const argument = this.#argument();
    switch (major) {
      case UNSIGNED:
        return argument;
      case NEGATIVE:
        return -1 - argument;
      case BYTES:
        return this.#byteString(argument);
      case TEXT:
        return this.#text(argument, TEXT_WORD_SIZE_MAX);
      case ARRAY:
        return this.#array(argument, depth);
      case MAP:
        return this.#map(argument, depth);
      default:
        return this.#bad(); // A tag.
    }
  }

  #array(count: number, depth: number): unknown {
    // Each item takes a byte at least, so a count beyond the rest is a lie.
    if (this.#isBad || count > this.#bytes.length - this.#at || depth === VALUE_DEPTH_MAX) {
      return this.#bad();
    }
    const items: unknown[] = [];
    for (let i = 0; i < count; i++) {
      items.push(this.#value(depth + 1));
      if (this.#isBad) return undefined;
    }
    return items;
  }

  #map(count: number, depth: number): unknown {
    if (this.#isBad || 2 * count > this.#bytes.length - this.#at || depth === VALUE_DEPTH_MAX) {
      return this.#bad();
    }
    const record: Record<string, unknown> = {};
    for (let i = 0; i < count; i++) {
      const isText = this.#at < this.#bytes.length && this.#bytes[this.#at]! >> 5 === TEXT;
      if (!isText || ++this.#itemCount > VALUE_ITEM_COUNT_MAX) return this.#bad();
      const key = this.#text(this.#argument(), KEY_WORD_SIZE_MAX);
      const value = this.#value(depth + 1);
      if (this.#isBad) return undefined;
      record[key === PROTO ? PROTO_SAFE : key] = value;
    }
    return record;
  }

  #byteString(length: number): Uint8Array | undefined {
    const start = this.#at;
    const bytes = this.#bytes;
    if (this.#isBad || length > bytes.length - start) return this.#bad();
    this.#at = start + length;
    // Plain arrays also when a Buffer came in: its own `slice` would give a view.
    if (this.#ownsBytes) return sliceOf.call(bytes, start, start + length);
    return new Uint8Array(bytes.buffer, bytes.byteOffset + start, length);
  }

  #text(length: number, wordSizeMax: number): string {
    const start = this.#at;
    const end = start + length;
    if (this.#isBad || end > this.#bytes.length) {
      this.#bad();
      return "";
    }
    this.#at = end;
    if (length <= wordSizeMax) return this.#word(start, end);
    return textOf.call(this.#bytes, "utf8", start, end);
  }

  /** The short text there: the string that was made for it before, if it was. */
  #word(start: number, end: number): string {
    const bytes = this.#bytes;
    let hash = end - start;
    for (let i = start; i < end; i++) hash = (Math.imul(hash, 31) + bytes[i]!) | 0;
    const place = (hash ^ (hash >>> 9)) & (WORD_COUNT - 1);
    const known = this.#words[place];
    if (known !== undefined && isAt(bytes, start, end, known.bytes)) return known.text;
    const own = bytes.slice(start, end);
    const made = textOf.call(own, "utf8");
    this.#words[place] = { bytes: own, text: made };
    return made;
  }

  #simple(): unknown {
    const info = this.#bytes[this.#at++]! & 0x1f;
    switch (info) {
      case 20:
        return false;
      case 21:
        return true;
      case 22:
        return null;
      case 23:
        return undefined;
      case 27: {
        if (this.#bytes.length - this.#at < 8) return this.#bad();
        const value = this.#view.getFloat64(this.#at);
        this.#at += 8;
        return value;
      }
      default:
        return this.#bad();
    }
  }

  /** The argument in the low bits of the head's first byte, or in the 1, 2 or 4 bytes after it. */
  #argument(): number {
    const at = this.#at;
    const left = this.#bytes.length - at;
    const info = this.#bytes[at]! & 0x1f;
    if (info < 24) {
      this.#at = at + 1;
      return info;
    }
    if (info === 24 && left >= 2) {
      this.#at = at + 2;
      return this.#bytes[at + 1]!;
    }
    if (info === 25 && left >= 3) {
      this.#at = at + 3;
      return this.#view.getUint16(at + 1);
    }
    if (info === 26 && left >= 5) {
      this.#at = at + 5;
      return this.#view.getUint32(at + 1);
    }
    this.#bad();
    return 0;
  }

  #bad(): undefined {
    this.#isBad = true;
    return undefined;
  }
}

function isAt(bytes: Uint8Array, start: number, end: number, word: Uint8Array): boolean {
  if (word.length !== end - start) return false;
  for (let i = 0; i < word.length; i++) if (bytes[start + i] !== word[i]) return false;
  return true;
}
