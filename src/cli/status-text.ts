/**
 * The status for people: what is wrong first, in words, then the node from the inside out.
 *
 * Pure. Made for 80 columns; a wider terminal only cuts less.
 *
 * @module
 */
import type { PeerView, StatusView } from "../admin/service.ts";
import {
  formatBytes,
  formatCount,
  formatDuration,
  formatPlural,
  paint,
  safe,
  wrap,
} from "./format.ts";
import { formatTable } from "./table.ts";

export interface StatusLayout {
  readonly columns: number;
  /** Lines that one screen has. What does not fit is counted, not shown. */
  readonly rows: number;
  readonly color: boolean;
  /** Every warning and every peer, however many. */
  readonly all: boolean;
}

/** Peers that are shown even when warnings want the whole screen. */
const PEERS_SHOWN_MIN = 3;
/** Lines of a table of peers beside the peers: the gap, the heads, the count of the others. */
const PEER_LINES_BESIDE = 3;
/** Reasons for paths, and peers that are named for each; all with --all. */
const PATH_REASONS_MAX = 3;
const PATH_NAMES_MAX = 5;
const LABEL_WIDTH = 12;
/** Where lines of sentences are broken when the width is not known. */
const PROSE_WIDTH = 80;
const ALL_HINT = '"overlay status --all" shows them';

/** `status` laid out. */
export function formatStatus(status: StatusView, layout: StatusLayout): string {
  const rows: (readonly [string, string])[] = [
    ["Node", nodeLine(status)],
    ["Cluster", clusterLine(status)],
    ["", `id ${status.cluster.id}, generation ${status.cluster.generation}`],
    ["Network", networkLine(status)],
    ["Lease", leaseLine(status)],
    ["Data plane", dataplaneLine(status)],
    ...offloadRows(status),
    ...packetRows(status),
    ...pathRows(status, layout),
  ];
  const details = rows.flatMap(([label, text]) => labelled(label, safe(text), layout));
  details.unshift("");
  const linesMax = layout.all ? Number.POSITIVE_INFINITY : layout.rows;
  const free = linesMax - details.length;
  const peersMin = Math.min(status.peers.length, PEERS_SHOWN_MIN);
  const head = headline(status, free - (peersMin === 0 ? 0 : peersMin + PEER_LINES_BESIDE), layout);
  const peers = peerLines(status, Math.max(peersMin, free - head.length), layout);
  return [...head, ...details, ...peers].join("\n");
}

/** The verdict, and what is wrong in at most `linesMax` lines, the first of it in any case. */
function headline(status: StatusView, linesMax: number, layout: StatusLayout): string[] {
  const { columns, color } = layout;
  const name = safe(status.node.name);
  if (status.warnings.length === 0) return [paint(`${name}: all is well`, "green", color)];
  const count = status.warnings.length;
  const title = `${name}: ${count === 1 ? "1 thing is" : `${count} things are`} wrong`;
  const width = Math.min(columns, PROSE_WIDTH) - 2;
  const bullets = status.warnings.map((warning) => bullet(wrap(safe(warning), width)));
  const shown = bullets.slice(0, Math.max(1, countThatFit(bullets, linesMax - 1)));
  const hidden = count - shown.length;
  const more = hidden === 0 ? [] : [`- and ${hidden} more; ${ALL_HINT}`];
  return [paint(title, "red", color), ...shown.flat(), ...more];
}

function bullet(lines: readonly string[]): string[] {
  return lines.map((line, at) => `${at === 0 ? "-" : " "} ${line}`);
}

/** How many of `blocks` are within `linesMax`, with a line that counts the others, if any. */
function countThatFit(blocks: readonly (readonly string[])[], linesMax: number): number {
  let lines = 0;
  const first = blocks.findIndex((block, at) => {
    lines += block.length;
    return lines + (at === blocks.length - 1 ? 0 : 1) > linesMax;
  });
  return first < 0 ? blocks.length : first;
}

function labelled(label: string, text: string, { columns, color }: StatusLayout): string[] {
  const width = Math.min(columns, PROSE_WIDTH) - LABEL_WIDTH;
  return wrap(text, width).map((line, at) => {
    const head = (at === 0 ? label : "").padEnd(LABEL_WIDTH);
    return label === "" ? head + line : paint(head, "bold", color) + line;
  });
}

function nodeLine({ node }: StatusView): string {
  return `${node.name} (${node.id}), ${node.role}, ${node.state}, overlay ${node.version}`;
}

function clusterLine({ cluster }: StatusView): string {
  const leader = cluster.leader === null ? "no leader" : `leader ${cluster.leader.name}`;
  const quorum = cluster.quorum ? "quorum" : "NO QUORUM";
  return [
    formatPlural(cluster.members, "member"),
    formatPlural(cluster.voters, "voter"),
    leader,
    `term ${cluster.term}`,
    quorum,
    ...feedWords(cluster),
  ].join(", ");
}

function feedWords({ feed }: StatusView["cluster"]): readonly string[] {
  if (feed === null) return [];
  if (feed.source === null) return ["looking for a member to follow"];
  const behind = feed.behind === 0 ? [] : [`${formatPlural(feed.behind, "change")} behind`];
  return [`following ${feed.source.name}`, ...behind];
}

function networkLine({ network }: StatusView): string {
  if (network === null) return "none yet";
  const subnets = network["SubnetLen"] === undefined ? [] : [`subnets /${network["SubnetLen"]}`];
  return [String(network["Network"] ?? network["IPv6Network"] ?? "?"), ...subnets].join(", ");
}

function leaseLine({ lease }: StatusView): string {
  if (lease === null) return "none yet";
  const expiry = formatDuration(lease.expiresInSeconds);
  return `${lease.subnet}, gateway ${lease.gateway}, expires in ${expiry}`;
}

function dataplaneLine({ dataplane }: StatusView): string {
  if (dataplane === null) return "none yet";
  const sealed = dataplane.encryption === "none" ? "not encrypted" : dataplane.encryption;
  const why = dataplane.engineReason === null ? "" : ` (${dataplane.engineReason})`;
  return (
    `${dataplane.backend} on ${dataplane.interface}, MTU ${dataplane.mtu}, ` +
    `${sealed}, engine ${dataplane.engine}${why}`
  );
}

/** Only when one is off: all of them on is how it should be. */
function offloadRows({ dataplane }: StatusView): (readonly [string, string])[] {
  const { on = [], off = [] } = dataplane?.offloads ?? {};
  if (off.length === 0) return [];
  const missing = off.map(({ name, reason }) => `${name} off (${reason})`);
  return [
    ["Offloads", [...(on.length === 0 ? [] : [`${on.join(", ")} on`]), ...missing].join("; ")],
  ];
}

const DROP_PREFIX = "drop_";

/** Packets of the data plane, with the reasons of the drops, the most frequent first. */
function packetRows({ dataplane }: StatusView): (readonly [string, string])[] {
  if (dataplane === null) return [];
  const { counters } = dataplane;
  const drops = Object.entries(counters)
    .filter(([name, count]) => name.startsWith(DROP_PREFIX) && count > 0)
    .sort((a, b) => b[1] - a[1]);
  const reasons = drops.map(([name, count]) => {
    return `${name.slice(DROP_PREFIX.length).replaceAll("_", " ")} ${formatCount(count)}`;
  });
  const dropped = drops.reduce((sum, [, count]) => sum + count, 0);
  const why = reasons.length === 0 ? "" : ` (${reasons.join(", ")})`;
  const moved = [
    [counters["txPackets"], "sent"],
    [counters["rxPackets"], "received"],
  ] as const;
  const parts = moved.flatMap(([count, verb]) =>
    count === undefined ? [] : [`${formatCount(count)} ${verb}`],
  );
  return [["Packets", [...parts, `${formatCount(dropped)} dropped${why}`].join(", ")]];
}

/** Why peers are reached as they are, where nodes choose: peers of one reason together. */
function pathRows({ peers }: StatusView, { all }: StatusLayout): (readonly [string, string])[] {
  const groups = new Map<string, string[]>();
  for (const { name, path, pathReason } of peers) {
    if (pathReason === null) continue;
    const what = `by ${path}: ${pathReason}`;
    groups.set(what, [...(groups.get(what) ?? []), name]);
  }
  const [namesMax, reasonsMax] = all
    ? [peers.length, peers.length]
    : [PATH_NAMES_MAX, PATH_REASONS_MAX];
  const lines = [...groups].map(([what, names]) => {
    const more = names.length - namesMax;
    const shown = names.slice(0, namesMax).join(", ");
    return `${more > 0 ? `${shown} and ${more} more` : shown} ${what}`;
  });
  const hidden = lines.length - reasonsMax;
  const shown = hidden > 0 ? [...lines.slice(0, reasonsMax), `and more; ${ALL_HINT}`] : lines;
  return shown.map((line, at) => [at === 0 ? "Paths" : "", line]);
}

/** The peers in at most `linesMax` lines, but for the fewest that are always shown. */
function peerLines({ peers }: StatusView, linesMax: number, { columns }: StatusLayout): string[] {
  if (peers.length === 0) return [];
  const sorted = peers.toSorted(
    (a, b) =>
      (b.lossPercent ?? 0) - (a.lossPercent ?? 0) ||
      a.name.localeCompare(b.name, "en", { numeric: true }),
  );
  const isWhole = peers.length + PEER_LINES_BESIDE - 1 <= linesMax;
  const countMax = Math.max(PEERS_SHOWN_MIN, linesMax - PEER_LINES_BESIDE);
  const shown = isWhole ? sorted : sorted.slice(0, countMax);
  const table = formatTable<PeerView>(
    [
      { head: "PEER", cell: ({ name }) => name, shrinkTo: 6 },
      { head: "SUBNET", cell: ({ subnet }) => subnet },
      { head: "ENDPOINT", cell: ({ endpoint }) => endpoint, shrinkTo: 12 },
      { head: "PATH", cell: ({ path }) => path },
      { head: "RTT", cell: ({ rttMs }) => (rttMs === null ? "-" : formatRtt(rttMs)), right: true },
      { head: "LOSS", cell: ({ lossPercent }) => formatLoss(lossPercent), right: true },
      { head: "MTU", cell: ({ mtu }) => (mtu === null ? "-" : String(mtu)), right: true },
      { head: "RX", cell: ({ rxBytes }) => formatBytes(rxBytes), right: true },
      { head: "TX", cell: ({ txBytes }) => formatBytes(txBytes), right: true },
    ],
    shown,
    columns,
  );
  const hidden = sorted.length - shown.length;
  const more = hidden === 0 ? [] : [`and ${hidden} more; ${ALL_HINT}`];
  return ["", ...table.split("\n"), ...more];
}

function formatRtt(ms: number): string {
  return `${ms < 10 ? ms.toFixed(2) : ms.toFixed(0)} ms`;
}

function formatLoss(percent: number | null): string {
  if (percent === null) return "-";
  return `${percent > 0 && percent < 10 ? percent.toFixed(1) : percent.toFixed(0)} %`;
}
