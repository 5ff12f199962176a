/**
 * JSON values as types, and as text for people and for the store.
 *
 * @module
 */
import { isRecord } from "../kv/plain.ts";

/** What JSON can say. */
export type JsonValue =
  | null
  | boolean
  | number
  | string
  | readonly JsonValue[]
  | { readonly [key: string]: JsonValue };

export type JsonObject = { readonly [key: string]: JsonValue };

/** Nesting that is followed; beyond it a value counts as no JSON. */
const DEPTH_MAX = 16;
const SHOWN_LENGTH_MAX = 60;

/** `value` as JSON, or undefined when it holds anything else, or nests too deep. */
export function parseJsonValue(value: unknown, depth = 0): JsonValue | undefined {
  if (value === null || typeof value === "boolean" || typeof value === "string") return value;
  if (typeof value === "number") return Number.isFinite(value) ? value : undefined;
  if (depth === DEPTH_MAX) return undefined;
  if (Array.isArray(value)) {
    const items: JsonValue[] = [];
    for (const item of value) {
      const parsed = parseJsonValue(item, depth + 1);
      if (parsed === undefined) return undefined;
      items.push(parsed);
    }
    return items;
  }
  if (!isRecord(value)) return undefined;
  const entries: [string, JsonValue][] = [];
  for (const [key, item] of Object.entries(value)) {
    const parsed = parseJsonValue(item, depth + 1);
    if (parsed === undefined) return undefined;
    entries.push([key, parsed]);
  }
  // `fromEntries` defines keys, so that "__proto__" is a key like any other.
  return Object.fromEntries(entries);
}

/** `value` as a JSON object, or undefined. */
export function parseJsonObject(value: unknown): JsonObject | undefined {
  if (!isRecord(value)) return undefined;
  const parsed = parseJsonValue(value);
  return isJsonObject(parsed) ? parsed : undefined;
}

/** Whether `value` is an object of named values. */
export function isJsonObject(value: JsonValue | undefined): value is JsonObject {
  return isRecord(value);
}

/** `value` for a message: as JSON, shortened. */
export function showValue(value: unknown): string {
  if (Array.isArray(value)) return "an array";
  if (isRecord(value)) return "an object";
  const text = JSON.stringify(value) ?? typeof value;
  return text.length <= SHOWN_LENGTH_MAX ? text : `${text.slice(0, SHOWN_LENGTH_MAX)}…`;
}
