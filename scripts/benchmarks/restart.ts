/**
 * What a ping of a hundred a second sees of an agent that is stopped, or killed, and started again.
 *
 *     scripts/bench restart [--rounds N] [--json FILE]
 *
 * Two hosts of the lab with a container each, the built executable (`scripts/build`), one way of
 * carrying packets after the other. Pings go both ways; the longest round trip is how long packets
 * waited for the next process, its start included. Needs root.
 *
 * @module
 */
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import {
  addContainers,
  join,
  mustPutConfig,
  NETWORK_CONFIG,
  waitReaches,
  waitSettled,
} from "../../tests/lab/cluster.ts";
import type { Container, Host } from "../../tests/lab/host.ts";
import { openLab } from "../../tests/lab/lab.ts";
import type { PingReport } from "../../tests/lab/ping.ts";
import { waitFor } from "../../tests/lab/wait.ts";
import { table } from "./store/report.ts";

const ROUNDS_DEFAULT = 3;
const INTERVAL_SECONDS = 0.01;
const SEALED = { ...NETWORK_CONFIG, Backend: { Type: "udp", Encryption: "aes-256-gcm" } };
/** Answers to wait for before and after each restart. */
const CALM_COUNT = 50;

const WAYS = [
  { name: "plain, --engine user", config: NETWORK_CONFIG, args: ["--engine", "user"] },
  { name: "plain, with the kernel", config: NETWORK_CONFIG, args: [] },
  { name: "sealed", config: SEALED, args: [] },
] as const;
type Way = (typeof WAYS)[number];

const ENDS = ["stopped", "killed"] as const;

/** All rounds of one way to end and begin again. */
interface Figures {
  readonly way: string;
  readonly end: string;
  /** Packets without an answer, of both pings, most of any round. */
  readonly lostMost: number;
  readonly duplicates: number;
  /** Longest round trip of each round, milliseconds. */
  readonly longestMs: readonly number[];
}

async function measureWay(way: Way, rounds: number): Promise<Figures[]> {
  await using lab = await openLab({ hosts: 2 });
  await Promise.all(lab.hosts.map((host) => host.startHealthyAgent({ args: way.args })));
  await join(lab.host(1), lab.host(0));
  await waitSettled(lab.hosts);
  await mustPutConfig(lab.host(0), way.config);
  const [a, b] = await addContainers(lab);
  await waitReaches(a!, b!);
  const figures: Figures[] = [];
  for (const end of ENDS) {
    const runs: PingReport[][] = [];
    for (let round = 0; round < rounds; round++) {
      runs.push(await pingThrough([a!, b!], () => restart(lab.host(0), end, way.args)));
    }
    figures.push({
      way: way.name,
      end,
      lostMost: Math.max(...runs.flat().map((report) => report.lost.length)),
      duplicates: runs.flat().filter((report) => report.text.includes("DUP")).length,
      longestMs: runs.map((run) => Math.max(...run.flatMap((report) => report.roundTripsMs))),
    });
  }
  return figures;
}

async function restart(host: Host, end: string, args: readonly string[]): Promise<void> {
  if (end === "killed") await host.agent.kill();
  else await host.agent.terminate();
  await host.startHealthyAgent({ args });
}

async function pingThrough(
  [a, b]: readonly [Container, Container],
  body: () => Promise<void>,
): Promise<PingReport[]> {
  const often = { intervalSeconds: INTERVAL_SECONDS };
  const pings = [a.startPing(b.address, often), b.startPing(a.address, often)];
  const calm = async () => {
    const goals = pings.map((ping) => ping.received() + CALM_COUNT);
    const isReached = () => pings.every((ping, i) => ping.received() >= goals[i]!);
    await waitFor(isReached, { describe: "answers" });
  };
  await calm();
  await body();
  await calm();
  return await Promise.all(pings.map((ping) => ping.stop()));
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      rounds: { type: "string", default: String(ROUNDS_DEFAULT) },
      json: { type: "string" },
    },
  });
  const figures: Figures[] = [];
  for (const way of WAYS) figures.push(...(await measureWay(way, Number(values.rounds))));
  const rows = figures.map(({ way, end, lostMost, duplicates, longestMs }) => {
    const sorted = [...longestMs].sort((x, y) => x - y);
    const [median, worst] = [sorted[Math.floor(sorted.length / 2)]!, sorted.at(-1)!];
    return [way, end, `${lostMost}`, `${duplicates}`, median.toFixed(0), worst.toFixed(0)];
  });
  const head = ["", "agent", "lost, most", "duplicates", "longest ping ms, median", "worst"];
  console.log(table([head, ...rows]).join("\n"));
  if (values.json !== undefined) writeFileSync(values.json, JSON.stringify(figures, null, 2));
}

await main();
