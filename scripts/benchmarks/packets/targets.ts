/**
 * What the data plane is to reach, and whether it did.
 *
 * @module
 */
import { find, type Metric, middle, type PacketReport, ratio, type WireName } from "./figures.ts";

/** One target, measured. */
export interface TargetResult {
  readonly name: string;
  /** "≥ 0.9". */
  readonly wanted: string;
  /** Absent when it was not measured. */
  readonly value: number | undefined;
  readonly met: boolean | undefined;
}

/** The peers in user mode. */
export const PEER_KEYS = ["wireguard", "nebula", "tinc"] as const;
const PING_MAX_MS = 0.08;
const OVERLOAD_SHARE_MIN = 0.8;

/** Every target that `report` says something about. */
export function checkTargets(report: PacketReport): TargetResult[] {
  const all = [
    ...ratioTargets(report, "real", "default", "vxlan", { tcp1Gbps: 1, tcp4Gbps: 0.9 }),
    ...ratioTargets(report, "real", "sealed", "vxlan", { tcp1Gbps: 0.5, tcp4Gbps: 0.5 }),
    ...ratioTargets(report, "real", "sealed", "wireguard", { tcp1Gbps: 5, tcp4Gbps: 5 }),
    ...ratioTargets(report, "real", "sealed", "nebula", { tcp1Gbps: 5, tcp4Gbps: 5 }),
    ...ratioTargets(report, "virtual", "default", "vxlan", { tcp1Gbps: 0.65, tcp4Gbps: 0.65 }),
    ...ratioTargets(report, "virtual", "sealed", "vxlan", { tcp1Gbps: 0.3, tcp4Gbps: 0.3 }),
    ...(["real", "virtual"] as const).flatMap((wire) => [
      ...ratioTargets(report, wire, "default", "vxlan", { udp64DeliveredKpps: 0.8 }),
      ...bestPeerTarget(report, wire),
      pingTarget(report, wire),
      ...["default", "user", "sealed"].map((key) => retransmitTarget(report, wire, key)),
    ]),
    ...["default", "user", "sealed"].map((key) => overloadTarget(report, key)),
  ];
  return all.filter(({ value }) => value !== undefined);
}

const METRIC_WORDS: { readonly [metric in Metric]?: string } = {
  tcp1Gbps: "TCP 1",
  tcp4Gbps: "TCP 4",
  udp64DeliveredKpps: "UDP 64 B delivered",
};

function ratioTargets(
  report: PacketReport,
  wire: WireName,
  ours: string,
  other: string,
  wanted: { readonly [metric in Metric]?: number },
): TargetResult[] {
  return Object.entries(wanted).map(([metric, least]) => {
    const value = ratio(find(report, wire, ours), find(report, wire, other), metric as Metric);
    const words = METRIC_WORDS[metric as Metric] ?? metric;
    return atLeast(`${wire} wire: ${words}, ${ours} ÷ ${other}`, least, value);
  });
}

/** Against whichever peer delivered most. */
function bestPeerTarget(report: PacketReport, wire: WireName): TargetResult[] {
  const peers = PEER_KEYS.map((key) => find(report, wire, key));
  const delivered = (one: (typeof peers)[number]) => middle(one, "udp64DeliveredKpps") ?? 0;
  const best = peers.toSorted((one, other) => delivered(other) - delivered(one))[0];
  if (best === undefined || delivered(best) === 0) return [];
  const value = ratio(find(report, wire, "default"), best, "udp64DeliveredKpps");
  return [
    atLeast(`${wire} wire: UDP 64 B delivered, default ÷ best peer (${best.key})`, 1.5, value),
  ];
}

function pingTarget(report: PacketReport, wire: WireName): TargetResult {
  const own = middle(find(report, wire, "veth"), "pingP50Ms");
  const words = own === undefined ? "" : ` (veth itself: ${own.toFixed(3)})`;
  const value = middle(find(report, wire, "default"), "pingP50Ms");
  return atMost(`${wire} wire: default, idle ping, median ms${words}`, PING_MAX_MS, [value]);
}

/** The worst round counts. What the wire itself loses is told beside it. */
function retransmitTarget(report: PacketReport, wire: WireName, key: string): TargetResult {
  const values = find(report, wire, key)?.rounds.retransmits ?? [];
  const own = middle(find(report, wire, "veth"), "retransmits");
  const words = own === undefined ? "" : ` (veth itself: ${own.toFixed(0)})`;
  return atMost(`${wire} wire: retransmissions, ${key}, worst round${words}`, 0, values);
}

function overloadTarget(report: PacketReport, key: string): TargetResult {
  const figures = find(report, "real", key);
  const times = middle(figures, "overloadTimes")?.toFixed(0) ?? "?";
  const value = middle(figures, "overloadShare");
  return atLeast(`${key}: delivered of its best, offered ${times} ×`, OVERLOAD_SHARE_MIN, value);
}

function atLeast(name: string, least: number, value: number | undefined): TargetResult {
  const met = value === undefined ? undefined : value >= least;
  return { name, wanted: `≥ ${least}`, value, met };
}

function atMost(name: string, most: number, values: readonly (number | undefined)[]): TargetResult {
  const known = values.filter((value) => typeof value === "number");
  const value = known.length === 0 ? undefined : Math.max(...known);
  const met = value === undefined ? undefined : value <= most;
  return { name, wanted: `≤ ${most}`, value, met };
}
