/**
 * What the kernel's programs and the agent share: maps, their keys and values, and the reasons for
 * which a packet is left to user mode. Pure.
 *
 *   routes    longest prefix match: { prefix length 32, IPv4 address } → route
 *   counters  peer slot → numbers of one peer, for each core
 *   flows     { source, target, ports, protocol } → when it was last left to user mode, in ns
 *   reasons   reason → packets left to user mode, for each core
 *   control   one value: until when the programs may act
 *   scratch   room to sum up a packet, for each core
 *
 * Numbers are little-endian, addresses and ports in network order.
 *
 * @module
 */

/** Types of maps (enum bpf_map_type). */
export const BPF_MAP_TYPE = {
  ARRAY: 2,
  PERCPU_HASH: 5,
  PERCPU_ARRAY: 6,
  LRU_HASH: 9,
  LPM_TRIE: 11,
} as const;
/** Take memory for an element when it is made, not for all at once. */
export const BPF_F_NO_PREALLOC = 1;

export interface MapSpec {
  readonly name: string;
  readonly type: number;
  readonly keySize: number;
  readonly valueSize: number;
  readonly entryCountMax: number;
  readonly flags: number;
}

/** Leases that the kernel's table holds; more are left to user mode. */
export const ROUTE_COUNT_MAX = 131_072;
/** Flows in user mode that are remembered at once, 80 bytes each. */
const FLOW_COUNT_MAX = 16_384;

/** A route: where a prefix lives, and what the kernel may do with it. */
export const ROUTE = {
  ADDRESS: 0,
  PORT: 4,
  /** Largest inner packet, bytes. */
  MTU: 6,
  FLAGS: 8,
  LINK: 12,
  SLOT: 16,
  /** When the peer's own kernel last sent something, in SEEN_UNITs; written by the programs. */
  SEEN: 20,
  /** The one target to which TCP super-packets go whole: the peer itself; 0: none does. */
  WHOLE_TARGET: 24,
  SIZE: 28,
} as const;
/** The prefix is our own lease. */
export const ROUTE_LOCAL = 1;
/** Packets to it may be encapsulated, and such from it decapsulated, in the kernel. */
export const ROUTE_PEER = 2;

/** Numbers of one peer, 64 bits each, as user mode counts them. */
export const PEER_COUNTER = {
  TX_PACKETS: 0,
  TX_BYTES: 8,
  RX_PACKETS: 16,
  RX_BYTES: 24,
  /** CLOCK_MONOTONIC of the last packet received, ns. */
  SEEN_NS: 32,
  SIZE: 40,
} as const;

/** The flow's key: source 4, target 4, ports 4, protocol 4. */
export const FLOW_KEY_SIZE = 16;
/** Longest prefix match: prefix length 4, address 4. */
export const ROUTE_KEY_SIZE = 8;
/** Room for the transport part of a packet and the zeros behind it. */
export const SCRATCH_SIZE = 2048;
/** Longest transport part that the kernel sums up, bytes. Longer lone packets go to user mode. */
export const TRANSPORT_SIZE_MAX = 1536;

/** Why the program at the overlay link left a packet to user mode. */
export const TX_REASONS = [
  "tx_not_taken",
  "tx_no_route",
  "tx_super_packet",
  "tx_flow_in_user_mode",
  "tx_too_big",
  "tx_checksum",
  "tx_syn",
  "tx_expired",
  "tx_failed",
] as const;
/** The same of the program at the underlay. */
export const RX_REASONS = [
  "rx_not_taken",
  "rx_user_mode",
  "rx_source",
  "rx_target",
  "rx_syn",
  "rx_expired",
  "rx_failed",
] as const;
/** All of them, as they stand in the map "reasons". */
export const REASONS = [...TX_REASONS, ...RX_REASONS] as const;
export type Reason = (typeof REASONS)[number];

/** The maps by their names in the programs. */
export const MAPS: readonly MapSpec[] = [
  {
    name: "routes",
    type: BPF_MAP_TYPE.LPM_TRIE,
    keySize: ROUTE_KEY_SIZE,
    valueSize: ROUTE.SIZE,
    entryCountMax: ROUTE_COUNT_MAX,
    flags: BPF_F_NO_PREALLOC,
  },
  {
    name: "counters",
    type: BPF_MAP_TYPE.PERCPU_HASH,
    keySize: 4,
    valueSize: PEER_COUNTER.SIZE,
    entryCountMax: ROUTE_COUNT_MAX,
    flags: BPF_F_NO_PREALLOC,
  },
  {
    name: "flows",
    type: BPF_MAP_TYPE.LRU_HASH,
    keySize: FLOW_KEY_SIZE,
    valueSize: 8,
    entryCountMax: FLOW_COUNT_MAX,
    flags: 0,
  },
  {
    name: "reasons",
    type: BPF_MAP_TYPE.PERCPU_ARRAY,
    keySize: 4,
    valueSize: 8,
    entryCountMax: REASONS.length,
    flags: 0,
  },
  {
    name: "control",
    type: BPF_MAP_TYPE.ARRAY,
    keySize: 4,
    valueSize: 8,
    entryCountMax: 1,
    flags: 0,
  },
  {
    name: "scratch",
    type: BPF_MAP_TYPE.PERCPU_ARRAY,
    keySize: 4,
    valueSize: SCRATCH_SIZE,
    entryCountMax: 1,
    flags: 0,
  },
];
