/**
 * The test command: sets up, then runs every check and every test, and counts them.
 *
 *   scripts/test [part …]      format lint types tidy unit conformance sim lab e2e; all when absent
 *
 * What was skipped is said with its reason in the last lines; the very last is "N passed, N
 * failed". Exits with 0 only when something ran and nothing failed. Full output of each part goes
 * to dist/test.
 *
 * @module
 */
import { LAB_PROGRAMS, TEST_PROGRAMS } from "../tests/lab/programs.ts";
import { build } from "./build.ts";
import { Progress, seconds } from "./lib/progress.ts";
import { installLibraries, installPrograms } from "./lib/setup.ts";
import { runSuite, SUITES, type Suite, type SuiteOutcome, testFiles } from "./lib/suites.ts";

/** What has been counted so far. */
class Tally {
  passed = 0;
  readonly failed: string[] = [];
  /** How many tests were skipped for each reason. */
  readonly skipped = new Map<string, string[]>();

  add(suite: string, outcome: SuiteOutcome): void {
    this.passed += outcome.passed;
    this.failed.push(...outcome.failed);
    for (const { name, reason } of outcome.skipped) {
      const names = this.skipped.get(reason) ?? [];
      this.skipped.set(reason, [...names, `${suite}: ${name}`]);
    }
  }

  /** The closing lines; the last is the count. */
  report(): string {
    const lines = this.failed.map((name) => `failed: ${name}`);
    for (const [reason, names] of this.skipped) {
      lines.push(`skipped: ${names.length} tests, ${reason} (the first: ${names[0]})`);
    }
    return [...lines, `${this.passed} passed, ${this.failed.length} failed`].join("\n");
  }
}

async function main(names: readonly string[]): Promise<number> {
  const startMs = performance.now();
  const suites = chooseSuites(names);
  if (suites === undefined) return 2;
  const progress = new Progress();
  const tally = new Tally();
  await progress.step("libraries", async (notes) => notes.result(await installLibraries()));
  const needsAll = suites.some(needsBuild);
  await progress.step("programs of the lab", async (notes) => {
    const outcome = await installPrograms(needsAll ? TEST_PROGRAMS : LAB_PROGRAMS);
    notes.result(outcome.kind === "ready" ? outcome.text : `not all there, ${outcome.text}`);
  });
  const built = suites.some(needsBuild) ? await tryBuild(progress, tally) : true;
  for (const suite of suites) {
    if (needsBuild(suite) && !built) {
      const failed = [`${suite.name}: did not run, the build failed`];
      tally.add(suite.name, { passed: 0, failed, skipped: [], text: "" });
    } else await runStep(suite, progress, tally);
  }
  console.log(`\nin ${seconds(performance.now() - startMs)}`);
  console.log(tally.report());
  return tally.failed.length === 0 && tally.passed > 0 ? 0 : 1;
}

/** The parts with these names; all that have something to run when there are none. */
function chooseSuites(names: readonly string[]): readonly Suite[] | undefined {
  const unknown = names.filter((name) => !SUITES.some((suite) => suite.name === name));
  if (unknown.length > 0) {
    const known = SUITES.map((suite) => suite.name).join(", ");
    console.error(`Cannot test "${unknown.join('", "')}": no such part; there are ${known}`);
    return undefined;
  }
  if (names.length > 0) return SUITES.filter((suite) => names.includes(suite.name));
  return SUITES.filter((suite) => suite.kind === "check" || testFiles(suite).length > 0);
}

function needsBuild(suite: Suite): boolean {
  return suite.kind === "tests" && suite.needsBuild;
}

/** Builds dist/overlay; counts as one check. */
async function tryBuild(progress: Progress, tally: Tally): Promise<boolean> {
  try {
    await build([], progress);
    tally.add("build", { passed: 1, failed: [], skipped: [], text: "" });
    return true;
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    tally.add("build", { passed: 0, failed: ["build"], skipped: [], text: "" });
    return false;
  }
}

async function runStep(suite: Suite, progress: Progress, tally: Tally): Promise<void> {
  let finished = 0;
  await progress.step(suite.name, async (notes) => {
    const outcome = await runSuite(suite, (line) => {
      if (/^\((pass|fail|skip|todo)\) /.test(line)) finished += 1;
      if (finished > 0) notes.status(`${finished} tests so far`);
      if (line.startsWith("measured: ")) notes.show(line);
    });
    tally.add(suite.name, outcome);
    if (outcome.text !== "") notes.show(outcome.text);
    if (outcome.failed.length > 0) notes.fail();
    const skipped = outcome.skipped.length === 0 ? "" : `, ${outcome.skipped.length} skipped`;
    notes.result(`${outcome.passed} passed, ${outcome.failed.length} failed${skipped}`);
  });
}

if (import.meta.main) {
  try {
    process.exit(await main(process.argv.slice(2)));
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exit(1);
  }
}
