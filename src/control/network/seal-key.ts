/**
 * The public keys that a lease carries: with them its holder can be sealed to, and recognized.
 *
 * Newest first. A node lists a key before it uses it and for as long as it may still have to be
 * known. No keys: the node takes and sends plain packets only. Pure.
 *
 * @module
 */
import { isCounter, isRecord, parseList } from "../kv/plain.ts";
import type { JsonObject } from "./json.ts";
import { SEAL_KEYS_MAX } from "./limits.ts";

/** One X25519 public key. */
export interface SealKey {
  /** One more for each new key of a node, from 1. */
  readonly epoch: number;
  /** 64 lower-case hexadecimal digits. */
  readonly publicKey: string;
}

const PUBLIC_KEY_PATTERN = /^[0-9a-f]{64}$/;

/** Keys out of a command; undefined when they are none. Left out: no keys. */
export function parseSealKeys(value: unknown): readonly SealKey[] | undefined {
  if (value === undefined) return [];
  return parseList(value, SEAL_KEYS_MAX, (item) =>
    isRecord(item) ? sealKey(item["epoch"], item["publicKey"]) : undefined,
  );
}

/** Keys out of a lease's record. What is not to be understood counts as no keys. */
export function readSealKeys(value: unknown): readonly SealKey[] {
  const keys = parseList(value, SEAL_KEYS_MAX, (item) =>
    isRecord(item) ? sealKey(item["Epoch"], item["PublicKey"]) : undefined,
  );
  return keys ?? [];
}

/** Keys as a lease's record has them. */
export function formatSealKeys(keys: readonly SealKey[]): readonly JsonObject[] {
  return keys.map(({ epoch, publicKey }) => ({ Epoch: epoch, PublicKey: publicKey }));
}

/** Whether both lists are the same keys in the same order. */
export function sameSealKeys(a: readonly SealKey[], b: readonly SealKey[]): boolean {
  return (
    a.length === b.length &&
    a.every(({ epoch, publicKey }, i) => epoch === b[i]?.epoch && publicKey === b[i].publicKey)
  );
}

function sealKey(epoch: unknown, publicKey: unknown): SealKey | undefined {
  if (!isCounter(epoch) || epoch === 0 || typeof publicKey !== "string") return undefined;
  return PUBLIC_KEY_PATTERN.test(publicKey) ? { epoch, publicKey } : undefined;
}
