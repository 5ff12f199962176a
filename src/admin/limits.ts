/**
 * Limits of the HTTP API, each with its unit.
 *
 * @module
 */

import type { VoterTarget } from "../control/cluster/members/roles.ts";

/** Largest request body, in bytes: 1.5 MiB, so that a store value of 1 MiB fits with room. */
export const REQUEST_SIZE_BYTES_MAX = 1_572_864;

/**
 * Requests in work at once on one listener; more answer 503 `overloaded`. Several hundred clients
 * of the store may each have one. A watch counts only until it has begun.
 */
export const REQUESTS_INFLIGHT_MAX = 512;

/** Watches of one node at once: each has a connection. More answer 503 `overloaded`. */
export const WATCHES_MAX = 1_000;
/**
 * A watch on which nothing happens says so this often: clients and whatever is in between know
 * that it lives, well before `CONNECTION_IDLE_SECONDS_MAX`.
 */
export const WATCH_IDLE_MS = 10_000;

/**
 * A connection on which nothing moves for so long is closed. It covers the wait for a slow answer
 * too, hence longer than the longest request (a join with its own timeouts).
 */
export const CONNECTION_IDLE_SECONDS_MAX = 120;

/** How long `close` waits for requests in work before it cuts their connections. */
export const CLOSE_GRACE_MS = 2_000;

/** What `Retry-After` says: an election with its retries takes about this long. */
export const RETRY_AFTER_SECONDS = 1;

/** How many members may be set to vote. */
export const VOTER_TARGETS = [1, 3, 5, 7] as const satisfies readonly VoterTarget[];
/** Reservations in one `POST /import`: what one command of the cluster takes. */
export { IMPORT_RESERVATIONS_MAX } from "../control/network/limits.ts";

/** Shortest life of a join token. */
export const TOKEN_LIFE_SECONDS_MIN = 60;
/** Longest life of a join token: 365 days. */
export const TOKEN_LIFE_SECONDS_MAX = 31_536_000;
/** Life of a join token when none is asked for: 24 hours. */
export const TOKEN_LIFE_SECONDS_DEFAULT = 86_400;
/** Most uses that a token can be limited to. */
export const TOKEN_USES_MAX = 10_000;

/** Shortest time for which a CA that was replaced is trusted. */
export const CA_KEEP_SECONDS_MIN = 60;
/** Longest such time: 90 days, the life of a node's certificate. */
export const CA_KEEP_SECONDS_MAX = 7_776_000;
/** Such a time when none is asked for: 30 days. */
export const CA_KEEP_SECONDS_DEFAULT = 2_592_000;

/** Longest text of a join token; a genuine one has about 100 characters. */
export const TOKEN_TEXT_LENGTH_MAX = 512;
/** Longest peer: a DNS name of 253 characters, or a bracketed address, and a port. */
export const PEER_TEXT_LENGTH_MAX = 260;
