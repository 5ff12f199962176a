/**
 * The file format of cockroachdb/datadriven: stanzas of a command, its input and its output.
 *
 *   # a comment
 *   command argument key=value key=(a, b)
 *   input line
 *   ----
 *   expected output, up to an empty line
 *
 * Two lines of `----` in a row let the output contain empty lines; it then ends with two more.
 *
 * @module
 */

/** One word of a directive: `key`, `key=value` or `key=(a, b)`. */
export interface Argument {
  readonly key: string;
  /** Empty for a bare word and for `key=()`. */
  readonly values: readonly string[];
}

/** One command with what it must print. */
export interface Stanza {
  /** Line number of the directive, from 1. */
  readonly line: number;
  readonly command: string;
  readonly args: readonly Argument[];
  readonly input: string;
  readonly expected: string;
}

const SEPARATOR = "----";
const WORD = /([^\s=()]+)(?:=(?:\(([^)]*)\)|([^\s()]*)))?/y;

/** The stanzas of a file, in order. Throws on a directive that cannot be read. */
export function parseDatadriven(text: string): Stanza[] {
  const lines = text.split("\n").map((line) => line.replace(/\r$/, ""));
  const stanzas: Stanza[] = [];
  let at = 0;
  while (at < lines.length) {
    const line = lines[at]!.trim();
    if (line === "" || line.startsWith("#")) {
      at++;
      continue;
    }
    const start = at + 1;
    let directive = line;
    at++;
    while (directive.endsWith("\\")) {
      directive = `${directive.slice(0, -1)} ${(lines[at] ?? "").trim()}`;
      at++;
    }
    const input: string[] = [];
    while (at < lines.length && lines[at] !== SEPARATOR) input.push(lines[at++]!);
    at++; // The separator.
    const expected: string[] = [];
    if (lines[at] === SEPARATOR) {
      at++;
      while (at < lines.length && !isDoubleSeparator(lines, at)) expected.push(lines[at++]!);
      at += 2;
    } else {
      while (at < lines.length && lines[at]!.trim() !== "") expected.push(lines[at++]!);
    }
    stanzas.push({
      line: start,
      ...parseDirective(directive),
      input: input.join("\n").trim(),
      expected: expected.map((each) => `${each}\n`).join(""),
    });
  }
  return stanzas;
}

/** What is compared with `expected`: the output, ended by a line feed unless it is empty. */
export function normalizeOutput(output: string): string {
  return output === "" || output.endsWith("\n") ? output : `${output}\n`;
}

/** The first argument's word as a number. */
export function firstNumber(args: readonly Argument[]): number {
  return toNumber(args[0]?.key ?? fail("a number was expected as first argument"));
}

/** All bare words as numbers. */
export function bareNumbers(args: readonly Argument[]): number[] {
  return args.filter((arg) => arg.values.length === 0).map((arg) => toNumber(arg.key));
}

/** `text` as a whole number. Throws otherwise. */
export function toNumber(text: string): number {
  if (!/^\d+$/.test(text)) fail(`not a number: "${text}"`);
  return Number(text);
}

/** `text` as a truth value. Throws otherwise. */
export function toBoolean(text: string): boolean {
  if (text !== "true" && text !== "false") fail(`not a truth value: "${text}"`);
  return text === "true";
}

/** Gives up on a file that this runner cannot read. */
export function fail(message: string): never {
  throw new Error(message);
}

function isDoubleSeparator(lines: readonly string[], at: number): boolean {
  return lines[at] === SEPARATOR && lines[at + 1] === SEPARATOR;
}

function parseDirective(line: string): { command: string; args: Argument[] } {
  const words: Argument[] = [];
  let at = 0;
  while (at < line.length) {
    if (line[at] === " " || line[at] === "\t") {
      at++;
      continue;
    }
    WORD.lastIndex = at;
    const match = WORD.exec(line);
    if (match === null) return fail(`cannot read directive at column ${at + 1}: ${line}`);
    const [whole, key, list, single] = match;
    words.push({ key: key!, values: valuesOf(list, single) });
    at += whole.length;
  }
  const [command, ...args] = words;
  if (command === undefined || command.values.length > 0) return fail(`no command: ${line}`);
  return { command: command.key, args };
}

function valuesOf(list: string | undefined, single: string | undefined): string[] {
  if (single !== undefined) return [single];
  if (list === undefined || list.trim() === "") return [];
  return list.split(",").map((each) => each.trim());
}
