/**
 * A node whose store holds 10,000 subnet leases: its memory, and how long it takes to start again.
 *
 *     scripts/bench leases [--count N] [--restarts N] [--settle SECONDS] [--rest SECONDS]
 *                          [--json FILE]
 *
 * The data directory is filled by the program's own code: a cluster of one, a network config, and
 * one `acquire` for each of so many nodes, through the log. Then the executable is started on it,
 * with its lease, its link and its packet loop, and asked until `/readyz` says yes. Resident memory
 * is what the kernel counts, at its peak and after it has settled. The last start is then left
 * alone for a while, with all its peers silent: what it takes to do nothing, and whether it grows.
 *
 * Needs root (a network namespace of its own, which ends with it). Measures `dist/overlay` as it
 * is built, or what OVERLAY_PROGRAM names.
 *
 * @module
 */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus, release, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { OVERLAY_PATH } from "../../tests/lab/host.ts";
import { LabProcess } from "../../tests/lab/process.ts";
import { mustRun } from "../../tests/lab/run.ts";
import { Progress } from "../lib/progress.ts";
import { fillWithLeases } from "./leases/fill.ts";
import { median } from "./store/figures.ts";
import { peakResidentBytes } from "./store/memory.ts";
import { enterNamespace, isInNamespace } from "./store/namespace.ts";
import { table } from "./store/report.ts";

const LEASE_COUNT = 10_000;
const ADMIN_ORIGIN = "http://127.0.0.1:8287";
const BRIDGE = "overlaybench";
const UNDERLAY = "192.0.2.1";
const READY_TIMEOUT_MS = 30_000;
/** Asked more often, the asking would be a good part of the start. */
const POLL_MS = 10;
const EXIT_INTERRUPTED = 130;
/** What the project wants to keep to. */
const RESIDENT_TARGET_BYTES = 120e6;
const RESTART_TARGET_MS = 1000;
const IDLE_TARGET_PERCENT = 2;
/** Over which the processor time of an idle node is taken. */
const IDLE_SECONDS = 20;

interface Options {
  readonly leaseCount: number;
  readonly restartCount: number;
  readonly settleSeconds: number;
  /** Between that and the look at an idle node; 0: none is taken. */
  readonly restSeconds: number;
  readonly json: string | undefined;
}

/** One start of the executable. */
interface StartFigures {
  readonly readyMs: number;
  /** Processor time of all its threads until then: says more where others use the machine. */
  readonly readyCpuMs: number;
  readonly peakBytes: number;
  readonly settledBytes: number;
  /** Of the settled ones: this process's own, and pages of files. */
  readonly anonymousBytes: number;
  readonly leaseCount: number;
}

/** A node that was left alone. */
interface IdleFigures {
  /** Of one core. */
  readonly cpuPercent: number;
  readonly residentBytes: number;
  /** How much more than when it had settled. */
  readonly grownBytes: number;
}

async function main(): Promise<void> {
  const options = readOptions(process.argv.slice(2));
  if (!isInNamespace()) process.exit(await enterNamespace(import.meta.path));
  if (!existsSync(OVERLAY_PATH)) {
    throw new Error(`Cannot measure "${OVERLAY_PATH}": it is not there; run scripts/build first`);
  }
  const folder = mkdtempSync(join(tmpdir(), "overlay-bench-leases-"));
  let agent: LabProcess | undefined;
  process.on("exit", () => {
    agent?.killGroup();
    rmSync(folder, { recursive: true, force: true });
  });
  for (const signal of ["SIGINT", "SIGTERM"])
    process.on(signal, () => process.exit(EXIT_INTERRUPTED));
  const progress = new Progress();
  await makeUnderlay();
  const { leaseCount, restartCount } = options;
  const dataDir = join(folder, "data");
  await progress.step(`${leaseCount.toLocaleString("en")} leases`, () =>
    fillWithLeases({ dataDir, leaseCount, publicIp: UNDERLAY }),
  );
  const starts: StartFigures[] = [];
  let idle: IdleFigures | undefined;
  for (let i = 0; i < restartCount; i++) {
    await progress.step(`start ${i + 1}`, async (notes) => {
      const startMs = performance.now();
      agent = launch(folder, dataDir);
      const figures = await measureStart(agent, startMs, options.settleSeconds);
      starts.push(figures);
      const { readyMs, settledBytes } = figures;
      notes.result(`ready in ${readyMs.toFixed(0)} ms, ${megabytes(settledBytes)} settled`);
      if (i === restartCount - 1 && options.restSeconds > 0)
        idle = await measureIdle(agent, settledBytes, options.restSeconds);
      // Every other one is a crash: what was not saved must be read from the log again.
      await (i % 2 === 0 ? agent.terminate() : agent.kill());
    });
  }
  console.log(`\n${describe(starts)}`);
  if (idle !== undefined) console.log(`\n${describeIdle(idle, options)}`);
  const machine = `${availableParallelism()} × ${cpus()[0]?.model ?? "?"}, Linux ${release()}`;
  if (options.json !== undefined)
    writeFileSync(options.json, `${JSON.stringify({ machine, starts, idle }, undefined, 2)}\n`);
  process.exit(0);
}

function readOptions(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      count: { type: "string", default: String(LEASE_COUNT) },
      restarts: { type: "string", default: "5" },
      settle: { type: "string", default: "8" },
      rest: { type: "string", default: "60" },
      json: { type: "string" },
    },
  });
  return {
    leaseCount: Number(values.count),
    restartCount: Number(values.restarts),
    settleSeconds: Number(values.settle),
    restSeconds: Number(values.rest),
    json: values.json,
  };
}

async function makeUnderlay(): Promise<void> {
  await mustRun(["ip", "link", "set", "lo", "up"]);
  await mustRun(["ip", "link", "add", BRIDGE, "type", "bridge"]);
  await mustRun(["ip", "address", "add", `${UNDERLAY}/24`, "dev", BRIDGE]);
  await mustRun(["ip", "link", "set", BRIDGE, "up"]);
}

function launch(folder: string, dataDir: string): LabProcess {
  const runDir = join(folder, "run");
  mkdirSync(runDir, { recursive: true });
  return LabProcess.start({
    name: "agent",
    command: [
      ...[OVERLAY_PATH, "agent", "--node-name", "bench", "--iface", UNDERLAY],
      ...["--data-dir", dataDir, "--run-dir", runDir, "--subnet-file", "none"],
    ],
    logPath: join(folder, "agent.log"),
  });
}

async function measureStart(
  agent: LabProcess,
  startMs: number,
  settleSeconds: number,
): Promise<StartFigures> {
  while (!(await isReady())) {
    if (!agent.running || performance.now() - startMs > READY_TIMEOUT_MS) {
      throw new Error(`The agent does not become ready:\n${agent.tail()}`);
    }
    await Bun.sleep(POLL_MS);
  }
  const readyMs = performance.now() - startMs;
  const readyCpuMs = agent.cpuSeconds() * 1000;
  const leases: unknown = await (await fetch(`${ADMIN_ORIGIN}/leases`)).json();
  await Bun.sleep(settleSeconds * 1000);
  const status = readFileSync(`/proc/${agent.pid}/status`, "utf8");
  return {
    readyMs,
    readyCpuMs,
    peakBytes: peakResidentBytes(agent.pid),
    settledBytes: agent.residentBytes(),
    anonymousBytes: Number(/^RssAnon:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024,
    leaseCount: Array.isArray(leases) ? leases.length : Number.NaN,
  };
}

async function measureIdle(
  agent: LabProcess,
  settledBytes: number,
  restSeconds: number,
): Promise<IdleFigures> {
  await Bun.sleep(restSeconds * 1000);
  const before = agent.cpuSeconds();
  await Bun.sleep(IDLE_SECONDS * 1000);
  const cpuPercent = (100 * (agent.cpuSeconds() - before)) / IDLE_SECONDS;
  const residentBytes = agent.residentBytes();
  return { cpuPercent, residentBytes, grownBytes: residentBytes - settledBytes };
}

async function isReady(): Promise<boolean> {
  try {
    const { ok } = await fetch(`${ADMIN_ORIGIN}/readyz`, { keepalive: false });
    return ok;
  } catch {
    return false; // It does not listen yet.
  }
}

function describe(starts: readonly StartFigures[]): string {
  const row = (
    name: string,
    of: (figures: StartFigures) => number,
    { show, target }: { show: (value: number) => string; target?: number },
  ) => {
    const values = starts.map(of);
    const worst = Math.max(...values);
    const verdict = target === undefined ? "" : `${worst <= target ? "≤" : "> "} ${show(target)}`;
    return [name, show(median(values)), show(worst), verdict];
  };
  return table([
    [`${starts.length} starts`, "median", "worst", "target"],
    row("leases held", ({ leaseCount }) => leaseCount, { show: (n) => n.toLocaleString("en") }),
    row("start to /readyz", ({ readyMs }) => readyMs, {
      show: milliseconds,
      target: RESTART_TARGET_MS,
    }),
    row("processor time of that", (each) => each.readyCpuMs, { show: milliseconds }),
    row("resident, settled", ({ settledBytes }) => settledBytes, {
      show: megabytes,
      target: RESIDENT_TARGET_BYTES,
    }),
    row("of that its own (anonymous)", (each) => each.anonymousBytes, { show: megabytes }),
    row("resident, peak", ({ peakBytes }) => peakBytes, { show: megabytes }),
  ]).join("\n");
}

function describeIdle(idle: IdleFigures, { restSeconds }: Options): string {
  const { cpuPercent, residentBytes, grownBytes } = idle;
  const percent = (value: number) => `${value.toFixed(1)} %`;
  const verdict = (isMet: boolean, target: string) => `${isMet ? "≤" : "> "} ${target}`;
  return table([
    [`left alone for ${restSeconds} s`, "", "target"],
    [
      "processor time, of one core",
      percent(cpuPercent),
      verdict(cpuPercent <= IDLE_TARGET_PERCENT, percent(IDLE_TARGET_PERCENT)),
    ],
    [
      "resident",
      megabytes(residentBytes),
      verdict(residentBytes <= RESIDENT_TARGET_BYTES, megabytes(RESIDENT_TARGET_BYTES)),
    ],
    ["more than when it had settled", megabytes(grownBytes), ""],
  ]).join("\n");
}

function milliseconds(ms: number): string {
  return `${ms.toFixed(0)} ms`;
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(0)} MB`;
}

try {
  await main();
} catch (error) {
  console.error(`\n${error instanceof Error ? error.message : error}`);
  process.exit(1);
}
