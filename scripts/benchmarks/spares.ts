/**
 * A large cluster on one machine: how soon a change reaches all nodes, what it costs the leader.
 *
 *     scripts/bench spares [--agents N] [--simulated N] [--changes N] [--json FILE]
 *
 * Three agents first: a change of the network config, again and again, and the processor time of
 * their leader. Then as many more as asked for are started at the same moment and join; how long
 * until all hold a lease. All are stopped and started again at once, with what they kept: how long
 * until each is ready, which is said only of a lease that the cluster has confirmed. Then simulated
 * spares join, and the same changes again, seen at every
 * agent and every simulated spare. Agents are the executable (`dist/overlay`, or what
 * OVERLAY_PROGRAM names) and carry no packets; simulated spares are in this process, follow by the
 * program's own code over mutual TLS, and apply nothing.
 *
 * Needs root (a network namespace of its own, which ends with it).
 *
 * @module
 */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus, release, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { OVERLAY_PATH } from "../../tests/lab/host.ts";
import { mustRun } from "../../tests/lab/run.ts";
import { waitFor } from "../../tests/lab/wait.ts";
import { Progress } from "../lib/progress.ts";
import { addressOf, BenchAgent, configNumber } from "./spares/agents.ts";
import { admit, positionAt, SimulatedSpare } from "./spares/simulated.ts";
import { quantile } from "./store/figures.ts";
import { enterNamespace, isInNamespace } from "./store/namespace.ts";
import { table } from "./store/report.ts";

const LINK = "overlaybench";
const FIRST_COUNT = 3;
/** Voters and standbys: the others are spares. */
const RAFT_COUNT = 6;
const CHANGE_INTERVAL_MS = 250;
/** Over which the idle leader's processor time is taken. */
const IDLE_MS = 5_000;
const SETTLE_TIMEOUT_MS = 120_000;
/** After the last change: what has not come by then counts as lost. */
const LATE_MS = 3_000;
const EXIT_INTERRUPTED = 130;
/** What the project wants to keep to. */
const REACH_TARGET_MS = 500;
const COST_TARGET_RATIO = 1.5;
const LEASES_TARGET_MS = 20_000;

interface Options {
  readonly agentCount: number;
  readonly simulatedCount: number;
  readonly changeCount: number;
  readonly json: string | undefined;
}

/** The same changes in a cluster of one size. */
interface ChangeFigures {
  readonly nodeCount: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly worstMs: number;
  /** Changes that did not come to a node, of all changes and nodes. */
  readonly missingCount: number;
  /** Processor time of the leader for one change, beyond what it takes when nothing happens. */
  readonly leaderMsPerChange: number;
  /** Processor time of the idle leader, of one core. */
  readonly leaderIdlePercent: number;
}

/** Told when node `node` has change `number`. */
type Tell = (node: number, number: number) => void;

class Bench {
  readonly #options: Options;
  readonly #folder = mkdtempSync(join(tmpdir(), "overlay-bench-spares-"));
  readonly #agents: BenchAgent[] = [];
  #spares: SimulatedSpare[] = [];
  #changes = 0;
  #tell: Tell = () => undefined;

  constructor(options: Options) {
    this.#options = options;
  }

  close(): void {
    for (const { process } of this.#agents) process.killGroup();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async makeLink(): Promise<void> {
    await mustRun(["ip", "link", "set", "lo", "up"]);
    await mustRun(["ip", "link", "add", LINK, "type", "bridge"]);
    for (let i = 0; i <= this.#options.agentCount; i++) {
      await mustRun(["ip", "address", "add", `${addressOf(i)}/16`, "dev", LINK]);
    }
    await mustRun(["ip", "link", "set", LINK, "up"]);
  }

  /** Starts agents, all at once, until there are `count`; milliseconds until all hold a lease. */
  async grow(count: number): Promise<number> {
    const startMs = performance.now();
    const first = this.#agents[0] ?? (await this.#found());
    const { token } = await first.post<{ token: string }>("/tokens", {});
    const joining: Promise<void>[] = [];
    while (this.#agents.length < count) {
      const agent = new BenchAgent(this.#agents.length + 1, this.#folder);
      this.#agents.push(agent);
      joining.push(agent.join(first, token));
    }
    await Promise.all(joining);
    const leaseCount = async () => (await first.ask<unknown[]>("/leases")).length;
    await waitFor(async () => (await leaseCount()) >= count, {
      timeoutMs: SETTLE_TIMEOUT_MS,
      describe: `${count} leases`,
    });
    return performance.now() - startMs;
  }

  /** Ends all agents and starts them at the same moment; milliseconds until all hold a lease. */
  async restart(): Promise<number> {
    await Promise.all(this.#agents.map((agent) => agent.stop()));
    const startMs = performance.now();
    for (const agent of this.#agents) agent.startAgain();
    await Promise.all(this.#agents.map((agent) => agent.ready()));
    return performance.now() - startMs;
  }

  async #found(): Promise<BenchAgent> {
    const first = new BenchAgent(1, this.#folder);
    this.#agents.push(first);
    await first.answers();
    await first.putConfig(0);
    return first;
  }

  /** Waits until every agent has a quorum, and the roles are what they are to be. */
  async settle(): Promise<void> {
    const members = Math.min(this.#agents.length, RAFT_COUNT);
    const isSettled = async () => {
      const all = await Promise.all(this.#agents.map((agent) => agent.status()));
      const inRaft = all.filter(({ node }) => node.role !== "spare").length;
      return inRaft === members && all.every(({ cluster, lease }) => cluster.quorum && lease);
    };
    const options = { timeoutMs: SETTLE_TIMEOUT_MS, describe: "roles and leases" };
    await waitFor(() => isSettled().then(Boolean, () => false), options);
  }

  /** Lets simulated spares in and has them follow. */
  async simulate(): Promise<void> {
    const first = this.#agents[0]!;
    const { token } = await first.post<{ token: string }>("/tokens", {});
    const admitted = await admit(this.#options.simulatedCount, first.address, token);
    const metrics = await first.text("/metrics");
    const applied = Number(/^overlay_raft_applied_index (\d+)$/m.exec(metrics)?.[1]);
    const { cluster } = await first.status();
    const position = positionAt(cluster.term, applied);
    const base = this.#agents.length;
    this.#spares = admitted.map((each, i) => {
      return new SimulatedSpare(each, position, (command) => {
        const number = configNumber(command);
        if (number !== undefined) this.#tell(base + i, number);
      });
    });
    await waitFor(() => this.#spares.every((spare) => spare.isFed), {
      timeoutMs: SETTLE_TIMEOUT_MS,
      describe: "every simulated spare to be fed",
    });
  }

  /** Changes the config again and again. */
  async measure(): Promise<ChangeFigures> {
    const { changeCount } = this.#options;
    const nodeCount = this.#agents.length + this.#spares.length;
    const putMs = new Map<number, number>();
    const seen = new Set<number>();
    const latenciesMs: number[] = [];
    this.#tell = (node, number) => {
      const startMs = putMs.get(number);
      const name = number * nodeCount + node;
      if (startMs === undefined || seen.has(name)) return;
      seen.add(name);
      latenciesMs.push(performance.now() - startMs);
    };
    const stops = await Promise.all(
      this.#agents.map((agent, i) => agent.watchConfig((number) => this.#tell(i, number))),
    );
    const leader = await this.#leader();
    const idleSeconds = await cpuSecondsDuring(leader, () => Bun.sleep(IDLE_MS));
    const startMs = performance.now();
    const busySeconds = await cpuSecondsDuring(leader, async () => {
      for (let i = 0; i < changeCount; i++) {
        const number = ++this.#changes;
        putMs.set(number, performance.now());
        await leader.putConfig(number);
        await Bun.sleep(Math.max(0, startMs + (i + 1) * CHANGE_INTERVAL_MS - performance.now()));
      }
    });
    const elapsedMs = performance.now() - startMs;
    const wantedCount = changeCount * nodeCount;
    const isComplete = () => latenciesMs.length >= wantedCount;
    await waitFor(isComplete, { timeoutMs: LATE_MS, describe: "the last events" }).catch(() => {});
    for (const stop of stops) stop();
    const idleShare = (idleSeconds * 1000) / IDLE_MS;
    return {
      nodeCount,
      p50Ms: quantile(latenciesMs, 0.5),
      p99Ms: quantile(latenciesMs, 0.99),
      worstMs: Math.max(...latenciesMs),
      missingCount: wantedCount - latenciesMs.length,
      leaderMsPerChange: (busySeconds * 1000 - idleShare * elapsedMs) / changeCount,
      leaderIdlePercent: 100 * idleShare,
    };
  }

  async #leader(): Promise<BenchAgent> {
    const { cluster } = await this.#agents[0]!.status();
    const leader = this.#agents.find(({ name }) => name === cluster.leader?.name);
    if (leader === undefined) throw new Error("there is no leader");
    return leader;
  }
}

async function cpuSecondsDuring(agent: BenchAgent, task: () => Promise<void>): Promise<number> {
  const before = agent.process.cpuSeconds();
  await task();
  return agent.process.cpuSeconds() - before;
}

async function main(): Promise<void> {
  const options = readOptions(process.argv.slice(2));
  if (!isInNamespace()) process.exit(await enterNamespace(import.meta.path));
  if (!existsSync(OVERLAY_PATH)) {
    throw new Error(`Cannot measure "${OVERLAY_PATH}": it is not there; run scripts/build first`);
  }
  const bench = new Bench(options);
  process.on("exit", () => bench.close());
  for (const signal of ["SIGINT", "SIGTERM"])
    process.on(signal, () => process.exit(EXIT_INTERRUPTED));
  const progress = new Progress();
  const figures: ChangeFigures[] = [];
  const measure = (title: string) =>
    progress.step(title, async (notes) => {
      const each = await bench.measure();
      figures.push(each);
      notes.result(`99 % within ${each.p99Ms.toFixed(0)} ms`);
    });
  await bench.makeLink();
  await progress.step(`${FIRST_COUNT} agents`, () => bench.grow(FIRST_COUNT));
  await bench.settle();
  await measure("changes");
  const { agentCount, simulatedCount } = options;
  const leasesMs = await progress.step(`${agentCount} agents`, async (notes) => {
    const elapsedMs = await bench.grow(agentCount);
    notes.result(`all hold a lease after ${(elapsedMs / 1000).toFixed(1)} s`);
    return elapsedMs;
  });
  await progress.step("roles settle", () => bench.settle());
  const restartMs = await progress.step("all start again", async (notes) => {
    const elapsedMs = await bench.restart();
    notes.result(`all hold a lease after ${(elapsedMs / 1000).toFixed(1)} s`);
    return elapsedMs;
  });
  await progress.step("roles settle", () => bench.settle());
  if (simulatedCount > 0) {
    await progress.step(`${simulatedCount} simulated spares`, () => bench.simulate());
  }
  await measure("changes");
  console.log(`\n${describe(figures, { leasesMs, restartMs }, options)}`);
  const machine = `${availableParallelism()} × ${cpus()[0]?.model ?? "?"}, Linux ${release()}`;
  if (options.json !== undefined) {
    const report = { machine, agentCount, simulatedCount, leasesMs, restartMs, figures };
    writeFileSync(options.json, `${JSON.stringify(report, undefined, 2)}\n`);
  }
  process.exit(0);
}

function readOptions(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      agents: { type: "string", default: "100" },
      simulated: { type: "string", default: "1000" },
      changes: { type: "string", default: "40" },
      json: { type: "string" },
    },
  });
  return {
    agentCount: Math.max(FIRST_COUNT, Number(values.agents)),
    simulatedCount: Number(values.simulated),
    changeCount: Number(values.changes),
    json: values.json,
  };
}

function describe(
  figures: readonly ChangeFigures[],
  { leasesMs, restartMs }: { readonly leasesMs: number; readonly restartMs: number },
  { agentCount }: Options,
): string {
  const [small, large] = [figures[0]!, figures.at(-1)!];
  const row = (name: string, show: (each: ChangeFigures) => string, target = "") => [
    ...[name, show(small), show(large), target],
  ];
  const ratio = large.leaderMsPerChange / small.leaderMsPerChange;
  const met = (isMet: boolean, text: string) => `${isMet ? "≤" : "> "} ${text}`;
  const start = (name: string, ms: number) => [
    ...[name, "", `${(ms / 1000).toFixed(1)} s`],
    met(ms <= LEASES_TARGET_MS, `${LEASES_TARGET_MS / 1000} s`),
  ];
  return table([
    ["a change of the config", `${small.nodeCount} nodes`, `${large.nodeCount} nodes`, "target"],
    row("at a node, median", ({ p50Ms }) => `${p50Ms.toFixed(1)} ms`),
    row(
      "99 % of all",
      ({ p99Ms }) => `${p99Ms.toFixed(1)} ms`,
      met(large.p99Ms <= REACH_TARGET_MS, `${REACH_TARGET_MS} ms`),
    ),
    row("worst", ({ worstMs }) => `${worstMs.toFixed(1)} ms`),
    row("missing", ({ missingCount }) => String(missingCount)),
    row(
      "leader's processor time for one",
      ({ leaderMsPerChange }) => `${leaderMsPerChange.toFixed(2)} ms`,
      `${ratio.toFixed(2)} × ${met(ratio <= COST_TARGET_RATIO, `${COST_TARGET_RATIO} ×`)}`,
    ),
    row("idle leader, of one core", (each) => `${each.leaderIdlePercent.toFixed(1)} %`),
    start(`${agentCount} new agents start and join together: all leases`, leasesMs),
    start(`${agentCount} members start together: all leases`, restartMs),
  ]).join("\n");
}

try {
  await main();
} catch (error) {
  console.error(`\n${error instanceof Error ? error.message : error}`);
  process.exit(1);
}
