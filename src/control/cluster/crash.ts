/**
 * The end of the process after a failed assertion, wherever that was caught.
 *
 * @module
 */

/**
 * Ends the process with the stack of `cause`, which is our own bug. As an unhandled rejection: of
 * what is thrown again Bun prints the stack from there only.
 */
export function crash(cause: unknown): void {
  void Promise.reject(cause);
}
