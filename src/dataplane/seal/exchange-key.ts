/**
 * X25519 keys (RFC 7748): the pair of this node, and the public ones of others.
 *
 * A pair's private half and what must outlive the packet loop's thread lie in shared memory, so
 * that a new thread goes on where the last one was, and one zeroing forgets it for both. Where that
 * memory outlives the process (kept-state.ts), a new process goes on, too:
 *
 *      0  private key, 32 bytes
 *     32  next incarnation, 32 bits
 *     36  not 0: not all that came under this pair is remembered, 32 bits
 *     40  packets sealed so far, a 64-bit float
 *
 * @module
 */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  type KeyObject,
} from "node:crypto";
import { assert } from "../../base/assert.ts";
import { type KeySlot, SLOT_SIZE } from "./kept-state.ts";
import { EXCHANGE_KEY_SIZE, SEAL_INCARNATION_COUNT } from "./limits.ts";

/** What precedes the key in its DER forms: PKCS #8 and SubjectPublicKeyInfo (RFC 8410 §7, §4). */
const PRIVATE_DER_PREFIX = Buffer.from("302e020100300506032b656e04220420", "hex");
const PUBLIC_DER_PREFIX = Buffer.from("302a300506032b656e032100", "hex");

const INCARNATION_WORD = 8;
const INCOMPLETE_WORD = 9;
const PACKETS_FLOAT = 5;

/** A public key with the number that its owner gave it: one more for each new key. */
export interface PublicKey {
  readonly epoch: number;
  /** EXCHANGE_KEY_SIZE bytes. */
  readonly bytes: Uint8Array;
}

/** A key pair of this node as it passes between threads. */
export interface SharedKeyPair {
  readonly publicKey: PublicKey;
  /** Shared by all threads; of a pair in a slot, whoever has the kept state finds it there. */
  readonly memory: Uint8Array;
  /** Position in the kept state; undefined: this pair ends with the process. */
  readonly slot?: number;
}

/** The first four bytes of the SHA-256 of a public key, as a big-endian number. */
export function keyIdOf(publicKey: Uint8Array): number {
  return createHash("sha256").update(publicKey).digest().readUInt32BE(0);
}

/**
 * The pair whose private half is `secret`: 32 random bytes, which are copied. It lies in `place`,
 * zeroed memory of the kept state, or in memory of its own.
 */
export function createKeyPair(epoch: number, secret: Uint8Array, place?: KeySlot): SharedKeyPair {
  assert(secret.length === EXCHANGE_KEY_SIZE, "private key must be 32 bytes");
  const memory = place?.memory ?? new Uint8Array(new SharedArrayBuffer(SLOT_SIZE));
  memory.set(secret);
  const publicKey = { epoch, bytes: publicKeyOf(secret) };
  return place === undefined ? { publicKey, memory } : { publicKey, memory, slot: place.slot };
}

/**
 * The pair that an earlier process has left in `place`; undefined when what lies there is not the
 * pair of `publicKey`, or cannot be gone on with.
 */
export function findKeyPair(publicKey: PublicKey, place: KeySlot): SharedKeyPair | undefined {
  const { slot, memory } = place;
  const secret = memory.subarray(0, EXCHANGE_KEY_SIZE);
  if (Buffer.compare(publicKeyOf(secret), publicKey.bytes) !== 0) return undefined;
  const pair = { publicKey, memory, slot };
  const incarnation = wordsOf(pair)[INCARNATION_WORD]! >>> 0;
  const isCounted = incarnation <= SEAL_INCARNATION_COUNT && sealedCount(pair) >= 0;
  return isCounted && wordsOf(pair)[INCOMPLETE_WORD] === 0 ? pair : undefined;
}

/** Forgets the private half, for every thread that has the pair. */
export function forgetKeyPair(pair: SharedKeyPair): void {
  pair.memory.fill(0, 0, EXCHANGE_KEY_SIZE);
}

/** Packets sealed under `pair` so far, to all peers together. */
export function sealedCount(pair: SharedKeyPair): number {
  return floatsOf(pair)[PACKETS_FLOAT]!;
}

/** A key pair as the packet loop uses it. */
export class LoopKeyPair {
  readonly publicKey: PublicKey;
  readonly keyId: number;
  readonly #secret: Uint8Array;
  readonly #words: Int32Array;
  readonly #floats: Float64Array;

  constructor(shared: SharedKeyPair) {
    this.publicKey = shared.publicKey;
    this.keyId = keyIdOf(shared.publicKey.bytes);
    this.#secret = shared.memory.subarray(0, EXCHANGE_KEY_SIZE);
    this.#words = wordsOf(shared);
    this.#floats = floatsOf(shared);
  }

  get sealedCount(): number {
    return this.#floats[PACKETS_FLOAT]!;
  }

  /** Counts one packet more. */
  countSealed(): void {
    this.#floats[PACKETS_FLOAT] = this.#floats[PACKETS_FLOAT]! + 1;
  }

  /** An incarnation that no session of this pair has had; undefined when all were given out. */
  nextIncarnation(): number | undefined {
    const next = Atomics.add(this.#words, INCARNATION_WORD, 1) >>> 0;
    if (next < SEAL_INCARNATION_COUNT) return next;
    // Stay where it is: the count must not come round.
    Atomics.sub(this.#words, INCARNATION_WORD, 1);
    return undefined;
  }

  /** Not everything that comes is remembered for the next process: it must have another pair. */
  markIncomplete(): void {
    this.#words[INCOMPLETE_WORD] = 1;
  }

  /**
   * The secret shared with the owner of `peerKey`; undefined for a key that no honest node has
   * (one of small order, RFC 7748 §6.1) and for a forgotten pair.
   */
  agree(peerKey: Uint8Array): Uint8Array | undefined {
    if (this.#secret.every((byte) => byte === 0)) return undefined;
    try {
      const privateKey = privateKeyOf(this.#secret);
      const der = Buffer.concat([PUBLIC_DER_PREFIX, peerKey]);
      const publicKey = createPublicKey({ key: der, format: "der", type: "spki" });
      const secret = new Uint8Array(diffieHellman({ privateKey, publicKey }));
      return secret.every((byte) => byte === 0) ? undefined : secret;
    } catch {
      return undefined;
    }
  }
}

function wordsOf({ memory }: SharedKeyPair): Int32Array {
  return new Int32Array(memory.buffer, memory.byteOffset, SLOT_SIZE / 4);
}

function floatsOf({ memory }: SharedKeyPair): Float64Array {
  return new Float64Array(memory.buffer, memory.byteOffset, SLOT_SIZE / 8);
}

function publicKeyOf(secret: Uint8Array): Uint8Array {
  const der = createPublicKey(privateKeyOf(secret)).export({ format: "der", type: "spki" });
  const bytes = new Uint8Array(der.subarray(PUBLIC_DER_PREFIX.length));
  assert(bytes.length === EXCHANGE_KEY_SIZE, "public key must be 32 bytes");
  return bytes;
}

function privateKeyOf(secret: Uint8Array): KeyObject {
  const der = Buffer.concat([PRIVATE_DER_PREFIX, secret]);
  try {
    return createPrivateKey({ key: der, format: "der", type: "pkcs8" });
  } finally {
    der.fill(0);
  }
}
