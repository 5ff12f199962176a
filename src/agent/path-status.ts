/**
 * What the watch over the peers says, in the shapes of the API: figures of each path, and which
 * peer in use is silent, since when, and why that may be.
 *
 * @module
 */
import type { Metric, MetricSample, PeerPathView } from "../admin/service.ts";
import { formatNodeId, type NodeId } from "../base/ids.ts";
import type { PathReport } from "./peer-prober.ts";

/** Two lost probes are no news. */
const SILENT_WARNING_MS = 3000;
/** Peers that are named one by one. */
const SILENT_WARNING_COUNT_MAX = 5;

const MS_PER_SECOND = 1000;

/**
 * Figures of one path; all null while nobody watches it. `packetAgoMs` is the time since the last
 * packet from the peer, undefined for none.
 */
export function pathView(
  path: PathReport | undefined,
  packetAgoMs: number | undefined,
): PeerPathView {
  return {
    rttMs: rounded(path?.rttMs),
    rttMinMs: rounded(path?.rttMinMs),
    rttLastMs: rounded(path?.rttLastMs),
    lossPercent: path?.isDeaf ? null : rounded(path?.lossPercent),
    mtu: path?.pathMtu === undefined ? null : path.innerMtu,
    pathMtu: path?.pathMtu ?? null,
    pathMtuBack: path?.pathMtuBack ?? null,
    lastSeenSeconds: seconds(lastSeenMs(path, packetAgoMs)),
    inUse: path?.isInUse ?? false,
  };
}

function lastSeenMs(path: PathReport | undefined, packetAgoMs: number | undefined) {
  const signs = [path?.answeredAgoMs, packetAgoMs].filter((ms) => ms !== undefined);
  return signs.length === 0 ? undefined : Math.min(...signs);
}

/** One peer, with what tells why it may be silent. */
export interface WatchedPeer {
  readonly node: NodeId;
  readonly name: string;
  readonly endpoint: string;
  readonly path: PathReport;
  /** Inner packets that came from it. */
  readonly rxPackets: number;
  /** Whether the cluster hears from it; null when not known here. */
  readonly live: boolean | null;
}

/** Sentences about peers that packets go to and that do not answer. `wallMs` is now. */
export function silentPeerWarnings(peers: readonly WatchedPeer[], wallMs: number): string[] {
  const silent = peers
    .filter(({ path, rxPackets }) => path.isInUse && !(path.isDeaf && rxPackets > 0))
    .filter(({ path }) => (path.silentForMs ?? 0) >= SILENT_WARNING_MS)
    .sort((a, b) => (b.path.silentForMs ?? 0) - (a.path.silentForMs ?? 0));
  const list = silent
    .slice(0, SILENT_WARNING_COUNT_MAX)
    .map((peer) => silentPeerWarning(peer, wallMs));
  const more = silent.length - list.length;
  if (more > 0) list.push(`${more} more peers with traffic do not answer either`);
  return list;
}

function silentPeerWarning(peer: WatchedPeer, wallMs: number): string {
  const { name, node, endpoint, path } = peer;
  const silentMs = path.silentForMs ?? 0;
  const since = new Date(wallMs - silentMs).toISOString().slice(11, 19);
  const what = path.answeredAgoMs === undefined ? "has never answered" : "does not answer";
  const who = `Peer ${name} (${formatNodeId(node)}, ${endpoint}) ${what}`;
  const when = `since ${since} UTC, ${Math.round(silentMs / MS_PER_SECOND)} s`;
  return `${who} (${when}), and packets for it are lost: ${likelyCause(peer)}`;
}

function likelyCause({ live, endpoint, name }: WatchedPeer): string {
  const port = endpoint.slice(endpoint.lastIndexOf(":") + 1);
  switch (live) {
    case true:
      return `the cluster hears from it, so look for a firewall that drops UDP port ${port} on the way`;
    case false:
      return "the cluster does not hear from it either: its host or agent is down, or its network is cut off";
    default:
      return `its host may be down, or a firewall drop UDP port ${port} on the way; \`overlay ping ${name}\` tells when it is back`;
  }
}

/** Gauges of each path. */
export function pathMetrics(
  paths: readonly {
    readonly node: NodeId;
    readonly path: PathReport;
    /** Since the last packet from the peer. */
    readonly packetAgoMs: number | undefined;
  }[],
): Metric[] {
  const gauge = (
    name: string,
    help: string,
    read: (path: PathReport, packetAgoMs: number | undefined) => number | undefined,
  ): Metric => {
    const samples: MetricSample[] = paths.flatMap(({ node, path, packetAgoMs }) => {
      const value = read(path, packetAgoMs);
      return value === undefined ? [] : [{ labels: { peer: formatNodeId(node) }, value }];
    });
    return { name, kind: "gauge", help, samples };
  };
  const inSeconds = (ms: number | undefined) => (ms === undefined ? undefined : ms / MS_PER_SECOND);
  return [
    gauge("peer_rtt_seconds", "Smoothed round trip to a peer", ({ rttMs }) => inSeconds(rttMs)),
    gauge("peer_loss_ratio", "Part of the last probes that a peer did not answer", (path) =>
      path.lossPercent === undefined ? undefined : path.lossPercent / 100,
    ),
    gauge("peer_path_mtu_bytes", "Largest outer packet on the way to a peer", (path) =>
      path.pathMtu === undefined ? undefined : path.pathMtu,
    ),
    gauge("peer_last_seen_seconds", "Time since a packet or an answer came from a peer", (...all) =>
      inSeconds(lastSeenMs(...all)),
    ),
    gauge(
      "peer_black_holes",
      "Times that large packets to a peer stopped coming through",
      (path) => path.blackHoles,
    ),
    gauge("peer_in_use", "1 while packets go to or come from a peer", (path) =>
      path.isInUse ? 1 : 0,
    ),
  ];
}

/** Microseconds are all that a clock of milliseconds in a float is good for. */
function rounded(value: number | undefined): number | null {
  return value === undefined ? null : Math.round(value * 1000) / 1000;
}

function seconds(ms: number | undefined): number | null {
  return ms === undefined ? null : Math.round(ms / 100) / 10;
}
