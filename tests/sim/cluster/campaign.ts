/**
 * Many seeds: shares them out among processes, and adds up what those report.
 *
 * Whatever a process does is an outcome, too: one that ends by itself, or says nothing for long,
 * has a failure at the seed it was at.
 *
 * @module
 */

import { join } from "node:path";
import { linesOf } from "../../support/lines.ts";
import { Coverage } from "./coverage.ts";
import type { Profile } from "./scenario.ts";
import type { SeedFailure } from "./simulate.ts";

/** A seed takes a fraction of a second; one that takes so long goes round in circles. */
const SILENCE_MS = 180_000;
const WATCH_MS = 1_000;

/** What one process is told to do: seeds `firstSeed`, `firstSeed + stride`, … */
export interface WorkerTask {
  readonly firstSeed: number;
  readonly stride: number;
  readonly count: number;
  /** Wall clock after which no seed is begun. */
  readonly endMs: number;
  /** Undefined: that of the mutant, or of each seed. */
  readonly profile: Profile | undefined;
  readonly mutant: string | undefined;
  readonly tailSteps: number;
  /** Every rejection is found at its own step; slower. */
  readonly isPrecise: boolean;
  readonly isEndedByFailure: boolean;
}

/** What came of one seed. */
export interface SeedReport {
  readonly seed: number;
  readonly profile: Profile;
  readonly steps: number;
  /** Of all that happened. */
  readonly digest: string;
  readonly tookMs: number;
  readonly coverage: Readonly<Record<string, number>>;
  readonly failure: SeedFailure | undefined;
}

/** What a process prints, as JSON. */
export type WorkerLine =
  | { readonly kind: "begin"; readonly seed: number; readonly profile: Profile }
  | { readonly kind: "done"; readonly report: SeedReport };

export interface CampaignOptions {
  readonly firstSeed: number;
  /** Infinite: until the time is over. */
  readonly seedCount: number;
  readonly limitMs: number;
  /** Processes. */
  readonly jobs: number;
  readonly profile?: Profile | undefined;
  readonly mutant?: string | undefined;
  readonly tailSteps?: number;
  readonly isPrecise?: boolean;
  readonly isEndedByFailure?: boolean;
  /** Called after each seed. */
  readonly onSeed?: (report: SeedReport, campaign: CampaignReport) => void;
}

/** What came of all seeds so far. */
export interface CampaignReport {
  seedCount: number;
  steps: number;
  /** Real time since the beginning. */
  tookMs: number;
  readonly failures: SeedReport[];
  readonly digests: Map<number, string>;
  readonly coverage: Coverage;
}

/** Runs a campaign to its end. */
export async function runCampaign(options: CampaignOptions): Promise<CampaignReport> {
  const { firstSeed, jobs, seedCount } = options;
  const startMs = Date.now();
  const report: CampaignReport = {
    ...{ seedCount: 0, steps: 0, tookMs: 0, failures: [] },
    ...{ digests: new Map(), coverage: new Coverage() },
  };
  const children: Worker[] = [];
  const take = (seed: SeedReport) => {
    report.seedCount += 1;
    report.steps += seed.steps;
    report.tookMs = Date.now() - startMs;
    report.digests.set(seed.seed, seed.digest);
    report.coverage.add(seed.coverage);
    if (seed.failure !== undefined) report.failures.push(seed);
    options.onSeed?.(seed, report);
    if (seed.failure !== undefined && options.isEndedByFailure) {
      for (const child of children) child.stop();
    }
  };
  for (let job = 0; job < Math.min(jobs, seedCount); job++) {
    const task: WorkerTask = {
      firstSeed: firstSeed + job,
      stride: jobs,
      // JSON has no infinity.
      count: Math.min(Math.ceil((seedCount - job) / jobs), Number.MAX_SAFE_INTEGER),
      endMs: Math.min(startMs + options.limitMs, Number.MAX_SAFE_INTEGER),
      profile: options.profile,
      mutant: options.mutant,
      tailSteps: options.tailSteps ?? 60,
      isPrecise: options.isPrecise ?? false,
      isEndedByFailure: options.isEndedByFailure ?? false,
    };
    children.push(new Worker(task, take));
  }
  const stop = () => {
    for (const child of children) child.stop();
  };
  process.on("exit", stop);
  await Promise.all(children.map((child) => child.ended));
  process.off("exit", stop);
  report.tookMs = Date.now() - startMs;
  return report;
}

/** One process and what it says. */
class Worker {
  readonly ended: Promise<void>;
  readonly #child: Bun.Subprocess<"ignore", "pipe", "pipe">;
  #current: { readonly seed: number; readonly profile: Profile } | undefined;
  #isStopped = false;
  #isSilent = false;
  #heardMs = Date.now();

  constructor(task: WorkerTask, take: (report: SeedReport) => void) {
    this.#child = Bun.spawn({
      cmd: [process.execPath, join(import.meta.dir, "seed-worker.ts"), JSON.stringify(task)],
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    this.ended = this.#follow(task, take);
  }

  /** Ends the process; nothing it does is told any more. */
  stop(): void {
    this.#isStopped = true;
    this.#child.kill("SIGKILL");
  }

  async #follow(task: WorkerTask, take: (report: SeedReport) => void): Promise<void> {
    const watch = setInterval(() => {
      if (Date.now() - this.#heardMs < SILENCE_MS) return;
      this.#isSilent = true;
      this.#child.kill("SIGKILL");
    }, WATCH_MS);
    const errors = new Response(this.#child.stderr).text();
    for await (const text of linesOf(this.#child.stdout)) {
      this.#heardMs = Date.now();
      const line = JSON.parse(text) as WorkerLine;
      this.#current = line.kind === "begin" ? line : undefined;
      if (line.kind === "done" && !this.#isStopped) take(line.report);
    }
    const code = await this.#child.exited;
    clearInterval(watch);
    if (code === 0 || this.#isStopped) return;
    const how = this.#isSilent ? `said nothing for ${SILENCE_MS} ms` : `ended with code ${code}`;
    const { seed, profile } = this.#current ?? {
      seed: task.firstSeed,
      profile: task.profile ?? "mixed",
    };
    const message = `the process ${how}\n${await errors}`;
    take({
      ...{ seed, profile, steps: 0, digest: "", tookMs: 0, coverage: {} },
      failure: { property: "the process goes on", message, tail: [] },
    });
  }
}
