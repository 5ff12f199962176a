/**
 * The simulator at work: a campaign of some hundred seeds without a failure, in which everything
 * happened that can; the same seed gives the same run; every bug made on purpose is found.
 *
 * Longer campaigns: `scripts/sim`. What it checks and how: docs/SIMULATOR.md.
 *
 * @module
 */
import { beforeAll, describe, expect, test } from "bun:test";
import { availableParallelism } from "node:os";
import { type CampaignReport, runCampaign } from "./cluster/campaign.ts";
import { MUTANTS } from "./cluster/mutants.ts";
import { drawScenario, FAULT_NAMES, PROFILES, profileOf } from "./cluster/scenario.ts";
import { simulate } from "./cluster/simulate.ts";

const SEED_COUNT = 40 * PROFILES.length;
const JOBS = Math.min(2, availableParallelism());
const EXTRA_ROUNDS_MAX = 2;
/** On two cores half a minute; others may use them as well. */
const CAMPAIGN_TIMEOUT_MS = 600_000;
const MUTANT_TIMEOUT_MS = 300_000;

/** What must have come up beside the faults, as the checkers saw it. */
const POINTS = [
  ...["sometimes.elected", "sometimes.log-truncated", "sometimes.snapshot-installed"],
  ...["sometimes.membership-changed", "sometimes.joint-membership", "sometimes.request-repeated"],
  ...["sometimes.write-refused", "sometimes.past-read", "sometimes.watch-compacted"],
  ...["sometimes.watch-resumed", "sometimes.lease-held", "sometimes.lease-expired"],
  "sometimes.spare-fed",
  ...["sometimes.key-renewed", "sometimes.key-expired", "sometimes.damage-detected"],
  ...["sometimes.fatal-disk-error", "sometimes.torn-batch-dropped", "history.linearizable"],
  // Faults that come from the surroundings, and planned ones that took effect.
  ...["net.drop", "net.duplicate", "net.reorder", "net.heavy-tail", "net.corrupt", "net.cut"],
  ...["net.clog", "disk.lose-unsynced", "disk.torn-write", "disk.directory-unsynced", "disk.full"],
  ...["disk.write-error", "disk.sync-error", "disk.read-error", "disk.short-read"],
  ...["disk.temporary-left", "member.during-partition", "load.compaction", "load.huge-values"],
  ...["load.retry-after-timeout", "clock.skew", "version.old"],
];

/** Runs seeds until everything has happened: the rarest may take more than the first ones. */
async function runUntilCovered(): Promise<CampaignReport> {
  const common = { limitMs: Number.POSITIVE_INFINITY, jobs: JOBS };
  const report = await runCampaign({ ...common, firstSeed: 1, seedCount: SEED_COUNT });
  for (let round = 1; round <= EXTRA_ROUNDS_MAX && missing(report).length > 0; round++) {
    const firstSeed = 1 + round * 10 * SEED_COUNT;
    const more = await runCampaign({ ...common, firstSeed, seedCount: SEED_COUNT / 2 });
    report.failures.push(...more.failures);
    report.coverage.add(more.coverage.toRecord());
    report.seedCount += more.seedCount;
    report.steps += more.steps;
    report.tookMs += more.tookMs;
  }
  return report;
}

function missing({ coverage }: CampaignReport): readonly string[] {
  return [...FAULT_NAMES, ...POINTS].filter((name) => coverage.count(name) === 0);
}

describe("campaign", () => {
  let report: CampaignReport;

  beforeAll(async () => {
    report = await runUntilCovered();
    const { seedCount, steps, tookMs } = report;
    const rate = Math.round(steps / (tookMs / 60_000));
    console.log(
      `measured: ${seedCount} seeds, ${steps} steps, ${rate} a minute, ${JOBS} processes`,
    );
  }, CAMPAIGN_TIMEOUT_MS);

  test("no seed fails", () => {
    const failures = report.failures.map(
      ({ seed, profile, failure }) =>
        `scripts/sim --seed ${seed} --profile ${profile} --seeds 1: ${failure?.message}`,
    );
    expect(failures).toEqual([]);
    expect(report.digests.size).toBe(SEED_COUNT);
  });

  test("every fault happened, and every point of interest was reached", () => {
    expect(missing(report)).toEqual([]);
  });

  test(
    "a seed gives the same run again, here as in another process",
    async () => {
      for (const seed of [1, 2, 3, 4, 5, 6, 7, 8].map((each) => each * 3)) {
        const scenario = drawScenario(seed, profileOf(seed));
        const first = await simulate(scenario);
        const second = await simulate(scenario, { isPrecise: true });
        expect(first.digest).toBe(report.digests.get(seed) ?? "none");
        expect(second.digest).toBe(first.digest);
      }
      expect(new Set(report.digests.values()).size).toBe(SEED_COUNT);
    },
    CAMPAIGN_TIMEOUT_MS,
  );
});

describe("bugs made on purpose", () => {
  for (const mutant of MUTANTS) {
    test(
      `${mutant.name}: found within ${mutant.seedsMax} seeds`,
      async () => {
        const report = await runCampaign({
          ...{ firstSeed: 1, seedCount: mutant.seedsMax, jobs: JOBS },
          ...{ limitMs: Number.POSITIVE_INFINITY, tailSteps: 0 },
          ...{ mutant: mutant.name, isEndedByFailure: true },
        });
        const [found] = report.failures;
        expect(found?.failure?.property).toBeString();
        // Not by falling over at the start: the place of the bug must have been there.
        expect(found?.steps).toBeGreaterThan(0);
      },
      MUTANT_TIMEOUT_MS,
    );
  }
});
