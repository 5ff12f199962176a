/**
 * Records of the network as bytes: JSON text, so that people can read the store.
 *
 * @module
 */
import { isRecord } from "../kv/plain.ts";
import type { JsonObject } from "./json.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });
/** Half as dear as a TextDecoder (Bun 1.4.5); leases come by the thousand. */
const textOf = Buffer.prototype.toString;
const REPLACEMENT = "\ufffd";

/** `record` as JSON text in UTF-8. */
export function encodeJson(record: JsonObject): Uint8Array {
  return encoder.encode(JSON.stringify(record));
}

/** The object that `bytes` write; undefined when they write none. */
export function decodeJson(bytes: Uint8Array): Readonly<Record<string, unknown>> | undefined {
  try {
    const text = textOf.call(bytes, "utf8");
    // The replacement of what is no UTF-8, or in the text itself: only the other decoder can tell.
    const isDoubtful = text.includes(REPLACEMENT);
    const value: unknown = JSON.parse(isDoubtful ? decoder.decode(bytes) : text);
    return isRecord(value) ? value : undefined;
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof TypeError) return undefined;
    throw error;
  }
}
