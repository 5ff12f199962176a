/**
 * Both stores in alternation: each round of a case runs on one and then on the other, and the next
 * round the other way round, so that what else the machine does falls on both alike.
 *
 * @module
 */
import { median } from "./figures.ts";
import { type LoadCase, type LoadFigures, runLoad } from "./load.ts";
import type { StoreSystem } from "./system.ts";

/** The figures of one case on one store: medians over the rounds. */
export interface CaseFigures extends LoadFigures {
  /** Throughput of the slowest and of the fastest round. */
  readonly perSecondRange: readonly [number, number];
}

/** One case on both stores. */
export interface CaseResult {
  readonly name: string;
  readonly peer: CaseFigures;
  readonly ours: CaseFigures;
  /** Of the throughput, ours to the peer's: the median of the rounds' ratios. */
  readonly ratio: number;
}

/** The store to compare with, and ours. */
export interface Pair {
  readonly peer: StoreSystem;
  readonly ours: StoreSystem;
}

export interface RoundOptions {
  readonly roundCount: number;
  readonly seconds: number;
}

/** Runs `load` on both. */
export async function compareLoad(
  pair: Pair,
  load: LoadCase,
  options: RoundOptions,
): Promise<CaseResult> {
  const peer: LoadFigures[] = [];
  const ours: LoadFigures[] = [];
  for (let round = 0; round < options.roundCount; round++) {
    const run = async (which: "peer" | "ours") => {
      const figures = await runLoad(pair[which], load, options.seconds);
      (which === "peer" ? peer : ours).push(figures);
    };
    const order = round % 2 === 0 ? (["peer", "ours"] as const) : (["ours", "peer"] as const);
    for (const which of order) await run(which);
  }
  return {
    name: load.name,
    peer: summarize(peer),
    ours: summarize(ours),
    ratio: median(ours.map(({ perSecond }, i) => perSecond / peer[i]!.perSecond)),
  };
}

/** Runs `measure` on both, `count` times in turn. */
export async function alternate<T>(
  pair: Pair,
  count: number,
  measure: (system: StoreSystem) => Promise<T>,
): Promise<{ readonly peer: readonly T[]; readonly ours: readonly T[] }> {
  const peer: T[] = [];
  const ours: T[] = [];
  for (let i = 0; i < count; i++) {
    peer.push(await measure(pair.peer));
    ours.push(await measure(pair.ours));
  }
  return { peer, ours };
}

function summarize(rounds: readonly LoadFigures[]): CaseFigures {
  const middle = (of: (figures: LoadFigures) => number) => median(rounds.map(of));
  const rates = rounds.map(({ perSecond }) => perSecond);
  return {
    perSecond: middle(({ perSecond }) => perSecond),
    perSecondRange: [Math.min(...rates), Math.max(...rates)],
    p50Ms: middle(({ p50Ms }) => p50Ms),
    p99Ms: middle(({ p99Ms }) => p99Ms),
    failedCount: rounds.reduce((sum, { failedCount }) => sum + failedCount, 0),
    serverMicros: middle(({ serverMicros }) => serverMicros),
    clientMicros: middle(({ clientMicros }) => clientMicros),
  };
}
