/**
 * An hour of mixed traffic between two agents: does memory stay flat, and is anything lost?
 *
 *     scripts/bench soak [--minutes 60] [--sealed] [--wire real|virtual] [--json FILE]
 *
 * Two hosts of the lab with a container each and the built executable (`dist/overlay`, or what
 * OVERLAY_PROGRAM names) as a cluster of two, started once. TCP and UDP of several kinds take
 * turns, both directions, with a pause in each turn; a ping goes beside all of it. The memory of
 * both agents is read every ten seconds. Flat means: over the later half, less than 1 MB more in
 * ten minutes. The exit code is 1 when it is not, when an agent has ended, or when a transfer
 * failed. Less than twenty minutes show little. Needs root.
 *
 * @module
 */
import { existsSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { addContainers, formCluster, mustPutConfig, waitReaches } from "../../tests/lab/cluster.ts";
import { OVERLAY_PATH } from "../../tests/lab/host.ts";
import { type Lab, openLab } from "../../tests/lab/lab.ts";
import type { PingReport } from "../../tests/lab/ping.ts";
import { LAB_PROGRAMS } from "../../tests/lab/programs.ts";
import { Progress } from "../lib/progress.ts";
import { installPrograms } from "../lib/setup.ts";
import { describeMachine, processSeconds } from "./packets/machine-time.ts";
import { growthPerTenMinutes, type MemorySample, sampleMemory } from "./soak/memory-series.ts";
import { sendMixed, type TrafficTotals } from "./soak/traffic.ts";
import { quantile } from "./store/figures.ts";
import { table } from "./store/report.ts";

const MINUTES_DEFAULT = "60";
const SAMPLE_INTERVAL_MS = 10_000;
const IDLE_MS = 10_000;
const PING_INTERVAL_SECONDS = 0.1;
const GROWTH_MAX_MEGABYTES = 1;
const BYTES_PER_MEGABYTE = 1e6;
const PLAIN_CONFIG = { Network: "10.0.0.0/16", Backend: { Type: "udp" } };
const SEALED_CONFIG = {
  ...PLAIN_CONFIG,
  Backend: { Type: "udp", Encryption: "aes-256-gcm" },
};

interface Options {
  readonly minutes: number;
  readonly sealed: boolean;
  readonly wire: "real" | "virtual";
  readonly json: string | undefined;
}

/** One agent over the whole time. */
interface AgentSeries {
  readonly name: string;
  /** Of one core, without traffic: before it and after it. */
  readonly idleCpuPercent: readonly [number, number];
  readonly samples: readonly MemorySample[];
  readonly isRunning: boolean;
}

interface SoakReport {
  readonly machine: string;
  readonly minutes: number;
  readonly sealed: boolean;
  readonly agents: readonly AgentSeries[];
  readonly traffic: TrafficTotals;
  readonly ping: Omit<PingReport, "text" | "roundTripsMs"> & {
    readonly p50Ms: number;
    readonly p99Ms: number;
  };
}

function readOptions(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      minutes: { type: "string", default: MINUTES_DEFAULT },
      sealed: { type: "boolean", default: false },
      wire: { type: "string", default: "real" },
      json: { type: "string" },
    },
  });
  const minutes = Number(values.minutes);
  if (!(minutes >= 1)) {
    throw new Error(`--minutes takes a number from 1, not "${values.minutes}"`);
  }
  const { wire } = values;
  if (wire !== "real" && wire !== "virtual") throw new Error("--wire takes real or virtual");
  return { minutes, sealed: values.sealed, wire, json: values.json };
}

async function soak(options: Options, progress: Progress): Promise<SoakReport> {
  await using lab = await openLab({ hosts: 2, wire: options.wire });
  const [first, second] = await progress.step("two agents", async () => {
    await formCluster(lab);
    await mustPutConfig(lab.host(0), options.sealed ? SEALED_CONFIG : PLAIN_CONFIG);
    const [one, other] = await addContainers(lab);
    if (one === undefined || other === undefined) throw new Error("Two containers were asked for");
    await waitReaches(one, other);
    return [one, other] as const;
  });
  const before = await progress.step("idle, before", async () => await measureIdle(lab));
  const samples: MemorySample[][] = lab.hosts.map(() => []);
  const startMs = performance.now();
  const sample = () => {
    for (const [index, { agent }] of lab.hosts.entries())
      if (agent.running) samples[index]?.push(sampleMemory(agent.pid, performance.now() - startMs));
  };
  const ping = first.startPing(second.address, { intervalSeconds: PING_INTERVAL_SECONDS });
  const timer = setInterval(sample, SAMPLE_INTERVAL_MS);
  sample();
  const traffic = await progress.step(`${options.minutes} minutes of traffic`, async (notes) => {
    const endMs = startMs + options.minutes * 60_000;
    const there = { source: first, target: second, address: second.address };
    const back = { source: second, target: first, address: first.address };
    const isOver = () =>
      performance.now() >= endMs || lab.hosts.some(({ agent }) => !agent.running);
    return await sendMixed([there, back], isOver, (text, { gigabytes }) =>
      notes.status(`${gigabytes.toFixed(0)} GB so far; ${text}`),
    );
  });
  sample();
  clearInterval(timer);
  const { text: _text, roundTripsMs, ...pings } = await ping.stop();
  const after = await progress.step("idle, after", async () => await measureIdle(lab));
  return {
    machine: describeMachine(),
    ...{ minutes: options.minutes, sealed: options.sealed, traffic },
    agents: lab.hosts.map(({ name, agent }, index) => ({
      ...{ name, samples: samples[index] ?? [], isRunning: agent.running },
      idleCpuPercent: [before[index] ?? Number.NaN, after[index] ?? Number.NaN],
    })),
    ping: {
      ...pings,
      p50Ms: quantile(roundTripsMs, 0.5),
      p99Ms: quantile(roundTripsMs, 0.99),
    },
  };
}

/** Percent of one core that each agent takes while nothing is sent. */
async function measureIdle(lab: Lab): Promise<number[]> {
  const used = () =>
    lab.hosts.map(({ agent }) => (agent.running ? processSeconds(agent.pid) : Number.NaN));
  const before = used();
  await Bun.sleep(IDLE_MS);
  return used().map((now, index) => ((now - before[index]!) / (IDLE_MS / 1000)) * 100);
}

/** Prints the report; gives what it found wrong. */
function describe({ machine, minutes, sealed, agents, traffic, ping }: SoakReport): string[] {
  const wrong = [...traffic.failures];
  const megabytes = (value: number) => (value / BYTES_PER_MEGABYTE).toFixed(1);
  const rows = agents.map(({ name, samples, idleCpuPercent, isRunning }) => {
    const resident = samples.map(({ residentBytes }) => residentBytes);
    const growth = growthPerTenMinutes(samples, ({ residentBytes }) => residentBytes);
    const own = growthPerTenMinutes(samples, ({ anonymousBytes }) => anonymousBytes);
    const isFlat = growth < GROWTH_MAX_MEGABYTES;
    if (!isFlat) wrong.push(`${name}: memory is not flat`);
    if (!isRunning) wrong.push(`${name}: the agent has ended`);
    return [
      name,
      megabytes(resident[0] ?? Number.NaN),
      megabytes(quantile(resident, 0.5)),
      megabytes(Math.max(...resident)),
      megabytes(resident.at(-1) ?? Number.NaN),
      `${growth.toFixed(2)} (its own ${own.toFixed(2)}): ${isFlat ? "flat" : "**not flat**"}`,
      idleCpuPercent.map((value) => value.toFixed(2)).join(", "),
    ];
  });
  const head = ["first", "median", "peak", "last", "MB in 10 min, later half"];
  const lost = `${ping.lost.length} of ${ping.sent} pings lost, longest gap ${ping.longestGap}`;
  const datagrams = `${traffic.lostDatagrams.toFixed(1)} of ${traffic.offeredDatagrams.toFixed(0)}`;
  const lines = [
    "",
    `${minutes} minutes, ${sealed ? "sealed" : "plain"}; ${machine}`,
    "",
    ...table([["agent", ...head.map((text) => `${text}`), "idle % of a core"], ...rows]),
    "",
    `${traffic.transferCount} transfers, ${traffic.gigabytes.toFixed(1)} GB over TCP, ` +
      `${traffic.retransmits} retransmissions, ${datagrams} thousand paced datagrams lost`,
    `${lost}, p50 ${ping.p50Ms.toFixed(2)} ms, p99 ${ping.p99Ms.toFixed(2)} ms`,
    ...wrong.map((text) => `WRONG: ${text}`),
  ];
  console.log(lines.join("\n"));
  return wrong;
}

async function main(): Promise<number> {
  const options = readOptions(process.argv.slice(2));
  if (!existsSync(OVERLAY_PATH)) {
    throw new Error(`Cannot run "${OVERLAY_PATH}": it is not there; run scripts/build first`);
  }
  const { kind, text } = await installPrograms(LAB_PROGRAMS);
  if (kind === "missing") throw new Error(`Cannot open a lab on this machine: ${text}`);
  const report = await soak(options, new Progress());
  if (options.json !== undefined)
    writeFileSync(options.json, `${JSON.stringify(report, undefined, 2)}\n`);
  return describe(report).length === 0 ? 0 : 1;
}

try {
  process.exit(await main());
} catch (error) {
  console.error(`\n${error instanceof Error ? error.message : error}`);
  process.exit(1);
}
