/**
 * Simulates clusters, one seed after the other, until the seeds or the minutes are used up.
 *
 *     scripts/sim --seeds 1000                   all profiles in turn, seeds 1 to 1000
 *     scripts/sim --minutes 60 --seed 5000       as many as fit, from seed 5000 on
 *     scripts/sim --seed 77 --profile disk       this one, with the end of its trace when it fails
 *     scripts/sim --mutant count-prior-terms     with a bug made on purpose: it must be found
 *
 * The exit code is 0 when every seed passed (with --mutant: when one failed). `--json` prints one
 * line for a program instead. One process uses one core; start another with other seeds for the
 * next.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { plugin } from "bun";
import { MUTANTS, type Mutant } from "../tests/sim/cluster/mutants.ts";
import type { Profile } from "../tests/sim/cluster/scenario.ts";
import type { SeedResult } from "../tests/sim/cluster/simulate.ts";
import { inRoot } from "./lib/root.ts";

const SEEDS_DEFAULT = 300;
const TAIL_STEPS = 60;
const PROGRESS_MS = 10_000;

/** What `--json` prints. */
export interface CampaignReport {
  readonly seedCount: number;
  readonly steps: number;
  readonly stepsPerMinute: number;
  readonly failures: readonly {
    readonly seed: number;
    readonly profile: Profile;
    readonly property: string;
    readonly message: string;
    readonly repeat: string;
  }[];
  readonly digests: readonly string[];
  readonly coverage: Readonly<Record<string, number>>;
}

interface Options {
  readonly firstSeed: number;
  readonly seedCount: number;
  readonly endMs: number;
  readonly profile: Profile | undefined;
  readonly mutant: Mutant | undefined;
  readonly tailSteps: number;
  readonly isJson: boolean;
  /** Every rejection is found at its own step. */
  readonly isPrecise: boolean;
}

class UsageError extends Error {}

function readOptions(): Options {
  const { values } = parseArgs({
    options: {
      seed: { type: "string" },
      seeds: { type: "string" },
      minutes: { type: "string" },
      profile: { type: "string" },
      mutant: { type: "string" },
      tail: { type: "string" },
      json: { type: "boolean", default: false },
    },
  });
  const mutant = MUTANTS.find((each) => each.name === values.mutant);
  if (values.mutant !== undefined && mutant === undefined) {
    const known = MUTANTS.map((each) => each.name).join(", ");
    throw new UsageError(`Cannot make the bug "${values.mutant}": known are ${known}`);
  }
  const isSingle = values.seed !== undefined && values.profile !== undefined;
  const seedsDefault = values.minutes !== undefined ? Number.POSITIVE_INFINITY : SEEDS_DEFAULT;
  const minutes = count(values.minutes, "minutes") ?? Number.POSITIVE_INFINITY;
  return {
    firstSeed: count(values.seed, "seed") ?? 1,
    seedCount: count(values.seeds, "seeds") ?? mutant?.seedsMax ?? (isSingle ? 1 : seedsDefault),
    endMs: performance.now() + minutes * 60_000,
    profile: values.profile as Profile | undefined,
    mutant,
    tailSteps: count(values.tail, "tail") ?? TAIL_STEPS,
    isJson: values.json,
    isPrecise: isSingle,
  };
}

function count(text: string | undefined, name: string): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (Number.isFinite(value) && value >= 0) return value;
  throw new UsageError(`Cannot read --${name} "${text}": it must be a number from 0`);
}

/** Has the module with the bug loaded in place of the right one. Before anything is imported. */
function install(mutant: Mutant): void {
  const path = inRoot(mutant.file);
  plugin({
    name: mutant.name,
    setup(build) {
      const filter = new RegExp(`${mutant.file.replaceAll(/[.]/g, "\\.")}$`);
      build.onLoad({ filter }, async () => {
        const text = await Bun.file(path).text();
        const parts = text.split(mutant.find);
        if (parts.length !== 2) {
          const where = `${parts.length - 1} times in ${mutant.file}`;
          console.error(`Cannot make the bug "${mutant.name}": its place is there ${where}`);
          process.exit(2);
        }
        return { contents: parts.join(mutant.replace), loader: "ts" };
      });
    },
  });
}

async function main(): Promise<number> {
  const options = readOptions();
  const { mutant } = options;
  if (mutant !== undefined) install(mutant);
  // Only now: the bug, if there is one, must be in place.
  const { simulate } = await import("../tests/sim/cluster/simulate.ts");
  const { drawScenario, PROFILES } = await import("../tests/sim/cluster/scenario.ts");
  const { Coverage } = await import("../tests/sim/cluster/coverage.ts");

  const say = (line: string) => (options.isJson ? undefined : console.log(line));
  const coverage = new Coverage();
  const failures: CampaignReport["failures"][number][] = [];
  const digests: string[] = [];
  const startMs = performance.now();
  let steps = 0;
  let seedCount = 0;
  let toldMs = startMs;
  while (seedCount < options.seedCount && performance.now() < options.endMs) {
    const seed = options.firstSeed + seedCount;
    const profile =
      options.profile ?? mutant?.profile ?? PROFILES[seed % PROFILES.length] ?? "mixed";
    const scenario = { ...drawScenario(seed, profile), ...mutant?.scenario };
    const { tailSteps, isPrecise } = options;
    const result = await simulate(scenario, { tailSteps, isPrecise });
    seedCount += 1;
    steps += result.steps;
    digests.push(result.digest);
    coverage.add(result.coverage);
    if (result.failure !== undefined) {
      const { property, message } = result.failure;
      const repeat = repeatCommand(seed, profile, mutant);
      failures.push({ seed, profile, property, message, repeat });
      say(describeFailure(result, repeat));
      if (mutant !== undefined) break;
    }
    if (performance.now() - toldMs < PROGRESS_MS) continue;
    toldMs = performance.now();
    say(`${seedCount} seeds, ${steps} steps, ${failures.length} failed`);
  }
  const minutes = (performance.now() - startMs) / 60_000;
  const stepsPerMinute = Math.round(steps / minutes);
  const report = { seedCount, steps, stepsPerMinute, failures, digests };
  if (options.isJson) console.log(JSON.stringify({ ...report, coverage: coverage.toRecord() }));
  say(`${seedCount} seeds, ${steps} steps, ${stepsPerMinute} a minute, ${failures.length} failed`);
  return failures.length > 0 === (mutant !== undefined) ? 0 : 1;
}

function repeatCommand(seed: number, profile: Profile, mutant: Mutant | undefined): string {
  const bug = mutant === undefined ? "" : ` --mutant ${mutant.name}`;
  return `scripts/sim --seed ${seed} --profile ${profile} --seeds 1${bug}`;
}

function describeFailure({ seed, steps, failure }: SeedResult, repeat: string): string {
  return [
    ...(failure?.tail ?? []),
    `seed ${seed} failed at step ${steps}: ${failure?.message}`,
    `repeat it with: ${repeat}`,
    "",
  ].join("\n");
}

if (import.meta.main) {
  try {
    process.exitCode = await main();
  } catch (cause) {
    if (!(cause instanceof UsageError)) throw cause;
    console.error(cause.message);
    process.exitCode = 2;
  }
}
