import { expect, test } from "bun:test";
import { run, whichProgram } from "../../tests/lab/run.ts";
import { packageVersion } from "./version.ts";

/** As they were made, oldest first. */
const MADE = [
  "0.9.0",
  "1.0.0-alpha.1",
  "1.0.0-alpha.1-4-g1a2b3c4",
  "1.0.0-rc.1",
  "1.0.0-rc.2",
  "1.0.0",
  "1.0.0+g1a2b3c4",
  "1.0.1",
  "1.0.1-2-gfedcba9",
  "1.0.1-10-g1234567",
  "1.0.2",
  "1.10.0",
] as const;

test("packageVersion: what stands behind a tag, and before it", () => {
  expect(packageVersion("v1.2.0")).toBe("1.2.0");
  expect(packageVersion("1.2.0-rc.1")).toBe("1.2.0~rc.1");
  expect(packageVersion("1.2.0-3-g1a2b3c4")).toBe("1.2.0+3.g1a2b3c4");
  expect(packageVersion("1.2.0-rc.1-3-g1a2b3c4")).toBe("1.2.0~rc.1+3.g1a2b3c4");
  expect(packageVersion("0.1.0+g1a2b3c4")).toBe("0.1.0+g1a2b3c4");
  for (const none of ["", "1.2", "1.2.0~1", "1.2.0 x", "1.2.0-", "1.2.0\n"]) {
    expect(packageVersion(none)).toBeUndefined();
  }
});

for (const [tool, isBefore] of [
  ["dpkg", (a: string, b: string) => ["--compare-versions", a, "lt", b]],
  ["rpm", (a: string, b: string) => ["--eval", `%{lua: print(rpm.vercmp("${a}", "${b}"))}`]],
] as const) {
  const lacks = whichProgram(tool) === undefined ? ` [skipped: needs ${tool}]` : "";
  test.skipIf(lacks !== "")(
    `packageVersion: ${tool} orders them as they were made${lacks}`,
    async () => {
      const pairs = MADE.slice(1).map((newer, i) => [MADE[i]!, newer] as const);
      const finished = await Promise.all(
        pairs.map(async ([older, newer]) => {
          const words = isBefore(packageVersion(older)!, packageVersion(newer)!);
          const { code, stdout } = await run([tool, ...words]);
          return [older, newer, code, stdout.trim()];
        }),
      );
      const says = tool === "rpm" ? "-1" : "";
      expect(finished).toEqual(pairs.map(([older, newer]) => [older, newer, 0, says]));
    },
  );
}
