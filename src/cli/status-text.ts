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
  readonly color: boolean;
  /** Every peer, however many. */
  readonly allPeers: boolean;
}

/** Peers shown unless all are asked for: the rest of a screen of 24 lines. */
const PEERS_SHOWN_MAX = 10;
const LABEL_WIDTH = 12;
/** Where lines of sentences are broken when the width is not known. */
const PROSE_WIDTH = 80;

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
  ];
  const lines = rows.flatMap(([label, text]) => labelled(label, safe(text), layout));
  return [...headline(status, layout), "", ...lines, ...peerLines(status, layout)].join("\n");
}

function headline(status: StatusView, { columns, color }: StatusLayout): string[] {
  const name = safe(status.node.name);
  if (status.warnings.length === 0) return [paint(`${name}: all is well`, "green", color)];
  const count = status.warnings.length;
  const title = `${name}: ${count === 1 ? "1 thing is" : `${count} things are`} wrong`;
  const width = Math.min(columns, PROSE_WIDTH);
  const bullets = status.warnings.flatMap((warning) =>
    wrap(safe(warning), width - 2).map((line, at) => `${at === 0 ? "-" : " "} ${line}`),
  );
  return [paint(title, "red", color), ...bullets];
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
  ].join(", ");
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

function peerLines({ peers }: StatusView, layout: StatusLayout): string[] {
  if (peers.length === 0) return [];
  const sorted = peers.toSorted(
    (a, b) =>
      (b.lossPercent ?? 0) - (a.lossPercent ?? 0) ||
      a.name.localeCompare(b.name, "en", { numeric: true }),
  );
  const shown = layout.allPeers ? sorted : sorted.slice(0, PEERS_SHOWN_MAX);
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
    layout.columns,
  );
  const hidden = sorted.length - shown.length;
  const more = hidden === 0 ? [] : [`and ${hidden} more; "overlay status --all" shows them`];
  return ["", ...table.split("\n"), ...more];
}

function formatRtt(ms: number): string {
  return `${ms < 10 ? ms.toFixed(2) : ms.toFixed(0)} ms`;
}

function formatLoss(percent: number | null): string {
  if (percent === null) return "-";
  return `${percent > 0 && percent < 10 ? percent.toFixed(1) : percent.toFixed(0)} %`;
}
