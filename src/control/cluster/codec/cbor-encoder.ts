/**
 * Plain values to CBOR (RFC 8949): the subset that `cbor-decoder.ts` reads.
 *
 *     integers of magnitude below 2^32   majors 0 and 1, shortest head
 *     other numbers                      float of eight bytes
 *     Uint8Array, string                 majors 2 and 3, of known length
 *     array, record                      majors 4 and 5, of known length; keys in their own order
 *     false, true, null, undefined       major 7
 *
 * Written into one buffer that grows and is used again; what is handed out is a copy.
 *
 * @module
 */
import { assert } from "../../../base/assert.ts";

const BUFFER_SIZE_MIN = 64 * 1024;
/** A buffer that one huge value needed is not kept. */
const BUFFER_KEPT_SIZE_MAX = 1024 * 1024;
/** The longest head: one byte and an argument or a float of eight. */
const HEAD_SIZE_MAX = 9;
/** Strings up to this length are written unit by unit, which for them is faster than a call. */
const SHORT_TEXT_LENGTH = 40;
/** UTF-8 needs at most three bytes for one UTF-16 unit. */
const UTF8_SIZE_PER_UNIT = 3;

const HEAD_UNSIGNED = 0x00;
const HEAD_NEGATIVE = 0x20;
const HEAD_BYTES = 0x40;
const HEAD_TEXT = 0x60;
const HEAD_ARRAY = 0x80;
const HEAD_MAP = 0xa0;
const FALSE = 0xf4;
const TRUE = 0xf5;
const NULL = 0xf6;
const UNDEFINED = 0xf7;
const FLOAT64 = 0xfb;

const text = new TextEncoder();

/** Writes one value after the other. */
export class CborEncoder {
  #bytes = new Uint8Array(BUFFER_SIZE_MIN);
  #view = new DataView(this.#bytes.buffer);
  #at = 0;

  /** `value` behind `headSize` zero bytes. The array is the caller's. */
  encode(value: unknown, headSize: number): Uint8Array {
    this.#at = 0;
    this.#value(value);
    const encoded = new Uint8Array(headSize + this.#at);
    encoded.set(this.#bytes.subarray(0, this.#at), headSize);
    if (this.#bytes.length > BUFFER_KEPT_SIZE_MAX) this.#replace(BUFFER_SIZE_MIN);
    return encoded;
  }

  #value(value: unknown): void {
    switch (typeof value) {
      case "string":
        this.#text(value);
        return;
      case "number":
        this.#number(value);
        return;
      case "object":
        this.#object(value);
        return;
      case "boolean":
        this.#byte(value ? TRUE : FALSE);
        return;
      default:
        assert(value === undefined, "only plain data can be encoded");
        this.#byte(UNDEFINED);
    }
  }

  #object(value: object | null): void {
    if (value === null) {
      this.#byte(NULL);
    } else if (value instanceof Uint8Array) {
      this.#head(HEAD_BYTES, value.length, value.length);
      this.#bytes.set(value, this.#at);
      this.#at += value.length;
    } else if (Array.isArray(value)) {
      this.#head(HEAD_ARRAY, value.length, 0);
      for (const item of value) this.#value(item);
    } else {
      this.#record(value as Readonly<Record<string, unknown>>);
    }
  }

  #record(record: Readonly<Record<string, unknown>>): void {
    const keys = Object.keys(record);
    this.#head(HEAD_MAP, keys.length, 0);
    for (const key of keys) {
      this.#text(key);
      this.#value(record[key]);
    }
  }

  #number(value: number): void {
    const isShort = Number.isInteger(value) && value < 2 ** 32 && value >= -(2 ** 32);
    if (isShort && value >= 0) {
      this.#head(HEAD_UNSIGNED, value, 0);
    } else if (isShort) {
      this.#head(HEAD_NEGATIVE, -1 - value, 0);
    } else {
      this.#makeRoom(HEAD_SIZE_MAX);
      this.#bytes[this.#at] = FLOAT64;
      this.#view.setFloat64(this.#at + 1, value);
      this.#at += HEAD_SIZE_MAX;
    }
  }

  #text(value: string): void {
    const { length } = value;
    if (length > SHORT_TEXT_LENGTH) {
      this.#longText(value);
      return;
    }
    this.#makeRoom(HEAD_SIZE_MAX + length);
    const start = this.#at;
    const bytes = this.#bytes;
    const first = start + (length < 24 ? 1 : 2);
    for (let i = 0; i < length; i++) {
      const unit = value.charCodeAt(i);
      if (unit >= 0x80) {
        this.#longText(value);
        return;
      }
      bytes[first + i] = unit;
    }
    if (length < 24) {
      bytes[start] = HEAD_TEXT | length;
    } else {
      bytes[start] = HEAD_TEXT | 24;
      bytes[start + 1] = length;
    }
    this.#at = first + length;
  }

  /** The length in bytes is only known afterwards: the text moves when its head is shorter. */
  #longText(value: string): void {
    this.#makeRoom(HEAD_SIZE_MAX + UTF8_SIZE_PER_UNIT * value.length);
    const start = this.#at;
    const guess = start + HEAD_SIZE_MAX;
    const { written } = text.encodeInto(value, this.#bytes.subarray(guess));
    this.#head(HEAD_TEXT, written, 0);
    this.#bytes.copyWithin(this.#at, guess, guess + written);
    this.#at += written;
  }

  #byte(value: number): void {
    this.#makeRoom(1);
    this.#bytes[this.#at++] = value;
  }

  /** A head, with room for `sizeBehind` bytes after it. */
  #head(major: number, argument: number, sizeBehind: number): void {
    this.#makeRoom(HEAD_SIZE_MAX + sizeBehind);
    const at = this.#at;
    const bytes = this.#bytes;
    if (argument < 24) {
      bytes[at] = major | argument;
      this.#at = at + 1;
    } else if (argument < 2 ** 8) {
      bytes[at] = major | 24;
      bytes[at + 1] = argument;
      this.#at = at + 2;
    } else if (argument < 2 ** 16) {
      bytes[at] = major | 25;
      this.#view.setUint16(at + 1, argument);
      this.#at = at + 3;
    } else {
      assert(argument < 2 ** 32, "nothing that is encoded has 4 GiB");
      bytes[at] = major | 26;
      this.#view.setUint32(at + 1, argument);
      this.#at = at + 5;
    }
  }

  #makeRoom(size: number): void {
    const needed = this.#at + size;
    if (needed <= this.#bytes.length) return;
    let capacity = 2 * this.#bytes.length;
    while (capacity < needed) capacity *= 2;
    const written = this.#bytes.subarray(0, this.#at);
    this.#replace(capacity);
    this.#bytes.set(written);
  }

  #replace(capacity: number): void {
    this.#bytes = new Uint8Array(capacity);
    this.#view = new DataView(this.#bytes.buffer);
  }
}
