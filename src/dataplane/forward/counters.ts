/**
 * What the packet loop counts, and why it drops: numbers in shared memory, written by the loop's
 * thread alone and read by the other at any time. An aligned 64-bit float is read whole.
 *
 * Totals and drops share one array: the totals first, then one number for each reason.
 *
 * @module
 */

/**
 * Why a packet was not forwarded, as small integers. `tx` is from the TUN to the underlay. The
 * first four of each direction follow the order of InnerFault (inner-packet.ts).
 */
export const DROP = {
  TX_SHORT: 0,
  TX_NOT_IP: 1,
  TX_BAD_LENGTH: 2,
  TX_BAD_HEADER: 3,
  /** A virtio-net header that does not fit the packet behind it. */
  TX_BAD_OFFLOAD: 4,
  TX_NO_ROUTE: 5,
  /** Over the overlay MTU with DF. */
  TX_TOO_BIG: 6,
  /** The peer's endpoint is of a family that the socket does not speak. */
  TX_NO_ENDPOINT: 7,
  /** The underlay has no way to the endpoint. */
  TX_UNDERLAY_UNREACHABLE: 8,
  TX_UNDERLAY_TOO_BIG: 9,
  TX_SEND_FAILED: 10,
  RX_SHORT: 11,
  RX_NOT_IP: 12,
  RX_BAD_LENGTH: 13,
  RX_BAD_HEADER: 14,
  /** The IPv4 header checksum is wrong. */
  RX_BAD_CHECKSUM: 15,
  /** Marked as partial without a TCP or UDP header to finish. */
  RX_BAD_PARTIAL: 16,
  /** More bytes than any slot holds. */
  RX_TRUNCATED: 17,
  /** First four bits that mean nothing. */
  RX_UNKNOWN_KIND: 18,
  /** Sealed with keys that this node does not know, or has forgotten. */
  RX_SEAL_UNKNOWN_KEY: 19,
  /** Nibble 2, and no probe of this version. */
  RX_CONTROL: 20,
  /** Nobody owns the inner source. */
  RX_UNKNOWN_SOURCE: 21,
  /** The inner source is of another node than the one that sent the datagram. */
  RX_FOREIGN_SOURCE: 22,
  /** The inner source is our own. */
  RX_OWN_SOURCE: 23,
  /** The inner target is not in our lease. */
  RX_FOREIGN_TARGET: 24,
  /** The TUN is down. */
  RX_TUN_DOWN: 25,
  RX_TUN_REFUSED: 26,
  /** A probe from elsewhere than a known peer's endpoint, or not from and for whom it says. */
  RX_PROBE_STRANGER: 27,
  /** A peer asks more often than it is answered. */
  RX_PROBE_LIMIT: 28,
  /** A sealed packet that came before, or far too late. */
  RX_SEAL_REPLAYED: 29,
  /** A sealed packet that is not what its sender sealed. */
  RX_SEAL_FORGED: 30,
  /** A plain packet of a peer that must be sealing. */
  RX_PLAIN_REFUSED: 31,
  /** To a peer that gets nothing but sealed packets, and there is no key for it. */
  TX_SEAL_NO_KEY: 32,
  /** Our key pair has sealed all that it may, and no new one could be published. */
  TX_SEAL_USED_UP: 33,
  /** The engine failed to seal. */
  TX_SEAL_FAILED: 34,
} as const;

/** Names of the reasons in their order, as in `/status` and `/metrics`. */
export const DROP_NAMES: readonly string[] = Object.keys(DROP).map((key) => key.toLowerCase());

/** Positions of the totals. Packets are inner packets: a super-packet counts its segments. */
export const TOTAL = {
  TX_PACKETS: 0,
  TX_BYTES: 1,
  RX_PACKETS: 2,
  RX_BYTES: 3,
  /** Reads of the TUN that gave a packet, super-packets as one. */
  TX_READS: 4,
  /** Messages given to the socket. */
  TX_MESSAGES: 5,
  /** Messages that the socket gave, joined datagrams as one. */
  RX_MESSAGES: 6,
  /** Packets written to the TUN, joined ones as one. */
  RX_WRITES: 7,
  /** ICMP errors sent to local senders. */
  ICMP_ERRORS: 8,
  /** Times that the socket was full and reading the TUN paused. */
  TX_PAUSES: 9,
  /** Probes sent to peers. */
  PROBE_QUESTIONS: 10,
  /** Peers' probes answered. */
  PROBE_ANSWERS: 11,
} as const;

/** Names of the totals in their order. */
export const TOTAL_NAMES = [
  "txPackets",
  "txBytes",
  "rxPackets",
  "rxBytes",
  "txReads",
  "txMessages",
  "rxMessages",
  "rxWrites",
  "icmpErrors",
  "txPauses",
  "probeQuestions",
  "probeAnswers",
] as const;

/** Where the drops start in the array of totals. */
export const DROPS_AT = 16;
/** Length of the array. */
export const COUNTER_COUNT = DROPS_AT + DROP_NAMES.length;

/** Fields of one peer's slot in the array of peers. */
export const PEER = {
  TX_PACKETS: 0,
  TX_BYTES: 1,
  RX_PACKETS: 2,
  RX_BYTES: 3,
  SEEN_MS: 4,
  /** Written by the control plane: most bytes of a datagram's payload on the way to the peer; 0
   * while nothing is known. */
  PAYLOAD_MAX: 5,
  /** Written by the control plane: the path MTU found by probes, 0 for none. */
  PATH_MTU: 6,
} as const;
/** Numbers a slot: a whole cache line. */
export const PEER_STRIDE = 8;

/** The loop's end of the counters. Owned by the loop's thread. */
export class LoopCounters {
  readonly #totals: Float64Array;
  #peers: Float64Array;

  constructor(totals: Float64Array, peers: Float64Array) {
    this.#totals = totals;
    this.#peers = peers;
  }

  /** Counts in `peers` from now on, which takes over what was counted so far. */
  replacePeers(peers: Float64Array): void {
    peers.set(this.#peers.subarray(0, Math.min(peers.length, this.#peers.length)));
    this.#peers = peers;
  }

  /** Inner bytes sent and received. */
  get byteCount(): number {
    return this.#totals[TOTAL.TX_BYTES]! + this.#totals[TOTAL.RX_BYTES]!;
  }

  /** Most payload bytes of a datagram on the way to the peer with `slot`; 0 for no limit known. */
  payloadMax(slot: number): number {
    return this.#peers[slot * PEER_STRIDE + PEER.PAYLOAD_MAX]!;
  }

  /** Path MTU found towards the peer with `slot`, 0 for none. */
  pathMtu(slot: number): number {
    return this.#peers[slot * PEER_STRIDE + PEER.PATH_MTU]!;
  }

  /** The peer with `slot` gave a sign of life at `nowMs` of the loop's clock. */
  seen(slot: number, nowMs: number): void {
    this.#peers[slot * PEER_STRIDE + PEER.SEEN_MS] = nowMs;
  }

  /** Adds to a total. */
  add(total: number, amount: number): void {
    this.#totals[total] = this.#totals[total]! + amount;
  }

  /** Counts `packets` dropped for `reason`. */
  drop(reason: number, packets: number): void {
    this.#totals[DROPS_AT + reason] = this.#totals[DROPS_AT + reason]! + packets;
  }

  /** Counts packets sent to the peer with `slot`. */
  sent(slot: number, packets: number, bytes: number): void {
    this.add(TOTAL.TX_PACKETS, packets);
    this.add(TOTAL.TX_BYTES, bytes);
    const at = slot * PEER_STRIDE;
    const peers = this.#peers;
    peers[at + PEER.TX_PACKETS] = peers[at + PEER.TX_PACKETS]! + packets;
    peers[at + PEER.TX_BYTES] = peers[at + PEER.TX_BYTES]! + bytes;
  }

  /** Counts packets received from the peer with `slot` at `nowMs` of the loop's clock. */
  received(slot: number, packets: number, bytes: number, nowMs: number): void {
    this.add(TOTAL.RX_PACKETS, packets);
    this.add(TOTAL.RX_BYTES, bytes);
    const at = slot * PEER_STRIDE;
    const peers = this.#peers;
    peers[at + PEER.RX_PACKETS] = peers[at + PEER.RX_PACKETS]! + packets;
    peers[at + PEER.RX_BYTES] = peers[at + PEER.RX_BYTES]! + bytes;
    peers[at + PEER.SEEN_MS] = nowMs;
  }
}
