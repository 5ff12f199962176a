/**
 * The leases of all other nodes as the backends see them.
 *
 * A lease that is as it was stays the same object, and when all are, the list does. Pure.
 *
 * @module
 */
import type { Prefix } from "../base/address.ts";
import type { NodeId } from "../base/ids.ts";
import { type BackendConfig, UDP_PORT_DEFAULT } from "../control/network/backend-config.ts";
import type { Lease } from "../control/network/lease.ts";
import type { BackendPeer } from "../dataplane/backends/backend.ts";

/** The peers; `before` when none of them differs from it. */
export function backendPeers(
  before: readonly BackendPeer[],
  leases: ReadonlyMap<Prefix, Lease>,
  self: NodeId,
): readonly BackendPeer[] {
  const known = new Map(before.map((peer) => [peer.subnet, peer]));
  const peers: BackendPeer[] = [];
  for (const { attributes, node, subnet } of leases.values()) {
    if (node === self) continue;
    const { backend, publicIp: address } = attributes;
    const peer = known.get(subnet);
    const isKnown =
      peer?.node === node &&
      peer.address === address &&
      (peer.backend === backend || Bun.deepEquals(peer.backend, backend));
    peers.push(isKnown ? peer : { node, subnet, address, backend });
  }
  const isSame = peers.length === before.length && peers.every((peer, at) => peer === before[at]);
  return isSame ? before : peers;
}

/** The packet engine's port: the config's, or while that names another backend, the peers'. */
export function enginePort(config: BackendConfig, peers: readonly BackendPeer[]): number {
  if (config.kind === "udp" || config.kind === "auto") return config.port;
  for (const { backend } of peers) if (backend.kind === "udp") return backend.port;
  return UDP_PORT_DEFAULT;
}
