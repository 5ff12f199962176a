/**
 * AES-256-GCM by node:crypto: everywhere, at 1.4 µs for 1,408 bytes.
 *
 * Each packet makes a cipher object and a copy or two of its bytes, which the garbage collector
 * takes back: the one place of the packet loop that allocates.
 *
 * @module
 */
import { createCipheriv, createDecipheriv, createSecretKey, type KeyObject } from "node:crypto";
import type { WireMemory } from "../wire/memory.ts";
import type { AeadEngine, AeadKey } from "./aead.ts";
import { SEAL_COUNTER_AT } from "./header.ts";
import { SEAL_HEADER_SIZE, SEAL_SALT_SIZE, SEAL_TAG_SIZE } from "./limits.ts";

const ALGORITHM = "aes-256-gcm";
const NONCE_SIZE = 12;
const COUNTER_SIZE = NONCE_SIZE - SEAL_SALT_SIZE;

/** An engine over `memory`. */
export function createNodeAead(memory: WireMemory): AeadEngine {
  return {
    name: "node:crypto",
    createKey: (secret, salt) => new NodeKey(memory.bytes, secret, salt),
  };
}

class NodeKey implements AeadKey {
  readonly #bytes: Uint8Array<ArrayBuffer>;
  #secret: KeyObject | undefined;
  readonly #nonce = new Uint8Array(NONCE_SIZE);

  constructor(bytes: Uint8Array<ArrayBuffer>, secret: Uint8Array, salt: Uint8Array) {
    this.#bytes = bytes;
    this.#secret = createSecretKey(secret);
    this.#nonce.set(salt);
  }

  seal(at: number, head: number, headLength: number, tail: number, tailLength: number): boolean {
    if (this.#secret === undefined) return false;
    const bytes = this.#bytes;
    const body = at + SEAL_HEADER_SIZE;
    const end = body + headLength + tailLength;
    try {
      const cipher = createCipheriv(ALGORITHM, this.#secret, this.#nonceOf(at));
      cipher.setAAD(bytes.subarray(at, body));
      // Gathered first: two calls with two results cost more than the copy.
      bytes.copyWithin(body, head, head + headLength);
      if (tailLength > 0) bytes.copyWithin(body + headLength, tail, tail + tailLength);
      bytes.set(cipher.update(bytes.subarray(body, end)), body);
      cipher.final();
      bytes.set(cipher.getAuthTag(), end);
      return true;
    } catch {
      return false;
    }
  }

  open(at: number, length: number): boolean {
    if (this.#secret === undefined) return false;
    const bytes = this.#bytes;
    const body = at + SEAL_HEADER_SIZE;
    const end = at + length - SEAL_TAG_SIZE;
    try {
      const decipher = createDecipheriv(ALGORITHM, this.#secret, this.#nonceOf(at), {
        authTagLength: SEAL_TAG_SIZE,
      });
      decipher.setAAD(bytes.subarray(at, body));
      decipher.setAuthTag(bytes.subarray(end, end + SEAL_TAG_SIZE));
      const opened = decipher.update(bytes.subarray(body, end));
      decipher.final();
      bytes.set(opened, body);
      return true;
    } catch {
      return false;
    }
  }

  close(): void {
    this.#secret = undefined;
    this.#nonce.fill(0);
  }

  #nonceOf(at: number): Uint8Array {
    const counter = at + SEAL_COUNTER_AT;
    for (let i = 0; i < COUNTER_SIZE; i++) {
      this.#nonce[SEAL_SALT_SIZE + i] = this.#bytes[counter + i]!;
    }
    return this.#nonce;
  }
}
