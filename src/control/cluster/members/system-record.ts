/**
 * The cluster's own records in the store: JSON, so that people can read them through `/kv`.
 *
 * @module
 */
import { formatNodeId, type NodeId } from "../../../base/ids.ts";

/** Members, by node id: `MEMBERS_PREFIX + formatNodeId(id)`. */
export const MEMBERS_PREFIX = "/overlay/members/";
/** Nodes that were members and never will be again, by node id. */
export const REMOVED_PREFIX = "/overlay/removed/";
/** What people want of the roles of members, by node id (`role-wishes.ts`). */
export const WISHES_PREFIX = "/overlay/wishes/";
/** In which life each node is (`life.ts`), by node id. */
export const LIVES_PREFIX = "/overlay/lives/";
/** Which cluster versions each node reads (`node-versions.ts`), by node id. */
export const VERSIONS_PREFIX = "/overlay/versions/";
/** How many voters there should be (`role-wishes.ts`). */
export const VOTERS_KEY = "/overlay/settings/voters";
/** Join tokens, by token id. */
export const TOKENS_PREFIX = "/overlay/tokens/";

/** Where the wish about `id` is. */
export function wishKey(id: NodeId): string {
  return `${WISHES_PREFIX}${formatNodeId(id)}`;
}

/** Where the life of `id` is recorded. */
export function lifeKey(id: NodeId): string {
  return `${LIVES_PREFIX}${formatNodeId(id)}`;
}

/** Where the versions that `id` reads are. */
export function versionsKey(id: NodeId): string {
  return `${VERSIONS_PREFIX}${formatNodeId(id)}`;
}

/** `value` as the bytes of a record. */
export function encodeRecord(value: Readonly<Record<string, unknown>>): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value));
}

/** The JSON in `bytes`, or undefined. */
export function parseRecord(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return undefined; // Not ours: a newer version's, or written past the API.
  }
}
