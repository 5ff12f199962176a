/**
 * The figures as bars, in an SVG that needs nothing else and reads on light and on dark pages.
 *
 * @module
 */
import {
  type ContenderFigures,
  type Metric,
  middle,
  type PacketReport,
  type WireName,
} from "./figures.ts";

const WIDTH = 860;
const LABEL_WIDTH = 150;
const VALUE_WIDTH = 60;
const BAR_HEIGHT = 16;
const BAR_STEP = 20;
const PANEL_HEAD = 34;
const PANEL_GAP = 12;
const MARGIN = 16;
/** Colors of ours and of the others, legible on white and on black. */
const COLORS = { ours: "#2f81f7", others: "#8b949e" } as const;
const OUR_KEYS: readonly string[] = ["default", "user", "sealed"];

const PANELS: readonly {
  readonly metric: Metric;
  readonly title: string;
  readonly unit: string;
}[] = [
  { metric: "tcp1Gbps", title: "TCP, 1 flow", unit: "Gbit/s" },
  { metric: "tcp4Gbps", title: "TCP, 4 flows", unit: "Gbit/s" },
  { metric: "udp64DeliveredKpps", title: "UDP, 64 bytes, delivered", unit: "thousand a second" },
  { metric: "pingP50Ms", title: "Ping, idle, median (less is better)", unit: "ms" },
];

/** `report` as an SVG document; a panel for each wire and figure that it has. */
export function drawChart(report: PacketReport): string {
  const parts: string[] = [];
  let y = MARGIN;
  for (const wire of ["real", "virtual"] as const) {
    const contenders = report.contenders.filter((one) => one.wire === wire);
    for (const { metric, title, unit } of PANELS) {
      const bars = contenders.filter((one) => middle(one, metric) !== undefined);
      if (bars.length === 0) continue;
      parts.push(text(MARGIN, y + 16, `${wireWords(wire)}: ${title}, ${unit}`, "head"));
      parts.push(...drawBars(bars, metric, y + PANEL_HEAD - 8));
      y += PANEL_HEAD + bars.length * BAR_STEP + PANEL_GAP;
    }
  }
  const height = y + MARGIN;
  const style =
    "text{font:12px system-ui,sans-serif;fill:#6e7781}.head{font-weight:600;font-size:13px}" +
    ".value{font-variant-numeric:tabular-nums}";
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" ` +
      `viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="Packets beside others">`,
    `<style>${style}</style>`,
    ...parts,
    "</svg>",
    "",
  ].join("\n");
}

/** Lengths are shares of the longest bar of the panel. */
function drawBars(bars: readonly ContenderFigures[], metric: Metric, top: number): string[] {
  const values = bars.map((one) => middle(one, metric) ?? 0);
  const longest = Math.max(...values);
  const room = WIDTH - 2 * MARGIN - LABEL_WIDTH - VALUE_WIDTH;
  return bars.flatMap((one, index) => {
    const value = values[index] ?? 0;
    const y = top + index * BAR_STEP;
    const x = MARGIN + LABEL_WIDTH;
    const length = Math.max(1, longest === 0 ? 0 : (value / longest) * room);
    const color = OUR_KEYS.includes(one.key) ? COLORS.ours : COLORS.others;
    const baseline = y + BAR_HEIGHT - 4;
    return [
      text(MARGIN, baseline, one.name),
      `<rect x="${x}" y="${y}" width="${length.toFixed(1)}" height="${BAR_HEIGHT}" ` +
        `rx="2" fill="${color}"/>`,
      text(x + length + 6, baseline, shown(value), "value"),
    ];
  });
}

function text(x: number, y: number, words: string, kind?: string): string {
  const style = kind === undefined ? "" : ` class="${kind}"`;
  const escaped = words.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  return `<text x="${x.toFixed(1)}" y="${y}"${style}>${escaped}</text>`;
}

/** Three digits that count. */
function shown(value: number): string {
  if (value >= 100) return value.toFixed(0);
  return value >= 10 ? value.toFixed(1) : value.toPrecision(3);
}

function wireWords(wire: WireName): string {
  return wire === "real" ? "Real wire" : "Virtual wire";
}
