/**
 * Feeds the packet loop, and the kernel's programs where they can be loaded, with random and
 * damaged datagrams and TUN packets, and holds all that comes out against slow twins.
 *
 *     scripts/fuzz packets                            a hundred thousand, from seed 1
 *     scripts/fuzz packets --count 10000000 --seed 7  as many as it takes, from seed 7 on
 *     scripts/fuzz packets --count 1 --seed 77        the round of this seed again
 *
 * Each seed is a round of a few thousand, which repeats exactly; every fourth is the kernel's.
 * `--jobs N` threads (default: as many as there are cores), `--json FILE` for the figures. The exit
 * code is 0 when every round passed, 1 when not, 2 when it was asked wrongly.
 *
 * @module
 */
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { obstacle } from "../tests/lab/kernel-trial.ts";
import { ROUND_CASES } from "../tests/sim/fuzz/packet-fuzz.ts";
import type { RoundOrder, RoundOutcome } from "./lib/fuzz-worker.ts";
import { runScript, UsageError, wholeCount } from "./lib/usage.ts";

const COUNT_DEFAULT = 100_000;
const PROGRESS_MS = 10_000;
/** A round takes less than a second; on a machine that does much else, some. */
const ROUND_TIMEOUT_MS = 60_000;
const KERNEL_PERIOD = 4;
const SHOWN_LENGTH_MAX = 20_000;

interface Options {
  readonly count: number;
  readonly seed: number;
  readonly jobs: number;
  readonly jsonFile: string | undefined;
}

/** All rounds together. */
interface Campaign {
  cases: number;
  rounds: number;
  failedCount: number;
  readonly tally: Map<string, number>;
}

function readOptions(): Options {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      count: { type: "string" },
      seed: { type: "string" },
      jobs: { type: "string" },
      json: { type: "string" },
    },
  });
  const [what = "packets", ...rest] = positionals;
  if (what !== "packets" || rest.length > 0) {
    throw new UsageError(`Cannot feed "${positionals.join(" ")}": known is packets`);
  }
  return {
    count: wholeCount(values.count, "count") ?? COUNT_DEFAULT,
    seed: wholeCount(values.seed, "seed") ?? 1,
    jobs: Math.max(1, wholeCount(values.jobs, "jobs") ?? availableParallelism()),
    jsonFile: values.json,
  };
}

/** Rounds on a thread of its own, so that one that hangs can be told. */
class Runner {
  #worker: Worker | undefined;

  async run(order: RoundOrder): Promise<RoundOutcome> {
    this.#worker ??= new Worker(new URL("./lib/fuzz-worker.ts", import.meta.url));
    const worker = this.#worker;
    const { promise, resolve } = Promise.withResolvers<RoundOutcome>();
    const fail = (message: string) => {
      this.close();
      resolve({ ...order, cases: 0, tally: {}, failure: { message, input: [] } });
    };
    const timer = setTimeout(
      () => fail(`hangs: no end in ${ROUND_TIMEOUT_MS / 1000} s`),
      ROUND_TIMEOUT_MS,
    );
    worker.onmessage = ({ data }: MessageEvent<RoundOutcome>) => resolve(data);
    worker.onerror = ({ message }) => fail(`the thread ended: ${message}`);
    worker.postMessage(order);
    const outcome = await promise;
    clearTimeout(timer);
    return outcome;
  }

  close(): void {
    this.#worker?.terminate();
    this.#worker = undefined;
  }
}

async function runCampaign(options: Options, canUseKernel: boolean): Promise<Campaign> {
  const campaign: Campaign = { cases: 0, rounds: 0, failedCount: 0, tally: new Map() };
  const end = options.seed + Math.max(1, Math.ceil(options.count / ROUND_CASES));
  let next = options.seed;
  let told = performance.now();
  const work = async () => {
    const runner = new Runner();
    while (next < end) {
      const seed = next++;
      const isKernel = canUseKernel && seed % KERNEL_PERIOD === 0;
      add(campaign, await runner.run({ seed, isKernel }));
      if (performance.now() - told < PROGRESS_MS) continue;
      told = performance.now();
      console.log(`${campaign.cases} packets, ${campaign.failedCount} rounds failed`);
    }
    runner.close();
  };
  await Promise.all(Array.from({ length: options.jobs }, work));
  return campaign;
}

function add(campaign: Campaign, outcome: RoundOutcome): void {
  campaign.rounds++;
  campaign.cases += outcome.cases;
  for (const [name, count] of Object.entries(outcome.tally)) {
    campaign.tally.set(name, (campaign.tally.get(name) ?? 0) + count);
  }
  if (outcome.failure === undefined) return;
  campaign.failedCount++;
  const { message, input } = outcome.failure;
  const shown = input.map((line) => `  ${line.slice(0, SHOWN_LENGTH_MAX)}`);
  console.log(
    [
      `seed ${outcome.seed} failed${outcome.isKernel ? " in the kernel" : ""}: ${message}`,
      ...(shown.length === 0 ? [] : ["it was fed:", ...shown]),
      `repeat it with: scripts/fuzz packets --seed ${outcome.seed} --count 1`,
      "",
    ].join("\n"),
  );
}

function toJson(campaign: Campaign, seconds: number): unknown {
  const { tally, ...counts } = campaign;
  return { ...counts, seconds, perSecond: Math.round(campaign.cases / seconds), ...sorted(tally) };
}

function sorted(tally: ReadonlyMap<string, number>): Record<string, Record<string, number>> {
  return { happened: Object.fromEntries([...tally].sort(([, a], [, b]) => b - a)) };
}

async function main(): Promise<number> {
  const options = readOptions();
  const reason = obstacle();
  if (reason !== "") console.log(`the kernel's programs are left out: ${reason}`);
  const started = performance.now();
  const campaign = await runCampaign(options, reason === "");
  const seconds = (performance.now() - started) / 1000;
  const happened = [...campaign.tally].sort(([, a], [, b]) => b - a);
  console.log(`happened: ${happened.map(([name, count]) => `${name} ${count}`).join(", ")}`);
  const rate = `${Math.round(campaign.cases / seconds)} a second`;
  const { cases, rounds, failedCount } = campaign;
  console.log(`${cases} packets in ${rounds} rounds, ${rate}, ${failedCount} failed`);
  if (options.jsonFile !== undefined) {
    await Bun.write(options.jsonFile, `${JSON.stringify(toJson(campaign, seconds), null, 2)}\n`);
  }
  return failedCount === 0 ? 0 : 1;
}

await runScript(main);
