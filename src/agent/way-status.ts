/**
 * What the choice of ways says to people: by which way each peer is reached and why by no better
 * one, and what stands in the way.
 *
 * @module
 */
import type { Metric } from "../admin/service.ts";
import { addressFamily } from "../base/address.ts";
import { unreachable } from "../base/assert.ts";
import type { NodeId } from "../base/ids.ts";
import type { AutoBackendConfig } from "../control/network/backend-config.ts";
import type { BackendPeer } from "../dataplane/backends/backend.ts";
import type { Way } from "../dataplane/ways/way.ts";
import type { DataPlane } from "./data-plane.ts";
import type { WayView } from "./way-keeper.ts";

/** A way that is only slow to answer is no news. */
const BLOCKED_WARNING_MS = 10_000;
/** Peers that are named. */
const BLOCKED_NAMES_MAX = 5;

type Ways = Pick<DataPlane["ways"], "view" | "moves">;
type Obstacle = WayView["obstacles"][number];

/** Why `peer` is reached as it is; null where nobody chooses. */
export function pathReason(
  { assigned, ways }: { readonly assigned: DataPlane["assigned"]; readonly ways: Ways },
  peer: BackendPeer | undefined,
): string | null {
  if (assigned?.backend.kind !== "auto" || peer === undefined) return null;
  const { backend: config } = assigned;
  const view = ways.view(peer.subnet);
  if (view === undefined) {
    const hasOthers = peer.backend.kind === "udp" && peer.backend.ways !== undefined;
    if (!hasOthers) return "its lease names no other way";
    return config.ways?.length === 0
      ? "this node takes part in no other way"
      : "no other way leads there";
  }
  // What is wrong with the next better way comes first.
  const texts = view.obstacles.map((it) => obstacleText(it, peer, config)).toReversed();
  return texts.length === 0 ? "the best way" : texts.join("; ");
}

function obstacleText(
  { way, obstacle }: Obstacle,
  peer: BackendPeer,
  config: AutoBackendConfig,
): string {
  const name = way === "vxlan" ? `vxlan (UDP ${config.vxlanPort})` : "a plain route";
  switch (obstacle.kind) {
    case "absent":
      return absenceText(way, peer, config);
    case "silent": {
      const seconds = Math.round(obstacle.forMs / 1000);
      return obstacle.hasAnswered
        ? `${name} has not answered for ${seconds} s`
        : `${name} has never answered`;
    }
    case "held":
      return `${name} broke lately, tried again in ${Math.ceil(obstacle.forMs / 1000)} s`;
    case "unproven":
      return `${name} is being tried`;
    default:
      return unreachable(obstacle);
  }
}

function absenceText(
  way: Way,
  { address, backend, subnet }: BackendPeer,
  { ways }: AutoBackendConfig,
): string {
  const name = way === "vxlan" ? "part in vxlan" : "plain routes";
  if (ways?.every((own) => own !== way) === true) return `this node takes no ${name}`;
  if (way === "vxlan") return "it has no such VXLAN link";
  if (backend.kind === "udp" && backend.ways?.direct === false) return `it takes no ${name}`;
  return addressFamily(address) === addressFamily(subnet)
    ? "not on a segment of this node"
    : "its underlay is of another IP version";
}

/** A sentence about the peers that VXLAN does not get through to, though udp does. */
export function blockedWayWarnings(
  { assigned, ways }: { readonly assigned: DataPlane["assigned"]; readonly ways: Ways },
  nameOf: (node: NodeId) => string,
): readonly string[] {
  if (assigned?.backend.kind !== "auto") return [];
  const blocked = assigned.peers.filter(({ subnet }) => {
    const { way, obstacles = [] } = ways.view(subnet) ?? {};
    return way === "udp" && obstacles.some(isBlockedTunnel);
  });
  if (blocked.length === 0) return [];
  const names = [...new Set(blocked.map(({ node }) => nameOf(node)))];
  const more = names.length - BLOCKED_NAMES_MAX;
  const shown = names.slice(0, BLOCKED_NAMES_MAX).join(", ");
  const who = more > 0 ? `${shown} and ${more} more` : shown;
  const port = assigned.backend.vxlanPort;
  return [
    `Packets for ${who} go by udp, since vxlan does not get through: look for a firewall ` +
      `or a hypervisor that drops UDP port ${port} on the way`,
  ];
}

function isBlockedTunnel({ way, obstacle }: Obstacle): boolean {
  return way === "vxlan" && obstacle.kind === "silent" && obstacle.forMs >= BLOCKED_WARNING_MS;
}

/** Moves between ways, by the way that was taken. */
export function wayMetrics({ moves }: Ways): Metric[] {
  const samples = (Object.entries(moves) as [Way, number][]).map(([way, value]) => {
    return { labels: { way }, value };
  });
  const help = 'Times that another way to a peer was taken (backend "auto")';
  return [{ name: "path_changes_total", kind: "counter", help, samples }];
}
