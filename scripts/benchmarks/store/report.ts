/**
 * What was measured, as text: tables that are Markdown and can be read as they are.
 *
 * @module
 */
import type { DiskFigures } from "./disk.ts";
import type { FanOutFigures } from "./fan-out.ts";
import { median, quantile } from "./figures.ts";
import type { CaseResult } from "./rounds.ts";

/** One figure of both stores. */
export interface Both<T> {
  readonly peer: T;
  readonly ours: T;
}

/** Everything that one run measured; parts that were not asked for are absent. */
export interface StoreReport {
  readonly machine: string;
  readonly names: Both<string>;
  readonly transferWords: Both<string>;
  readonly sync: DiskFigures;
  readonly cases: readonly CaseResult[];
  readonly fanOut?: Both<readonly FanOutFigures[]>;
  readonly killMs?: Both<readonly number[]>;
  readonly transferMs?: Both<readonly number[]>;
  /** Resident bytes of each member. */
  readonly residentBytes: Both<ResidentFigures>;
}

/** Resident bytes of each member of one store. */
export interface ResidentFigures {
  /** After the start. */
  readonly first: readonly number[];
  /** The most that it ever had, as the kernel counts; before any was killed. */
  readonly peak: readonly number[];
  readonly last: readonly number[];
}

/** `report` for people. */
export function describeReport(report: StoreReport): string {
  const { machine, names, sync } = report;
  const peerName = names.peer.split(" ")[0] ?? "peer";
  const head = [
    `${names.ours} beside ${names.peer}; ${machine}`,
    `the disk's own fdatasync of 4 KiB: p50 ${ms(sync.p50Ms)}, p99 ${ms(sync.p99Ms)}`,
  ];
  const tables = [...describeCases(report.cases, peerName), "", ...describeRest(report, peerName)];
  return [...head, "", ...tables].join("\n");
}

/** One case as one line, for a person who waits. */
export function describeCase({ name, peer, ours, ratio }: CaseResult): string {
  const failed = ours.failedCount + peer.failedCount;
  const failures =
    failed === 0 ? "" : `; NOT ANSWERED: ${peer.failedCount} and ${ours.failedCount}`;
  return `${name}: ${rate(peer.perSecond)} and ${rate(ours.perSecond)} a second, × ${times(ratio)}${failures}`;
}

function describeCases(cases: readonly CaseResult[], peerName: string): string[] {
  if (cases.length === 0) return [];
  const head = [
    ...["", `${peerName} /s`, "ours /s", "ratio"],
    ...[`${peerName} p50`, "ours p50", `${peerName} p99`, "ours p99", "p99 ratio"],
    ...[`${peerName} µs`, "ours µs", "client µs"],
  ];
  const rows = cases.map(({ name, peer, ours, ratio }) => [
    ...[name, rate(peer.perSecond), rate(ours.perSecond), times(ratio)],
    ...[ms(peer.p50Ms), ms(ours.p50Ms), ms(peer.p99Ms), ms(ours.p99Ms)],
    times(ours.p99Ms / peer.p99Ms),
    ...[peer, ours].map(({ serverMicros }) => serverMicros.toFixed(0)),
    `${peer.clientMicros.toFixed(0)}, ${ours.clientMicros.toFixed(0)}`,
  ]);
  const failed = cases.filter(({ peer, ours }) => peer.failedCount + ours.failedCount > 0);
  return [
    ...table([head, ...rows]),
    ...failed.map(
      ({ name, peer, ours }) =>
        `not answered with 200 in "${name}": ${peer.failedCount} and ${ours.failedCount}`,
    ),
  ];
}

function describeRest(report: StoreReport, peerName: string): string[] {
  const rows: string[][] = [];
  const add = (name: string, peer: string, ours: string, ratio = "") =>
    rows.push([name, peer, ours, ratio]);
  const spread = (name: string, both: Both<readonly number[]>) => {
    const middle = (values: readonly number[]) => median(values);
    add(`${name}, median`, ms(middle(both.peer)), ms(middle(both.ours)), ratioOf(both, middle));
    const worst = (values: readonly number[]) => Math.max(...values);
    add(`${name}, worst`, ms(worst(both.peer)), ms(worst(both.ours)), ratioOf(both, worst));
  };
  if (report.killMs !== undefined) {
    spread(`kill -9 to the next write (${report.killMs.ours.length} times)`, report.killMs);
  }
  if (report.transferMs !== undefined) {
    const { ours } = report.transferMs;
    spread(`planned transfer, see below (${ours.length} times)`, report.transferMs);
  }
  if (report.fanOut !== undefined) addFanOut(report.fanOut, add);
  const { peer, ours } = report.residentBytes;
  add("resident memory of a member at first", megabytes(peer.first), megabytes(ours.first));
  add("resident memory of a member at its peak", megabytes(peer.peak), megabytes(ours.peak));
  add("resident memory of a member at the end", megabytes(peer.last), megabytes(ours.last));
  const words = report.transferMs === undefined ? [] : transferNotes(report.transferWords);
  return [...table([["", peerName, "ours", "ratio"], ...rows]), ...words];
}

function addFanOut(
  both: Both<readonly FanOutFigures[]>,
  add: (name: string, peer: string, ours: string, ratio?: string) => void,
): void {
  const row = (name: string, of: (figures: FanOutFigures) => number, show: typeof ms) => {
    const value = (all: readonly FanOutFigures[]) => median(all.map(of));
    add(
      name,
      show(value(both.peer)),
      show(value(both.ours)),
      times(value(both.ours) / value(both.peer)),
    );
  };
  row("100 watchers, 50 puts a second: event p50", ({ p50Ms }) => p50Ms, ms);
  row("100 watchers, 50 puts a second: event p99", ({ p99Ms }) => p99Ms, ms);
  row("100 watchers, 10 writers: events a second", (each) => each.eventsPerSecond, rate);
  row("100 watchers, 10 writers: puts a second", (each) => each.putsPerSecond, rate);
  const missing = (all: readonly FanOutFigures[]) =>
    rate(all.reduce((sum, { missingCount }) => sum + missingCount, 0));
  add("events that did not come", missing(both.peer), missing(both.ours));
}

function transferNotes(words: Both<string>): string[] {
  return [
    "",
    `Planned transfer is the longest time without an acknowledged write at the other members. ` +
      `The peer's by ${words.peer}; ours by ${words.ours}.`,
  ];
}

function ratioOf(both: Both<readonly number[]>, of: (values: readonly number[]) => number): string {
  return times(of(both.ours) / of(both.peer));
}

/** A Markdown table with aligned columns. */
export function table(rows: readonly (readonly string[])[]): string[] {
  const columns = rows[0]?.length ?? 0;
  const widths = Array.from({ length: columns }, (_, i) =>
    Math.max(...rows.map((row) => [...(row[i] ?? "")].length), 3),
  );
  const line = (cells: readonly string[]) => {
    const padded = cells.map((cell, i) => {
      const gap = " ".repeat(widths[i]! - [...cell].length);
      return i === 0 ? `${cell}${gap}` : `${gap}${cell}`;
    });
    return `| ${padded.join(" | ")} |`;
  };
  const rule = widths.map((width, i) =>
    i === 0 ? "-".repeat(width) : `${"-".repeat(width - 1)}:`,
  );
  const [head, ...rest] = rows;
  return [line(head ?? []), line(rule), ...rest.map(line)];
}

function rate(perSecond: number): string {
  return Math.round(perSecond).toLocaleString("en");
}

function ms(value: number): string {
  return `${value < 10 ? value.toFixed(2) : value.toFixed(0)} ms`;
}

function times(ratio: number): string {
  return ratio.toFixed(2);
}

function megabytes(bytes: readonly number[]): string {
  const shown = (value: number) => (value / 1e6).toFixed(0);
  return `${shown(quantile(bytes, 0.5))} MB (at most ${shown(Math.max(...bytes))})`;
}
