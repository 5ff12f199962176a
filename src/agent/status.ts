/**
 * What `GET /status` and `GET /readyz` say: the whole agent in one picture, and what is wrong with
 * it in sentences.
 *
 * @module
 */
import type { PeerView, Readiness, StatusView } from "../admin/service.ts";
import { addressPlus, type Prefix, prefixAddress, prefixLength } from "../base/address.ts";
import { formatNodeId, type NodeId } from "../base/ids.ts";
import { VERSION } from "../base/version.ts";
import { formatHostPort } from "../control/cluster/transport/host-port.ts";
import type { Cluster, ClusterStatus, Member } from "../control/cluster/types.ts";
import { DEFAULT_BACKEND } from "../control/network/backend-config.ts";
import { formatNetworkConfig } from "../control/network/config.ts";
import type { NetworkView } from "../control/network/view.ts";
import { needsEngine, reachedBy } from "../dataplane/backends/node-plan.ts";
import { OVERLAY_LINK, vxlanLinkName } from "../dataplane/backends/ownership.ts";
import type { Endpoint } from "../dataplane/fib/row.ts";
import type { Clock } from "../host/ports.ts";
import { parseKernelRoutes } from "../integrations/docker/kernel-routes.ts";
import { findObstacles } from "../integrations/docker/obstacles.ts";
import type { Assignment, DataPlane } from "./data-plane.ts";
import { FORBIDDEN_REASON } from "./offload-control.ts";
import { pathView, silentPeerWarnings, type WatchedPeer } from "./path-status.ts";
import type { Reconciler } from "./reconciler.ts";
import { renumberWarnings } from "./renumber-status.ts";
import { encryptionOf, sealWarnings } from "./seal-status.ts";
import type { Session } from "./session.ts";
import { trustWarnings } from "./trust-status.ts";
import { blockedWayWarnings, pathReason } from "./way-status.ts";

export interface StatusSources {
  readonly session: () => Session;
  readonly dataPlane: DataPlane;
  readonly reconciler: Reconciler;
  readonly clock: Pick<Clock, "wallMs">;
  /** The kernel's routes as /proc/net/route has them; absent: nobody looks at Docker's bridge. */
  readonly kernelRoutes?: () => string;
}

/** The agent as it is now. */
export function agentStatus(sources: StatusSources): StatusView {
  const session = sources.session();
  const { cluster, network, identity } = session;
  const status = cluster.status();
  const members = cluster.members();
  const names = new Map(members.map((member) => [member.id, member.name]));
  const view = network.view();
  const lease = view.byNode.get(identity.nodeId);
  const { leader, feed } = status;
  const refOf = (id: NodeId) => ({ id: formatNodeId(id), name: names.get(id) ?? formatNodeId(id) });
  const source = feed?.source === undefined ? null : refOf(feed.source);
  return {
    node: {
      id: formatNodeId(identity.nodeId),
      name: names.get(identity.nodeId) ?? identity.name,
      version: VERSION,
      role: status.memberRole,
      state: stateOf(status, network.state.kind),
    },
    cluster: {
      id: identity.clusterId,
      generation: identity.generation,
      leader: leader === undefined ? null : refOf(leader),
      term: status.term,
      members: members.length,
      voters: status.voterCount,
      quorum: status.hasQuorum,
      feed: feed === undefined ? null : { source, behind: feed.behindCount },
    },
    network: view.config === undefined ? null : formatNetworkConfig(view.config.config),
    lease:
      lease === undefined
        ? null
        : {
            subnet: lease.subnet,
            gateway: gatewayOf(lease.subnet),
            expiresInSeconds: Math.round(network.remainingSeconds(lease.subnet)),
          },
    dataplane: dataplaneView(sources),
    peers: peerViews(sources, names),
    warnings: warnings(sources),
  };
}

/** Where this node stands, in one word. */
function stateOf({ removed, refusal }: ClusterStatus, network: string): string {
  if (removed) return "removed";
  return refusal === undefined ? network : "refused";
}

/** Whether containers on this node can be given addresses and reach others; if not, why. */
export function agentReadiness(sources: StatusSources): Readiness {
  const { cluster, network } = sources.session();
  const { refusal, hasQuorum } = cluster.status();
  const reasons: string[] = [];
  if (refusal !== undefined) reasons.push(refusal);
  else if (!hasQuorum) reasons.push(quorumLoss(cluster));
  const { state } = network;
  if (state.kind === "no_config") reasons.push("no network config yet");
  if (state.kind === "wanting") reasons.push(`no lease yet: ${state.reason}`);
  if (state.kind === "blocked" || state.kind === "suspect") reasons.push(state.reason);
  const { assigned, engine } = sources.dataPlane;
  const isAwaited =
    assigned !== undefined &&
    needsEngine({ config: assigned.backend, lingering: [], peers: assigned.peers });
  if (state.kind === "ready" && isAwaited && engine === undefined) {
    reasons.push("the packet engine does not run; it is being started again");
  }
  for (const { operation, object, reason } of sources.reconciler.unmet()) {
    reasons.push(`Cannot ${operation} ${object}: ${reason}`);
  }
  return { ready: reasons.length === 0, reasons };
}

/** Since when the cluster cannot decide anything, and who is missing. */
function quorumLoss(cluster: Cluster): string {
  const { leaderless } = cluster.status();
  const what = "the cluster has no leader with a quorum";
  if (leaderless === undefined) return what;
  const since = `${what} for ${formatDuration(leaderless.forMs)}`;
  if (leaderless.missing.length === 0) return since;
  const names = new Map(cluster.members().map((member) => [member.id, member.name]));
  const missing = leaderless.missing.map((id) => names.get(id) ?? formatNodeId(id));
  return `${since}, not heard from: ${missing.join(", ")}`;
}

/** What to do about that. */
function quorumAdvice(cluster: Cluster): string {
  const { supersededAt } = cluster.status().leaderless ?? {};
  if (supersededAt !== undefined) {
    const command = `overlay join ${formatHostPort(supersededAt)} --token … --reset`;
    return (
      "a new cluster was made out of it without this node, which keeps its subnet there; " +
      `get a token with \`overlay token\` on a node of that, then run \`${command}\``
    );
  }
  return (
    "packets go on as last known, changes must wait; start the voters that are missing, " +
    "or, if most are lost for good, run `overlay recover --force-new-cluster` on one that is left"
  );
}

/** In seconds, or in minutes when it is long. */
function formatDuration(durationMs: number): string {
  const seconds = Math.floor(durationMs / 1000);
  return seconds < 120 ? `${seconds} s` : `${Math.floor(seconds / 60)} min`;
}

function dataplaneView({ dataPlane }: StatusSources): StatusView["dataplane"] {
  const { assigned, engine } = dataPlane;
  if (engine === undefined) return assigned === undefined ? null : kernelView(dataPlane, assigned);
  const { totals, drops } = dataPlane.counters() ?? engine.counters();
  const counters: Record<string, number> = { ...totals };
  for (const [reason, count] of Object.entries(drops)) {
    if (count > 0) counters[`drop_${reason}`] = count;
  }
  return {
    backend: assigned?.backend.kind ?? "udp",
    engine: dataPlane.fastPath.kind === "on" ? "ebpf+user" : "user",
    engineReason: dataPlane.fastPath.kind === "on" ? null : dataPlane.fastPath.reason,
    encryption: encryptionOf(dataPlane.assigned),
    mtu: dataPlane.mtu,
    interface: linkOf(assigned),
    counters,
    offloads: engine.offloads(),
  };
}

/** A data plane that is the kernel's alone. */
function kernelView(dataPlane: DataPlane, assigned: Assignment): StatusView["dataplane"] {
  return {
    backend: assigned.backend.kind,
    engine: "kernel",
    engineReason: null,
    encryption: "none",
    mtu: dataPlane.mtu,
    interface: linkOf(assigned),
    counters: {},
    offloads: { on: [], off: [] },
  };
}

/** The link that packets to peers leave by; empty where there is none of ours. */
function linkOf(assigned: Assignment | undefined): string {
  const backend = assigned?.backend ?? DEFAULT_BACKEND;
  if (backend.kind === "udp" || backend.kind === "auto") return OVERLAY_LINK;
  return backend.kind === "vxlan" ? vxlanLinkName(backend) : "";
}

function peerViews(
  { session, dataPlane }: StatusSources,
  names: ReadonlyMap<NodeId, string>,
): readonly PeerView[] {
  const assigned = dataPlane.assigned;
  if (assigned === undefined) return [];
  const counters = new Map((dataPlane.counters()?.peers ?? []).map((peer) => [peer.peer, peer]));
  const { leases } = session().network.view();
  const peers = new Map(assigned.peers.map((peer) => [peer.subnet, peer]));
  const ways = new Map(
    assigned.peers.map(({ backend, subnet }) => {
      return [subnet, dataPlane.ways.view(subnet)?.way ?? reachedBy(backend)];
    }),
  );
  return assigned.rows
    .filter((row) => leases.has(row.prefix))
    .map(({ peer, prefix, endpoint }) => ({
      id: formatNodeId(peer),
      name: names.get(peer) ?? formatNodeId(peer),
      subnet: prefix,
      endpoint: endpointText(endpoint, ways.get(prefix)),
      path: ways.get(prefix) ?? "udp",
      pathReason: pathReason(dataPlane, peers.get(prefix)),
      ...pathView(dataPlane.prober?.path(peer), counters.get(peer)?.lastSeenAgoMs),
      rxBytes: counters.get(peer)?.rxBytes ?? 0,
      txBytes: counters.get(peer)?.txBytes ?? 0,
    }));
}

/** Only the packet engine's endpoints have a port that is known here. */
function endpointText({ address, port }: Endpoint, way = "udp"): string {
  return way === "udp" ? `${address}:${port}` : address;
}

function warnings(sources: StatusSources): readonly string[] {
  const { session, dataPlane, reconciler } = sources;
  const { cluster, network, identity } = session();
  const status = cluster.status();
  const list: string[] = [];
  if (status.refusal !== undefined) {
    list.push(`This node takes no part in its cluster any more: ${status.refusal}`);
  } else if (!status.hasQuorum) {
    const loss = quorumLoss(cluster);
    list.push(`${loss[0]!.toUpperCase()}${loss.slice(1)}: ${quorumAdvice(cluster)}`);
  }
  if (status.refusal === undefined) {
    list.push(...trustWarnings(cluster, sources.clock.wallMs()));
  }
  list.push(...status.warnings);
  const { state } = network;
  if (state.kind === "no_config") {
    list.push('No network config yet; run `overlay config set \'{"Network":"10.0.0.0/16"}\'`');
  }
  if ("reason" in state) list.push(state.reason);
  for (const { operation, object, reason } of reconciler.unmet()) {
    list.push(`Cannot ${operation} ${object}: ${reason}; trying again`);
  }
  list.push(...dataPlane.extension.failures(), ...dataPlane.checksums.warnings());
  for (const { name, reason } of dataPlane.engine?.offloads().off ?? []) {
    if (reason === FORBIDDEN_REASON) continue;
    list.push(`Packets are slower than they could be: ${name} is off (${reason})`);
  }
  list.push(...silentPeerWarnings(watchedPeers(cluster, dataPlane), Date.now()));
  const names = new Map(cluster.members().map((member) => [member.id, member.name]));
  const nameOf = (node: NodeId) => names.get(node) ?? formatNodeId(node);
  list.push(...sealWarnings(dataPlane.assigned, nameOf));
  list.push(...blockedWayWarnings(dataPlane, nameOf));
  list.push(...addressWarnings(cluster.members()));
  list.push(...leaseWarnings(cluster, network.view()));
  const userOf = (subnet: Prefix) => network.userOf(subnet);
  list.push(
    ...renumberWarnings({ self: identity.nodeId, view: network.view(), nameOf, userOf }),
    ...bridgeWarnings(sources),
  );
  const dead = cluster.members().filter((one) => one.live === false && one.id !== identity.nodeId);
  for (const member of dead) {
    list.push(`Member ${member.name} (${formatNodeId(member.id)}) does not answer`);
  }
  return list;
}

/** Every peer that is watched, with what the cluster knows of it. */
function watchedPeers(cluster: Cluster, dataPlane: DataPlane): WatchedPeer[] {
  const { assigned, engine, prober } = dataPlane;
  if (assigned === undefined || engine === undefined || prober === undefined) return [];
  const members = new Map(cluster.members().map((member) => [member.id, member]));
  const { peers } = dataPlane.counters() ?? engine.counters();
  const counters = new Map(peers.map((peer) => [peer.peer, peer]));
  const seen = new Map<NodeId, WatchedPeer>();
  for (const { peer: node, endpoint } of assigned.rows) {
    const path = prober.path(node);
    if (path === undefined || seen.has(node)) continue;
    const member = members.get(node);
    seen.set(node, {
      node,
      name: member?.name ?? formatNodeId(node),
      endpoint: `${endpoint.address}:${endpoint.port}`,
      path,
      rxPackets: counters.get(node)?.rxPackets ?? 0,
      live: member?.live ?? null,
    });
  }
  return [...seen.values()];
}

/** Members that cannot both be where they say they are. */
function addressWarnings(members: readonly Member[]): readonly string[] {
  const list: string[] = [];
  const byAddress = new Map<string, Member>();
  for (const member of members) {
    const address = formatHostPort(member.address);
    const other = byAddress.get(address);
    byAddress.set(address, member);
    if (other === undefined) continue;
    list.push(
      `Members ${memberText(other)} and ${memberText(member)} both say that they are at ${address}; ` +
        "start the one that moved, or take out the one that is gone with `overlay member remove`",
    );
  }
  return list;
}

function memberText({ id, name }: Member): string {
  return `${name} (${formatNodeId(id)})`;
}

/** Leases that cannot all be right: of nodes that are gone, or two at one address. */
function leaseWarnings(cluster: Cluster, view: NetworkView): readonly string[] {
  const list: string[] = [];
  const members = new Map(cluster.members().map((member) => [member.id, member]));
  const nameOf = (id: NodeId) => {
    const member = members.get(id);
    return member === undefined ? formatNodeId(id) : memberText(member);
  };
  const byAddress = new Map<string, NodeId>();
  for (const { subnet, node, attributes } of view.leases.values()) {
    // A node that has just joined has no table of members yet.
    if (members.size > 0 && !members.has(node)) {
      list.push(
        `Lease ${subnet} is of ${formatNodeId(node)}, which is no member any more; free it with \`overlay lease release ${subnet}\``,
      );
      continue;
    }
    const { publicIp } = attributes;
    const other = byAddress.get(publicIp);
    if (other !== undefined) {
      const nodes = `Nodes ${nameOf(other)} and ${nameOf(node)}`;
      list.push(
        `${nodes} both announce ${publicIp}; take out the one that is gone with \`overlay member remove\`, or set --public-ip on one of them`,
      );
    }
    byAddress.set(publicIp, node);
  }
  return list;
}

/** A Docker that does not use the node's subnet, or cannot. */
function bridgeWarnings({ dataPlane, kernelRoutes }: StatusSources): readonly string[] {
  const { assigned } = dataPlane;
  const { subnet } = assigned?.renumbering?.announced ?? assigned ?? {};
  if (subnet === undefined || kernelRoutes === undefined) return [];
  const address = `${gatewayOf(subnet)}/${prefixLength(subnet)}`;
  const { blocked, warning } = findObstacles(address, parseKernelRoutes(kernelRoutes()));
  const refused = blocked === undefined ? [] : [`Docker cannot use its subnet: ${blocked}`];
  return warning === undefined ? refused : [...refused, warning];
}

function gatewayOf(subnet: Prefix): string {
  return addressPlus(prefixAddress(subnet), 1n) ?? prefixAddress(subnet);
}
