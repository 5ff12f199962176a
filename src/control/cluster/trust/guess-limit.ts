/**
 * Slows down guessing: how many wrong tokens an address, and a network, may try in a minute.
 *
 * A secret has 128 random bits, so guessing is hopeless anyway; the limit keeps it from being
 * loud. A machine has a whole /64 of IPv6 to itself, and often a /48, so that is what is counted.
 * Right tokens are never counted, however many come at once. No clock of its own.
 *
 * @module
 */
import { addressFamily, parseAddress, prefixOf } from "../../../base/address.ts";

/** A person who mistypes needs fewer. From one IPv4 address, or one IPv6 network of 64 bits. */
export const GUESSES_PER_MINUTE_MAX = 10;
/** From one IPv4 network of 24 bits, or one IPv6 network of 48 bits. */
export const NETWORK_GUESSES_PER_MINUTE_MAX = 50;
const WINDOW_MS = 60_000;
/** Origins that are remembered; beyond, the one that began longest ago is forgotten. */
const ORIGIN_COUNT_MAX = 4_096;

/** Lengths of the prefixes that are counted, with how much each may try. */
const ORIGINS = {
  4: [
    { bits: 32, max: GUESSES_PER_MINUTE_MAX },
    { bits: 24, max: NETWORK_GUESSES_PER_MINUTE_MAX },
  ],
  6: [
    { bits: 64, max: GUESSES_PER_MINUTE_MAX },
    { bits: 48, max: NETWORK_GUESSES_PER_MINUTE_MAX },
  ],
} as const;

interface Origin {
  readonly key: string;
  readonly max: number;
}

/** Tries with tokens that were wrong, or may be: one that is not known here is counted at once. */
export class GuessLimit {
  /** In the order in which their windows began. */
  readonly #tries = new Map<string, { readonly sinceMs: number; count: number }>();

  /** Whether whoever is at `address` (as a socket has it) has no try left at `nowMs`. */
  isBlocked(address: string, nowMs: number): boolean {
    return originsOf(address).some(({ key, max }) => this.#count(key, nowMs) >= max);
  }

  /** Counts a try from `address`, unless it has none left: then false. */
  take(address: string, nowMs: number): boolean {
    if (this.isBlocked(address, nowMs)) return false;
    for (const { key } of originsOf(address)) this.#add(key, nowMs);
    return true;
  }

  /** The try was no wrong token. */
  giveBack(address: string): void {
    for (const { key } of originsOf(address)) {
      const known = this.#tries.get(key);
      if (known !== undefined && known.count > 0) known.count -= 1;
    }
  }

  #count(key: string, nowMs: number): number {
    const known = this.#tries.get(key);
    if (known === undefined) return 0;
    if (nowMs - known.sinceMs < WINDOW_MS) return known.count;
    this.#tries.delete(key);
    return 0;
  }

  #add(key: string, nowMs: number): void {
    const count = this.#count(key, nowMs);
    if (count > 0) {
      this.#tries.get(key)!.count += 1;
      return;
    }
    this.#tries.delete(key);
    this.#tries.set(key, { sinceMs: nowMs, count: 1 });
    if (this.#tries.size <= ORIGIN_COUNT_MAX) return;
    for (const oldest of this.#tries.keys()) {
      this.#tries.delete(oldest);
      return;
    }
  }
}

/** What is counted for `address`; a text that is no address is its own origin. */
function originsOf(address: string): readonly Origin[] {
  // A socket of both families has IPv4 addresses in IPv6's form.
  const parsed = parseAddress(address.replace(/^::ffff:(?=[0-9.]+$)/i, ""));
  if (parsed === undefined) return [{ key: address, max: GUESSES_PER_MINUTE_MAX }];
  return ORIGINS[addressFamily(parsed)].map(({ bits, max }) => ({
    key: prefixOf(parsed, bits),
    max,
  }));
}
