/**
 * Certificates and CAs as the admin API shows them, and what is wrong with them in sentences.
 *
 * @module
 */
import type { AuthorityView } from "../admin/service.ts";
import { formatNodeId, type NodeId } from "../base/ids.ts";
import type { Cluster } from "../control/cluster/types.ts";

/** A certificate that is not renewed so long after it was due has a reason. */
const RENEWAL_LATE_MS = 86_400_000;

/** CAs and certificates, with the names of the nodes. */
export function authorityView(cluster: Cluster): AuthorityView {
  const trust = cluster.trust();
  const names = new Map(cluster.members().map(({ id, name }) => [id, name]));
  const nameOf = (id: NodeId) => names.get(id) ?? formatNodeId(id);
  return {
    authorities: trust.authorities.map(({ pin, isSigning, expiresAtMs }) => ({
      pin,
      state: isSigning ? "signing" : "retiring",
      expiresAt: timeText(expiresAtMs),
    })),
    dropsAt: trust.dropAtMs === undefined ? null : timeText(trust.dropAtMs),
    waiting: trust.waiting.map((id) => ({ id: formatNodeId(id), name: nameOf(id) })),
    certificates: trust.members.map(({ node, issuer, expiresAtMs }) => ({
      id: formatNodeId(node),
      name: nameOf(node),
      pin: issuer,
      expiresAt: timeText(expiresAtMs),
    })),
    renewsAt: timeText(trust.renewsAtMs),
  };
}

/** What somebody should look at. */
export function trustWarnings(cluster: Cluster, wallMs: number): readonly string[] {
  const { isOver, renewsAtMs, expiresAtMs, dropAtMs, waiting } = cluster.trust();
  if (isOver) {
    return [
      "This node's certificate is not good any more: the other nodes refuse it; get a token with " +
        "`overlay token` on another node and run `overlay join <peer> --token <token>`, which keeps id and subnet",
    ];
  }
  const list: string[] = [];
  if (wallMs > renewsAtMs + RENEWAL_LATE_MS) {
    list.push(
      `This node's certificate could not be renewed and ends at ${timeText(expiresAtMs)}: ` +
        "no voter or standby that holds the CA's key answers",
    );
  }
  if (dropAtMs !== undefined && waiting.length > 0) {
    const names = new Map(cluster.members().map(({ id, name }) => [id, name]));
    const who = waiting.map((id) => names.get(id) ?? formatNodeId(id)).join(", ");
    list.push(
      `The cluster's CA is being changed: ${who} must renew before ${timeText(dropAtMs)}, ` +
        "or join again with a token",
    );
  }
  return list;
}

function timeText(wallMs: number): string {
  return new Date(wallMs).toISOString();
}
