/**
 * The store under faults, seen from outside: a cluster of the built executable in namespaces of
 * this machine, many clients and watches, nodes killed, paused and cut off; then every answer and
 * every event is checked (tests/history).
 *
 *   scripts/history [--minutes M] [--nodes 3|5] [--clients N] [--rate PER_SECOND]
 *                   [--faults kill,pause,…] [--seed S] [--json FILE] [--keep FOLDER]
 *   scripts/history --grow ROUNDS [--seed S]    1, 2, 3, 5, 7 and 3 nodes, so often
 *   scripts/history --check FOLDER              judges a history that was kept, once more
 *
 * Runs dist/overlay, or what OVERLAY_PROGRAM names. The seed decides what is done and when, not how
 * the machine runs it: what it found may need several tries to be seen again. With a finding, or
 * with --keep, the whole history and the agents' logs are kept. Exits with 0 when every promise was
 * kept.
 *
 * @module
 */
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";
import { checkHistory } from "../tests/history/check.ts";
import { FAULT_KINDS, type FaultKind } from "../tests/history/faults.ts";
import { GROWTH_HOSTS, runGrowth } from "../tests/history/growth.ts";
import type { Call, FinalState, Finding, History, WatchSession } from "../tests/history/history.ts";
import { type RunReport, runHistory } from "../tests/history/run.ts";
import { clockObstacle } from "../tests/history/wall-clock.ts";
import { type Lab, openLab } from "../tests/lab/lab.ts";
import { labObstacle } from "../tests/lab/requirements.ts";
import { count, runScript, UsageError } from "./lib/usage.ts";

const MINUTES_DEFAULT = 3;
const CLIENTS_DEFAULT = 16;
const RATE_DEFAULT = 400;
const FINDINGS_SHOWN_MAX = 20;
const SEED_MAX = 1_000_000;

interface Options {
  readonly minutes: number;
  readonly nodes: number;
  readonly clients: number;
  readonly rate: number;
  readonly kinds: readonly FaultKind[];
  readonly seed: number;
  readonly json: string | undefined;
  readonly keep: string | undefined;
  readonly check: string | undefined;
  readonly grow: number | undefined;
}

function readOptions(): Options {
  const { values } = parseArgs({
    options: {
      minutes: { type: "string" },
      nodes: { type: "string" },
      clients: { type: "string" },
      rate: { type: "string" },
      faults: { type: "string" },
      seed: { type: "string" },
      json: { type: "string" },
      keep: { type: "string" },
      check: { type: "string" },
      grow: { type: "string" },
    },
  });
  return {
    minutes: count(values.minutes, "minutes") ?? MINUTES_DEFAULT,
    nodes: count(values.nodes, "nodes") ?? 3,
    clients: count(values.clients, "clients") ?? CLIENTS_DEFAULT,
    rate: count(values.rate, "rate") ?? RATE_DEFAULT,
    kinds: values.faults === undefined ? possibleKinds() : readKinds(values.faults),
    seed: count(values.seed, "seed") ?? Math.floor(Math.random() * SEED_MAX),
    json: values.json,
    keep: values.keep,
    check: values.check,
    grow: count(values.grow, "grow"),
  };
}

/** Every kind that this machine can do. */
function possibleKinds(): readonly FaultKind[] {
  return FAULT_KINDS.filter((kind) => kind !== "clock" || clockObstacle() === undefined);
}

function readKinds(text: string): readonly FaultKind[] {
  return text.split(",").map((name) => {
    const kind = FAULT_KINDS.find((each) => each === name);
    if (kind !== undefined) return kind;
    throw new UsageError(`Cannot do the fault "${name}": there are ${FAULT_KINDS.join(", ")}`);
  });
}

async function main(): Promise<number> {
  const options = readOptions();
  if (options.check !== undefined) return checkAgain(options.check);
  const obstacle = labObstacle();
  if (obstacle !== undefined) throw new UsageError(`Cannot open a lab here: it ${obstacle}`);
  if (options.grow !== undefined) return grow(options.grow, options.seed);
  const { nodes, seed, minutes, kinds } = options;
  console.log(`${nodes} nodes, ${minutes} minutes, seed ${seed}, faults ${kinds.join(", ")}`);
  await using lab = await openLab({ hosts: nodes, docker: false });
  const startTime = performance.now();
  const elapsedMs = () => performance.now() - startTime;
  const { report, history } = await runHistory(lab, {
    seed,
    kinds,
    clientCount: options.clients,
    ratePerSecond: options.rate,
    goesOn: () => elapsedMs() < minutes * 60_000,
    say: (line) => console.log(`${(elapsedMs() / 1000).toFixed(1).padStart(6)} s  ${line}`),
  });
  const repeat = repeatCommand(options);
  console.log(describe(report));
  if (options.json !== undefined) {
    writeFileSync(options.json, `${JSON.stringify({ ...options, repeat, ...report }, null, 2)}\n`);
  }
  const isGood = report.findings.length === 0;
  if (!isGood || options.keep !== undefined) {
    const folder = options.keep ?? join(tmpdir(), `overlay-history-${seed}`);
    keepHistory(folder, { lab, report, history });
    console.log(`kept in ${folder}`);
  }
  if (!isGood) console.log(`repeat it with: ${repeat}`);
  return isGood ? 0 : 1;
}

/** The cluster that grows and shrinks (tests/history/growth.ts). */
async function grow(rounds: number, seed: number): Promise<number> {
  console.log(`${rounds} rounds of growing and shrinking, seed ${seed}`);
  await using lab = await openLab({ hosts: GROWTH_HOSTS, docker: false });
  const { findings, written } = await runGrowth(lab, { seed, rounds, say: console.log });
  console.log(`${written} writes acknowledged`);
  console.log(describeFindings(findings));
  return findings.length === 0 ? 0 : 1;
}

function describe(report: RunReport): string {
  const { verdict, findings } = report;
  const faults = Object.entries(report.faults).map(([kind, times]) => `${kind} ${times}`);
  const { acknowledged, written, refused, unknown } = report;
  const lines = [
    "",
    `requests: ${acknowledged} acknowledged (${written} writes), ${refused} refused, ` +
      `${unknown} unknown, of which ${verdict.happenedCount} happened`,
    `faults: ${faults.join(", ")}`,
    `longest time without an acknowledged write: ${report.longestOutageMs} ms`,
    `watches: ${report.watchedEvents} events in ${report.watchSessions} sessions, ` +
      `${report.resyncs} begun anew`,
    `checked: ${verdict.operationCount} operations on ${verdict.groupCount} groups, ` +
      `${verdict.revisionCount} revisions, ${verdict.undecidedCount} groups undecided`,
  ];
  return [...lines, describeFindings(findings)].join("\n");
}

function describeFindings(findings: readonly Finding[]): string {
  const shown = findings.slice(0, FINDINGS_SHOWN_MAX);
  const lines = shown.map(({ check, message }) => `broken: ${check}: ${message}`);
  lines.push(findings.length === 0 ? "every promise was kept" : `${findings.length} findings`);
  return lines.join("\n");
}

/** Judges the history in `folder`. */
function checkAgain(folder: string): number {
  const lines = (name: string) => readFileSync(join(folder, name), "utf8").split("\n").slice(0, -1);
  const history: History = {
    ...(JSON.parse(readFileSync(join(folder, "scope.json"), "utf8")) as History),
    calls: lines("calls.jsonl").map((line) => JSON.parse(line) as Call),
    sessions: lines("watches.jsonl").map((line) => JSON.parse(line) as WatchSession),
    finals: lines("finals.jsonl").map((line) => JSON.parse(line) as FinalState),
  };
  const { findings } = checkHistory(history);
  console.log(describeFindings(findings));
  return findings.length === 0 ? 0 : 1;
}

function repeatCommand({ minutes, nodes, clients, rate, kinds, seed }: Options): string {
  const workload = `--clients ${clients} --rate ${rate} --faults ${kinds.join(",")}`;
  return `scripts/history --minutes ${minutes} --nodes ${nodes} ${workload} --seed ${seed}`;
}

/** One JSON value a line, and the agents' logs. */
function keepHistory(
  folder: string,
  run: { readonly lab: Lab; readonly report: RunReport; readonly history: History },
): void {
  const { lab, report, history } = run;
  mkdirSync(folder, { recursive: true });
  const lines = (values: readonly unknown[]) =>
    values.map((value) => `${JSON.stringify(value)}\n`).join("");
  writeFileSync(join(folder, "report.json"), `${JSON.stringify(report, null, 2)}\n`);
  const { startRevision, prefix } = history;
  writeFileSync(join(folder, "scope.json"), JSON.stringify({ startRevision, prefix }));
  writeFileSync(join(folder, "calls.jsonl"), lines(history.calls));
  writeFileSync(join(folder, "watches.jsonl"), lines(history.sessions));
  writeFileSync(join(folder, "finals.jsonl"), lines(history.finals));
  for (const { maybeAgent } of lab.hosts) {
    if (maybeAgent === undefined) continue;
    copyFileSync(maybeAgent.logPath, join(folder, basename(maybeAgent.logPath)));
  }
}

if (import.meta.main) await runScript(main);
