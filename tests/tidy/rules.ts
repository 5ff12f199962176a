/**
 * The rules of house style that a line or a file can break by itself.
 *
 * What a formatter, linter or type checker already holds is not repeated here.
 *
 * @module
 */
import { PURE_ROWS, rowOf } from "./imports.ts";
import type { SourceFile } from "./source.ts";

/** A rule: gives one sentence for each place that breaks it. */
export interface Rule {
  readonly name: string;
  check(file: SourceFile): string[];
}

const LINE_COLUMNS_MAX = 100;
/** For a line that is long only by what stands inside quotes: it reads worse when it is broken. */
const PROSE_COLUMNS_MAX = 180;
const FILE_LINES_MAX = 500;
const TEST_FILE_LINES_MAX = 800;
const MAIN_LINES_MAX = 40;

interface Ban {
  readonly what: string;
  readonly pattern: RegExp;
  /** Beginnings of paths where it is at home. */
  readonly homes: readonly string[];
}

/** Calls that only some places of src/ may make. */
const BANS: readonly Ban[] = [
  ban("Date.now", /\bDate\.now\b/, ["src/host/", "src/agent/"]),
  ban("new Date()", /\bnew Date\(\s*\)/, ["src/host/", "src/agent/"]),
  ban("performance.now", /\bperformance\.now\b/, ["src/host/", "src/agent/"]),
  ban("timers", /(?<![.\w])(setTimeout|setInterval|setImmediate)\(|\bBun\.sleep/, [
    "src/host/",
    "src/agent/",
  ]),
  ban("Math.random", /\bMath\.random\b/, ["src/host/", "src/agent/"]),
  ban("random bytes", /\b(getRandomValues|randomUUID|randomBytes|randomInt)\b/, [
    "src/host/",
    "src/agent/",
  ]),
  ban("process.exit", /\bprocess\.(exit|exitCode|abort)\b/, ["src/main.ts"]),
  ban("killing", /\bprocess\.kill\b/, ["src/integrations/"]),
  ban("process.env", /\b(process|Bun)\.env\b|\bimport\.meta\.env\b/, ["src/agent/config.ts"]),
  ban("other programs", /\bBun\.(spawn|spawnSync|\$)|\bchild_process\b/, ["src/integrations/"]),
  ban("console", /\bconsole\./, ["src/base/log.ts"]),
  ban("parseInt", /\bparse(Int|Float)\(/, ["src/base/"]),
  ban("default export", /\bexport default\b/, []),
];

/** Texts that no file of the repository may hold. Written in pieces, so that this one does not. */
const WORKPLACE = [
  ["registry", "npmjs"],
  ["npmjs", "(org|com)"],
  ["deb", "debian"],
  ["files", "pythonhosted"],
  ["static", "crates"],
  ["proxy", "golang"],
].map((words) => words.join("\\."));
const FORBIDDEN_TEXT = new RegExp(`\\b(${WORKPLACE.join("|")})\\b|["'\` (]/${"work"}/`);

/** Names of branded types, which only base/ may cast to. */
export function brandNames(files: readonly SourceFile[]): string[] {
  return files
    .filter((file) => file.path.startsWith("src/base/"))
    .flatMap((file) =>
      [...file.code.join("\n").matchAll(/\btype (\w+) =\s*Brand</g)].map((match) => match[1] ?? ""),
    );
}

/** All rules; `brands` come from `brandNames`. */
export function tidyRules(brands: readonly string[]): readonly Rule[] {
  const brandCast = new RegExp(`\\bas (${brands.join("|")})\\b(?!\\w)`);
  return [
    perLine("line length", (_, line, code) =>
      line.length > columnsMax(line, code) ? `${line.length} columns` : undefined,
    ),
    { name: "file length", check: checkFileLength },
    { name: "header", check: checkHeader },
    {
      name: "file name",
      check: (file) =>
        /^[a-z0-9]+(-[a-z0-9]+)*(\.(test|fake))?\.ts$/.test(file.path.split("/").at(-1) ?? "")
          ? []
          : [`${file.path}: file names are kebab-case`],
    },
    perCodeLine("brand cast", (file, code) =>
      brands.length > 0 && !file.path.startsWith("src/base/") && !file.isTest
        ? brandCast.exec(code)?.[0]
        : undefined,
    ),
    perCodeLine("unchecked cast", (_, code) => /\bas (any|never|unknown as)\b/.exec(code)?.[0]),
    perLine("suppressed check", (_, line) =>
      /^\s*(\/\/|\/?\*).*@ts-(ignore|nocheck|expect-error)/.test(line) ? line.trim() : undefined,
    ),
    perLine("open end", (_, line, code) => (isOpenEnd(line, code) ? line.trim() : undefined)),
    perCodeLine("await in a pure core", (file, code) =>
      isPure(file) && !file.isTest ? /\b(await|async)\b/.exec(code)?.[0] : undefined,
    ),
    perCodeLine("sleep in a test", (file, code) =>
      file.path.endsWith(".test.ts")
        ? /\bBun\.sleep|(?<![.\w])setTimeout\((resolve|done|r)\b|\bsleepSync\b/.exec(code)?.[0]
        : undefined,
    ),
    perCodeLine("focused test", (file, code) =>
      file.isTest ? /\b(test|describe|it)\.(only|todo)\b/.exec(code)?.[0] : undefined,
    ),
    perLine("skip without a reason", (file, line, code) =>
      file.isTest && /\b(test|describe|it)\.skip\(/.test(code) && !line.includes("[skipped: ")
        ? line.trim()
        : undefined,
    ),
    ...BANS.map((each) =>
      perCodeLine(each.what, (file, code) =>
        file.path.startsWith("src/") &&
        !file.isTest &&
        !each.homes.some((home) => file.path.startsWith(home))
          ? each.pattern.exec(code)?.[0]
          : undefined,
      ),
    ),
    perLine("workplace", (_, line) => FORBIDDEN_TEXT.exec(line)?.[0]),
  ];
}

/** Whether prose or configuration mentions what belongs to a workplace, not to the project. */
export function mentionsWorkplace(text: string): boolean {
  return FORBIDDEN_TEXT.test(text);
}

function ban(what: string, pattern: RegExp, homes: readonly string[]): Ban {
  return { what, pattern, homes };
}

function isPure(file: SourceFile): boolean {
  return PURE_ROWS.includes(rowOf(file.path) ?? "");
}

function columnsMax(line: string, code: string): number {
  if (/^\s*(\/\/|\/?\*)/.test(line)) return LINE_COLUMNS_MAX;
  const withoutProse = code.trimEnd().replaceAll(/ {2,}/g, " ");
  const indent = code.length - code.trimStart().length;
  return indent + withoutProse.length > LINE_COLUMNS_MAX ? LINE_COLUMNS_MAX : PROSE_COLUMNS_MAX;
}

/** A to-do with the number of its issue may stay in a comment; everything else may not. */
function isOpenEnd(line: string, code: string): boolean {
  // What is still there after blanking is code; what is not was a comment or a string.
  const prose = [...line].map((char, at) => (char === code[at] ? " " : char)).join("");
  return /\b(FIXME|XXX)\b|\bTODO\b(?!\(#\d+\): )/.test(prose) && /^\s*(\/\/|\/?\*)/.test(line);
}

function checkFileLength(file: SourceFile): string[] {
  const count = file.lines.length - 1;
  const max =
    file.path === "src/main.ts"
      ? MAIN_LINES_MAX
      : file.path.endsWith(".test.ts")
        ? TEST_FILE_LINES_MAX
        : FILE_LINES_MAX;
  return count > max ? [`${file.path}: ${count} lines, more than ${max}`] : [];
}

/** What the file is, before anything else, closed by @module. */
function checkHeader(file: SourceFile): string[] {
  if (file.path.endsWith(".test.ts")) return [];
  const header = /^(?:#![^\n]*\n)?\/\*\*\n([\s\S]*?)\*\//.exec(file.text)?.[1];
  if (header === undefined) return [`${file.path}: does not open with a docstring`];
  return header.includes("* @module\n") ? [] : [`${file.path}: its header lacks @module`];
}

function perLine(
  name: string,
  find: (file: SourceFile, line: string, code: string) => string | undefined,
): Rule {
  return {
    name,
    check: (file) =>
      file.lines.flatMap((line, index) => {
        const found = find(file, line, file.code[index] ?? "");
        return found === undefined ? [] : [`${file.path}:${index + 1}: ${name}: ${found}`];
      }),
  };
}

function perCodeLine(
  name: string,
  find: (file: SourceFile, code: string) => string | undefined,
): Rule {
  return perLine(name, (file, _, code) => find(file, code));
}
