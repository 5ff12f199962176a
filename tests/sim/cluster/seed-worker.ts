/**
 * One process of a campaign: simulates its share of the seeds and prints a line of JSON for each.
 *
 *     bun seed-worker.ts '{"firstSeed":1,"stride":2,"count":100,...}'
 *
 * A process of its own, since a bug made on purpose is in the modules once they are loaded, and
 * since one process uses one core. Nothing of the program is imported before the bug is in place.
 *
 * @module
 */
import { join } from "node:path";
import { plugin } from "bun";
import type { SeedReport, WorkerLine, WorkerTask } from "./campaign.ts";
import { editedText, findMutant, type Mutant } from "./mutants.ts";

const ROOT = join(import.meta.dir, "../../..");

/** Has the modules with the bug loaded in place of the right ones. */
function install(mutant: Mutant): void {
  const edits = [mutant, ...(mutant.also ?? [])];
  plugin({
    name: mutant.name,
    setup(build) {
      for (const file of new Set(edits.map((edit) => edit.file))) {
        const filter = new RegExp(`${file.replaceAll(/[.]/g, "\\.")}$`);
        build.onLoad({ filter }, async () => {
          let contents = await Bun.file(join(ROOT, file)).text();
          for (const edit of edits) {
            if (edit.file === file) contents = editedText(contents, edit);
          }
          return { contents, loader: "ts" };
        });
      }
    },
  });
}

function print(line: WorkerLine): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

async function main(task: WorkerTask): Promise<void> {
  const mutant = task.mutant === undefined ? undefined : findMutant(task.mutant);
  if (mutant !== undefined) install(mutant);
  // Only now: the bug, if there is one, must be in place.
  const { simulate } = await import("./simulate.ts");
  const { drawScenario, profileOf } = await import("./scenario.ts");
  const { firstSeed, stride, count, tailSteps, isPrecise } = task;
  for (let i = 0; i < count && Date.now() < task.endMs; i++) {
    const seed = firstSeed + i * stride;
    const profile = task.profile ?? mutant?.profile ?? profileOf(seed);
    print({ kind: "begin", seed, profile });
    const startMs = performance.now();
    const scenario = { ...drawScenario(seed, profile), ...mutant?.scenario };
    const { steps, digest, coverage, failure } = await simulate(scenario, { tailSteps, isPrecise });
    const tookMs = performance.now() - startMs;
    const report: SeedReport = { seed, profile, steps, digest, tookMs, coverage, failure };
    print({ kind: "done", report });
    if (failure !== undefined && task.isEndedByFailure) break;
  }
}

await main(JSON.parse(process.argv[2] ?? "{}") as WorkerTask);
process.exit(0);
