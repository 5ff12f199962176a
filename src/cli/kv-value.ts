/**
 * Values of the store as people read them.
 *
 * Pure.
 *
 * @module
 */
import type { ValueView } from "../admin/kv-api.ts";
import { formatPlural, safe } from "./format.ts";

/** `value` as it lies in the store. */
export function bytesOf(value: ValueView): Uint8Array {
  return typeof value === "string"
    ? new TextEncoder().encode(value)
    : Buffer.from(value.base64, "base64");
}

/** `value` on one line, safe for a terminal. */
export function formatValue(value: ValueView): string {
  if (typeof value === "string") return safe(value);
  return `${formatPlural(bytesOf(value).length, "byte")} of no text`;
}

/** `text` with its lines and tabs, and otherwise safe for a terminal. */
export function safeText(text: string): string {
  return text
    .split("\n")
    .map((line) => line.split("\t").map(safe).join("\t"))
    .join("\n");
}
