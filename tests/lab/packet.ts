/**
 * Just enough of Ethernet, IPv4, UDP and ICMP to say what a captured frame holds.
 *
 * Written apart from `src/dataplane/wire` on purpose: it is what that code's output is held
 * against. Not for hostile input: anything unexpected is "other" or undefined.
 *
 * @module
 */
import type { CapturedFrame } from "./pcap.ts";

/** An IPv4 packet, decoded as far as tests look. */
export interface Ipv4Packet {
  readonly source: string;
  readonly target: string;
  readonly ttl: number;
  readonly totalLength: number;
  readonly payload: IpPayload;
  /** The whole packet, from the IP header on, without padding of the link. */
  readonly bytes: Uint8Array;
}

export type IpPayload =
  | {
      readonly kind: "udp";
      readonly sourcePort: number;
      readonly targetPort: number;
      readonly data: Uint8Array;
    }
  | {
      readonly kind: "icmp";
      /** 8 echo request, 0 echo reply, 3 destination unreachable. */
      readonly type: number;
      readonly code: number;
      readonly id: number;
      readonly sequence: number;
      readonly data: Uint8Array;
    }
  | { readonly kind: "other"; readonly protocol: number; readonly data: Uint8Array };

const LINKTYPE_ETHERNET = 1;
const LINKTYPE_RAW = 101;
const ETHERNET_HEADER_SIZE = 14;
const ETHERTYPE_IPV4 = 0x0800;
const IPV4_HEADER_SIZE = 20;
const PROTOCOL_ICMP = 1;
const PROTOCOL_UDP = 17;
const TRANSPORT_HEADER_SIZE = 8; // ICMP echo and UDP alike.

/** The IPv4 packet in a captured frame; undefined when it holds none. */
export function packetOf(frame: CapturedFrame): Ipv4Packet | undefined {
  if (frame.linkType === LINKTYPE_RAW) return decodeIpv4(frame.bytes);
  if (frame.linkType !== LINKTYPE_ETHERNET) return undefined;
  const view = viewOf(frame.bytes);
  if (view.byteLength < ETHERNET_HEADER_SIZE) return undefined;
  if (view.getUint16(12) !== ETHERTYPE_IPV4) return undefined;
  return decodeIpv4(frame.bytes.subarray(ETHERNET_HEADER_SIZE));
}

/** The IPv4 packet that `bytes` begins with; undefined when it is none. */
export function decodeIpv4(bytes: Uint8Array): Ipv4Packet | undefined {
  if (bytes.length < IPV4_HEADER_SIZE) return undefined;
  const view = viewOf(bytes);
  const headerLength = (view.getUint8(0) & 0x0f) * 4;
  const totalLength = view.getUint16(2);
  if (view.getUint8(0) >> 4 !== 4 || headerLength < IPV4_HEADER_SIZE) return undefined;
  if (totalLength < headerLength || totalLength > bytes.length) return undefined;
  return {
    source: addressAt(bytes, 12),
    target: addressAt(bytes, 16),
    ttl: view.getUint8(8),
    totalLength,
    payload: decodePayload(view.getUint8(9), bytes.subarray(headerLength, totalLength)),
    bytes: bytes.subarray(0, totalLength),
  };
}

/** Bytes as people read them: offset, sixteen values, the printable ones beside. */
export function hexDump(bytes: Uint8Array): string {
  const lines: string[] = [];
  for (let offset = 0; offset < bytes.length; offset += 16) {
    const row = [...bytes.subarray(offset, offset + 16)];
    const hex = row.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    const text = row.map((byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : "."));
    lines.push(`${offset.toString(16).padStart(4, "0")}  ${hex.padEnd(47)}  ${text.join("")}`);
  }
  return lines.join("\n");
}

function decodePayload(protocol: number, data: Uint8Array): IpPayload {
  const view = viewOf(data);
  if (protocol === PROTOCOL_UDP && data.length >= TRANSPORT_HEADER_SIZE) {
    return {
      kind: "udp",
      sourcePort: view.getUint16(0),
      targetPort: view.getUint16(2),
      data: data.subarray(TRANSPORT_HEADER_SIZE, view.getUint16(4)),
    };
  }
  if (protocol === PROTOCOL_ICMP && data.length >= TRANSPORT_HEADER_SIZE) {
    return {
      kind: "icmp",
      type: view.getUint8(0),
      code: view.getUint8(1),
      id: view.getUint16(4),
      sequence: view.getUint16(6),
      data: data.subarray(TRANSPORT_HEADER_SIZE),
    };
  }
  return { kind: "other", protocol, data };
}

function addressAt(bytes: Uint8Array, offset: number): string {
  return bytes.subarray(offset, offset + 4).join(".");
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
