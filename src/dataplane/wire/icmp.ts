/**
 * ICMP errors that the data plane sends to the source of a packet that it cannot deliver.
 *
 * Sources: RFC 792 (format), RFC 1122 §3.2.2 (when never to send), RFC 1812 §4.3.2.3 (how much of
 * the packet to quote), RFC 1191 (3/4 with the MTU), RFC 4443 §2.4, §3.1, §3.2 (IPv6).
 *
 * Pure: builds a packet in memory; how often is the caller's business.
 *
 * @module
 */
import { finishSum, sumBytes } from "./checksum.ts";
import {
  IPPROTO_ICMP,
  IPPROTO_ICMPV6,
  IPV4_CHECKSUM_AT,
  IPV4_HEADER_SIZE,
  IPV4_SOURCE_AT,
  IPV4_TARGET_AT,
  IPV6_HEADER_SIZE,
  IPV6_SOURCE_AT,
  IPV6_TARGET_AT,
  pseudoSum,
  putIpv4Checksum,
  sumAddresses,
} from "./ip.ts";
import type { WireMemory } from "./memory.ts";

const ICMP_HEADER_SIZE = 8;
const ICMP_CHECKSUM_AT = 2;
const ICMP_MTU_AT = 4;

const ICMP_UNREACHABLE = 3;
const ICMP_CODE_NET_UNREACHABLE = 0;
const ICMP_CODE_FRAGMENTATION_NEEDED = 4;
const ICMPV6_UNREACHABLE = 1;
const ICMPV6_CODE_NO_ROUTE = 0;
const ICMPV6_TOO_BIG = 2;

/** ICMP types that are errors: 3, 4, 5, 11, 12 (RFC 1122 §3.2.2). */
const ICMP_ERROR_TYPES = (1 << 3) | (1 << 4) | (1 << 5) | (1 << 11) | (1 << 12);
/** ICMPv6 types from here on are not errors (RFC 4443 §2.1). */
const ICMPV6_INFORMATIONAL_MIN = 128;

/** RFC 1812 §4.3.2.3: "as much of the original … without exceeding 576 bytes". */
const ICMP_PACKET_SIZE_MAX = 576;
/** RFC 4443 §3.1: without exceeding the minimum IPv6 MTU. */
const ICMPV6_PACKET_SIZE_MAX = 1280;
/** Room that the encoders below need. */
export const ICMP_ERROR_SIZE_MAX = ICMPV6_PACKET_SIZE_MAX;

const HOP_LIMIT = 64;
/** Precedence "internetwork control" (RFC 1812 §4.3.2.5). */
const TOS_INTERNET_CONTROL = 0xc0;

/** The packet that an error is about. */
export interface OffendingPacket {
  /** Position of its IP header. */
  readonly ip: number;
  /** Bytes from there. */
  readonly length: number;
  readonly version: number;
  /** Protocol of its payload, behind IPv6 extension headers. */
  readonly protocol: number;
  /** Bytes of all IP headers. */
  readonly headerLength: number;
  /** Whether it is a fragment without the transport header. */
  readonly isLaterFragment: boolean;
}

/** Whether RFC 1122 §3.2.2 and RFC 4443 §2.4 (e) allow an error about `packet` at all. */
export function mayAnswer(memory: WireMemory, packet: OffendingPacket): boolean {
  if (packet.isLaterFragment) return false;
  const { view } = memory;
  const isIcmp = packet.protocol === (packet.version === 4 ? IPPROTO_ICMP : IPPROTO_ICMPV6);
  if (isIcmp && packet.length <= packet.headerLength) return false;
  const type = isIcmp ? view.getUint8(packet.ip + packet.headerLength) : 0;
  if (packet.version === 6) {
    if (isIcmp && type < ICMPV6_INFORMATIONAL_MIN) return false;
    return (
      isIpv6Host(view, packet.ip + IPV6_SOURCE_AT) && isIpv6Host(view, packet.ip + IPV6_TARGET_AT)
    );
  }
  if (isIcmp && type < 32 && ((ICMP_ERROR_TYPES >>> type) & 1) === 1) return false;
  const target = view.getUint8(packet.ip + IPV4_TARGET_AT);
  const source = view.getUint8(packet.ip + IPV4_SOURCE_AT);
  // 224/4 is multicast, 240/4 reserved with the limited broadcast; 0/8 and 127/8 name no host.
  return target < 224 && source !== 0 && source !== 127 && source < 224;
}

/**
 * Writes "network unreachable" about `packet` at `at`, which must have ICMP_ERROR_SIZE_MAX bytes.
 * `source` is the address of the sender in four words. Returns the length.
 */
export function encodeUnreachable(
  memory: WireMemory,
  at: number,
  packet: OffendingPacket,
  source: Uint32Array,
): number {
  memory.view.setUint32(errorAt(at, packet) + ICMP_MTU_AT, 0);
  return packet.version === 4
    ? encodeError(memory, at, packet, source, ICMP_UNREACHABLE, ICMP_CODE_NET_UNREACHABLE)
    : encodeError(memory, at, packet, source, ICMPV6_UNREACHABLE, ICMPV6_CODE_NO_ROUTE);
}

/** Writes "fragmentation needed" or "packet too big" with `mtu`; otherwise as above. */
export function encodeTooBig(
  memory: WireMemory,
  at: number,
  packet: OffendingPacket,
  source: Uint32Array,
  mtu: number,
): number {
  memory.view.setUint32(errorAt(at, packet) + ICMP_MTU_AT, mtu);
  return packet.version === 4
    ? encodeError(memory, at, packet, source, ICMP_UNREACHABLE, ICMP_CODE_FRAGMENTATION_NEEDED)
    : encodeError(memory, at, packet, source, ICMPV6_TOO_BIG, 0);
}

function errorAt(at: number, packet: OffendingPacket): number {
  return at + (packet.version === 4 ? IPV4_HEADER_SIZE : IPV6_HEADER_SIZE);
}

function encodeError(
  memory: WireMemory,
  at: number,
  packet: OffendingPacket,
  source: Uint32Array,
  type: number,
  code: number,
): number {
  const { view, bytes } = memory;
  const icmp = errorAt(at, packet);
  const sizeMax = packet.version === 4 ? ICMP_PACKET_SIZE_MAX : ICMPV6_PACKET_SIZE_MAX;
  const quotedAt = icmp + ICMP_HEADER_SIZE;
  const quoted = Math.min(packet.length, sizeMax - (quotedAt - at));
  bytes.copyWithin(quotedAt, packet.ip, packet.ip + quoted);
  view.setUint8(icmp, type);
  view.setUint8(icmp + 1, code);
  view.setUint16(icmp + ICMP_CHECKSUM_AT, 0);
  const length = ICMP_HEADER_SIZE + quoted;
  if (packet.version === 4) {
    putIpv4Header(memory, at, icmp - at + length, packet, source);
    view.setUint16(icmp + ICMP_CHECKSUM_AT, finishSum(sumBytes(memory, icmp, length)));
  } else {
    putIpv6Header(view, at, length, packet, source);
    const pseudo = pseudoSum(sumAddresses(memory, at, 6), IPPROTO_ICMPV6, length);
    view.setUint16(icmp + ICMP_CHECKSUM_AT, finishSum(pseudo + sumBytes(memory, icmp, length)));
  }
  return icmp - at + length;
}

function putIpv4Header(
  memory: WireMemory,
  at: number,
  totalLength: number,
  packet: OffendingPacket,
  source: Uint32Array,
): void {
  const { view } = memory;
  view.setUint8(at, 0x45);
  view.setUint8(at + 1, TOS_INTERNET_CONTROL);
  view.setUint16(at + 2, totalLength);
  view.setUint32(at + 4, 0); // No identification needed: it is never cut on this host.
  view.setUint8(at + 8, HOP_LIMIT);
  view.setUint8(at + 9, IPPROTO_ICMP);
  view.setUint16(at + IPV4_CHECKSUM_AT, 0);
  view.setUint32(at + IPV4_SOURCE_AT, source[3]!);
  view.setUint32(at + IPV4_TARGET_AT, view.getUint32(packet.ip + IPV4_SOURCE_AT));
  putIpv4Checksum(memory, at, IPV4_HEADER_SIZE);
}

function putIpv6Header(
  view: DataView,
  at: number,
  payloadLength: number,
  packet: OffendingPacket,
  source: Uint32Array,
): void {
  view.setUint32(at, 0x6000_0000);
  view.setUint16(at + 4, payloadLength);
  view.setUint8(at + 6, IPPROTO_ICMPV6);
  view.setUint8(at + 7, HOP_LIMIT);
  for (let word = 0; word < 4; word++) {
    view.setUint32(at + IPV6_SOURCE_AT + 4 * word, source[word]!);
    const from = packet.ip + IPV6_SOURCE_AT + 4 * word;
    view.setUint32(at + IPV6_TARGET_AT + 4 * word, view.getUint32(from));
  }
}

/** Whether the address at `at` names one host: neither multicast nor unspecified. */
function isIpv6Host(view: DataView, at: number): boolean {
  if (view.getUint8(at) === 0xff) return false;
  return (
    (view.getUint32(at) |
      view.getUint32(at + 4) |
      view.getUint32(at + 8) |
      view.getUint32(at + 12)) !==
    0
  );
}
