/**
 * Sums and fields of packets, the slow and obvious way (RFC 791, 768, 9293, 8200): what the twins
 * of the packet loop are made of. Nothing here comes from src/.
 *
 * @module
 */

export type Bytes = Uint8Array<ArrayBuffer>;

export const TCP = 6;
export const UDP = 17;
const SYN = 2;
const URG = 32;

/** Headers of IPv6 that another header follows, with a length of their own or a fixed one. */
const EXTENSIONS: readonly number[] = [0, 43, 44, 60];
const FRAGMENT = 44;
/** More than any stack sends; the loop refuses the ninth. */
const EXTENSION_COUNT_MAX = 8;

export function word(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 8) | bytes[at + 1]!;
}

export function putWord(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}

/** RFC 1071: the folded ones' complement sum of the 16-bit words from `from` up to `to`. */
export function onesSum(bytes: Uint8Array, from: number, to: number, start = 0): number {
  let sum = start;
  let at = from;
  for (; at + 1 < to; at += 2) sum += (bytes[at]! << 8) | bytes[at + 1]!;
  if (at < to) sum += bytes[at]! << 8;
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return sum;
}

/** A packet as its headers describe it. */
export interface Inner {
  readonly version: 4 | 6;
  /** Bytes of all IP headers. */
  readonly header: number;
  readonly protocol: number;
  readonly isFragment: boolean;
  readonly isLaterFragment: boolean;
  readonly isDontFragment: boolean;
  /** Bytes of a whole TCP or UDP header of a packet that is no fragment; otherwise 0. */
  readonly transport: number;
}

export type InnerFault = "short" | "not_ip" | "bad_length" | "bad_header";

/** Reads the headers of `packet`, whose highest bit does not count. */
export function readInner(packet: Uint8Array): Inner | InnerFault {
  if (packet.length < 1) return "short";
  const version = (packet[0]! >>> 4) % 8;
  if (version === 4) return readV4(packet);
  return version === 6 ? readV6(packet) : "not_ip";
}

function readV4(packet: Uint8Array): Inner | InnerFault {
  if (packet.length < 20) return "short";
  const header = (packet[0]! & 15) * 4;
  if (header < 20 || header > packet.length) return "bad_header";
  if (word(packet, 2) !== packet.length) return "bad_length";
  const fragment = word(packet, 6);
  const isFragment = (fragment & 0x3fff) !== 0;
  return {
    version: 4,
    header,
    protocol: packet[9]!,
    isFragment,
    isLaterFragment: (fragment & 0x1fff) !== 0,
    isDontFragment: (fragment & 0x4000) !== 0,
    transport: isFragment ? 0 : transportHeader(packet, header, packet[9]!),
  };
}

function readV6(packet: Uint8Array): Inner | InnerFault {
  if (packet.length < 40) return "short";
  if (packet.length > 65_535 || 40 + word(packet, 4) !== packet.length) return "bad_length";
  let [next, header, isFragment, isLaterFragment] = [packet[6]!, 40, false, false];
  for (let count = 0; EXTENSIONS.includes(next) && !isLaterFragment; count++) {
    if (count === EXTENSION_COUNT_MAX || header + 8 > packet.length) return "bad_header";
    const size = next === FRAGMENT ? 8 : (packet[header + 1]! + 1) * 8;
    if (header + size > packet.length) return "bad_header";
    if (next === FRAGMENT) {
      isFragment ||= (word(packet, header + 2) & 0xfff9) !== 0;
      isLaterFragment = (word(packet, header + 2) & 0xfff8) !== 0;
    }
    next = packet[header]!;
    header += size;
  }
  const transport = isFragment ? 0 : transportHeader(packet, header, next);
  const shared = { header, protocol: next, isFragment, isLaterFragment, transport };
  return { version: 6, isDontFragment: true, ...shared };
}

function transportHeader(packet: Uint8Array, at: number, protocol: number): number {
  const room = packet.length - at;
  if (protocol === UDP) return room >= 8 && word(packet, at + 4) === room ? 8 : 0;
  if (protocol !== TCP || room < 20) return 0;
  const size = (packet[at + 12]! >>> 4) * 4;
  return size >= 20 && size <= room ? size : 0;
}

/** Where the checksum of a TCP or UDP packet is. */
export function checksumAt({ header, protocol }: Inner): number {
  return header + (protocol === TCP ? 16 : 6);
}

/** Sum of the pseudo-header of the packet's transport part. */
export function pseudoSum(packet: Uint8Array, { version, header, protocol }: Inner): number {
  const addresses = version === 4 ? onesSum(packet, 12, 20) : onesSum(packet, 8, 40);
  return onesSum(packet, 0, 0, addresses + protocol + (packet.length - header));
}

/** What the transport checksum with everything that it covers sums up to: 0xffff when right. */
export function transportSum(packet: Uint8Array, inner: Inner): number {
  return onesSum(packet, inner.header, packet.length, pseudoSum(packet, inner));
}

/** Writes the IPv4 header's checksum. */
export function finishHeader(packet: Uint8Array, header: number): void {
  putWord(packet, 10, 0);
  putWord(packet, 10, onesSum(packet, 0, header) ^ 0xffff);
}

/** Writes the transport checksum; 0 is "none" for UDP and becomes its other spelling. */
export function finishTransport(packet: Uint8Array, inner: Inner): void {
  const at = checksumAt(inner);
  putWord(packet, at, 0);
  const sum = transportSum(packet, inner) ^ 0xffff;
  putWord(packet, at, sum === 0 && inner.protocol === UDP ? 0xffff : sum);
}

/** A text that says what must not change on the way, whatever is in the fields that may. */
export function keyOf(packet: Bytes): string {
  const copy = packet.slice();
  const inner = readInner(copy);
  if (typeof inner === "object") {
    // Segments that are joined with DF, and cut again, are numbered anew.
    if (inner.version === 4 && inner.isDontFragment) copy.fill(0, 4, 6).fill(0, 10, 12);
    if (inner.transport >= 20) levelTcp(copy, inner);
  }
  return latin(copy);
}

/**
 * A SYN's checksum may be spelled in two ways once its MSS was lowered: its sum counts. An urgent
 * pointer that no flag points to may be the first segment's (RFC 9293 §3.1): the sum is kept.
 */
function levelTcp(packet: Bytes, inner: Inner): void {
  const at = checksumAt(inner);
  const flags = packet[inner.header + 13]!;
  if ((flags & SYN) !== 0 && inner.transport > 20) {
    putWord(packet, at, transportSum(packet, inner) % 0xffff);
  } else if ((flags & URG) === 0) {
    putWord(packet, at, (word(packet, at) + word(packet, at + 2)) % 0xffff);
    putWord(packet, at + 2, 0);
  }
}

export function latin(bytes: Bytes): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1");
}

/** Lowers the MSS that a SYN announces; whatever follows a broken option stays as it is. */
export function lowerMss(packet: Bytes, inner: Inner, mss: number, fixesSum: boolean): void {
  const start = inner.header;
  if (inner.protocol !== TCP || inner.transport <= 20 || (packet[start + 13]! & 2) === 0) return;
  const options = packet.subarray(start + 20, start + inner.transport);
  for (let at = 0; at < options.length && options[at] !== 0; ) {
    if (options[at] === 1) {
      at++;
      continue;
    }
    const size = options[at + 1] ?? 0;
    if (size < 2 || at + size > options.length) return;
    if (options[at] === 2 && size === 4) {
      if (word(options, at + 2) <= mss) return;
      const before = transportSum(packet, inner);
      putWord(options, at + 2, mss);
      if (fixesSum) restoreSum(packet, inner, before);
      return;
    }
    at += size;
  }
}

/** Makes the checksum as right or as wrong as it was when all summed up to `before`. */
function restoreSum(packet: Bytes, inner: Inner, before: number): void {
  const at = checksumAt(inner);
  putWord(packet, at, 0);
  const without = transportSum(packet, inner);
  putWord(packet, at, (((before - without) % 0xffff) + 0xffff) % 0xffff);
}

export function hex(bytes: Bytes): string {
  return Buffer.from(bytes).toString("hex");
}
