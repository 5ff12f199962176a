/**
 * Looking at plain data of unknown origin: decoded log entries, commands of other nodes, snapshots.
 *
 * @module
 */
import { decodeNodeId, decodeRevision, type NodeId, type Revision } from "../../base/ids.ts";

/** Whether `value` is a record of named values: not an array, not bytes. */
export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return (
    typeof value === "object" &&
    value !== null &&
    !Array.isArray(value) &&
    !(value instanceof Uint8Array)
  );
}

/** Whether `value` is a safe integer from 0. */
export function isCounter(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

/** `value` as a revision, or undefined. */
export function parseRevision(value: unknown): Revision | undefined {
  return isCounter(value) ? decodeRevision(value) : undefined;
}

/** `value`, a number, as a node id, or undefined. */
export function parseNodeNumber(value: unknown): NodeId | undefined {
  return isCounter(value) && value > 0 ? decodeNodeId(value) : undefined;
}

/** The items of the array `value`, each parsed; undefined if it is none, too long, or one fails. */
export function parseList<Item>(
  value: unknown,
  countMax: number,
  parseItem: (item: unknown) => Item | undefined,
): readonly Item[] | undefined {
  if (!Array.isArray(value) || value.length > countMax) return undefined;
  const items: Item[] = [];
  for (const item of value) {
    const parsed = parseItem(item);
    if (parsed === undefined) return undefined;
    items.push(parsed);
  }
  return items;
}

/** What `value` takes when encoded, bytes, roughly, and the same on every node. */
export function plainSize(value: unknown): number {
  if (typeof value === "string") return 3 + value.length;
  if (typeof value !== "object" || value === null) return 9;
  if (value instanceof Uint8Array) return 5 + value.length;
  let size = 3;
  if (Array.isArray(value)) {
    for (const item of value) size += plainSize(item);
    return size;
  }
  if (!isRecord(value)) return size;
  // Plain data inherits nothing, so this sees what Object.keys does, without a list of it.
  for (const key in value) size += 3 + key.length + plainSize(value[key]);
  return size;
}
