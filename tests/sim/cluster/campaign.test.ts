/**
 * Campaigns share seeds out and add them up; a process that dies is a failure of its seed.
 *
 * @module
 */
import { expect, test } from "bun:test";
import { runCampaign } from "./campaign.ts";

const common = { firstSeed: 1, limitMs: Number.POSITIVE_INFINITY, profile: "calm" } as const;

test("campaign: two processes do what one does", async () => {
  const one = await runCampaign({ ...common, seedCount: 5, jobs: 1 });
  const two = await runCampaign({ ...common, seedCount: 5, jobs: 2 });
  const sorted = (digests: ReadonlyMap<number, string>) => [...digests].sort(([a], [b]) => a - b);
  expect(sorted(two.digests)).toEqual(sorted(one.digests));
  expect([two.seedCount, two.steps]).toEqual([5, one.steps]);
  expect(two.coverage.toRecord()).toEqual(one.coverage.toRecord());
  expect(two.failures).toEqual([]);
}, 60_000);

test("campaign: ends when its time is over, and at the first failure when told so", async () => {
  const none = await runCampaign({
    ...common,
    seedCount: Number.POSITIVE_INFINITY,
    limitMs: 0,
    jobs: 2,
  });
  expect(none.seedCount).toBe(0);
  const seen: number[] = [];
  const found = await runCampaign({
    ...{ ...common, seedCount: 50, jobs: 1, mutant: "durable-before-sync" },
    ...{ isEndedByFailure: true, onSeed: ({ seed }: { readonly seed: number }) => seen.push(seed) },
  });
  expect(found.failures).toHaveLength(1);
  expect(seen.length).toBeLessThan(50);
  expect(seen.at(-1)).toBe(found.failures[0]?.seed ?? -1);
}, 60_000);

test("campaign: a process that dies is a failure", async () => {
  const report = await runCampaign({ ...common, seedCount: 3, jobs: 1, mutant: "no such bug" });
  expect(report.failures).toHaveLength(1);
  expect(report.failures[0]?.failure?.property).toBe("the process goes on");
  expect(report.failures[0]?.failure?.message).toContain("Cannot make the bug");
}, 60_000);
