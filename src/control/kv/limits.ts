/**
 * Limits of the replicated store, each with its unit and its reason.
 *
 * All are implementation choices; those of one transaction are etcd's defaults, which its users
 * know. They decide how a command is applied, so nodes of one cluster must agree on them.
 *
 * @module
 */

const KIB = 1024;
const MIB = 1024 * KIB;

/** Longest key, bytes of UTF-8. */
export const KEY_SIZE_MAX_BYTES = 4 * KIB;
/** Largest value of one key, bytes. */
export const VALUE_SIZE_MAX_BYTES = 1 * MIB;
/** Keys and values of one transaction together, both branches included, bytes. */
export const REQUEST_SIZE_MAX_BYTES = 1.5 * MIB;
/** Comparisons of one transaction; and, apart, operations of each branch. */
export const TXN_OPERATIONS_MAX = 128;
/** Keys and values that one transaction may return, bytes. A larger answer changes nothing. */
export const RESPONSE_SIZE_MAX_BYTES = 2 * MIB;
/** Keys that one range operation returns at most, whatever its own limit says. */
export const RANGE_KEYS_MAX = 10_000;
/** Keys that one transaction may delete by prefix: one revision, whose events go out together. */
export const DELETE_KEYS_MAX = 10_000;

/** Longest time to live of a key, seconds: a year. */
export const KEY_TTL_SECONDS_MAX = 31_536_000;
/** Shortest. It is a minimum: who wants to renew in time had better take ten times as much. */
export const KEY_TTL_SECONDS_MIN = 1;
/** Expiries in one command: keeps one apply under about a millisecond. */
export const EXPIRE_BATCH_MAX = 100;
/** Expiries that the leader proposes in a second, so that a mass expiry does not fill the log. */
export const EXPIRIES_PER_SECOND_MAX = 1000;
/** After which an expiry that was proposed and not applied is proposed again, milliseconds. */
export const EXPIRY_RETRY_MS = 3000;
/**
 * Gap between two looks at a deadline clock after which the leader counts as newly made: it may
 * have slept through renewals that are still waiting in its queues, milliseconds.
 */
export const DEADLINE_CLOCK_GAP_MAX_MS = 5000;

/** Entries between two digests of the state that replicas compare. */
export const CHECK_INTERVAL_ENTRIES = 1000;
/** Digests that a replica remembers; a slow voter's word about an older one counts for nothing. */
export const CHECK_DIGESTS_MAX = 128;
/** Entries about which the voters' words are counted at a time. */
export const CHECK_TALLIES_MAX = 8;

/**
 * Outcomes kept for retries, over all clients. At 10,000 writes a second a retry has 3 seconds
 * and more; a later one is answered `request_forgotten`, never applied twice.
 */
export const OUTCOMES_REMEMBERED_MAX = 32_768;
/** The same in bytes of plain data, as `plainSize` counts. */
export const OUTCOMES_SIZE_MAX_BYTES = 16 * MIB;
/** An outcome larger than this is not kept: a retry of it is answered `request_forgotten`. */
export const OUTCOME_SIZE_MAX_BYTES = 64 * KIB;
/** Clients whose last sequences are known. The one that was silent longest is forgotten first. */
export const CLIENTS_REMEMBERED_MAX = 16_384;

/** Revisions whose events are kept for watches and for reading the past. */
export const HISTORY_REVISIONS_MAX = 10_000;
/**
 * The same in bytes that its events keep alive: keys and values before and after each change, and
 * `EVENT_OVERHEAD_BYTES` for each.
 */
export const HISTORY_SIZE_MAX_BYTES = 16 * MIB;
/** What an event takes in memory beside keys and values, bytes, roughly. */
export const EVENT_OVERHEAD_BYTES = 256;
/** Revisions that one step of a watch looks at: a slow prefix must not hold up the loop. */
export const WATCH_STEP_REVISIONS_MAX = 1000;
/** Bytes of keys and values after which a step of a watch ends; a revision is never cut. */
export const WATCH_STEP_SIZE_BYTES = 256 * KIB;

/** Largest part of a snapshot with a whole value, bytes of plain data; also a piece of a value. */
export const SNAPSHOT_PART_SIZE_BYTES = 32 * KIB;
/**
 * Aim for a part of several rows. It is made and encoded in one go: some 100 small pairs take a
 * quarter of a millisecond where code runs for the first time, and a quarter of that later.
 */
export const SNAPSHOT_ROWS_SIZE_BYTES = 8 * KIB;
