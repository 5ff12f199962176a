/**
 * Expected outcomes as values: what a caller must handle, with the failures as a closed union.
 *
 * @module
 */

/** Success with a value, or one of the failures `E` (an object with `kind`). */
export type Result<T, E> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly error: E };

/** A success that carries `value`. */
export function ok<T>(value: T): { readonly ok: true; readonly value: T } {
  return { ok: true, value };
}

/** A failure that carries `error`. */
export function err<E>(error: E): { readonly ok: false; readonly error: E } {
  return { ok: false, error };
}
