/**
 * Assertions: how this program says that it has found a fault in itself.
 *
 * A failed assertion is our bug, never an input's: it is not caught, the process ends and the
 * supervisor starts it again. Assertions stay on in production.
 *
 * @module
 */

/** A broken invariant of our own code. Never caught except to crash with a message. */
export class AssertionError extends Error {
  override readonly name = "AssertionError";
}

/** Crashes with `message` unless `condition` holds. `message` is a constant, for a stable trace. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}

/** Ends an exhaustive `switch`: a new variant becomes a compile error at the call. */
export function unreachable(value: never): never {
  throw new AssertionError(`unreachable variant: ${JSON.stringify(value)}`);
}
