/**
 * Sizes and limits of sealed packets, each with its unit. docs/SECURITY.md says why.
 *
 * @module
 */

/** What stands in front of the sealed bytes; authenticated with them. */
export const SEAL_HEADER_SIZE = 16;
/** Of AES-256-GCM, never shortened (RFC 5116 §5.2). */
export const SEAL_TAG_SIZE = 16;
/** Bytes that sealing adds to a packet. */
export const SEAL_OVERHEAD = SEAL_HEADER_SIZE + SEAL_TAG_SIZE;

/** Of AES-256. */
export const SEAL_KEY_SIZE = 32;
/** The part of the nonce that comes with the key; the counter is the other eight bytes. */
export const SEAL_SALT_SIZE = 4;
/** Of X25519, private and public alike (RFC 7748 §5). */
export const EXCHANGE_KEY_SIZE = 32;

/**
 * A counter is an incarnation and a sequence number of 32 bits. Two sessions under one pair of keys
 * never have the same incarnation, and a counter stays a safe integer.
 */
export const SEAL_SEQUENCE_COUNT = 2 ** 32;
/** Incarnations of one key pair: as many sessions as it may begin. */
export const SEAL_INCARNATION_COUNT = 2 ** 21;
/** No counter reaches this. */
export const SEAL_COUNTER_LIMIT = SEAL_INCARNATION_COUNT * SEAL_SEQUENCE_COUNT;

/** Packets under one key pair, to all peers together, after which it is replaced. */
export const REKEY_AFTER_PACKETS = 2 ** 32;
/**
 * Packets under one key pair after which nothing is sealed any more. Reached only when no new key
 * could be published for hours at full rate; 2^36 packets leave an attacker on AES-GCM an advantage
 * of about 2^-43.
 */
export const REJECT_AFTER_PACKETS = 2 ** 36;
/** Age of a key pair at which it is replaced. */
export const REKEY_AFTER_MS = 60 * 60 * 1000;
/** From the publication of a key until everybody is taken to know it. */
export const KEY_SPREAD_MS = 10_000;
/** How long a key that is not used for sending any more still opens what comes. */
export const KEY_RETIRE_MS = 120_000;

/** How far behind the newest packet another may come in. */
export const REPLAY_WINDOW_PACKETS = 8160;
/** Keys that one node may have published at a time: the one in use, the next, one that retires. */
export const PUBLISHED_KEYS_MAX = 4;
/** How often, at most, the packets under a key pair are looked at. */
export const SEALED_COUNT_CHECK_MS = 60_000;

/** How long plain packets of a peer are still taken once it must be sealing. */
export const PLAIN_GRACE_MS = 20_000;
/** How long after the switch to sealed packets the last plain one is sent or taken. */
export const SWITCH_MAX_MS = 150_000;
