/**
 * A problem of something that a person wrote.
 *
 * @module
 */

/** One problem of a config, for the person who wrote it. */
export interface FieldIssue {
  /** Dotted path of the key, a known one in its documented spelling; "" for the whole body. */
  readonly path: string;
  /** What is required and what was got; names the key itself. */
  readonly message: string;
}
