/**
 * The parts of the test command: what each runs, and how its outcome is counted.
 *
 * A part is either one check (a program that must exit with 0 and counts as one test) or a set of
 * test files. Every test file belongs to exactly one part, by where it lies.
 *
 * @module
 */
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { programEnv } from "../../tests/lab/run.ts";
import { linesOf } from "../../tests/support/lines.ts";
import { parseJunit, skipReason } from "./junit.ts";
import { DIST, inRoot, ROOT } from "./root.ts";

export type Suite =
  | { readonly kind: "check"; readonly name: string; readonly command: readonly string[] }
  | {
      readonly kind: "tests";
      readonly name: string;
      /** Paths below the top of the repository begin with one of these. */
      readonly folders: readonly string[];
      /** Whether it runs dist/overlay, which must be built before. */
      readonly needsBuild: boolean;
    };

/** What a part counted. */
export interface SuiteOutcome {
  readonly passed: number;
  readonly failed: readonly string[];
  readonly skipped: readonly { readonly name: string; readonly reason: string }[];
  /** What to show of a failure; empty without one. */
  readonly text: string;
}

const BIN = "node_modules/.bin";
/** Per test, unless it says otherwise: this machine may be busy with something else. */
const TEST_TIMEOUT_MS = 30_000;
const SUITE_TIMEOUT_MS = 900_000;
const FAILURE_LINES_MAX = 400;
/** What shells expect of a program that SIGINT ended. */
const INTERRUPTED_CODE = 130;

/** In the order in which they run: what fails soonest first. */
export const SUITES: readonly Suite[] = [
  { kind: "check", name: "format", command: [`${BIN}/biome`, "format", "."] },
  { kind: "check", name: "lint", command: [`${BIN}/biome`, "lint", "--error-on-warnings", "."] },
  { kind: "check", name: "types", command: [`${BIN}/tsc`, "--noEmit"] },
  tests("tidy", ["tests/tidy"]),
  tests("unit", ["src/", "scripts/", "tests/"]),
  tests("conformance", ["tests/conformance"]),
  tests("sim", ["tests/sim/"]),
  tests("lab", ["tests/lab/"]),
  { ...tests("e2e", ["tests/e2e/"]), needsBuild: true },
];

/** The test files of a part, below the top of the repository. "unit" has what no other claims. */
export function testFiles(suite: Suite): string[] {
  if (suite.kind === "check") return [];
  const all = ["src", "scripts", "tests"].flatMap((folder) => {
    if (!existsSync(inRoot(folder))) return [];
    return [...new Bun.Glob(`${folder}/**/*.test.ts`).scanSync(ROOT)];
  });
  return all.filter((path) => suiteOf(path) === suite.name).sort();
}

/** The name of the part that a test file belongs to. */
export function suiteOf(path: string): string {
  const owner = SUITES.find(
    (suite) =>
      suite.kind === "tests" &&
      suite.name !== "unit" &&
      suite.folders.some((folder) => path.startsWith(folder)),
  );
  return owner?.name ?? "unit";
}

/** Runs a part. `onLine` gets what it prints as it comes. */
export async function runSuite(
  suite: Suite,
  onLine: (line: string) => void,
): Promise<SuiteOutcome> {
  return suite.kind === "check" ? await runCheck(suite, onLine) : await runTests(suite, onLine);
}

async function runCheck(
  suite: Suite & { readonly kind: "check" },
  onLine: (line: string) => void,
): Promise<SuiteOutcome> {
  const { code, lines } = await runShown(suite.command, suite.name, onLine);
  if (code === 0) return { passed: 1, failed: [], skipped: [], text: "" };
  return { passed: 0, failed: [suite.name], skipped: [], text: lastLines(lines) };
}

async function runTests(
  suite: Suite & { readonly kind: "tests" },
  onLine: (line: string) => void,
): Promise<SuiteOutcome> {
  const files = testFiles(suite);
  if (files.length === 0) return failure(suite.name, "it has no test files", "");
  const report = join(DIST, "test", `${suite.name}.xml`);
  rmSync(report, { force: true });
  const { code, lines } = await runShown(
    [
      ...[process.execPath, "test", `--timeout=${TEST_TIMEOUT_MS}`],
      ...["--reporter=junit", `--reporter-outfile=${report}`],
      ...files.map((path) => `./${path}`),
    ],
    suite.name,
    onLine,
  );
  // Without what went well and what has been shown already.
  const text = lastLines(lines.filter((line) => !/^(\((pass|skip|todo)\)|measured:) /.test(line)));
  const outcomes = existsSync(report) ? parseJunit(readFileSync(report, "utf8")) : [];
  if (outcomes.length === 0) return failure(suite.name, `it ran no test, code ${code}`, text);
  const failed = outcomes.filter((each) => each.kind === "failed");
  const names = failed.map((each) => `${each.file}: ${each.name}`);
  // A file that cannot be loaded, or an error between tests, is in no test's account.
  const errors = lines.map((line) => /^ *(\d+) errors?$/.exec(line)?.[1]).find(Boolean);
  if (errors !== undefined) names.push(`${suite.name}: ${errors} errors outside of tests`);
  else if (code !== 0 && failed.length === 0) names.push(`${suite.name}: ended with code ${code}`);
  return {
    passed: outcomes.filter((each) => each.kind === "passed").length,
    failed: names,
    skipped: outcomes
      .filter((each) => each.kind === "skipped")
      .map((each) => skipReason(each.name)),
    text: names.length === 0 ? "" : text,
  };
}

function failure(suite: string, reason: string, text: string): SuiteOutcome {
  return { passed: 0, failed: [`${suite}: ${reason}`], skipped: [], text };
}

/** Runs a program, passing on its lines as they come and keeping them in dist/test. */
async function runShown(
  command: readonly string[],
  name: string,
  onLine: (line: string) => void,
): Promise<{ code: number; lines: string[] }> {
  mkdirSync(join(DIST, "test"), { recursive: true });
  const log = Bun.file(join(DIST, "test", `${name}.log`)).writer();
  const child = Bun.spawn({
    cmd: [...command],
    cwd: ROOT,
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    env: programEnv({ NO_COLOR: "1" }),
    timeout: SUITE_TIMEOUT_MS,
  });
  const lines: string[] = [];
  const take = async (stream: ReadableStream<Uint8Array>) => {
    for await (const line of linesOf(stream)) {
      lines.push(line);
      log.write(`${line}\n`);
      onLine(line);
    }
  };
  let interrupted = false;
  const interrupt = (signal: NodeJS.Signals) => {
    interrupted = true;
    child.kill(signal);
  };
  process.on("SIGINT", interrupt).on("SIGTERM", interrupt);
  await Promise.all([take(child.stdout), take(child.stderr)]);
  const code = await child.exited;
  process.off("SIGINT", interrupt).off("SIGTERM", interrupt);
  await log.end();
  // The child has had the time to clean up; what is left to run is not wanted any more.
  if (interrupted) process.exit(INTERRUPTED_CODE);
  return { code, lines };
}

function lastLines(lines: readonly string[]): string {
  const shown = lines.slice(-FAILURE_LINES_MAX);
  const cut = lines.length - shown.length;
  return [...(cut > 0 ? [`(${cut} lines before these)`] : []), ...shown].join("\n");
}

function tests(name: string, folders: readonly string[]): Suite & { readonly kind: "tests" } {
  return { kind: "tests", name, folders, needsBuild: false };
}
