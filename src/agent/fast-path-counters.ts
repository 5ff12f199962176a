/**
 * The packets of user mode and of the fast path as one: what `status` and `/metrics` show.
 *
 * @module
 */
import type { NodeId } from "../base/ids.ts";
import type { KernelPeerCounters } from "./kernel-tables.ts";
import type { PacketCounters, PeerCounters } from "./packet-engine.ts";

const NS_PER_MS = 1e6;

/** What the kernel's programs counted. */
export interface KernelCounters {
  readonly peers: ReadonlyMap<NodeId, KernelPeerCounters>;
  /** Of peers that are gone, together. */
  readonly gone: KernelPeerCounters;
  /** Packets left to user mode, by reason. */
  readonly reasons: Readonly<Record<string, number>>;
  /** CLOCK_MONOTONIC now, ns. */
  readonly nowNs: number;
}

/**
 * `user` with the packets of the kernel added. Its totals also say how many those were
 * (kernelTxPackets, kernelRxPackets) and why others were left to user mode (userTxSuperPacket, …).
 */
export function addKernelCounters(user: PacketCounters, kernel: KernelCounters): PacketCounters {
  const sums = sumOf([...kernel.peers.values(), kernel.gone]);
  const { totals } = user;
  const reasons = Object.entries(kernel.reasons);
  return {
    drops: user.drops,
    peers: user.peers.map((peer) => addPeer(peer, kernel.peers.get(peer.peer), kernel.nowNs)),
    totals: {
      ...totals,
      txPackets: (totals["txPackets"] ?? 0) + sums.txPackets,
      txBytes: (totals["txBytes"] ?? 0) + sums.txBytes,
      rxPackets: (totals["rxPackets"] ?? 0) + sums.rxPackets,
      rxBytes: (totals["rxBytes"] ?? 0) + sums.rxBytes,
      kernelTxPackets: sums.txPackets,
      kernelRxPackets: sums.rxPackets,
      ...Object.fromEntries(reasons.map(([reason, count]) => [leftName(reason), count])),
    },
  };
}

/** "userTxSuperPacket" of "tx_super_packet". */
function leftName(reason: string): string {
  return `user_${reason}`.replaceAll(/_(.)/g, (_, letter: string) => letter.toUpperCase());
}

/** Packets and bytes of several together. */
export function sumOf(peers: readonly KernelPeerCounters[]): KernelPeerCounters {
  const total = (read: (peer: KernelPeerCounters) => number) =>
    peers.reduce((sum, peer) => sum + read(peer), 0);
  return {
    txPackets: total((peer) => peer.txPackets),
    txBytes: total((peer) => peer.txBytes),
    rxPackets: total((peer) => peer.rxPackets),
    rxBytes: total((peer) => peer.rxBytes),
    seenNs: Math.max(0, ...peers.map((peer) => peer.seenNs)),
  };
}

function addPeer(
  user: PeerCounters,
  kernel: KernelPeerCounters | undefined,
  nowNs: number,
): PeerCounters {
  if (kernel === undefined) return user;
  const agoMs = kernel.seenNs === 0 ? Infinity : Math.max(0, (nowNs - kernel.seenNs) / NS_PER_MS);
  const lastSeenAgoMs = Math.min(agoMs, user.lastSeenAgoMs ?? Infinity);
  return {
    ...user,
    txPackets: user.txPackets + kernel.txPackets,
    txBytes: user.txBytes + kernel.txBytes,
    rxPackets: user.rxPackets + kernel.rxPackets,
    rxBytes: user.rxBytes + kernel.rxBytes,
    lastSeenAgoMs: lastSeenAgoMs === Infinity ? undefined : lastSeenAgoMs,
  };
}
