/**
 * Slows down guessing: how many wrong tokens an address may try in a minute.
 *
 * A secret has 128 random bits, so guessing is hopeless anyway; the limit keeps it from being
 * loud. Right tokens are never counted. No clock of its own.
 *
 * @module
 */

/** A person who mistypes needs fewer. */
export const GUESSES_PER_MINUTE_MAX = 10;
const WINDOW_MS = 60_000;
/** Addresses that are remembered; beyond, the one that began longest ago is forgotten. */
const ADDRESS_COUNT_MAX = 1_024;

/** Wrong tries by address. */
export class GuessLimit {
  /** In the order in which their windows began. */
  readonly #tries = new Map<string, { readonly sinceMs: number; count: number }>();

  /** Whether `address` has no try left at `nowMs`. */
  isBlocked(address: string, nowMs: number): boolean {
    const known = this.#tries.get(address);
    if (known === undefined) return false;
    if (nowMs - known.sinceMs >= WINDOW_MS) {
      this.#tries.delete(address);
      return false;
    }
    return known.count >= GUESSES_PER_MINUTE_MAX;
  }

  /** `address` came with a wrong token. */
  failed(address: string, nowMs: number): void {
    const known = this.#tries.get(address);
    if (known !== undefined && nowMs - known.sinceMs < WINDOW_MS) {
      known.count += 1;
      return;
    }
    this.#tries.delete(address);
    this.#tries.set(address, { sinceMs: nowMs, count: 1 });
    if (this.#tries.size <= ADDRESS_COUNT_MAX) return;
    for (const oldest of this.#tries.keys()) {
      this.#tries.delete(oldest);
      return;
    }
  }
}
