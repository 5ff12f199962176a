/**
 * Limits of the network state machine, each with its unit and its reason.
 *
 * Implementation choices, not of any specification. Those that decide how a command is applied are
 * part of the replicated behaviour: nodes of one cluster must agree on them.
 *
 * @module
 */

/** Longest life of a lease without renewal, seconds: a year. */
export const LEASE_TTL_SECONDS_MAX = 31_536_000;
/** Shortest: an election and a retry must fit between the first renewal and the expiry. */
export const LEASE_TTL_SECONDS_MIN = 10;
/** flannel's own. */
export const LEASE_TTL_SECONDS_DEFAULT = 86_400;

/** Problems of one config that are told at once. */
export const CONFIG_ISSUES_MAX = 50;

/** Largest opaque backend data in a lease, bytes of JSON. */
export const BACKEND_DATA_SIZE_MAX_BYTES = 16 * 1024;
/** Longest name of a backend type, characters. */
export const BACKEND_TYPE_LENGTH_MAX = 32;

/** Public keys that one lease may list: in use, the next, those that retire. */
export const SEAL_KEYS_MAX = 4;

/** Renewals in one command: one revision, one batch of events. */
export const RENEWALS_MAX = 1024;
/** Reservations in one import: some 300 kB of command, applied in tens of milliseconds. */
export const IMPORT_RESERVATIONS_MAX = 4096;
/** Expiries in one command: keeps one apply under about a millisecond. */
export const EXPIRE_BATCH_MAX = 100;

/**
 * Subnets of one pool that are ever handed out: the first 2^32. Only IPv6 pools have more. Keeps
 * positions exact in a number, sums of two included.
 */
export const POOL_POSITIONS_MAX = 2 ** 32;

/**
 * Expired leases that are remembered for their last holder. Beyond it the longest expired is
 * forgotten. Bounds the store when nodes come and go for years.
 */
export const REMEMBERED_LEASES_MAX = 16_384;

/**
 * Share of its time to live after which a holder that could not renew must no longer hand out
 * addresses, counted from when it sent its last successful renewal. The rest is the grace between
 * the holder's belief and the leader's: what clocks may differ in rate, and what stopping takes.
 */
export const HOLDER_STOP_FRACTION = 0.9;
