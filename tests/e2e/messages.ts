/**
 * What a message to a person must be, whatever it is about.
 *
 * @module
 */
import { expect } from "bun:test";
import type { Finished } from "../lab/run.ts";

/** Traces, object dumps and what our runtime says of itself are for us, not for users. */
const INTERNALS = /\bat .*\(.*:\d+:\d+\)|\[object |undefined|Bun v\d|\bNaN\b|\/\$bunfs\//;

/**
 * Expects a command to have failed with `code` and one plain sentence on standard error: what was
 * attempted, what is wrong, and, unless `next` is false, what to do. `words` must all be in it.
 */
export function expectRefusal(
  finished: Finished,
  words: readonly (string | RegExp)[],
  options: { readonly code?: number; readonly next?: boolean } = {},
): void {
  const lines = finished.stderr.trimEnd().split("\n");
  expect({ code: finished.code, lines: lines.length, text: finished.stderr }).toEqual({
    code: options.code ?? 1,
    lines: 1,
    text: finished.stderr,
  });
  expectSentence(lines[0] ?? "", words, options.next ?? true);
  expect(finished.stdout).toBe("");
}

/** Expects one sentence as users are told: "Cannot …: …; …", with all of `words` in it. */
export function expectSentence(
  text: string,
  words: readonly (string | RegExp)[],
  next = true,
): void {
  expect(text).toStartWith("Cannot ");
  expect(text).toContain(": ");
  if (next) expect(text).toContain("; ");
  expect(text).not.toEndWith(".");
  expect(text).not.toMatch(INTERNALS);
  for (const word of words) {
    if (typeof word === "string") expect(text).toContain(word);
    else expect(text).toMatch(word);
  }
}
