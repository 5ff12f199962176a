/**
 * The virtio-net header in front of every packet that crosses the TUN (linux/virtio_net.h).
 *
 *    0       1          2            4          6            8              10
 *   +-------+----------+------------+----------+------------+--------------+
 *   | flags | gso type | hdr length | gso size | csum start | csum offset  |
 *   +-------+----------+------------+----------+------------+--------------+
 *
 * Little-endian on every machine that we build for. `csum start` counts from the packet's start.
 *
 * @module
 */

export const VIRTIO_HEADER_SIZE = 10;

export const VIRTIO_FLAGS_AT = 0;
export const VIRTIO_GSO_TYPE_AT = 1;
export const VIRTIO_HEADER_LENGTH_AT = 2;
export const VIRTIO_GSO_SIZE_AT = 4;
export const VIRTIO_CHECKSUM_START_AT = 6;
export const VIRTIO_CHECKSUM_OFFSET_AT = 8;

/** The checksum field holds the pseudo-header sum; the rest is still to be added. */
export const VIRTIO_F_NEEDS_CSUM = 1;

export const VIRTIO_GSO_NONE = 0;
export const VIRTIO_GSO_TCPV4 = 1;
export const VIRTIO_GSO_TCPV6 = 4;
export const VIRTIO_GSO_UDP_L4 = 5;
/** Set beside a TCP type when the super-packet carries CWR. */
export const VIRTIO_GSO_ECN = 0x80;

export interface VirtioOffload {
  /** VIRTIO_GSO_TCPV4 and its like. */
  readonly gsoType: number;
  /** Bytes of all headers. */
  readonly headerLength: number;
  /** Payload bytes of each segment. */
  readonly gsoSize: number;
  readonly checksumStart: number;
  readonly checksumOffset: number;
}

/** Writes a header that asks for nothing: the packet is complete, the kernel checks its sums. */
export function putPlainVirtioHeader(view: DataView, at: number): void {
  view.setUint32(at, 0, true);
  view.setUint32(at + 4, 0, true);
  view.setUint16(at + 8, 0, true);
}

/** Writes a header that asks for a checksum to be finished and, by its type, for segments. */
export function putVirtioHeader(view: DataView, at: number, offload: VirtioOffload): void {
  view.setUint8(at + VIRTIO_FLAGS_AT, VIRTIO_F_NEEDS_CSUM);
  view.setUint8(at + VIRTIO_GSO_TYPE_AT, offload.gsoType);
  view.setUint16(at + VIRTIO_HEADER_LENGTH_AT, offload.headerLength, true);
  view.setUint16(at + VIRTIO_GSO_SIZE_AT, offload.gsoSize, true);
  view.setUint16(at + VIRTIO_CHECKSUM_START_AT, offload.checksumStart, true);
  view.setUint16(at + VIRTIO_CHECKSUM_OFFSET_AT, offload.checksumOffset, true);
}
