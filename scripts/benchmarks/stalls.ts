/**
 * How long saving a snapshot, or handing out a backup (`GET /snapshot`), stops the event loop, in a
 * store of 10,000 leases and 50,000 keys.
 *
 *     scripts/bench stalls [--saves N] [--folder FOLDER]
 *
 * The real state machine, encoding, and snapshot file on a disk, while a probe asks for its turn as
 * often as it can and puts go on being applied: the longest time between two turns is the stall.
 * Beside it the pieces that can be seen from outside: taking the state as it is (`freeze`), making
 * one part. The first save is cold: code that runs for the first time is slow. A backup goes to
 * another process, by the route that the agent serves.
 *
 * Runs itself once more with the collector's own log, for its pauses: they stop the loop too.
 *
 * @module
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { snapshotRoutes } from "../../src/admin/snapshot.ts";
import { parseAddress } from "../../src/base/address.ts";
import { decodeIndex, decodeNodeId, decodeTerm, parseClusterId } from "../../src/base/ids.ts";
import { ok } from "../../src/base/result.ts";
import { type BackupHead, writeBackup } from "../../src/control/cluster/snapshots/backup.ts";
import { paceSnapshotBody } from "../../src/control/cluster/snapshots/snapshot-pace.ts";
import { kvHandlers } from "../../src/control/kv/handlers.ts";
import { createStateMachine } from "../../src/control/kv/state-machine.ts";
import { txn } from "../../src/control/kv/txn.ts";
import type { Command, SnapshotPart, StateMachine } from "../../src/control/kv/types.ts";
import { acquireLease, putConfig } from "../../src/control/network/commands.ts";
import { networkHandlers } from "../../src/control/network/handlers.ts";
import { openSystemClock } from "../../src/host/clock/system-clock.ts";
import { openSystemRandom } from "../../src/host/random/system-random.ts";
import { openWal } from "../../src/host/wal/wal.ts";
import { quantile } from "./store/figures.ts";
import { table } from "./store/report.ts";

const LEASE_COUNT = 10_000;
const KEY_COUNT = 50_000;
const VALUE = new Uint8Array(256).fill(120);
/** What the project wants to keep to. */
const STALL_TARGET_MS = 10;
const PUTS_PER_TURN = 2;
const CLUSTER_ID = "0".repeat(32);
/** Reads all that the URL gives, in a process of its own. */
const READER = "await (await fetch(process.argv.at(-1))).arrayBuffer()";
const IDLE_MS = 1000;
const GC_PAUSE = /p=([0-9.]+)ms/g;
/** Makes the runtime log each collection. */
const GC_LOG = "BUN_JSC_logGC";

/** One save, or one backup. */
interface SaveFigures {
  readonly name: string;
  /** Longest time between two turns of the loop. */
  readonly stallMs: number;
  readonly stallP99Ms: number;
  readonly freezeMs: number;
  readonly partMs: number;
  readonly totalMs: number;
}

class Bench {
  readonly machine: StateMachine = createStateMachine({ ...kvHandlers, ...networkHandlers });
  #sequence = 0;

  run(command: Command): void {
    this.machine.apply(command, {
      index: decodeIndex(this.machine.appliedIndex + 1),
      term: decodeTerm(1),
      proposedAtMs: 0,
      request: { client: decodeNodeId(7), sequence: this.#sequence++ },
    });
  }

  put(): void {
    const key = `/bench/${this.#sequence % KEY_COUNT}`;
    this.run(txn({ success: [{ kind: "put", key, value: VALUE }] }));
  }

  fill(): void {
    const publicIp = parseAddress("192.0.2.1");
    if (publicIp === undefined) throw new Error("the address must be valid");
    const backend = { kind: "udp", port: 8285, partialChecksum: true } as const;
    const attributes = { publicIp, publicIpv6: null, backend };
    this.run(putConfig({ config: { Network: "10.0.0.0/10" } }));
    for (let id = 1; id <= LEASE_COUNT; id++) {
      this.run(acquireLease({ node: decodeNodeId(id * 7919), attributes }));
    }
    for (let i = 0; i < KEY_COUNT; i++) this.put();
  }
}

/**
 * A clock that stands still while this thread waits for a processor, which on a machine that does
 * other things too would be most of every stall. Source: sched-stats in the kernel's documentation.
 */
function ownMs(): number {
  const waitedNs = Number(readFileSync("/proc/self/schedstat", "latin1").split(" ", 2)[1]);
  return performance.now() - waitedNs / 1e6;
}

/** Notes the time between turns of the loop; each turn also applies some puts. */
class LoopProbe {
  readonly gapsMs: number[] = [];
  #isOver = false;

  start(turn: () => void): void {
    let lastMs = ownMs();
    const next = () => {
      const nowMs = ownMs();
      this.gapsMs.push(nowMs - lastMs);
      lastMs = nowMs;
      turn();
      if (!this.#isOver) setImmediate(next);
    };
    setImmediate(next);
  }

  stop(): void {
    this.#isOver = true;
  }
}

/** Times each part as it is made. */
function* timed<Part>(parts: Iterable<Part>, stepsMs: number[]): Generator<Part> {
  let startMs = ownMs();
  for (const part of parts) {
    stepsMs.push(ownMs() - startMs);
    yield part;
    startMs = ownMs();
  }
}

async function measure(saveCount: number, folder: string): Promise<SaveFigures[]> {
  const bench = new Bench();
  bench.fill();
  const clock = openSystemClock();
  const store = await openWal({
    dir: join(folder, "wal"),
    snapshotDir: join(folder, "snapshots"),
    clusterId: CLUSTER_ID,
    nodeId: 1,
    clock,
    random: openSystemRandom(),
  });
  const puts = () => {
    for (let i = 0; i < PUTS_PER_TURN; i++) bench.put();
  };
  const figures = [await measureIdle(puts)];
  const save = async (take: TakeState) => {
    const index = bench.machine.appliedIndex;
    const chunks = paceSnapshotBody(take(), clock);
    await store.saveSnapshot({ index, term: decodeTerm(1), header: new Uint8Array(1) }, chunks);
  };
  const backup = async (take: TakeState) => {
    const chunks = () => writeBackup(headOf(bench.machine), take(), clock);
    const app = snapshotRoutes({ backup: () => Promise.resolve(ok(chunks())) });
    await using server = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: app.fetch });
    const child = Bun.spawn([process.execPath, "-e", READER, `${server.url}snapshot`]);
    if ((await child.exited) !== 0) throw new Error("the backup was not read");
  };
  for (const [name, work] of Object.entries({ save, backup })) {
    for (let i = 0; i < saveCount; i++) {
      const title = i === 0 ? `${name}, cold` : `${name} ${i + 1}`;
      figures.push(await measureWork({ title, bench, puts }, work));
    }
  }
  await store.close();
  return figures;
}

/** Takes the state as it is, and times that and each part of it. */
type TakeState = () => Iterable<SnapshotPart>;

async function measureWork(
  { title, bench, puts }: { readonly title: string; readonly bench: Bench; puts(): void },
  work: (take: TakeState) => Promise<void>,
): Promise<SaveFigures> {
  const probe = new LoopProbe();
  probe.start(puts);
  await Bun.sleep(0);
  const stepsMs: number[] = [];
  let freezeMs = 0;
  const startMs = ownMs();
  await work(() => {
    const takenMs = ownMs();
    const state = bench.machine.snapshot();
    freezeMs = ownMs() - takenMs;
    return timed(state, stepsMs);
  });
  probe.stop();
  return {
    name: title,
    stallMs: Math.max(...probe.gapsMs),
    stallP99Ms: quantile(probe.gapsMs, 0.99),
    freezeMs,
    partMs: Math.max(...stepsMs),
    totalMs: ownMs() - startMs,
  };
}

function headOf(machine: StateMachine): BackupHead {
  const clusterId = parseClusterId(CLUSTER_ID);
  if (clusterId === undefined) throw new Error("the cluster id must be valid");
  const place = { clusterId, generation: 1, index: machine.appliedIndex, term: decodeTerm(1) };
  const maker = { nodeId: decodeNodeId(1), nodeName: "bench", program: "bench", madeAtMs: 0 };
  return { version: 1, ...place, revision: machine.reader.revision, ...maker };
}

/** The same probe without a snapshot: what the machine and the puts do by themselves. */
async function measureIdle(puts: () => void): Promise<SaveFigures> {
  const probe = new LoopProbe();
  probe.start(puts);
  await Bun.sleep(IDLE_MS);
  probe.stop();
  return {
    name: "puts alone, no save",
    stallMs: Math.max(...probe.gapsMs),
    stallP99Ms: quantile(probe.gapsMs, 0.99),
    freezeMs: Number.NaN,
    partMs: Number.NaN,
    totalMs: IDLE_MS,
  };
}

function describe(figures: readonly SaveFigures[]): string {
  const ms = (value: number) => (Number.isNaN(value) ? "" : `${value.toFixed(2)} ms`);
  const rows = figures.map((each) => [
    each.name,
    ...[each.stallMs, each.stallP99Ms, each.freezeMs, each.partMs, each.totalMs].map(ms),
  ]);
  const head = ["", "longest stall", "p99", "freeze", "longest part", "whole"];
  const saves = figures.filter(({ freezeMs }) => !Number.isNaN(freezeMs));
  const worst = Math.max(...saves.map(({ stallMs }) => stallMs));
  const verdict = `longest stall of them: ${ms(worst)} (target ${STALL_TARGET_MS} ms)`;
  return [...table([head, ...rows]), "", verdict].join("\n");
}

/** Pauses of the collector in a second run, from its own log. */
async function describeCollector(): Promise<string> {
  const child = Bun.spawn({
    cmd: [process.execPath, import.meta.path, ...process.argv.slice(2)],
    env: { ...process.env, [GC_LOG]: "1" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [out, log] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  await child.exited;
  const pausesMs = Array.from(`${out}${log}`.matchAll(GC_PAUSE), ([, ms]) => Number(ms));
  if (pausesMs.length === 0) return "pauses of the collector: the runtime does not tell";
  const [p50, p99] = [0.5, 0.99].map((share) => quantile(pausesMs, share).toFixed(2));
  const longest = Math.max(...pausesMs).toFixed(2);
  const count = pausesMs.length.toLocaleString("en");
  return `pauses of the collector: ${count}, p50 ${p50} ms, p99 ${p99} ms, longest ${longest} ms`;
}

const { values } = parseArgs({
  args: process.argv.slice(2),
  options: {
    saves: { type: "string", default: "5" },
    folder: { type: "string", default: tmpdir() },
  },
});
const folder = mkdtempSync(join(values.folder, "overlay-bench-stalls-"));
try {
  console.log(describe(await measure(Number(values.saves), folder)));
} finally {
  rmSync(folder, { recursive: true, force: true });
}
if (process.env[GC_LOG] === undefined) console.log(await describeCollector());
