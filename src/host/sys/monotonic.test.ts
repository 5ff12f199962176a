import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { monotonicNs } from "./monotonic.ts";

test("monotonicNs: goes forward, and agrees with what the machine says of its start", () => {
  const [first, second] = [monotonicNs(), monotonicNs()];
  expect(second).toBeGreaterThanOrEqual(first);
  // A machine that slept has been up for longer than that clock ran.
  const upSeconds = Number(readFileSync("/proc/uptime", "utf8").split(" ")[0]);
  expect(Number(second / 1_000_000_000n)).toBeLessThanOrEqual(upSeconds + 1);
  expect(second).toBeGreaterThan(0n);
});
