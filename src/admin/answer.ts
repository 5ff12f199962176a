/**
 * The headers that every answer of a route has.
 *
 * @module
 */

/** An answer is of this moment, and its body is never a page to be guessed at. */
export const ANSWER_HEADERS = {
  "cache-control": "no-store",
  "x-content-type-options": "nosniff",
} as const;

/** The same for a body of JSON. */
export const JSON_ANSWER_HEADERS = {
  ...ANSWER_HEADERS,
  "content-type": "application/json;charset=utf-8",
} as const;

/** `response` with `ANSWER_HEADERS`, which it may have already. */
export function sealAnswer(response: Response): void {
  const { headers } = response;
  for (const [name, value] of Object.entries(ANSWER_HEADERS)) headers.set(name, value);
}
