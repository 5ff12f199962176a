/**
 * Simulates clusters, one seed after the other, until the seeds or the minutes are used up.
 *
 *     scripts/sim --seeds 1000                   all profiles in turn, seeds 1 to 1000
 *     scripts/sim --minutes 60 --seed 5000       as many as fit, from seed 5000 on
 *     scripts/sim --seed 77 --profile disk       this one, with the end of its trace when it fails
 *     scripts/sim --mutant count-prior-terms     with a bug made on purpose: it must be found
 *     scripts/sim --mutants                      with each of them
 *
 * `--jobs N` processes (default: as many as there are cores), `--tail N` steps shown of a failure,
 * `--json FILE` for everything in numbers. The exit code is 0 when every seed passed (with
 * --mutant: when one failed), 1 when not, 2 when it was asked wrongly.
 *
 * @module
 */
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import {
  type CampaignReport,
  runCampaign,
  type SeedReport,
} from "../tests/sim/cluster/campaign.ts";
import { MUTANTS, type Mutant } from "../tests/sim/cluster/mutants.ts";
import { FAULT_NAMES, PROFILES, type Profile } from "../tests/sim/cluster/scenario.ts";
import { count, runScript, UsageError } from "./lib/usage.ts";

const SEEDS_DEFAULT = 300;
const TAIL_STEPS = 60;
const PROGRESS_MS = 10_000;
/** A program needs no more. */
const JSON_FAILURES_MAX = 100;

interface Options {
  readonly firstSeed: number | undefined;
  readonly seedCount: number | undefined;
  readonly minutes: number | undefined;
  readonly profile: Profile | undefined;
  readonly mutants: readonly Mutant[];
  readonly jobs: number;
  readonly tailSteps: number;
  readonly jsonFile: string | undefined;
}

/** What became of one bug made on purpose. */
interface MutantOutcome {
  readonly name: string;
  readonly found: boolean;
  readonly seedCount: number;
  readonly seconds: number;
  readonly seed: number | undefined;
  readonly property: string | undefined;
}

function readOptions(): Options {
  const { values } = parseArgs({
    options: {
      seed: { type: "string" },
      seeds: { type: "string" },
      minutes: { type: "string" },
      profile: { type: "string" },
      mutant: { type: "string" },
      mutants: { type: "boolean", default: false },
      jobs: { type: "string" },
      tail: { type: "string" },
      json: { type: "string" },
    },
  });
  const profile = PROFILES.find((each) => each === values.profile);
  if (values.profile !== undefined && profile === undefined) {
    const known = PROFILES.join(", ");
    throw new UsageError(`Cannot take the profile "${values.profile}": known are ${known}`);
  }
  const mutants = values.mutants ? MUTANTS : MUTANTS.filter((each) => each.name === values.mutant);
  if (values.mutant !== undefined && mutants.length === 0) {
    const known = MUTANTS.map((each) => each.name).join(", ");
    throw new UsageError(`Cannot make the bug "${values.mutant}": known are ${known}`);
  }
  return {
    firstSeed: count(values.seed, "seed"),
    seedCount: count(values.seeds, "seeds"),
    minutes: count(values.minutes, "minutes"),
    profile,
    mutants,
    jobs: Math.max(1, count(values.jobs, "jobs") ?? availableParallelism()),
    tailSteps: count(values.tail, "tail") ?? TAIL_STEPS,
    jsonFile: values.json,
  };
}

/** Seeds without a bug. */
async function runSeeds(options: Options): Promise<number> {
  const { firstSeed, minutes, profile, tailSteps } = options;
  const isSingle = firstSeed !== undefined && minutes === undefined && profile !== undefined;
  const untold = isSingle ? 1 : minutes === undefined ? SEEDS_DEFAULT : Number.POSITIVE_INFINITY;
  const seedCount = options.seedCount ?? untold;
  let toldMs = 0;
  const report = await runCampaign({
    firstSeed: firstSeed ?? 1,
    seedCount,
    limitMs: minutes === undefined ? Number.POSITIVE_INFINITY : minutes * 60_000,
    jobs: options.jobs,
    profile,
    tailSteps,
    isPrecise: seedCount === 1,
    onSeed(seed, { tookMs, ...sofar }) {
      if (seed.failure !== undefined) console.log(describeFailure(seed, undefined));
      if (tookMs - toldMs < PROGRESS_MS) return;
      toldMs = tookMs;
      console.log(
        `${sofar.seedCount} seeds, ${sofar.steps} steps, ${sofar.failures.length} failed`,
      );
    },
  });
  if (report.seedCount > 1) console.log(describeCoverage(report));
  const rate = `${Math.round(report.steps / (report.tookMs / 60_000))} a minute`;
  const outcome = `${report.seedCount} seeds, ${report.steps} steps, ${rate}`;
  console.log(`${outcome}, ${report.failures.length} failed`);
  await writeJson(options, toJson(report));
  return report.failures.length === 0 && report.seedCount > 0 ? 0 : 1;
}

/** Bugs made on purpose, one after the other: each must be found. */
async function runMutants(options: Options): Promise<number> {
  const outcomes: MutantOutcome[] = [];
  for (const mutant of options.mutants) {
    const report = await runCampaign({
      firstSeed: options.firstSeed ?? 1,
      seedCount: options.seedCount ?? mutant.seedsMax,
      limitMs: (options.minutes ?? Number.POSITIVE_INFINITY) * 60_000,
      jobs: options.jobs,
      profile: options.profile ?? mutant.profile,
      mutant: mutant.name,
      tailSteps: options.tailSteps,
      isPrecise: options.seedCount === 1,
      isEndedByFailure: true,
    });
    const [failed] = report.failures;
    if (failed !== undefined && options.mutants.length === 1) {
      console.log(describeFailure(failed, mutant));
    }
    const outcome: MutantOutcome = {
      name: mutant.name,
      found: failed !== undefined,
      seedCount: report.seedCount,
      seconds: Math.round(report.tookMs / 100) / 10,
      seed: failed?.seed,
      property: failed?.failure?.property,
    };
    outcomes.push(outcome);
    const where = outcome.found
      ? `found at seed ${outcome.seed}: ${outcome.property}`
      : `not found in ${report.seedCount} seeds`;
    console.log(`${mutant.name.padEnd(32)} ${`${outcome.seconds} s`.padStart(8)}  ${where}`);
  }
  const foundCount = outcomes.filter((each) => each.found).length;
  console.log(`${foundCount} bugs found, ${outcomes.length - foundCount} not`);
  await writeJson(options, outcomes);
  return foundCount === outcomes.length ? 0 : 1;
}

function repeatCommand({ seed, profile }: SeedReport, mutant: Mutant | undefined): string {
  const bug = mutant === undefined ? "" : ` --mutant ${mutant.name}`;
  return `scripts/sim --seed ${seed} --profile ${profile} --seeds 1${bug}`;
}

function describeFailure(report: SeedReport, mutant: Mutant | undefined): string {
  const { seed, steps, failure } = report;
  return [
    ...(failure?.tail ?? []),
    `seed ${seed} failed at step ${steps}: ${failure?.message}`,
    `repeat it with: ${repeatCommand(report, mutant)}`,
    "",
  ].join("\n");
}

/** What happened how often, and which faults never did. */
function describeCoverage({ coverage }: CampaignReport): string {
  const counts = Object.entries(coverage.toRecord()).filter(([name]) => !name.startsWith("raft "));
  const seen = counts.map(([name, times]) => `${name} ${times}`);
  const missing = FAULT_NAMES.filter((name) => coverage.count(name) === 0);
  const lines = [`happened: ${seen.join(", ")}`];
  if (missing.length > 0) lines.push(`never happened: ${missing.join(", ")}`);
  return lines.join("\n");
}

function toJson(report: CampaignReport): unknown {
  return {
    seedCount: report.seedCount,
    steps: report.steps,
    seconds: report.tookMs / 1000,
    stepsPerMinute: Math.round(report.steps / (report.tookMs / 60_000)),
    failedCount: report.failures.length,
    failures: report.failures.slice(0, JSON_FAILURES_MAX).map((seed) => ({
      seed: seed.seed,
      profile: seed.profile,
      property: seed.failure?.property,
      message: seed.failure?.message,
      repeat: repeatCommand(seed, undefined),
    })),
    coverage: report.coverage.toRecord(),
  };
}

async function writeJson({ jsonFile }: Options, content: unknown): Promise<void> {
  if (jsonFile !== undefined) await Bun.write(jsonFile, `${JSON.stringify(content, null, 2)}\n`);
}

await runScript(() => {
  const options = readOptions();
  return options.mutants.length > 0 ? runMutants(options) : runSeeds(options);
});
