/**
 * What encapsulation costs: outer header sizes, and the MTU that is left.
 *
 * @module
 */
import type { Family } from "../../base/address.ts";

/** RFC 791 §3.1, no options. */
const IPV4_HEADER_SIZE = 20;
/** RFC 8200 §3. */
const IPV6_HEADER_SIZE = 40;
/** RFC 768. */
const UDP_HEADER_SIZE = 8;

/** In front of each inner packet on an IPv4 underlay: 28 bytes. There is no header of ours. */
export const ENCAPSULATION_OVERHEAD_V4 = IPV4_HEADER_SIZE + UDP_HEADER_SIZE;
/** On an IPv6 underlay: 48 bytes. */
export const ENCAPSULATION_OVERHEAD_V6 = IPV6_HEADER_SIZE + UDP_HEADER_SIZE;

const OVERHEAD: Readonly<Record<Family, number>> = {
  4: ENCAPSULATION_OVERHEAD_V4,
  6: ENCAPSULATION_OVERHEAD_V6,
};

/** RFC 7348 §5. */
const VXLAN_HEADER_SIZE = 8;
/** Of the inner frame (IEEE 802.3 §3.1), without a VLAN tag or a check sequence. */
const ETHERNET_HEADER_SIZE = 14;

/** What VXLAN adds to UDP: 50 bytes in all on an IPv4 underlay, 70 on IPv6. */
export const VXLAN_OVERHEAD = VXLAN_HEADER_SIZE + ETHERNET_HEADER_SIZE;

/** RFC 791 §3.2: every link carries 68 bytes. The kernel takes no smaller MTU for a TUN. */
const OVERLAY_MTU_MIN = 68;
/** Largest IPv4 packet (RFC 791 §3.1); the loopback's MTU is one byte more. */
const UNDERLAY_MTU_MAX = 65_535;

/**
 * Largest inner packet in bytes over an underlay of `family` that carries `underlayMtu` bytes,
 * where something inside UDP, such as sealing, adds `innerOverhead`.
 */
export function overlayMtu(underlayMtu: number, family: Family, innerOverhead = 0): number {
  const carried = Math.min(underlayMtu, UNDERLAY_MTU_MAX) - OVERHEAD[family] - innerOverhead;
  return Math.max(carried, OVERLAY_MTU_MIN);
}
