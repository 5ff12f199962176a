/**
 * Identities and counters that travel through every layer.
 *
 * Numbers are safe integers (below 2^53) and are checked where they enter the program.
 *
 * @module
 */
import { assert } from "./assert.ts";
import type { Brand } from "./brand.ts";

/** Identity of one node for ever: random, 53 bits, never 0, never reused, never an address. */
export type NodeId = Brand<number, "NodeId">;
/** Raft term, from 0 (nothing happened yet). */
export type Term = Brand<number, "Term">;
/** Position in the Raft log, from 1; 0 is "before the first entry". */
export type Index = Brand<number, "Index">;
/** Version of the replicated state, from 0 (empty); one more for each modifying transaction. */
export type Revision = Brand<number, "Revision">;
/** A kernel network interface, by its number. */
export type LinkIndex = Brand<number, "LinkIndex">;

/** Identity of a cluster: 32 lower-case hexadecimal digits, random, made with its first node. */
export type ClusterId = Brand<string, "ClusterId">;

const NODE_ID_DIGITS = 14;
const NODE_ID_PATTERN = /^[0-9a-f]{14}$/;
const CLUSTER_ID_PATTERN = /^[0-9a-f]{32}$/;

function decodeCounter(value: number): number {
  assert(Number.isSafeInteger(value) && value >= 0, "counter must be a safe integer from 0");
  return value;
}

/** `value` as a term. Asserts that it is a safe integer from 0. */
export function decodeTerm(value: number): Term {
  return decodeCounter(value) as Term;
}

/** `value` as a log index. Asserts that it is a safe integer from 0. */
export function decodeIndex(value: number): Index {
  return decodeCounter(value) as Index;
}

/** `value` as a revision. Asserts that it is a safe integer from 0. */
export function decodeRevision(value: number): Revision {
  return decodeCounter(value) as Revision;
}

/** `value` as a link index. Asserts that it is a safe integer from 0. */
export function decodeLinkIndex(value: number): LinkIndex {
  return decodeCounter(value) as LinkIndex;
}

/** `value` as a node id. Asserts that it is a safe integer from 1. */
export function decodeNodeId(value: number): NodeId {
  assert(value > 0, "node id must not be 0");
  return decodeCounter(value) as NodeId;
}

/** The node id that `text` writes as 14 hexadecimal digits, as in certificates and the API. */
export function parseNodeId(text: string): NodeId | undefined {
  if (!NODE_ID_PATTERN.test(text)) return undefined;
  const value = Number(`0x${text}`);
  return Number.isSafeInteger(value) && value > 0 ? (value as NodeId) : undefined;
}

/** `id` as 14 lower-case hexadecimal digits: the form in certificates, API, logs and files. */
export function formatNodeId(id: NodeId): string {
  return id.toString(16).padStart(NODE_ID_DIGITS, "0");
}

/** A node id out of 7 random bytes (the top three bits are cleared; 0 becomes 1). */
export function decodeRandomNodeId(bytes: Uint8Array): NodeId {
  assert(bytes.length === 7, "node id needs 7 random bytes");
  let value = bytes[0]! & 0x1f;
  for (let i = 1; i < 7; i++) value = value * 256 + bytes[i]!;
  return decodeNodeId(value === 0 ? 1 : value);
}

/** The cluster id that `text` writes, or undefined unless it is 32 lower-case hex digits. */
export function parseClusterId(text: string): ClusterId | undefined {
  return CLUSTER_ID_PATTERN.test(text) ? (text as ClusterId) : undefined;
}

/** A cluster id out of 16 random bytes. */
export function decodeRandomClusterId(bytes: Uint8Array): ClusterId {
  assert(bytes.length === 16, "cluster id needs 16 random bytes");
  return Buffer.from(bytes).toString("hex") as ClusterId;
}
