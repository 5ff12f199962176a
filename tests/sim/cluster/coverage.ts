/**
 * What happened at least once: faults that fired, and states that a campaign should have reached.
 *
 * A fault that never fires and a state that is never reached test nothing; the campaign's test
 * asserts that none is missing.
 *
 * @module
 */

/** Counts of named points. */
export class Coverage {
  readonly #counts = new Map<string, number>();

  /** One more time at the point `name`. */
  hit(name: string, count = 1): void {
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + count);
  }

  count(name: string): number {
    return this.#counts.get(name) ?? 0;
  }

  /** Takes over the counts of another run. */
  add(counts: Readonly<Record<string, number>>): void {
    for (const [name, count] of Object.entries(counts)) this.hit(name, count);
  }

  /** All points hit, by name. */
  toRecord(): Record<string, number> {
    return Object.fromEntries([...this.#counts].sort(([a], [b]) => (a < b ? -1 : 1)));
  }
}
