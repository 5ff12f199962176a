/**
 * What a checker throws when a promise is broken.
 *
 * @module
 */

/** Told of every violation when it comes up, whoever catches it later. */
let listener: ((violation: Violation) => void) | undefined;

/** Has `listen` told of violations from now on; there is one simulation at a time. */
export function onViolation(listen: ((violation: Violation) => void) | undefined): void {
  listener = listen;
}

/** A broken property, by the name it has in the list of properties. */
export class Violation extends Error {
  override readonly name = "Violation";
  readonly property: string;

  constructor(property: string, detail: string) {
    super(`${property}: ${detail}`);
    this.property = property;
    listener?.(this);
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
