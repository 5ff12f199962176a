/**
 * What is measured, how it is kept, and the arithmetic over it: medians, and ratios of rounds.
 *
 * @module
 */
import { median } from "../store/figures.ts";

/** Each figure of one contender on one wire; the unit is in the name. */
export type Metric =
  | `${"tcp1" | "tcp4" | "tcp16" | "bothWays"}Gbps`
  | "retransmits"
  /** TCP from container to container. */
  | `containers${1 | 4}Gbps`
  | "containersRetransmits"
  /** Processor time of the whole machine, both ends and iperf3, for a gigabyte over TCP. */
  | "machineSecondsPerGigabyte"
  /** The same of the two agents alone. */
  | "agentSecondsPerGigabyte"
  | `udp${UdpSize}${"Offered" | "Delivered"}Kpps`
  | `${"ping" | "loadedPing"}${"P50" | "P99"}Ms`
  /** Of one core, by one agent, without traffic. */
  | "idleCpuPercent"
  /** Of one agent, after its transfers. */
  | "residentMegabytes"
  /** The most that was delivered at any rate, with a small share of a core for each agent. */
  | "overloadBestKpps"
  /** How many times that was offered then. */
  | "overloadTimes"
  /** What was delivered then, of the best. */
  | "overloadShare";

export const UDP_SIZES = [64, 512, 1400] as const;
export type UdpSize = (typeof UDP_SIZES)[number];

export type WireName = "real" | "virtual";

/** One contender on one wire: a figure for each round; absent: not asked for, or it failed. */
export interface ContenderFigures {
  readonly wire: WireName;
  readonly key: string;
  readonly name: string;
  readonly rounds: { [metric in Metric]?: (number | undefined)[] };
}

/** Everything of one run. */
export interface PacketReport {
  readonly machine: string;
  readonly commit: string;
  /** "2026-11-23". */
  readonly date: string;
  readonly roundCount: number;
  readonly seconds: number;
  readonly contenders: readonly ContenderFigures[];
  /** What went wrong, in words; the figure concerned is absent. */
  readonly failures: readonly string[];
}

/** Adds a figure of `round`, counted from 0. */
export function record(
  figures: ContenderFigures,
  metric: Metric,
  round: number,
  value: number,
): void {
  const values = figures.rounds[metric] ?? [];
  figures.rounds[metric] = values;
  while (values.length < round) values.push(undefined);
  values[round] = value;
}

/**
 * Several runs as one: figures of the same contender on the same wire are rounds of each other.
 * Machine, commit and date are the first one's. Undefined of none.
 */
export function mergeReports(reports: readonly PacketReport[]): PacketReport | undefined {
  const [first, ...others] = reports;
  if (first === undefined || others.length === 0) return first;
  const contenders: ContenderFigures[] = [];
  let roundsBefore = 0;
  for (const report of reports) {
    for (const { wire, key, name, rounds } of report.contenders) {
      let merged = contenders.find((one) => one.wire === wire && one.key === key);
      if (merged === undefined) {
        merged = { wire, key, name, rounds: {} };
        contenders.push(merged);
      }
      for (const [metric, values] of Object.entries(rounds)) {
        for (const [round, value] of values.entries()) {
          if (typeof value === "number")
            record(merged, metric as Metric, roundsBefore + round, value);
        }
      }
    }
    roundsBefore += report.roundCount;
  }
  return {
    ...first,
    contenders,
    roundCount: mostRounds(contenders),
    failures: reports.flatMap(({ failures }) => failures),
  };
}

/** What is measured in rounds, each time by one measure. */
const IN_ROUNDS: readonly Metric[] = [
  ...(["tcp1Gbps", "tcp4Gbps", "tcp16Gbps", "bothWaysGbps", "containers1Gbps"] as const),
  ...(["udp64DeliveredKpps", "udp512DeliveredKpps", "pingP50Ms"] as const),
];

/** How many rounds the figure has that has most: parts of a run may have been merged. */
function mostRounds(contenders: readonly ContenderFigures[]): number {
  const counts = contenders.flatMap(({ rounds }) =>
    IN_ROUNDS.map(
      (metric) => (rounds[metric] ?? []).filter((one) => typeof one === "number").length,
    ),
  );
  return Math.max(0, ...counts);
}

/** The figures of one contender on one wire. */
export function find(
  report: PacketReport,
  wire: WireName,
  key: string,
): ContenderFigures | undefined {
  return report.contenders.find((one) => one.wire === wire && one.key === key);
}

/** The median of the rounds; undefined when there was none. */
export function middle(figures: ContenderFigures | undefined, metric: Metric): number | undefined {
  const values = (figures?.rounds[metric] ?? []).filter((value) => typeof value === "number");
  return values.length === 0 ? undefined : median(values);
}

/** The median of the rounds' ratios: what slowed down one round counts on both sides of it. */
export function ratio(
  ours: ContenderFigures | undefined,
  other: ContenderFigures | undefined,
  metric: Metric,
): number | undefined {
  const others = other?.rounds[metric] ?? [];
  const ratios = (ours?.rounds[metric] ?? []).flatMap((value, round) => {
    const by = others[round];
    return typeof value === "number" && typeof by === "number" && by > 0 ? [value / by] : [];
  });
  return ratios.length === 0 ? undefined : median(ratios);
}
