/**
 * What the lab needs of the machine, and tests that say so when they cannot run.
 *
 * A skipped test carries its reason in its name, in square brackets after "skipped:", where
 * scripts/test finds it and prints it again at the end.
 *
 * @module
 */
import { test } from "bun:test";
import { type Lab, type LabOptions, openLab } from "./lab.ts";
import { LAB_PROGRAMS } from "./programs.ts";
import { whichProgram } from "./run.ts";

const LAB_TEST_TIMEOUT_MS = 60_000;

/** Why no lab can be opened here; undefined when it can. */
export function labObstacle(): string | undefined {
  if (process.platform !== "linux") return "needs Linux";
  if (process.getuid?.() !== 0) return "needs root";
  const missing = Object.keys(LAB_PROGRAMS).filter((name) => whichProgram(name) === undefined);
  return missing.length === 0 ? undefined : `needs ${missing.join(", ")}`;
}

export interface LabTestOptions extends LabOptions {
  readonly timeoutMs?: number;
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
  const obstacle = labObstacle();
  if (obstacle !== undefined) {
    test.skip(`${name} [skipped: ${obstacle}]`, () => undefined);
    return;
  }
  const run = async () => {
    await using lab = await openLab(options);
    try {
      await body(lab);
    } catch (error) {
      console.error(`Logs of the failed test "${name}":\n${lab.logTails()}`);
      throw error;
    }
  };
  test(name, run, options.timeoutMs ?? LAB_TEST_TIMEOUT_MS);
}
