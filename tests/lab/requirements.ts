/**
 * What the lab needs of the machine, and tests that say so when they cannot run.
 *
 * A skipped test carries its reason in its name, in square brackets after "skipped:", where
 * scripts/test finds it and prints it again at the end.
 *
 * @module
 */
import { afterAll, beforeAll, describe, test } from "bun:test";
import { type Lab, type LabOptions, openLab } from "./lab.ts";
import { LAB_PROGRAMS } from "./programs.ts";
import { whichProgram } from "./run.ts";

const LAB_TEST_TIMEOUT_MS = 60_000;

/** Why no lab can be opened here; undefined when it can. */
export function labObstacle(programs: Readonly<Record<string, string>> = {}): string | undefined {
  if (process.platform !== "linux") return "needs Linux";
  if (process.getuid?.() !== 0) return "needs root";
  const needed = Object.keys({ ...LAB_PROGRAMS, ...programs });
  const missing = needed.filter((name) => whichProgram(name) === undefined);
  return missing.length === 0 ? undefined : `needs ${missing.join(", ")}`;
}

export interface LabTestOptions extends LabOptions {
  readonly timeoutMs?: number;
  /** Programs beside those of every lab. */
  readonly programs?: Readonly<Record<string, string>>;
}

/**
 * A test with a lab of its own, opened before and disposed of after it. When it fails, the end of
 * each process's log is printed. Skipped, with the reason, where no lab can be opened.
 */
export function labTest(
  name: string,
  options: LabTestOptions,
  body: (lab: Lab) => Promise<void>,
): void {
  const timeoutMs = options.timeoutMs ?? LAB_TEST_TIMEOUT_MS;
  testOrSkip(name, { timeoutMs, obstacle: labObstacle(options.programs) }, async () => {
    await using lab = await openLab(options);
    await withLogs(name, lab, body);
  });
}

/** Declares one test of a group that shares a lab. */
export type SharedLabTest = (
  name: string,
  body: (lab: Lab) => Promise<void>,
  timeoutMs?: number,
) => void;

/**
 * A group of tests that share one lab, for questions that change nothing: it is opened and made
 * ready by `prepare` before the first, and disposed of after the last.
 */
export function labGroup(
  name: string,
  options: LabTestOptions & { readonly prepare: (lab: Lab) => Promise<void> },
  declare: (test: SharedLabTest) => void,
): void {
  describe(name, () => {
    let shared: Lab | undefined;
    if (labObstacle() === undefined) {
      beforeAll(async () => {
        shared = await openLab(options);
        await withLogs(`${name}, before the first`, shared, options.prepare);
      }, LAB_TEST_TIMEOUT_MS);
      afterAll(async () => await shared?.[Symbol.asyncDispose]());
    }
    declare((title, body, timeoutMs) => {
      const limitMs = timeoutMs ?? options.timeoutMs ?? LAB_TEST_TIMEOUT_MS;
      testOrSkip(title, { timeoutMs: limitMs, obstacle: labObstacle() }, async () => {
        if (shared === undefined) throw new Error("The lab of this group could not be opened");
        await withLogs(title, shared, body);
      });
    });
  });
}

function testOrSkip(
  name: string,
  { obstacle, timeoutMs }: { readonly obstacle: string | undefined; readonly timeoutMs: number },
  body: () => Promise<void>,
): void {
  if (obstacle === undefined) test(name, body, timeoutMs);
  else test.skip(`${name} [skipped: ${obstacle}]`, () => undefined);
}

async function withLogs(name: string, lab: Lab, body: (lab: Lab) => Promise<void>): Promise<void> {
  try {
    await body(lab);
  } catch (error) {
    console.error(`Logs of the failed test "${name}":\n${lab.logTails()}`);
    throw error;
  }
}
