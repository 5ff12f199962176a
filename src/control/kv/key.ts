/**
 * What may be a key.
 *
 * @module
 */
import { KEY_SIZE_MAX_BYTES } from "./limits.ts";

/**
 * Whether `key` is one: not empty, within its limit, and well-formed Unicode. A lone surrogate has
 * no UTF-8 form, so it would change on its way to another node.
 */
export function isValidKey(key: string): boolean {
  if (key.length === 0 || !key.isWellFormed()) return false;
  // A code unit takes 3 bytes at most: counting is needed near the limit only.
  return key.length * 3 <= KEY_SIZE_MAX_BYTES || keySize(key) <= KEY_SIZE_MAX_BYTES;
}

/** Bytes that `key` takes as UTF-8. */
export function keySize(key: string): number {
  return Buffer.byteLength(key);
}
