/**
 * Exit codes, on which scripts rely.
 *
 * @module
 */

/** Done. */
export const EXIT_DONE = 0;
/** Tried and failed, or refused. */
export const EXIT_FAILED = 1;
/** Wrong usage: nothing was tried. */
export const EXIT_USAGE = 2;
/** No agent answers. */
export const EXIT_NO_AGENT = 3;
/** Not in time, or no quorum: may work later. */
export const EXIT_NOT_NOW = 4;
