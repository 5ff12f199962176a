/**
 * The carried packet, checked once: every later access to its headers is in range.
 *
 * Hostile input: whatever a container or a peer puts into the overlay passes here first. Nothing
 * is allocated and nothing throws; a fault is a small integer.
 *
 * @module
 */
import {
  IP_LENGTH_MAX,
  IPPROTO_DESTINATION_OPTIONS,
  IPPROTO_FRAGMENT,
  IPPROTO_HOP_OPTIONS,
  IPPROTO_ROUTING,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPV4_DONT_FRAGMENT,
  IPV4_FRAGMENT_AT,
  IPV4_FRAGMENT_OFFSET_MASK,
  IPV4_HEADER_SIZE,
  IPV4_MORE_FRAGMENTS,
  IPV4_PROTOCOL_AT,
  IPV4_TOTAL_LENGTH_AT,
  IPV6_FRAGMENT_HEADER_SIZE,
  IPV6_HEADER_SIZE,
  IPV6_NEXT_HEADER_AT,
  IPV6_PAYLOAD_LENGTH_AT,
} from "../wire/ip.ts";
import type { WireMemory } from "../wire/memory.ts";
import {
  TCP_CHECKSUM_AT,
  TCP_HEADER_SIZE,
  tcpHeaderLength,
  UDP_CHECKSUM_AT,
  UDP_HEADER_SIZE,
  UDP_LENGTH_AT,
} from "../wire/transport.ts";

/** What is wrong with a packet. DROP (counters.ts) has the same order in each direction. */
export const INNER_FAULT = { NONE: -1, SHORT: 0, NOT_IP: 1, BAD_LENGTH: 2, BAD_HEADER: 3 } as const;

/** Extension headers before the payload; a longer chain is refused. */
const EXTENSION_COUNT_MAX = 8;

/**
 * Where the parts of one packet lie. One object for each direction, filled in anew for each
 * packet: borrowed until the next `parse`.
 */
export class InnerPacket {
  /** Position of the IP header. */
  ip = 0;
  /** Bytes from there, exactly as the IP header says. */
  length = 0;
  version = 0;
  /** Bytes of all IP headers: where the transport header starts. */
  headerLength = 0;
  /** Protocol behind them. */
  protocol = 0;
  isFragment = false;
  /** A fragment that does not start with the transport header. */
  isLaterFragment = false;
  isDontFragment = false;
  /** Bytes of the TCP or UDP header; 0 when it is neither, a fragment, or not whole. */
  transportHeaderLength = 0;

  /** Looks at `length` bytes at `ip`; INNER_FAULT.NONE or what is wrong. Ignores the top bit. */
  parse(memory: WireMemory, ip: number, length: number): number {
    this.ip = ip;
    this.length = length;
    this.isFragment = false;
    this.isLaterFragment = false;
    this.transportHeaderLength = 0;
    if (length < 1) return INNER_FAULT.SHORT;
    this.version = (memory.view.getUint8(ip) >>> 4) & 7;
    if (this.version !== 4 && this.version !== 6) return INNER_FAULT.NOT_IP;
    const fault = this.version === 4 ? this.#parseV4(memory.view) : this.#parseV6(memory.view);
    if (fault === INNER_FAULT.NONE && !this.isFragment) this.#parseTransport(memory.view);
    return fault;
  }

  /** Bytes behind the transport header. */
  get payloadLength(): number {
    return this.length - this.headerLength - this.transportHeaderLength;
  }

  /** Where the checksum is, from the start of the transport header. */
  get checksumAt(): number {
    return this.protocol === IPPROTO_TCP ? TCP_CHECKSUM_AT : UDP_CHECKSUM_AT;
  }

  #parseV4(view: DataView): number {
    const { ip, length } = this;
    if (length < IPV4_HEADER_SIZE) return INNER_FAULT.SHORT;
    this.headerLength = (view.getUint8(ip) & 15) * 4;
    if (this.headerLength < IPV4_HEADER_SIZE || this.headerLength > length) {
      return INNER_FAULT.BAD_HEADER;
    }
    if (view.getUint16(ip + IPV4_TOTAL_LENGTH_AT) !== length) return INNER_FAULT.BAD_LENGTH;
    const fragment = view.getUint16(ip + IPV4_FRAGMENT_AT);
    this.isFragment = (fragment & (IPV4_MORE_FRAGMENTS | IPV4_FRAGMENT_OFFSET_MASK)) !== 0;
    this.isLaterFragment = (fragment & IPV4_FRAGMENT_OFFSET_MASK) !== 0;
    this.isDontFragment = (fragment & IPV4_DONT_FRAGMENT) !== 0;
    this.protocol = view.getUint8(ip + IPV4_PROTOCOL_AT);
    return INNER_FAULT.NONE;
  }

  #parseV6(view: DataView): number {
    const { ip, length } = this;
    if (length < IPV6_HEADER_SIZE) return INNER_FAULT.SHORT;
    const payloadLength = view.getUint16(ip + IPV6_PAYLOAD_LENGTH_AT);
    if (length > IP_LENGTH_MAX || IPV6_HEADER_SIZE + payloadLength !== length) {
      return INNER_FAULT.BAD_LENGTH;
    }
    this.isDontFragment = true;
    return this.#skipExtensions(view);
  }

  /** RFC 8200 §4: walks to the first header that is not an extension, or to a later fragment. */
  #skipExtensions(view: DataView): number {
    let next = view.getUint8(this.ip + IPV6_NEXT_HEADER_AT);
    let at = IPV6_HEADER_SIZE;
    for (let count = 0; isExtension(next); count++) {
      const size = this.#extensionSize(view, next, at);
      if (count === EXTENSION_COUNT_MAX || at + size > this.length) return INNER_FAULT.BAD_HEADER;
      if (next === IPPROTO_FRAGMENT) {
        const word = view.getUint16(this.ip + at + 2);
        this.isFragment = this.isFragment || (word & 0xfff9) !== 0;
        this.isLaterFragment = (word & 0xfff8) !== 0;
      }
      next = view.getUint8(this.ip + at);
      at += size;
      if (this.isLaterFragment) break;
    }
    this.protocol = next;
    this.headerLength = at;
    return INNER_FAULT.NONE;
  }

  /** Size of the extension header at `at`; beyond the packet when it is cut short. */
  #extensionSize(view: DataView, kind: number, at: number): number {
    if (at + IPV6_FRAGMENT_HEADER_SIZE > this.length) return IPV6_FRAGMENT_HEADER_SIZE;
    if (kind === IPPROTO_FRAGMENT) return IPV6_FRAGMENT_HEADER_SIZE;
    return (view.getUint8(this.ip + at + 1) + 1) * 8;
  }

  #parseTransport(view: DataView): void {
    const room = this.length - this.headerLength;
    const transport = this.ip + this.headerLength;
    if (this.protocol === IPPROTO_TCP) {
      if (room < TCP_HEADER_SIZE) return;
      const size = tcpHeaderLength(view, transport);
      if (size >= TCP_HEADER_SIZE && size <= room) this.transportHeaderLength = size;
    } else if (this.protocol === IPPROTO_UDP) {
      if (room < UDP_HEADER_SIZE) return;
      if (view.getUint16(transport + UDP_LENGTH_AT) !== room) return;
      this.transportHeaderLength = UDP_HEADER_SIZE;
    }
  }
}

function isExtension(protocol: number): boolean {
  return (
    protocol === IPPROTO_HOP_OPTIONS ||
    protocol === IPPROTO_ROUTING ||
    protocol === IPPROTO_FRAGMENT ||
    protocol === IPPROTO_DESTINATION_OPTIONS
  );
}
