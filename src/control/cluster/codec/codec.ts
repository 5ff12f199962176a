/**
 * Plain values as CBOR (RFC 8949): the base of log payloads, peer frames and snapshots.
 *
 * Our own reader and writer, of the little of CBOR that plain data needs: a library for all of it
 * knows tags that run code, share state between decodes or cost quadratic time, and took three
 * times as long for a command with its guards.
 *
 * @module
 */
import { CborDecoder } from "./cbor-decoder.ts";
import { CborEncoder } from "./cbor-encoder.ts";

/** A map with text keys. */
export type PlainRecord = Readonly<Record<string, unknown>>;

const encoder = new CborEncoder();
const decoder = new CborDecoder();

/**
 * `value` (plain data) as CBOR, behind `headSize` zero bytes for the caller to fill. The array is
 * the caller's: it shares memory with nothing.
 */
export function encodeValue(value: unknown, headSize = 0): Uint8Array {
  return encoder.encode(value, headSize);
}

/**
 * The map that `bytes` encode, or undefined when they are malformed or are something else.
 * Byte strings in it are views of `bytes`.
 */
export function decodeRecord(bytes: Uint8Array): PlainRecord | undefined {
  const value = decoder.decode(bytes);
  return isRecord(value) ? value : undefined;
}

/** The same; byte strings in it are copies, of which each can outlive `bytes` by itself. */
export function decodeOwnRecord(bytes: Uint8Array): PlainRecord | undefined {
  const value = decoder.decode(bytes, true);
  return isRecord(value) ? value : undefined;
}

/** Whether `value` is a map as `decodeRecord` yields it. */
export function isRecord(value: unknown): value is PlainRecord {
  return (
    typeof value === "object" &&
    value !== null &&
    !Array.isArray(value) &&
    !(value instanceof Uint8Array)
  );
}
