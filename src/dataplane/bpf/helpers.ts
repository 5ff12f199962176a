/**
 * The kernel's side of the programs: helper numbers, fields of the context, and the pieces of code
 * that both programs share. Source: include/uapi/linux/bpf.h. Pure.
 *
 * @module
 */
import type { Assembler, Place, Register } from "./assembler.ts";
import { PEER_COUNTER, REASONS, type Reason } from "./layout.ts";

/** Helpers by number. */
export const HELPER = {
  MAP_LOOKUP_ELEM: 1,
  MAP_UPDATE_ELEM: 2,
  KTIME_GET_NS: 5,
  GET_PRANDOM_U32: 7,
  SKB_STORE_BYTES: 9,
  REDIRECT: 23,
  SKB_LOAD_BYTES: 26,
  CSUM_DIFF: 28,
  SKB_CHANGE_TAIL: 38,
  SKB_CHANGE_HEAD: 43,
  SET_HASH_INVALID: 41,
  SKB_ADJUST_ROOM: 50,
  /** Linux 5.10. */
  REDIRECT_NEIGH: 152,
} as const;

/** Offsets in struct __sk_buff. */
export const SKB = {
  LEN: 0,
  PKT_TYPE: 4,
  PROTOCOL: 16,
  VLAN_PRESENT: 20,
  GSO_SIZE: 176,
} as const;

export const BPF_ADJ_ROOM_MAC = 1;
export const BPF_F_ADJ_ROOM_FIXED_GSO = 0x01;
export const BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 = 0x02;
export const BPF_F_ADJ_ROOM_ENCAP_L4_UDP = 0x10;
export const BPF_F_INGRESS = 1;

/** Verdicts (linux/pkt_cls.h): ask the next program, or drop. */
const TC_ACT_UNSPEC = -1;
const TC_ACT_SHOT = 2;

/** ETH_P_IP as it lies in memory. */
export const ETH_P_IP_NET = 0x0008;
/** Version 4, five words of header: no options. */
export const IPV4_PLAIN = 0x45;
export const IPV4_SIZE = 20;
export const UDP_SIZE = 8;
export const OUTER_SIZE = IPV4_SIZE + UDP_SIZE;
export const ETHERNET_SIZE = 14;
/** More-fragments and offset of an IPv4 header, as they lie in memory. */
export const FRAGMENT_BITS_NET = 0xff3f;
export const IPPROTO_ICMP = 1;
export const IPPROTO_TCP = 6;
export const IPPROTO_UDP = 17;

/** Offsets in an IPv4 header. */
export const IPV4 = {
  LENGTH: 2,
  ID: 4,
  FRAGMENT: 6,
  TTL: 8,
  PROTOCOL: 9,
  CHECKSUM: 10,
  SOURCE: 12,
  TARGET: 16,
} as const;

/** Offsets in a TCP header, and what a SYN looks like whose first option is its MSS. */
export const TCP = { FLAGS: 13, CHECKSUM: 16, OPTIONS: 20, MSS: 22, SIZE: 20 } as const;
export const TCP_SYN = 0x02;
/** Kind 2, length 4 (RFC 9293 §3.2), as it lies in memory. */
const MSS_OPTION_NET = 0x0402;
/** A SYN with that option has as many bytes of transport at least. */
export const TCP_WITH_MSS_SIZE = TCP.SIZE + 4;

/** IPv4 and TCP headers with the timestamps that every system sends. */
const TCP_HEADERS_USUAL = 52;

/** Nanoseconds as a power of two, so that a clock of 32 bits lasts for 52 days: 1.05 ms. */
export const SEEN_UNIT_BITS = 20;

/** The context, in every program. */
export const CONTEXT: Register = 6;
/** Start of the stack's named places; both programs use them alike. */
export const STACK = {
  /** Key of an array, or the reason. */
  INDEX: stack(-4),
  ROUTE_KEY: stack(-16),
} as const;

/** A place on the stack, `offset` (negative) from its end. */
export function stack(offset: number): Place {
  return { base: 10, offset };
}

/** `place`, so many bytes further on. */
export function after(place: Place, bytes: number): Place {
  return { base: place.base, offset: place.offset + bytes };
}

/** r0 = address of the value at `index` of an array. Never null for an index within. */
export function lookUpIndex(asm: Assembler, map: string, index: number): void {
  asm.storeValue(4, STACK.INDEX, index);
  lookUp(asm, map, STACK.INDEX);
}

/** r0 = address of the value for the key at `key`, or 0. */
export function lookUp(asm: Assembler, map: string, key: Place): void {
  asm.map(1, map);
  asm.address(2, key);
  asm.call(HELPER.MAP_LOOKUP_ELEM);
}

/** r0 = the route of the IPv4 address in `address`, or 0. */
export function lookUpRoute(asm: Assembler, address: Register): void {
  asm.storeValue(4, STACK.ROUTE_KEY, 32);
  asm.store(4, after(STACK.ROUTE_KEY, 4), address);
  lookUp(asm, "routes", STACK.ROUTE_KEY);
}

/** Leaves for `expired` when the agent has not said for long that the tables are right. */
export function checkControl(asm: Assembler, now: Register, expired: Reason): void {
  lookUpIndex(asm, "control", 0);
  asm.jumpIf(0, "==", 0, expired);
  asm.load(8, 1, { base: 0, offset: 0 });
  asm.jumpIfRegister(now, ">", 1, expired);
}

/**
 * Leaves for `clamp` unless the four bytes at `options` are an MSS that fits the path of `route`:
 * user mode makes it fit, wherever in the options it is.
 */
export function checkMss(
  asm: Assembler,
  options: Place,
  { mtu, clamp }: { readonly mtu: Place; readonly clamp: Reason },
): void {
  asm.load(2, 5, options);
  asm.jumpIf(5, "!=", MSS_OPTION_NET, clamp);
  asm.load(2, 5, after(options, 2));
  asm.swap(5, 16);
  asm.alu("add", 5, IPV4_SIZE + TCP.SIZE);
  asm.load(2, 3, mtu);
  asm.jumpIfRegister(5, ">", 3, clamp);
}

/** Folds the sum in `sum` (below 2^47) to 16 bits, as RFC 1071 has it. */
export function foldSum(asm: Assembler, sum: Register, scratch: Register): void {
  for (let round = 0; round < 3; round++) {
    asm.copy(scratch, sum);
    asm.alu("rsh", scratch, 16);
    asm.alu("and", sum, 0xffff);
    asm.aluRegister("add", sum, scratch);
  }
}

/**
 * Adds a packet of `bytes` to the fields `packetsAt` and the next of the peer at `slot`. A
 * super-packet counts its segments, but its headers once.
 */
export function countPacket(
  asm: Assembler,
  counted: {
    readonly route: Register;
    readonly slotAt: number;
    readonly bytes: Register;
    readonly packetsAt: number;
    readonly label: string;
  },
): void {
  const { route, slotAt, bytes, packetsAt, label } = counted;
  asm.load(4, 1, { base: route, offset: slotAt });
  asm.store(4, STACK.INDEX, 1);
  lookUp(asm, "counters", STACK.INDEX);
  asm.jumpIf(0, "==", 0, label);
  asm.set(2, 1);
  asm.load(4, 1, { base: CONTEXT, offset: SKB.GSO_SIZE });
  asm.jumpIf(1, "==", 0, `${label} lone`);
  asm.copy(2, bytes);
  asm.alu("sub", 2, TCP_HEADERS_USUAL + 1);
  asm.aluRegister("div", 2, 1);
  asm.alu("add", 2, 1);
  asm.label(`${label} lone`);
  asm.load(8, 1, { base: 0, offset: packetsAt });
  asm.aluRegister("add", 1, 2);
  asm.store(8, { base: 0, offset: packetsAt }, 1);
  asm.load(8, 1, { base: 0, offset: packetsAt + 8 });
  asm.aluRegister("add", 1, bytes);
  asm.store(8, { base: 0, offset: packetsAt + 8 }, 1);
  if (packetsAt === PEER_COUNTER.RX_PACKETS) {
    asm.store(8, { base: 0, offset: PEER_COUNTER.SEEN_NS }, 9);
  }
  asm.label(label);
}

/**
 * The ends of a program: one label for each reason that it uses, which counts and leaves the
 * packet to user mode; "pass" without counting.
 */
export function putEnds(asm: Assembler, reasons: readonly Reason[]): void {
  for (const reason of reasons) {
    asm.label(reason);
    asm.storeValue(4, STACK.INDEX, REASONS.indexOf(reason));
    asm.jump("count");
  }
  asm.label("count");
  lookUp(asm, "reasons", STACK.INDEX);
  asm.jumpIf(0, "==", 0, "pass");
  asm.load(8, 1, { base: 0, offset: 0 });
  asm.alu("add", 1, 1);
  asm.store(8, { base: 0, offset: 0 }, 1);
  asm.label("pass");
  asm.set(0, TC_ACT_UNSPEC);
  asm.exit();
}

/** The label "drop": for a packet that is spoilt half-way. */
export function putDrop(asm: Assembler): void {
  asm.label("drop");
  asm.set(0, TC_ACT_SHOT);
  asm.exit();
}
