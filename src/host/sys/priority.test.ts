import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { setThreadRealtime } from "./priority.ts";

const SCHED_OTHER = "0";
const SCHED_RR = "2";

/** Field 41 of proc_pid_stat(5): how the calling thread is scheduled. */
function policy(): string | undefined {
  const stat = readFileSync("/proc/thread-self/stat", "utf8");
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[38];
}

test("setThreadRealtime: raises and lowers this thread, or changes nothing", () => {
  const isAllowed = setThreadRealtime(true);
  try {
    expect(policy()).toBe(isAllowed ? SCHED_RR : SCHED_OTHER);
  } finally {
    expect(setThreadRealtime(false)).toBe(true);
  }
  expect(policy()).toBe(SCHED_OTHER);
});
