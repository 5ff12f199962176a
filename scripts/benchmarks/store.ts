/**
 * Our store beside etcd 3.4: three members each, on this machine's loopback and one disk.
 *
 *     scripts/bench store [--quick] [--json FILE] [--only puts,gets,watch,kill,transfer]
 *                         [--rounds N] [--seconds N] [--folder FOLDER] [--against PROGRAM]
 *
 * One client process drives both over HTTP/1.1 keep-alive, in alternation, each client on its own
 * connection with one request at a time. Both stores run all the while, with their own defaults
 * and their own syncing of every write; ours speaks TLS between its members, etcd does not.
 * Ratios carry over to other machines; absolute figures do not.
 *
 * Needs root (a network namespace of its own, which ends with it) and Debian's etcd-server and
 * etcd-client, which are installed when missing. `dist/overlay` is measured as it is built, or
 * what OVERLAY_PROGRAM names. `--against` puts another build of ours in the place of etcd.
 *
 * @module
 */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus, release, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { OVERLAY_PATH } from "../../tests/lab/host.ts";
import { ETCD_PROGRAMS, LAB_PROGRAMS } from "../../tests/lab/programs.ts";
import { mustRun } from "../../tests/lab/run.ts";
import { Progress } from "../lib/progress.ts";
import { installPrograms } from "../lib/setup.ts";
import { measureSync } from "./store/disk.ts";
import { openEtcd } from "./store/etcd.ts";
import { measureFanOut } from "./store/fan-out.ts";
import { median } from "./store/figures.ts";
import { type LoadCase, type Placement, sendAll } from "./store/load.ts";
import { peakResidentBytes } from "./store/memory.ts";
import { enterNamespace, isInNamespace } from "./store/namespace.ts";
import { measureKill, measureTransfer } from "./store/outage.ts";
import { openOverlay } from "./store/overlay.ts";
import { describeCase, describeReport, type StoreReport } from "./store/report.ts";
import { alternate, type CaseResult, compareLoad, type Pair } from "./store/rounds.ts";
import {
  type Consistency,
  KEY_PREFIX,
  numberedValue,
  type StoreMember,
  type StoreSystem,
} from "./store/system.ts";

const VALUE_SIZE = 256;
const KEY_COUNT = 2048;
const PARTS = ["puts", "gets", "watch", "kill", "transfer"] as const;
const EXIT_INTERRUPTED = 130;

type Part = (typeof PARTS)[number];

interface Options {
  readonly quick: boolean;
  readonly json: string | undefined;
  readonly parts: readonly Part[];
  readonly roundCount: number;
  readonly seconds: number;
  readonly folder: string;
  /** Another build of ours to compare with in place of etcd. */
  readonly against: string | undefined;
}

async function main(): Promise<void> {
  const options = readOptions(process.argv.slice(2));
  const progress = new Progress();
  if (!isInNamespace()) {
    await setUp(progress);
    process.exit(await enterNamespace(import.meta.path));
  }
  await mustRun(["ip", "link", "set", "lo", "up"]);
  mkdirSync(options.folder, { recursive: true });
  const folder = mkdtempSync(join(options.folder, "overlay-bench-store-"));
  const opened: StoreSystem[] = [];
  const cleanUp = () => {
    for (const { members } of opened) for (const member of members) member.process.killGroup();
    rmSync(folder, { recursive: true, force: true });
  };
  process.on("exit", cleanUp);
  for (const signal of ["SIGINT", "SIGTERM"])
    process.on(signal, () => process.exit(EXIT_INTERRUPTED));
  const pair = await progress.step("three members of each", async (notes) => {
    const { against } = options;
    const ours = await openOverlay(join(folder, "ours"), { program: OVERLAY_PATH, slot: 0 });
    const peer =
      against === undefined
        ? await openEtcd(join(folder, "etcd"))
        : await openOverlay(join(folder, "peer"), { program: against, slot: 1 });
    opened.push(peer, ours);
    await Promise.all([peer.start(), ours.start()]);
    notes.result(`${peer.name} and ${ours.name}`);
    return { peer, ours };
  });
  const report = await measure(pair, options, progress);
  console.log(`\n${describeReport(report)}`);
  if (options.json !== undefined)
    writeFileSync(options.json, `${JSON.stringify(report, undefined, 2)}\n`);
  process.exit(0);
}

function readOptions(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      quick: { type: "boolean", default: false },
      json: { type: "string" },
      only: { type: "string", default: PARTS.join(",") },
      rounds: { type: "string" },
      seconds: { type: "string" },
      folder: { type: "string", default: tmpdir() },
      against: { type: "string" },
    },
  });
  const words = values.only.split(",");
  const unknown = words.filter((word) => !PARTS.some((part) => part === word));
  if (unknown.length > 0)
    throw new Error(`--only takes ${PARTS.join(", ")}, not ${unknown.join()}`);
  return {
    quick: values.quick,
    json: values.json,
    parts: PARTS.filter((part) => words.includes(part)),
    roundCount: Number(values.rounds ?? (values.quick ? 1 : 3)),
    seconds: Number(values.seconds ?? (values.quick ? 1 : 2)),
    folder: values.folder,
    against: values.against,
  };
}

async function setUp(progress: Progress): Promise<void> {
  await progress.step("programs", async (notes) => {
    const { kind, text } = await installPrograms({ ...LAB_PROGRAMS, ...ETCD_PROGRAMS });
    if (kind === "missing") throw new Error(`Cannot run etcd on this machine: ${text}`);
    notes.result(text);
  });
  if (!existsSync(OVERLAY_PATH)) {
    throw new Error(`Cannot measure "${OVERLAY_PATH}": it is not there; run scripts/build first`);
  }
}

async function measure(pair: Pair, options: Options, progress: Progress): Promise<StoreReport> {
  const has = (part: Part) => options.parts.includes(part);
  const first = eachMember(pair, ({ process }) => process.residentBytes());
  const syncs = [measureSync(options.folder)];
  const cases: CaseResult[] = [];
  await progress.step("keys", async () => {
    await Promise.all([pair.peer, pair.ours].map((each) => sendAll(each, putCase(64, "leader"))));
  });
  for (const load of listCases(options)) {
    await progress.step(load.name, async (notes) => {
      const result = await compareLoad(pair, load, options);
      cases.push(result);
      notes.result(describeCase(result));
    });
  }
  syncs.push(measureSync(options.folder));
  const { roundCount, seconds, quick } = options;
  const repeat = <T>(title: string, count: number, of: (system: StoreSystem) => Promise<T>) =>
    progress.step(title, () => alternate(pair, count, of));
  const fanOut =
    has("watch") && (await repeat("watch", roundCount, (each) => measureFanOut(each, seconds)));
  const peak = eachMember(pair, ({ process }) => peakResidentBytes(process.pid));
  const transferMs = has("transfer") && (await repeat("transfer", quick ? 3 : 10, measureTransfer));
  const killMs = has("kill") && (await repeat("kill -9", quick ? 3 : 20, measureKill));
  syncs.push(measureSync(options.folder));
  return {
    machine: `${availableParallelism()} × ${cpus()[0]?.model ?? "?"}, Linux ${release()}`,
    names: { peer: pair.peer.name, ours: pair.ours.name },
    transferWords: { peer: pair.peer.transferWords, ours: pair.ours.transferWords },
    sync: {
      p50Ms: median(syncs.map(({ p50Ms }) => p50Ms)),
      p99Ms: median(syncs.map(({ p99Ms }) => p99Ms)),
    },
    cases,
    ...(fanOut && { fanOut }),
    ...(killMs && { killMs }),
    ...(transferMs && { transferMs }),
    residentBytes: residentFigures({
      first,
      peak,
      last: eachMember(pair, ({ process }) => process.residentBytes()),
    }),
  };
}

function listCases({ parts, quick }: Options): LoadCase[] {
  const cases: LoadCase[] = [];
  const places = (at: readonly (readonly [number, Placement])[]) => at;
  const whole = places([
    ...([
      [1, "leader"],
      [1, "follower"],
      [10, "all"],
    ] as const),
    ...([
      [64, "all"],
      [256, "all"],
      [64, "leader"],
      [256, "leader"],
    ] as const),
  ]);
  const short = places([
    [1, "leader"],
    [64, "all"],
    [256, "all"],
  ]);
  if (parts.includes("puts")) {
    for (const [clientCount, at] of quick ? short : whole) {
      cases.push(putCase(clientCount, at));
    }
  }
  if (parts.includes("gets")) {
    for (const consistency of ["linearizable", "local"] as const) {
      for (const [clientCount, at] of places([
        [1, "leader"],
        [64, "all"],
      ])) {
        cases.push(getCase(clientCount, at, consistency));
      }
    }
  }
  return cases;
}

function putCase(clientCount: number, at: Placement): LoadCase {
  return {
    name: `put, ${clientCount} × ${at}`,
    clientCount,
    at,
    request: (system, member, sequence) =>
      system.putRequest(member, keyOf(sequence), numberedValue(sequence, VALUE_SIZE)),
  };
}

function getCase(clientCount: number, at: Placement, consistency: Consistency): LoadCase {
  return {
    name: `${consistency} get, ${clientCount} × ${at}`,
    clientCount,
    at,
    request: (system, member, sequence) => system.getRequest(member, keyOf(sequence), consistency),
  };
}

function keyOf(sequence: number): string {
  return `${KEY_PREFIX}${String(sequence % KEY_COUNT).padStart(6, "0")}`;
}

type EachMember = Readonly<Record<"peer" | "ours", readonly number[]>>;

function eachMember(pair: Pair, of: (member: StoreMember) => number): EachMember {
  return { peer: pair.peer.members.map(of), ours: pair.ours.members.map(of) };
}

function residentFigures(
  figures: Readonly<Record<"first" | "peak" | "last", EachMember>>,
): StoreReport["residentBytes"] {
  const of = (which: "peer" | "ours") => ({
    first: figures.first[which],
    peak: figures.peak[which],
    last: figures.last[which],
  });
  return { peer: of("peer"), ours: of("ours") };
}

try {
  await main();
} catch (error) {
  console.error(`\n${error instanceof Error ? error.message : error}`);
  process.exit(1);
}
