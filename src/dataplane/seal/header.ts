/**
 * The header of a sealed packet, in front of the encrypted bytes and authenticated with them.
 *
 *      0               1               2               3
 *     +---------------+---------------+---------------+---------------+
 *     | 1   | version |  first three bytes of the receiver's key id    |
 *     +---------------+---------------+---------------+---------------+
 *     |                       id of the sender's key                   |
 *     +---------------+---------------+---------------+---------------+
 *     |                    counter, 64 bits, big-endian                |
 *     |                                                                |
 *     +---------------+---------------+---------------+---------------+
 *
 * The first eight bytes are the same for all packets of a session: a receiver finds the session by
 * them. A key's id is the beginning of the SHA-256 of the public key.
 *
 * @module
 */
import { FRAME_SEALED } from "../wire/frame.ts";

/** The only one so far. Another version is an unknown key, since the byte is part of the lookup. */
const SEAL_VERSION = 1;

/** Positions in the header. */
export const SEAL_RECEIVER_AT = 0;
export const SEAL_SENDER_AT = 4;
export const SEAL_COUNTER_AT = 8;

const FIRST_BYTE = (FRAME_SEALED << 4) | SEAL_VERSION;

/** The first four bytes of every packet to the key with `keyId`, as one big-endian number. */
export function receiverWord(keyId: number): number {
  return ((FIRST_BYTE << 24) | (keyId >>> 8)) >>> 0;
}
