/**
 * JSON text to value, and where the text breaks off when it is not JSON.
 *
 * The runtime's parser says what it expected but not where. After it has failed, `locateFault`
 * walks the text again by the grammar of RFC 8259 and finds the first character that cannot be
 * there. Iterative with an explicit stack: depth of nesting costs memory, never the call stack.
 *
 * @module
 */
import { assert } from "../base/assert.ts";
import { err, ok, type Result } from "../base/result.ts";

/** The first place where a text stops being JSON. Line and column count from 1. */
export interface JsonFault {
  readonly line: number;
  readonly column: number;
  /** What the grammar wants there: `"," or "}"`. */
  readonly expected: string;
  /** What is there: `"x"`, or `end of text`. */
  readonly found: string;
}

/** The value that `text` writes in JSON, or where it fails. */
export function parseJson(text: string): Result<unknown, JsonFault> {
  try {
    return ok(JSON.parse(text));
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return err(locateFault(text));
  }
}

/** What may come next. */
type Want = "value" | "first-element" | "first-key" | "key" | "colon" | "after-value";

const WHITESPACE = /[ \t\n\r]*/y;
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const LITERAL = /true|false|null/y;
const ESCAPE = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y;

/** Finds the first fault of `text`, which must not be JSON. */
function locateFault(text: string): JsonFault {
  const closers: string[] = [];
  let want = "value" as Want;
  let offset = 0;
  for (;;) {
    offset = matchAt(WHITESPACE, text, offset) ?? offset;
    const closer = closers.at(-1);
    if (want === "after-value" && closer === undefined) {
      assert(offset < text.length, "the two JSON grammars disagree");
      return faultAt(text, offset, "end of text");
    }
    const char = text[offset];
    if (closer !== undefined && char === closer && mayClose(want)) {
      closers.pop();
      want = "after-value";
      offset++;
    } else if (want === "colon" || want === "after-value") {
      const sign: string = want === "colon" ? ":" : ",";
      if (char !== sign) return faultAt(text, offset, expectation(want, closer));
      want = sign === ":" || closer === "]" ? "value" : "key";
      offset++;
    } else if (char === '"') {
      const end = stringEnd(text, offset);
      if (!end.ok) return faultAt(text, end.error, "the rest of a string");
      want = want === "key" || want === "first-key" ? "colon" : "after-value";
      offset = end.value;
    } else if (want === "key" || want === "first-key") {
      return faultAt(text, offset, expectation(want, closer));
    } else if (char === "{" || char === "[") {
      closers.push(char === "{" ? "}" : "]");
      want = char === "{" ? "first-key" : "first-element";
      offset++;
    } else {
      const end = matchAt(NUMBER, text, offset) ?? matchAt(LITERAL, text, offset);
      if (end === undefined) return faultAt(text, offset, expectation(want, closer));
      want = "after-value";
      offset = end;
    }
  }
}

function mayClose(want: Want): boolean {
  return want === "first-element" || want === "first-key" || want === "after-value";
}

function expectation(want: Want, closer: string | undefined): string {
  switch (want) {
    case "value":
      return "a value";
    case "first-element":
      return 'a value or "]"';
    case "first-key":
      return 'a key in double quotes or "}"';
    case "key":
      return "a key in double quotes";
    case "colon":
      return '":"';
    case "after-value":
      return closer === "}" ? '"," or "}"' : '"," or "]"';
  }
}

/** Offset behind the string that starts at `start`, or the offset of what does not belong. */
function stringEnd(text: string, start: number): Result<number, number> {
  let offset = start + 1;
  while (offset < text.length) {
    const char = text[offset]!;
    if (char === '"') return ok(offset + 1);
    if (char < " ") return err(offset);
    if (char === "\\") {
      const end = matchAt(ESCAPE, text, offset);
      if (end === undefined) return err(offset);
      offset = end;
    } else {
      offset++;
    }
  }
  return err(offset);
}

/** End of the match of the sticky `pattern` at `offset`, or undefined. */
function matchAt(pattern: RegExp, text: string, offset: number): number | undefined {
  pattern.lastIndex = offset;
  return pattern.test(text) ? pattern.lastIndex : undefined;
}

function faultAt(text: string, offset: number, expected: string): JsonFault {
  let line = 1;
  let lineStart = 0;
  for (let at = text.indexOf("\n"); at >= 0 && at < offset; at = text.indexOf("\n", at + 1)) {
    line++;
    lineStart = at + 1;
  }
  const point = text.codePointAt(offset);
  const found = point === undefined ? "end of text" : JSON.stringify(String.fromCodePoint(point));
  return { line, column: offset - lineStart + 1, expected, found };
}
