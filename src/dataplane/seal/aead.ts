/**
 * What does the arithmetic: AES-256-GCM over packets where they lie.
 *
 * An engine works in one piece of memory, the arena. Two exist: node:crypto (node-aead.ts), which
 * is always there, and the host's libcrypto (host/sys), which needs half the time.
 *
 * @module
 */

/** One session key, for one direction. */
export interface AeadKey {
  /**
   * Seals `headLength` bytes at `head` followed by `tailLength` at `tail` (none when 0). The header
   * of SEAL_HEADER_SIZE bytes lies at `at` already; the sealed bytes and the tag follow it.
   * None of this overlaps. False when the engine failed: then nothing at `at` may be sent.
   */
  seal(at: number, head: number, headLength: number, tail: number, tailLength: number): boolean;
  /**
   * Opens `length` bytes at `at`, header and tag included, in place. False when they are not
   * authentic: then what lies there is to be forgotten.
   */
  open(at: number, length: number): boolean;
  /** Forgets the key. */
  close(): void;
}

/** Makes keys that work in one arena. */
export interface AeadEngine {
  /** As `status` shows it. */
  readonly name: string;
  /** `secret` (SEAL_KEY_SIZE bytes) and `salt` (SEAL_SALT_SIZE) are copied. */
  createKey(secret: Uint8Array, salt: Uint8Array): AeadKey;
}
