/**
 * JSON from other programs, looked at before it is believed.
 *
 * @module
 */

/** An object of unknown content. */
export type JsonRecord = Readonly<Record<string, unknown>>;

/** Whether `value` is an object, and no list. */
export function isRecord(value: unknown): value is JsonRecord {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The object that `text` writes; undefined when it is none, or no JSON. */
export function parseRecord(text: string): JsonRecord | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isRecord(value) ? value : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
