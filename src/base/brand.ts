/**
 * Nominal types over plain values, so that a term is not passed where an index is wanted.
 *
 * Only `parse*` and `decode*` functions make branded values; `tests/tidy.test.ts` looks for casts.
 *
 * @module
 */

declare const brand: unique symbol;

/** `Base`, told apart from every other brand at compile time; the same value at run time. */
export type Brand<Base, Name extends string> = Base & { readonly [brand]: Name };
