/**
 * What a checker throws when a promise is broken.
 *
 * @module
 */

/** A broken property, by the name it has in the list of properties. */
export class Violation extends Error {
  override readonly name = "Violation";
  readonly property: string;

  constructor(property: string, detail: string) {
    super(`${property}: ${detail}`);
    this.property = property;
  }
}

/** Throws a `Violation` of `property` unless `condition` holds. */
export function must(
  condition: boolean,
  property: string,
  detail: () => string,
): asserts condition {
  if (!condition) throw new Violation(property, detail());
}
