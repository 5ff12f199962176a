/**
 * The memory that packets lie in: one buffer, seen three ways.
 *
 * The same shape as the arena of host/packet-ports.ts, which this pure layer may not import.
 *
 * @module
 */

/** One buffer as bytes, as 32-bit words of the machine, and through a view. */
export interface WireMemory {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly words: Uint32Array<ArrayBuffer>;
  readonly view: DataView<ArrayBuffer>;
}

/** `size` zeroed bytes, rounded up to whole words. */
export function createWireMemory(size: number): WireMemory {
  const buffer = new ArrayBuffer(Math.ceil(size / 4) * 4);
  return {
    bytes: new Uint8Array(buffer),
    words: new Uint32Array(buffer),
    view: new DataView(buffer),
  };
}
