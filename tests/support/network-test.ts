/**
 * Tests against the real kernel, in a network namespace that belongs to one test alone.
 *
 * The namespace has no name and ends with the test, whatever happens to the process. Skipped,
 * with the reason in the test's name, where none can be made.
 *
 * @module
 */
import { test } from "bun:test";
import { enterNewNetwork } from "../../src/host/sys/namespace.ts";
import { whichProgram } from "../lab/run.ts";

/** Programs are started, on machines that may be busy; no test waits for this to pass. */
const TIMEOUT_MS = 60_000;

/** Runs a command line in the current namespace; its standard output. Throws when it fails. */
export function sh(line: string): string {
  const { exitCode, stderr, stdout } = Bun.spawnSync(["sh", "-ec", line]);
  if (exitCode !== 0) throw new Error(`"${line}" failed: ${stderr.toString()}`);
  return stdout.toString();
}

/** A test inside an empty network namespace of its own, where `programs` are at hand. */
export function networkTest(
  name: string,
  body: () => Promise<void> | void,
  programs: readonly string[] = ["ip"],
): void {
  const obstacle = networkObstacle(programs);
  if (obstacle !== undefined) {
    test.skip(`${name} [skipped: ${obstacle}]`, () => undefined);
    return;
  }
  const run = async () => {
    using _ = enterNewNetwork();
    await body();
  };
  test(name, run, TIMEOUT_MS);
}

function networkObstacle(programs: readonly string[]): string | undefined {
  if (process.platform !== "linux") return "needs Linux";
  if (process.getuid?.() !== 0) return "needs root";
  const missing = programs.filter((program) => whichProgram(program) === undefined);
  return missing.length === 0 ? undefined : `needs ${missing.join(", ")}`;
}
