/**
 * The agent's counters and gauges for `GET /metrics`. Names are without the `overlay_` prefix.
 *
 * @module
 */
import type { Metric, MetricSample } from "../admin/service.ts";
import { formatNodeId } from "../base/ids.ts";
import { pathMetrics } from "./path-status.ts";
import { agentReadiness, type StatusSources } from "./status.ts";
import { wayMetrics } from "./way-status.ts";

/** Everything there is to measure, now. */
export function agentMetrics(sources: StatusSources): readonly Metric[] {
  return [...clusterMetrics(sources), ...networkMetrics(sources), ...packetMetrics(sources)];
}

function clusterMetrics({ session }: StatusSources): Metric[] {
  const { cluster, kv } = session();
  const status = cluster.status();
  const metrics = [
    gauge("raft_term", "Raft term of this node", status.term),
    gauge("raft_is_leader", "1 on the leader", status.role === "leader" ? 1 : 0),
    gauge("raft_has_quorum", "1 while a leader with a quorum is known", status.hasQuorum ? 1 : 0),
    gauge("raft_commit_index", "Highest log index known committed", status.commit),
    gauge("raft_applied_index", "Highest log index applied", status.applied),
    gauge("store_revision", "Revision of the replicated store", status.revision),
    gauge("cluster_members", "Members of the cluster", cluster.members().length),
    gauge("cluster_voters", "Members that vote", status.voterCount),
  ];
  for (const { name, help, value } of kv.gauges()) metrics.push(gauge(name, help, value));
  for (const [name, value] of Object.entries(cluster.counters())) {
    metrics.push(counter(`cluster_${name}_total`, `Cluster port and consensus: ${name}`, value));
  }
  return metrics;
}

function networkMetrics(sources: StatusSources): Metric[] {
  const { session, reconciler } = sources;
  const { network, identity } = session();
  const view = network.view();
  const lease = view.byNode.get(identity.nodeId);
  const metrics = [
    gauge("leases", "Subnet leases held in the network", view.leases.size),
    gauge("ready", "1 when /readyz says so too", agentReadiness(sources).ready ? 1 : 0),
    gauge(
      "unmet_operations",
      "Kernel changes that failed and are retried",
      reconciler.unmet().length,
    ),
  ];
  if (lease !== undefined) {
    const left = network.remainingSeconds(lease.subnet);
    metrics.push(gauge("lease_seconds_left", "Time until this node's lease expires", left));
  }
  return metrics;
}

function packetMetrics({ dataPlane }: StatusSources): Metric[] {
  const { engine } = dataPlane;
  if (engine === undefined) return [];
  const { totals, drops, peers } = dataPlane.counters() ?? engine.counters();
  const metrics = Object.entries(totals).map(([name, value]) =>
    counter(
      `${snakeCase(name)}_total`,
      `Data plane: ${snakeCase(name).replaceAll("_", " ")}`,
      value,
    ),
  );
  metrics.push({
    name: "drops_total",
    kind: "counter",
    help: "Packets not forwarded, by reason",
    samples: Object.entries(drops).map(([reason, value]) => ({ labels: { reason }, value })),
  });
  const perPeer = (name: string, help: string, read: (peer: (typeof peers)[number]) => number) => {
    const samples: MetricSample[] = peers.map((peer) => ({
      labels: { peer: formatNodeId(peer.peer) },
      value: read(peer),
    }));
    metrics.push({ name, kind: "counter", help, samples });
  };
  perPeer("peer_tx_bytes_total", "Inner bytes sent to a peer", (peer) => peer.txBytes);
  perPeer("peer_rx_bytes_total", "Inner bytes received from a peer", (peer) => peer.rxBytes);
  const paths = peers.flatMap(({ peer: node, lastSeenAgoMs }) => {
    const path = dataPlane.prober?.path(node);
    return path === undefined ? [] : [{ node, path, packetAgoMs: lastSeenAgoMs }];
  });
  metrics.push(...pathMetrics(paths), ...wayMetrics(dataPlane.ways));
  return metrics;
}

function gauge(name: string, help: string, value: number): Metric {
  return { name, kind: "gauge", help, samples: [{ labels: {}, value }] };
}

function counter(name: string, help: string, value: number): Metric {
  return { name, kind: "counter", help, samples: [{ labels: {}, value }] };
}

function snakeCase(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
