/**
 * Packets at speed: ours beside the wire itself, kernel VXLAN, wireguard-go, nebula and tinc.
 *
 *     scripts/bench packets [--quick] [--only NAME,…] [--wire real|virtual|both] [--json FILE]
 *                           [--rounds N] [--seconds N] [--docs] [--from FILE,…]
 *
 * Each contender has two network namespaces on a veth pair to itself; all of them and the senders
 * share this machine's cores. They take turns at each measure in each round, and a figure is the
 * median of the rounds; a ratio is the median of the rounds' ratios. Ratios carry over to other
 * machines, absolute figures do not. A figure without its wire says nothing: see WIRE_OFFLOADS.
 *
 * `--only` takes contenders (veth, vxlan, default, user, sealed, wireguard, nebula, tinc), measures
 * (ping, tcp1, tcp4, tcp16, both, containers1, containers4, udp64, udp512, udp1400, idle,
 * overload), or both. `--docs` writes tables and chart into docs/; `--from` shows figures that
 * `--json` stored, of several runs as rounds of one. Needs root; Debian's packages of the peers
 * are installed when missing.
 *
 * @module
 */
import { readFileSync, writeFileSync } from "node:fs";
import { LAB_PROGRAMS } from "../../tests/lab/programs.ts";
import { mustRun } from "../../tests/lab/run.ts";
import { Progress, type StepNotes } from "../lib/progress.ts";
import { ROOT } from "../lib/root.ts";
import { installPrograms } from "../lib/setup.ts";
import { writeDocument } from "./packets/document.ts";
import {
  type ContenderFigures,
  type Metric,
  mergeReports,
  type PacketReport,
  record,
  type WireName,
} from "./packets/figures.ts";
import { runTcp } from "./packets/iperf.ts";
import { describeMachine, processSeconds } from "./packets/machine-time.ts";
import { type Figures, MEASURES } from "./packets/measures.ts";
import { type PacketOptions, readOptions } from "./packets/options.ts";
import { measureOverload, UNPRIVILEGED } from "./packets/overload.ts";
import { describeReport } from "./packets/tables.ts";
import { checkTargets } from "./packets/targets.ts";
import { type Lane, Wires } from "./packets/wires.ts";

/** One is enough: the wire carries more than the agents either way. */
const OVERLOAD_WIRE: WireName = "real";
const IDLE_MS = 3000;
const EXIT_INTERRUPTED = 130;
const BYTES_PER_MEGABYTE = 1e6;

/** A contender at work, and what was measured of it. */
interface Entry extends Lane {
  readonly figures: ContenderFigures;
}

class Bench {
  readonly #options: PacketOptions;
  readonly #progress = new Progress();
  readonly #contenders: ContenderFigures[] = [];
  readonly #failures: string[] = [];
  readonly wires = new Wires();

  constructor(options: PacketOptions) {
    this.#options = options;
  }

  async run(): Promise<PacketReport> {
    await this.#progress.step("programs", async (notes) => {
      const wanted = this.#options.contenders.map(({ programs }) => programs ?? {});
      const programs = Object.assign({}, LAB_PROGRAMS, ...wanted);
      const { kind, text } = await installPrograms(programs);
      if (kind === "missing") throw new Error(`Cannot measure on this machine: ${text}`);
      notes.result(text);
    });
    for (const wire of this.#options.wires) await this.#measureWire(wire);
    const { roundCount, seconds } = this.#options;
    return {
      machine: describeMachine(),
      commit: (await mustRun(["git", "describe", "--always", "--dirty"], { cwd: ROOT })).trim(),
      date: new Date().toISOString().slice(0, 10),
      ...{ roundCount, seconds },
      contenders: this.#contenders,
      failures: this.#failures,
    };
  }

  async #measureWire(wire: WireName): Promise<void> {
    const { contenders, measures, roundCount } = this.#options;
    const lanes = await this.#progress.step(`${wire} wire: start`, async () => {
      return await this.wires.open(wire, contenders, (text) => this.#failures.push(text));
    });
    const entries = lanes.map((lane): Entry => {
      const { key, name } = lane.contender;
      return { ...lane, figures: { wire, key, name, rounds: {} } };
    });
    this.#contenders.push(...entries.map(({ figures }) => figures));
    await this.#progress.step(`${wire} wire: warm up`, async () => {
      // What compiles its code while it runs is not yet what it will be.
      for (const { contender, ends } of entries)
        if (contender.kind === "ours") await runTcp(ends, { seconds: 1, flows: 1 });
    });
    if (measures.has("idle")) await this.#measureIdle(entries);
    const isAsked = MEASURES.some(({ key }) => measures.has(key));
    for (let round = 0; isAsked && round < roundCount; round++) {
      const title = `${wire} wire: round ${round + 1} of ${roundCount}`;
      await this.#progress.step(title, (notes) => this.#measureRound(entries, round, notes));
    }
    for (const { running, figures } of entries) {
      const resident = running.processes.map((process) => process.residentBytes());
      if (resident.length > 0)
        record(figures, "residentMegabytes", 0, Math.max(...resident) / BYTES_PER_MEGABYTE);
    }
    await this.wires[Symbol.asyncDispose]();
    if (measures.has("overload") && wire === OVERLOAD_WIRE) await this.#measureOverload(entries);
  }

  /** All contenders at once: nothing happens. */
  async #measureIdle(entries: readonly Entry[]): Promise<void> {
    await this.#progress.step("idle", async () => {
      const used = () =>
        entries.map(({ running }) => running.processes.map(({ pid }) => processSeconds(pid)));
      const before = used();
      await Bun.sleep(IDLE_MS);
      for (const [index, after] of used().entries()) {
        const spent = after.map((value, side) => value - (before[index]?.[side] ?? 0));
        if (spent.length === 0) continue;
        const percent = (Math.max(...spent) / (IDLE_MS / 1000)) * 100;
        record(entries[index]!.figures, "idleCpuPercent", 0, percent);
      }
    });
  }

  /** Each measure of every contender, before the next measure. */
  async #measureRound(entries: readonly Entry[], round: number, notes: StepNotes): Promise<void> {
    for (const measure of MEASURES.filter(({ key }) => this.#options.measures.has(key))) {
      for (const { figures, ...lane } of entries) {
        const { contender } = lane;
        notes.status(`${measure.key}, ${contender.name}`);
        const where = `${figures.wire} wire, round ${round + 1}`;
        const what = `${measure.key} of ${contender.name}, ${where}`;
        await this.#attempt(what, async () => {
          store(figures, round, await measure.run(lane, this.#options.seconds));
        });
      }
    }
  }

  /** Of ours alone: it takes long. */
  async #measureOverload(entries: readonly Entry[]): Promise<void> {
    for (const { contender, figures } of entries) {
      if (contender.kind !== "ours") continue;
      await this.#progress.step(`overload: ${contender.name}`, async (notes) => {
        const fail = (text: string) => this.#failures.push(`overload of ${text}`);
        const lanes = await this.wires.open(OVERLOAD_WIRE, [contender], fail, UNPRIVILEGED);
        for (const lane of lanes) {
          await this.#attempt(`overload of ${contender.name}`, async () => {
            store(figures, 0, await measureOverload(lane, (text) => notes.status(text)));
          });
        }
        await this.wires[Symbol.asyncDispose]();
      });
    }
  }

  /** What fails is told at the end, and the rest is measured all the same. */
  async #attempt(what: string, task: () => Promise<void>): Promise<void> {
    try {
      await task();
    } catch (error) {
      this.#failures.push(`${what}: ${error instanceof Error ? error.message : error}`);
    }
  }
}

/** What several measures count. */
const SUMS: ReadonlySet<Metric> = new Set(["retransmits", "containersRetransmits"]);

function store(figures: ContenderFigures, round: number, values: Figures): void {
  for (const [name, value] of Object.entries(values)) {
    const metric = name as Metric;
    const before = SUMS.has(metric) ? (figures.rounds[metric]?.[round] ?? 0) : 0;
    record(figures, metric, round, before + value);
  }
}

async function measure(options: PacketOptions): Promise<PacketReport> {
  const bench = new Bench(options);
  let interrupted = false;
  const interrupt = () => {
    interrupted = true;
    void bench.wires[Symbol.asyncDispose]().then(() => process.exit(EXIT_INTERRUPTED));
  };
  process.on("SIGINT", interrupt).on("SIGTERM", interrupt);
  try {
    return await bench.run();
  } finally {
    // What fails because its wire was taken away says nothing.
    if (interrupted) await new Promise(() => undefined);
    await bench.wires[Symbol.asyncDispose]();
  }
}

async function main(): Promise<void> {
  const options = readOptions(process.argv.slice(2));
  const earlier = options.from.map(
    (path) => JSON.parse(readFileSync(path, "utf8")) as PacketReport,
  );
  const report = mergeReports(earlier) ?? (await measure(options));
  console.log(`\n${describeReport(report)}`);
  if (options.docs) writeDocument(report);
  if (options.json !== undefined) {
    const all = { ...report, targets: checkTargets(report) };
    writeFileSync(options.json, `${JSON.stringify(all, undefined, 2)}\n`);
  }
}

try {
  await main();
  process.exit(0);
} catch (error) {
  console.error(`\n${error instanceof Error ? error.message : error}`);
  process.exit(1);
}
