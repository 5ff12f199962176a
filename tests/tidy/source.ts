/**
 * A source file as the tidy rules see it: its path, its lines, its code without comments and
 * strings, and its imports.
 *
 * The reader knows as much of TypeScript as these rules need. That it misses no import is held
 * against Bun's own scanner in tidy.test.ts.
 *
 * @module
 */

export interface Import {
  /** As written: "../base/ids.ts", "node:fs". */
  readonly specifier: string;
  /** A path below the top of the repository for a relative import; else the specifier. */
  readonly target: string;
  readonly typeOnly: boolean;
}

export interface SourceFile {
  /** Below the top of the repository, with slashes: "src/base/ids.ts". */
  readonly path: string;
  readonly text: string;
  readonly lines: readonly string[];
  /** The text with every comment, and what stands inside strings, replaced by blanks. */
  readonly code: readonly string[];
  readonly imports: readonly Import[];
  /** A test or what only tests use: `*.test.ts`, `*.fake.ts`, and everything in tests/. */
  readonly isTest: boolean;
}

/** Reads one file's text; `path` says where it lies and so what its relative imports mean. */
export function parseSource(path: string, text: string): SourceFile {
  const blanked = blankOut(text);
  return {
    path,
    text,
    lines: text.split("\n"),
    code: blanked.split("\n"),
    imports: findImports(path, text, blanked),
    isTest: /\.(test|fake)\.ts$/.test(path) || path.startsWith("tests/"),
  };
}

const IMPORT_STATEMENT =
  /\b(import|export)\s+(type\s+)?((?:[\w*$\s,]|\{[^}]*\})*?\bfrom\s*)?"( *)"|\bimport\(\s*"( *)"/g;

/** Statements are found in the blanked text, so that a string or comment cannot look like one. */
function findImports(path: string, text: string, blanked: string): Import[] {
  const imports: Import[] = [];
  for (const match of blanked.matchAll(IMPORT_STATEMENT)) {
    const [whole, keyword, type, names, quoted, dynamic] = match;
    const length = (quoted ?? dynamic ?? "").length;
    const end = match.index + whole.length - 1;
    const specifier = text.slice(end - length, end);
    if (keyword === "export" && names === undefined) continue; // export "x" is no import.
    const inline = /\{([^}]*)\}/.exec(names ?? "")?.[1]?.split(",") ?? [];
    const named = inline.filter((name) => name.trim() !== "");
    const allTypes = named.length > 0 && named.every((name) => name.trim().startsWith("type "));
    imports.push({
      specifier,
      target: specifier.startsWith(".") ? resolvePath(path, specifier) : specifier,
      typeOnly: type !== undefined || allTypes,
    });
  }
  return imports;
}

function resolvePath(from: string, specifier: string): string {
  const parts = from.split("/").slice(0, -1);
  for (const part of specifier.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== ".") parts.push(part);
  }
  return parts.join("/");
}

/** What may stand before a `/` that begins a regular expression rather than divides. */
const BEFORE_REGEX = /(^|[(,=:[!&|?{};+*%<>~^-]|\b(return|typeof|case|in|of|yield|await|=>))\s*$/;

/** `text` with comments and the inside of strings, templates and regular expressions blank. */
export function blankOut(text: string): string {
  let out = "";
  let at = 0;
  const keep = (count: number) => {
    out += text.slice(at, at + count);
    at += count;
  };
  const blank = (count: number) => {
    out += text.slice(at, at + count).replaceAll(/[^\n]/g, " ");
    at += count;
  };
  /** How deep in `${…}` the reader is, and in how many braces in each. */
  const templates: number[] = [];
  while (at < text.length) {
    const rest = text.slice(at, at + 2);
    const char = rest[0] ?? "";
    if (rest === "//") blank(lengthTo(text, at, "\n"));
    else if (rest === "/*") blank(lengthTo(text, at + 2, "*/") + 4);
    else if (char === '"' || char === "'") {
      keep(1);
      blank(quotedLength(text, at, char));
      keep(1);
    } else if (char === "/" && BEFORE_REGEX.test(out.slice(-20).split("\n").at(-1) ?? "")) {
      keep(1);
      blank(regexLength(text, at));
      keep(1);
    } else if (char === "`" || (char === "}" && templates.at(-1) === 0)) {
      if (char === "}") templates.pop();
      keep(1);
      blank(templateLength(text, at));
      if (text.startsWith("${", at)) templates.push(0);
      keep(text[at] === "`" ? 1 : 2);
    } else {
      const depth = templates.length - 1;
      if (char === "{" && depth >= 0) templates[depth] = (templates[depth] ?? 0) + 1;
      if (char === "}" && depth >= 0) templates[depth] = (templates[depth] ?? 0) - 1;
      keep(1);
    }
  }
  return out;
}

/** Characters from `at` up to the next `end`, or to the end of the text. */
function lengthTo(text: string, at: number, end: string): number {
  const found = text.indexOf(end, at);
  return (found < 0 ? text.length : found) - at;
}

function quotedLength(text: string, at: number, quote: string): number {
  let end = at;
  while (end < text.length && text[end] !== quote && text[end] !== "\n") {
    end += text[end] === "\\" ? 2 : 1;
  }
  return end - at;
}

function templateLength(text: string, at: number): number {
  let end = at;
  while (end < text.length && text[end] !== "`" && !text.startsWith("${", end)) {
    end += text[end] === "\\" ? 2 : 1;
  }
  return end - at;
}

function regexLength(text: string, at: number): number {
  let end = at;
  let inClass = false;
  while (end < text.length && text[end] !== "\n" && (inClass || text[end] !== "/")) {
    if (text[end] === "[") inClass = true;
    if (text[end] === "]") inClass = false;
    end += text[end] === "\\" ? 2 : 1;
  }
  return end - at;
}
