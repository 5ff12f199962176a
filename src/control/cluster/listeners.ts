/**
 * A set of callbacks that can be left again.
 *
 * @module
 */

/** Callbacks that are all told the same, in the order in which they came. */
export class Listeners<Args extends readonly unknown[]> {
  readonly #all = new Set<(...args: Args) => void>();

  /** Adds `listener`; the result takes it out again. */
  add(listener: (...args: Args) => void): () => void {
    // Wrapped, so that one function added twice is two listeners.
    const own = (...args: Args) => listener(...args);
    this.#all.add(own);
    return () => this.#all.delete(own);
  }

  tell(...args: Args): void {
    for (const listener of this.#all) listener(...args);
  }
}
