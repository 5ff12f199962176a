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
import { openLab } from "../../tests/lab/lab.ts";
import type { PingReport } from "../../tests/lab/ping.ts";
import {
  AGENT_ENDS,
  openPair,
  PACKET_WAYS,
  type PacketWay,
  pingThrough,
} from "../../tests/lab/restarts.ts";
import { table } from "./store/report.ts";

const ROUNDS_DEFAULT = 3;

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

async function measureWay(name: string, way: PacketWay, rounds: number): Promise<Figures[]> {
  await using lab = await openLab({ hosts: 2 });
  const pair = await openPair(lab, way);
  const host = lab.host(0);
  const figures: Figures[] = [];
  for (const [end, go] of Object.entries(AGENT_ENDS)) {
    const runs: (readonly PingReport[])[] = [];
    for (let round = 0; round < rounds; round++) {
      const restart = async () => {
        await go(host);
        await host.startHealthyAgent({ args: way.args });
      };
      runs.push(await pingThrough(pair, restart));
    }
    figures.push({
      way: name,
      end,
      lostMost: Math.max(...runs.flat().map((report) => report.lost.length)),
      duplicates: runs.flat().filter((report) => report.text.includes("DUP")).length,
      longestMs: runs.map((run) => Math.max(...run.flatMap((report) => report.roundTripsMs))),
    });
  }
  return figures;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      rounds: { type: "string", default: String(ROUNDS_DEFAULT) },
      json: { type: "string" },
    },
  });
  const figures: Figures[] = [];
  for (const [name, way] of Object.entries(PACKET_WAYS)) {
    figures.push(...(await measureWay(name, way, Number(values.rounds))));
  }
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
