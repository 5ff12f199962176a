import { describe, expect, test } from "bun:test";
import { runSuite, SUITES, suiteOf, testFiles } from "./suites.ts";

describe("suiteOf", () => {
  test.each([
    ["src/base/address.test.ts", "unit"],
    ["scripts/lib/suites.test.ts", "unit"],
    ["tests/contract/log-store.test.ts", "unit"],
    ["tests/tidy.test.ts", "tidy"],
    ["tests/conformance/conformance.test.ts", "conformance"],
    ["tests/sim/cluster.test.ts", "sim"],
    ["tests/lab/lab.test.ts", "lab"],
    ["tests/e2e/main-job.test.ts", "e2e"],
  ])("%s is in %s", (path, suite) => {
    expect(suiteOf(path)).toBe(suite);
  });
});

test("testFiles: this file is found, in one part only", () => {
  const own = "scripts/lib/suites.test.ts";
  const owners = SUITES.filter((suite) => testFiles(suite).includes(own));
  expect(owners.map((suite) => suite.name)).toEqual(["unit"]);
});

describe("runSuite", () => {
  const check = (name: string, ...command: string[]) => ({ kind: "check", name, command }) as const;

  test("a check that exits with 0 is one test passed", async () => {
    const outcome = await runSuite(check("self-test", "true"), () => undefined);
    expect(outcome).toEqual({ passed: 1, failed: [], skipped: [], text: "" });
  });

  test("a check that fails is one test failed, with what it said", async () => {
    const lines: string[] = [];
    const words = ["sh", "-c", "echo wrong; echo so >&2; exit 3"];
    const outcome = await runSuite(check("self-test", ...words), (line) => lines.push(line));
    expect(outcome.failed).toEqual(["self-test"]);
    expect(outcome.text.split("\n").sort()).toEqual(["so", "wrong"]);
    expect(lines.sort()).toEqual(["so", "wrong"]);
  });

  test("a part without test files is a failure", async () => {
    const empty = { kind: "tests", name: "nothing", folders: ["tests/nothing/"] } as const;
    const outcome = await runSuite({ ...empty, needsBuild: false }, () => undefined);
    expect(outcome).toMatchObject({ passed: 0, failed: ["nothing: it has no test files"] });
  });
});
