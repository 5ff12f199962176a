/**
 * TCP and UDP headers: where their fields are.
 *
 *   TCP (RFC 9293)                             UDP (RFC 768)
 *    0 source port     12 data offset, -       0 source port   4 length
 *    2 target port     13 flags                2 target port   6 checksum
 *    4 sequence        14 window
 *    8 acknowledgement 16 checksum, 18 urgent
 *
 * @module
 */

export const TCP_HEADER_SIZE = 20;
export const TCP_HEADER_SIZE_MAX = 60;
export const TCP_SEQUENCE_AT = 4;
export const TCP_ACKNOWLEDGEMENT_AT = 8;
export const TCP_DATA_OFFSET_AT = 12;
export const TCP_FLAGS_AT = 13;
export const TCP_WINDOW_AT = 14;
export const TCP_CHECKSUM_AT = 16;

export const TCP_FIN = 0x01;
export const TCP_SYN = 0x02;
export const TCP_RST = 0x04;
export const TCP_PSH = 0x08;
export const TCP_ACK = 0x10;
export const TCP_URG = 0x20;
export const TCP_CWR = 0x80;

export const UDP_HEADER_SIZE = 8;
export const UDP_LENGTH_AT = 4;
export const UDP_CHECKSUM_AT = 6;

/** Header length of the TCP header at `tcp`, in bytes; below TCP_HEADER_SIZE it is garbage. */
export function tcpHeaderLength(view: DataView, tcp: number): number {
  return (view.getUint8(tcp + TCP_DATA_OFFSET_AT) >>> 4) * 4;
}
