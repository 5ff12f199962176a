/**
 * Memory that the kernel reads and writes: addresses, C strings, and pointers inside structures.
 *
 * The garbage collector of JavaScriptCore never moves the bytes of an `ArrayBuffer`, so an
 * address stays right for as long as the buffer is referenced. It may move the bytes of a small
 * typed array when its `buffer` is first asked for: allocate with `kernelBytes`, which asks.
 *
 * All integers in kernel structures are little-endian, as every machine that we build for.
 *
 * @module
 */
import { ptr, toArrayBuffer } from "bun:ffi";
import { assert } from "../../base/assert.ts";

const WORD_32 = 2 ** 32;
const OFFSET_MAX = 2 ** 31 - 1;

/** Bytes with a view over them, at an address that does not change. */
export interface KernelMemory {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly view: DataView<ArrayBuffer>;
  readonly address: number;
}

/** `length` zeroed bytes at a fixed address. The owner must keep the result referenced. */
export function kernelBytes(length: number): KernelMemory {
  assert(length > 0, "kernel memory must not be empty");
  const buffer = new ArrayBuffer(length);
  const bytes = new Uint8Array(buffer);
  return { bytes, view: new DataView(buffer), address: ptr(bytes) };
}

/** Address of the first byte of `bytes`; right only while `bytes` is referenced. */
export function addressOf(bytes: Uint8Array): number {
  assert(bytes.byteLength > 0, "an empty array has no address");
  return ptr(bytes);
}

/** The `length` bytes at `address`, which nobody unmaps; every thread may look at them so. */
export function memoryAt(address: number, length: number): ArrayBuffer {
  return toArrayBuffer(address, 0, length);
}

/** `text` as UTF-8 with a zero byte at its end. Asserts that it holds no zero byte itself. */
export function cString(text: string): KernelMemory {
  assert(!text.includes("\0"), "a C string cannot hold a zero byte");
  const encoded = new TextEncoder().encode(text);
  const memory = kernelBytes(encoded.length + 1);
  memory.bytes.set(encoded);
  return memory;
}

/** Writes a 64-bit pointer (or size) at `offset`. */
export function putAddress(view: DataView, offset: number, address: number): void {
  view.setUint32(offset, address >>> 0, true);
  view.setUint32(offset + 4, Math.floor(address / WORD_32), true);
}

/** struct iovec: base pointer 8, length 8 (bits/types/struct_iovec.h). */
export const IOVEC_SIZE = 16;

/** An array of struct iovec at a fixed address, for gathering and scattering calls. */
export class IovecArray {
  readonly address: number;
  // Words instead of a view, and halves of the base instead of an address beyond 32 bits: three
  // stores of whole numbers an entry, in the hottest of all loops.
  readonly #words: Int32Array<ArrayBuffer>;
  readonly #low: number;
  readonly #high: number;
  /** The offset from which on the upper half of an address is one more. */
  readonly #carryAt: number;

  /** `count` entries, to point into the bytes from address `base` on. */
  constructor(count: number, base: number) {
    const memory = kernelBytes(count * IOVEC_SIZE);
    this.address = memory.address;
    this.#words = new Int32Array(memory.bytes.buffer);
    const low = base % WORD_32;
    this.#low = low | 0;
    this.#high = Math.floor(base / WORD_32);
    this.#carryAt = Math.min(WORD_32 - low, OFFSET_MAX);
  }

  /** Points entry `position` at `length` bytes, `offset` (below 2 GiB) from the base. */
  set(position: number, offset: number, length: number): void {
    const word = position * 4;
    this.#words[word] = (this.#low + offset) | 0;
    this.#words[word + 1] = offset < this.#carryAt ? this.#high : this.#high + 1;
    this.#words[word + 2] = length;
  }
}
