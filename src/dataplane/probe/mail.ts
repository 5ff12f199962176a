/**
 * What the prober and the packet loop say to each other through two mail rings.
 *
 *    question  slot, sequence, size of the datagram, whole (1: "don't fragment"), token, told
 *    report    kind, slot, sequence, round trip in ms, size of the question, token, told, errno
 *
 * @module
 */

/** Positions in a question. */
export const QUESTION = { SLOT: 0, SEQUENCE: 1, SIZE: 2, WHOLE: 3, TOKEN: 4, TOLD: 5 } as const;

/** Positions in a report. */
export const REPORT = {
  KIND: 0,
  SLOT: 1,
  SEQUENCE: 2,
  ROUND_TRIP_MS: 3,
  SIZE: 4,
  TOKEN: 5,
  TOLD: 6,
  ERRNO: 7,
} as const;

/** What a report says. */
export const REPORT_KIND = {
  /** The peer answered. */
  ANSWERED: 1,
  /** The socket refused the question, with `ERRNO`. */
  REFUSED: 2,
} as const;

/** Questions that may wait for the loop. */
export const QUESTION_COUNT_MAX = 1024;
/** Reports that may wait for the prober: answers of a second, with room. */
export const REPORT_COUNT_MAX = 4096;
