/**
 * The two directions between one key pair of ours and one key of a peer.
 *
 * @module
 */
import type { AeadKey } from "./aead.ts";
import type { LoopKeyPair } from "./exchange-key.ts";
import { receiverWord, SEAL_COUNTER_AT, SEAL_RECEIVER_AT, SEAL_SENDER_AT } from "./header.ts";
import { REJECT_AFTER_PACKETS, SEAL_SEQUENCE_COUNT } from "./limits.ts";
import type { ReplayWindow } from "./replay-window.ts";

/**
 * Seals to a peer. The counter is an incarnation, which no other session under the same key pair
 * has, and a sequence number: however often sessions are made anew, no nonce is used twice.
 */
export class SendSession {
  readonly key: AeadKey;
  readonly #pair: LoopKeyPair;
  readonly #receiverWord: number;
  #incarnation = 0;
  #sequence = SEAL_SEQUENCE_COUNT;

  constructor(pair: LoopKeyPair, peerKeyId: number, key: AeadKey) {
    this.key = key;
    this.#pair = pair;
    this.#receiverWord = receiverWord(peerKeyId);
  }

  /** Writes the header of the next packet at `at`. False when the key pair is used up. */
  putHeader(view: DataView, at: number): boolean {
    const pair = this.#pair;
    if (pair.sealedCount >= REJECT_AFTER_PACKETS) return false;
    if (this.#sequence === SEAL_SEQUENCE_COUNT && !this.#begin()) return false;
    view.setUint32(at + SEAL_RECEIVER_AT, this.#receiverWord);
    view.setUint32(at + SEAL_SENDER_AT, pair.keyId);
    view.setUint32(at + SEAL_COUNTER_AT, this.#incarnation);
    view.setUint32(at + SEAL_COUNTER_AT + 4, this.#sequence++);
    pair.countSealed();
    return true;
  }

  #begin(): boolean {
    const incarnation = this.#pair.nextIncarnation();
    if (incarnation === undefined) return false;
    this.#incarnation = incarnation;
    this.#sequence = 0;
    return true;
  }
}

/** Opens what a peer seals. */
export class ReceiveSession {
  readonly key: AeadKey;
  readonly window: ReplayWindow;
  /** Counter slot of the peer. Another one after a table swap, perhaps. */
  slot: number;

  constructor(key: AeadKey, slot: number, window: ReplayWindow) {
    this.key = key;
    this.window = window;
    this.slot = slot;
  }
}
