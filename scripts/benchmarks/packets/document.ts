/**
 * The part of docs/PERFORMANCE.md that `--docs` writes, and the chart beside it.
 *
 * @module
 */
import { readFileSync, writeFileSync } from "node:fs";
import { inRoot } from "../../lib/root.ts";
import { drawChart } from "./chart.ts";
import type { PacketReport } from "./figures.ts";
import { describeReport } from "./tables.ts";

const DOCUMENT_PATH = inRoot("docs", "PERFORMANCE.md");
const CHART_PATH = inRoot("docs", "packets.svg");
const BEGIN = "<!-- Written by `scripts/bench packets --docs`; begin -->";
const END = "<!-- Written by `scripts/bench packets --docs`; end -->";

/** Writes tables and chart of `report` in place of the earlier ones. */
export function writeDocument(report: PacketReport): void {
  writeFileSync(DOCUMENT_PATH, replacePart(readFileSync(DOCUMENT_PATH, "utf8"), report));
  writeFileSync(CHART_PATH, drawChart(report));
}

/** `document` with `report` between its two marks; throws when it does not have them. */
export function replacePart(document: string, report: PacketReport): string {
  const [begin, end] = [document.indexOf(BEGIN), document.indexOf(END)];
  if (begin < 0 || end < begin) {
    throw new Error(`Cannot write docs/PERFORMANCE.md: it lacks "${BEGIN}" and "${END}"`);
  }
  const { machine, commit, date, roundCount, seconds } = report;
  const rounds = roundCount === 1 ? "one round" : `medians of ${roundCount} rounds`;
  const part = [
    `${date}, commit ${commit}, ${machine}; ${rounds} of ${seconds} s.`,
    "",
    "![TCP, UDP and ping of each contender as bars](packets.svg)",
    "",
    describeReport(report),
  ];
  const before = document.slice(0, begin + BEGIN.length);
  return `${before}\n${part.join("\n")}\n${document.slice(end)}`;
}
