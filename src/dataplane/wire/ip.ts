/**
 * IPv4 and IPv6 headers as they travel inside the overlay, and the sums over their addresses.
 *
 *   IPv4 (RFC 791)                                IPv6 (RFC 8200)
 *    0 version, header words  8 TTL                0 version, class, flow   6 next header
 *    1 type of service        9 protocol           4 payload length         7 hop limit
 *    2 total length          10 header checksum    8 source (16)           24 target (16)
 *    4 identification        12 source (4)
 *    6 flags, fragment       16 target (4)
 *
 * Network byte order. Readers assume that the caller has checked the length.
 *
 * @module
 */
import { foldSum, sumBytes } from "./checksum.ts";
import type { WireMemory } from "./memory.ts";

export const IPV4_HEADER_SIZE = 20;
export const IPV4_HEADER_SIZE_MAX = 60;
export const IPV6_HEADER_SIZE = 40;
export const IPV6_FRAGMENT_HEADER_SIZE = 8;

export const IPV4_TOS_AT = 1;
export const IPV4_TOTAL_LENGTH_AT = 2;
export const IPV4_ID_AT = 4;
export const IPV4_FRAGMENT_AT = 6;
export const IPV4_TTL_AT = 8;
export const IPV4_PROTOCOL_AT = 9;
export const IPV4_CHECKSUM_AT = 10;
export const IPV4_SOURCE_AT = 12;
export const IPV4_TARGET_AT = 16;
export const IPV4_ADDRESS_SIZE = 4;

export const IPV6_PAYLOAD_LENGTH_AT = 4;
export const IPV6_NEXT_HEADER_AT = 6;
export const IPV6_HOP_LIMIT_AT = 7;
export const IPV6_SOURCE_AT = 8;
export const IPV6_TARGET_AT = 24;
export const IPV6_ADDRESS_SIZE = 16;

/** Bits of the word at IPV4_FRAGMENT_AT. */
export const IPV4_DONT_FRAGMENT = 0x4000;
export const IPV4_MORE_FRAGMENTS = 0x2000;
export const IPV4_FRAGMENT_OFFSET_MASK = 0x1fff;

export const IPPROTO_ICMP = 1;
export const IPPROTO_TCP = 6;
export const IPPROTO_UDP = 17;
export const IPPROTO_ICMPV6 = 58;

/** IPv6 extension headers that may stand before the payload (RFC 8200 §4, IANA). */
export const IPPROTO_HOP_OPTIONS = 0;
export const IPPROTO_ROUTING = 43;
export const IPPROTO_FRAGMENT = 44;
export const IPPROTO_DESTINATION_OPTIONS = 60;

/** Largest value of the IPv4 total length and the IPv6 payload length. */
export const IP_LENGTH_MAX = 65_535;

/** The folded sum of both addresses of the header at `ip`: the pseudo-header's constant part. */
export function sumAddresses(memory: WireMemory, ip: number, version: number): number {
  return version === 4
    ? sumBytes(memory, ip + IPV4_SOURCE_AT, 2 * IPV4_ADDRESS_SIZE)
    : sumBytes(memory, ip + IPV6_SOURCE_AT, 2 * IPV6_ADDRESS_SIZE);
}

/** The folded pseudo-header sum (RFC 9293 §3.1, RFC 8200 §8.1) over sumAddresses' result. */
export function pseudoSum(addressSum: number, protocol: number, length: number): number {
  return foldSum(addressSum + protocol + length);
}

/** Computes the header checksum of the IPv4 header at `ip` anew and writes it. */
export function putIpv4Checksum(memory: WireMemory, ip: number, headerLength: number): void {
  memory.view.setUint16(ip + IPV4_CHECKSUM_AT, 0);
  const sum = sumBytes(memory, ip, headerLength);
  memory.view.setUint16(ip + IPV4_CHECKSUM_AT, ~sum & 0xffff);
}

/** Whether the header checksum of the IPv4 header at `ip` is right. */
export function isIpv4ChecksumRight(memory: WireMemory, ip: number, headerLength: number): boolean {
  return sumBytes(memory, ip, headerLength) === 0xffff;
}
