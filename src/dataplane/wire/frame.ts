/**
 * What a datagram on port 8285 carries, by its first four bits.
 *
 * 4 and 6 are bare IP packets, flannel's udp format. The same with the top bit set (12, 14) are
 * packets whose TCP or UDP checksum is still the pseudo-header sum, for the receiver's kernel to
 * finish; the outer UDP checksum protects their bytes on the way.
 *
 * @module
 */

export const FRAME_SEALED = 1;
export const FRAME_CONTROL = 2;
export const FRAME_IPV4 = 4;
export const FRAME_IPV6 = 6;
export const FRAME_IPV4_PARTIAL = 12;
export const FRAME_IPV6_PARTIAL = 14;

/** Set in the first byte of a packet with a partial checksum; clear again before the kernel. */
export const FRAME_PARTIAL_BIT = 0x80;
