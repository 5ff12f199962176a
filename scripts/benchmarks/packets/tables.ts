/**
 * What was measured, as Markdown tables that can be read as they are.
 *
 * @module
 */
import { table } from "../store/report.ts";
import {
  type ContenderFigures,
  find,
  type Metric,
  middle,
  type PacketReport,
  ratio,
  type WireName,
} from "./figures.ts";
import { checkTargets, PEER_KEYS } from "./targets.ts";

type Row = readonly string[];
/** A column: its head, and the cell of one contender. */
type Column = readonly [string, (one: ContenderFigures) => string];

const NONE = "–";
const BASE_KEYS = ["vxlan", ...PEER_KEYS] as const;
const OUR_KEYS = ["default", "user", "sealed"] as const;
const RATIO_METRICS: readonly (readonly [Metric, string])[] = [
  ["tcp1Gbps", "TCP 1"],
  ["tcp4Gbps", "TCP 4"],
  ["tcp16Gbps", "TCP 16"],
  ["containers1Gbps", "containers, TCP 1"],
  ["containers4Gbps", "containers, TCP 4"],
  ["udp64DeliveredKpps", "UDP 64 B"],
];

/** Every table of `report`, each with its heading, for a terminal and for a document. */
export function describeReport(report: PacketReport): string {
  const lines: string[] = [];
  for (const wire of ["real", "virtual"] as const) {
    const contenders = report.contenders.filter((one) => one.wire === wire);
    if (contenders.length === 0) continue;
    const name = wire === "real" ? "Real wire" : "Virtual wire";
    lines.push(...tcpTable(`${name}: TCP, Gbit/s`, contenders));
    lines.push(
      ...containerTcpTable(`${name}: TCP from container to container, Gbit/s`, contenders),
    );
    lines.push(...packetTable(`${name}: datagrams and round trips`, contenders));
    lines.push(...ratioTable(report, wire, `${name}: ours divided by the others`));
  }
  lines.push(...agentTable(report), ...overloadTable(report), ...targetTable(report));
  lines.push(...report.failures.map((text) => `Not measured: ${text}`));
  return lines.join("\n").trimEnd();
}

function tcpTable(title: string, contenders: readonly ContenderFigures[]): string[] {
  const columns: Column[] = [
    ["1 flow", of("tcp1Gbps", 2)],
    ["4 flows", of("tcp4Gbps", 2)],
    ["16 flows", of("tcp16Gbps", 2)],
    ["1 + 1 back", of("bothWaysGbps", 2)],
    ["retransmitted", of("retransmits", 0)],
    ["CPU s/GB, machine", of("machineSecondsPerGigabyte", 2)],
    ["CPU s/GB, agents", of("agentSecondsPerGigabyte", 2)],
  ];
  return contenderTable(title, contenders, columns);
}

function containerTcpTable(title: string, contenders: readonly ContenderFigures[]): string[] {
  const inContainers = contenders.filter(
    (one) => middle(one, "containers1Gbps") ?? middle(one, "containers4Gbps"),
  );
  return contenderTable(title, inContainers, [
    ["1 flow", of("containers1Gbps", 2)],
    ["4 flows", of("containers4Gbps", 2)],
    ["retransmitted", of("containersRetransmits", 0)],
  ]);
}

function packetTable(title: string, contenders: readonly ContenderFigures[]): string[] {
  const udp = (size: 64 | 512 | 1400) => (one: ContenderFigures) => {
    const delivered = of(`udp${size}DeliveredKpps`, 0)(one);
    return delivered === NONE ? NONE : `${delivered} of ${of(`udp${size}OfferedKpps`, 0)(one)}`;
  };
  const columns: Column[] = [
    ["64 B, kpps", udp(64)],
    ["512 B", udp(512)],
    ["1,400 B", udp(1400)],
    ["ping p50, ms", of("pingP50Ms", 3)],
    ["p99", of("pingP99Ms", 3)],
    ["under load p50", of("loadedPingP50Ms", 2)],
    ["p99", of("loadedPingP99Ms", 2)],
  ];
  return contenderTable(title, contenders, columns);
}

/** Empty when nothing of it was measured. */
function contenderTable(
  title: string,
  contenders: readonly ContenderFigures[],
  columns: readonly Column[],
): string[] {
  const used = columns.filter(([, cell]) => contenders.some((one) => cell(one) !== NONE));
  if (used.length === 0) return [];
  const rows = contenders.map((one) => [one.name, ...used.map(([, cell]) => cell(one))]);
  return titled(title, ["", ...used.map(([head]) => head)], rows);
}

/** Empty when there is nothing to divide by. */
function ratioTable(report: PacketReport, wire: WireName, title: string): string[] {
  const ours = OUR_KEYS.flatMap((key) => find(report, wire, key) ?? []);
  const bases = BASE_KEYS.flatMap((key) => find(report, wire, key) ?? []);
  const rows: Row[] = ours.flatMap((one) =>
    RATIO_METRICS.map(([metric, words]) => {
      const cells = bases.map((base) => ratio(one, base, metric)?.toFixed(2) ?? NONE);
      return [`${one.name}: ${words}`, ...cells];
    }),
  );
  const used = rows.filter((row) => row.slice(1).some((cell) => cell !== NONE));
  if (used.length === 0) return [];
  return titled(title, ["", ...bases.map(({ name }) => `÷ ${name}`)], used);
}

function agentTable(report: PacketReport): string[] {
  const contenders = report.contenders.filter((one) => middle(one, "idleCpuPercent") !== undefined);
  if (contenders.length === 0) return [];
  const rows = contenders.map((one) => [
    `${one.name}, ${one.wire} wire`,
    of("idleCpuPercent", 2)(one),
    of("residentMegabytes", 0)(one),
  ]);
  const head = ["", "idle, % of a core", "resident after it all, MB"];
  return titled("One agent", head, rows);
}

function overloadTable(report: PacketReport): string[] {
  const contenders = report.contenders.filter((one) => middle(one, "overloadShare") !== undefined);
  if (contenders.length === 0) return [];
  const columns: Column[] = [
    ["best, kpps", of("overloadBestKpps", 1)],
    ["then offered, ×", of("overloadTimes", 1)],
    ["delivered of best", of("overloadShare", 2)],
  ];
  return contenderTable("Overload, 64 bytes", contenders, columns);
}

function targetTable(report: PacketReport): string[] {
  const targets = checkTargets(report);
  if (targets.length === 0) return [];
  const rows = targets.map(({ name, wanted, value, met }) => [
    name,
    wanted,
    digits(value ?? Number.NaN),
    met === true ? "met" : "**missed**",
  ]);
  return titled("Targets", ["", "wanted", "measured", ""], rows);
}

function titled(title: string, head: Row, rows: readonly Row[]): string[] {
  return [`### ${title}`, "", ...table([head, ...rows]), ""];
}

/** Two digits after the point, more where they would all be zero. */
function digits(value: number): string {
  return Number.isInteger(value) ? String(value) : value.toFixed(value < 0.1 ? 3 : 2);
}

function of(metric: Metric, fraction: number): (one: ContenderFigures) => string {
  return (one) => middle(one, metric)?.toFixed(fraction) ?? NONE;
}
