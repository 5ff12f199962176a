/**
 * Packets for tests, made and taken apart the slow and obvious way, from the RFCs and not from the
 * code under test: builders, checksums, and what a kernel does with a virtio-net header.
 *
 * @module
 */

export interface BuiltPacket {
  /** Dotted quad, or 8 groups of hexadecimal without "::". */
  readonly source: string;
  readonly target: string;
  readonly protocol: "tcp" | "udp" | "icmp" | number;
  readonly payload?: Uint8Array<ArrayBuffer>;
  readonly sourcePort?: number;
  readonly targetPort?: number;
  readonly sequence?: number;
  readonly acknowledgement?: number;
  readonly flags?: number;
  readonly window?: number;
  /** TCP options, a multiple of 4 bytes. */
  readonly options?: Uint8Array<ArrayBuffer>;
  readonly ttl?: number;
  readonly tos?: number;
  readonly id?: number;
  /** The IPv4 flags and fragment offset word; DF when absent. */
  readonly fragment?: number;
}

const PROTOCOLS = { tcp: 6, udp: 17, icmp: 1 } as const;

/** RFC 1071, a 16-bit word at a time; the folded sum, not its complement. */
export function slowSum(bytes: Uint8Array<ArrayBuffer>): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += bytes[i]! * 256 + (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = Math.floor(sum / 0x10000) + (sum % 0x10000);
  return sum;
}

/** The pseudo-header of `packet` for a transport part of `length` bytes, as bytes. */
function pseudoHeader(
  packet: Uint8Array<ArrayBuffer>,
  protocol: number,
  length: number,
): Uint8Array<ArrayBuffer> {
  const isV4 = packet[0]! >>> 4 === 4;
  const addresses = isV4 ? packet.slice(12, 20) : packet.slice(8, 40);
  return new Uint8Array([...addresses, 0, protocol, length >>> 8, length & 255]);
}

function ipHeaderLength(packet: Uint8Array<ArrayBuffer>): number {
  return packet[0]! >>> 4 === 4 ? (packet[0]! & 15) * 4 : 40;
}

function protocolOf(packet: Uint8Array<ArrayBuffer>): number {
  return packet[0]! >>> 4 === 4 ? packet[9]! : packet[6]!;
}

/** The folded pseudo-header sum that an unfinished checksum field holds. */
export function partialSum(packet: Uint8Array<ArrayBuffer>): number {
  const header = ipHeaderLength(packet);
  return slowSum(pseudoHeader(packet, protocolOf(packet), packet.length - header));
}

/** Whether the IPv4 header and the TCP or UDP checksum of `packet` are right. */
export function isRight(packet: Uint8Array<ArrayBuffer>): boolean {
  const header = ipHeaderLength(packet);
  if (packet[0]! >>> 4 === 4 && slowSum(packet.slice(0, header)) !== 0xffff) return false;
  const transport = packet.slice(header);
  const pseudo = pseudoHeader(packet, protocolOf(packet), transport.length);
  return slowSum(new Uint8Array([...pseudo, ...transport])) === 0xffff;
}

/** Writes length and checksums into `packet`, whatever they were. */
export function finish(packet: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const view = new DataView(packet.buffer, packet.byteOffset, packet.length);
  const header = ipHeaderLength(packet);
  if (packet[0]! >>> 4 === 4) {
    view.setUint16(2, packet.length);
    view.setUint16(10, 0);
    view.setUint16(10, ~slowSum(packet.slice(0, header)) & 0xffff);
  } else {
    view.setUint16(4, packet.length - 40);
  }
  const protocol = protocolOf(packet);
  if (protocol !== 6 && protocol !== 17) return packet;
  if (protocol === 17) view.setUint16(header + 4, packet.length - header);
  const at = header + (protocol === 6 ? 16 : 6);
  view.setUint16(at, 0);
  const transport = packet.slice(header);
  const pseudo = pseudoHeader(packet, protocol, transport.length);
  const checksum = ~slowSum(new Uint8Array([...pseudo, ...transport])) & 0xffff;
  view.setUint16(at, checksum === 0 && protocol === 17 ? 0xffff : checksum);
  return packet;
}

/** A whole packet with right checksums. */
export function buildPacket(spec: BuiltPacket): Uint8Array<ArrayBuffer> {
  const isV4 = spec.source.includes(".");
  const protocol = typeof spec.protocol === "number" ? spec.protocol : PROTOCOLS[spec.protocol];
  const transport = [...transportHeader(spec, protocol), ...(spec.payload ?? [])];
  const addresses = [...addressOf(spec.source), ...addressOf(spec.target)];
  const { ttl = 64, tos = 0, id = 1, fragment = 0x4000 } = spec;
  const header = isV4
    ? [0x45, tos, 0, 0, id >>> 8, id & 255, fragment >>> 8, fragment & 255, ttl, protocol, 0, 0]
    : [0x60 | (tos >>> 4), (tos & 15) << 4, 0, 0, 0, 0, protocol, ttl];
  return finish(new Uint8Array([...header, ...addresses, ...transport]));
}

function transportHeader(spec: BuiltPacket, protocol: number): number[] {
  const { sourcePort = 1000, targetPort = 2000 } = spec;
  const ports = [sourcePort >>> 8, sourcePort & 255, targetPort >>> 8, targetPort & 255];
  if (protocol === 17) return [...ports, 0, 0, 0, 0];
  if (protocol !== 6) return [];
  const { sequence = 1, acknowledgement = 1, flags = 0x10, window = 500 } = spec;
  const options = spec.options ?? new Uint8Array(0);
  const offset = (5 + options.length / 4) << 4;
  const numbers = new DataView(new ArrayBuffer(8));
  numbers.setUint32(0, sequence);
  numbers.setUint32(4, acknowledgement);
  const middle = [...new Uint8Array(numbers.buffer)];
  return [...ports, ...middle, offset, flags, window >>> 8, window & 255, 0, 0, 0, 0, ...options];
}

function addressOf(text: string): number[] {
  if (text.includes(".")) return text.split(".").map(Number);
  return text.split(":").flatMap((group) => {
    const value = Number(`0x${group}`);
    return [value >>> 8, value & 255];
  });
}

/** Text or random-looking bytes of a given length, each byte telling where it stands. */
export function patternBytes(length: number, seed = 0): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length }, (_, i) => (i * 31 + (i >>> 8) * 17 + seed) & 255);
}

/** `packet` behind a virtio-net header that says nothing, as the TUN gives a finished packet. */
export function plainFrame(packet: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return new Uint8Array([...new Uint8Array(10), ...packet]);
}

/**
 * `packet` as the kernel hands it over unfinished: the checksum field holds the pseudo-header sum,
 * and with `gsoSize` it stands for segments of that payload.
 */
export function offloadFrame(
  packet: Uint8Array<ArrayBuffer>,
  gsoSize = 0,
): Uint8Array<ArrayBuffer> {
  const frame = plainFrame(packet);
  const view = new DataView(frame.buffer);
  const header = ipHeaderLength(packet);
  const isTcp = protocolOf(packet) === 6;
  const transportHeaderLength = isTcp ? (packet[header + 12]! >>> 4) * 4 : 8;
  const isV4 = packet[0]! >>> 4 === 4;
  view.setUint8(0, 1);
  if (gsoSize > 0) view.setUint8(1, isTcp ? (isV4 ? 1 : 4) : 5);
  view.setUint16(2, header + transportHeaderLength, true);
  view.setUint16(4, gsoSize, true);
  view.setUint16(6, header, true);
  view.setUint16(8, isTcp ? 16 : 6, true);
  view.setUint16(10 + header + (isTcp ? 16 : 6), partialSum(packet));
  return frame;
}

/**
 * What a kernel makes of a frame written to its TUN: the packets that it delivers, with finished
 * checksums. Undefined when it would refuse the frame.
 */
export function expandFrame(frame: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer>[] | undefined {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  const packet = frame.slice(10);
  const needsChecksum = (view.getUint8(0) & 1) !== 0;
  const type = view.getUint8(1) & 0x7f;
  if (!needsChecksum) return type === 0 ? [packet] : undefined;
  const start = view.getUint16(6, true);
  const field = start + view.getUint16(8, true);
  if (field + 2 > packet.length) return undefined;
  const fieldValue = new DataView(packet.buffer).getUint16(field);
  if (fieldValue !== partialSum(packet)) return undefined;
  if (type === 0) return [finish(packet)];
  const gsoSize = view.getUint16(4, true);
  const header = view.getUint16(2, true);
  if (gsoSize === 0 || header > packet.length) return undefined;
  return cut(packet, header, gsoSize);
}

/** Software segmentation, byte by byte. */
function cut(
  packet: Uint8Array<ArrayBuffer>,
  header: number,
  gsoSize: number,
): Uint8Array<ArrayBuffer>[] {
  const segments: Uint8Array<ArrayBuffer>[] = [];
  const ip = ipHeaderLength(packet);
  const isTcp = protocolOf(packet) === 6;
  for (let at = header; at < packet.length || segments.length === 0; at += gsoSize) {
    const payload = packet.slice(at, at + gsoSize);
    const segment = new Uint8Array([...packet.slice(0, header), ...payload]);
    const view = new DataView(segment.buffer);
    const index = segments.length;
    if (segment[0]! >>> 4 === 4) view.setUint16(4, (view.getUint16(4) + index) & 0xffff);
    if (isTcp) {
      view.setUint32(ip + 4, (view.getUint32(ip + 4) + index * gsoSize) >>> 0);
      if (at + gsoSize < packet.length) segment[ip + 13] = segment[ip + 13]! & ~0x09;
      if (index > 0) segment[ip + 13] = segment[ip + 13]! & ~0x80;
    }
    segments.push(finish(segment));
  }
  return segments;
}

/** A datagram of our own format as the packet that it stands for: mark off, checksum finished. */
export function openDatagram(datagram: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const packet = datagram.slice();
  if ((packet[0]! & 0x80) === 0) return packet;
  packet[0] = packet[0]! & 0x7f;
  return finish(packet);
}
