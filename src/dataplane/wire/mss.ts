/**
 * The largest segment that a TCP end announces in its SYN (RFC 9293 §3.2, option 2), lowered to
 * what a path carries: the other end then never sends more, whether or not it hears of ICMP.
 *
 * Hostile input: options are walked within the header, whatever their lengths say. Pure.
 *
 * @module
 */
import { IPV4_HEADER_SIZE, IPV6_HEADER_SIZE } from "./ip.ts";
import { TCP_CHECKSUM_AT, TCP_FLAGS_AT, TCP_HEADER_SIZE, TCP_SYN } from "./transport.ts";

const OPTION_END = 0;
const OPTION_NOTHING = 1;
const OPTION_MSS = 2;
const OPTION_MSS_SIZE = 4;

/** A TCP segment in memory. */
export interface SegmentPlace {
  /** Position of the TCP header. */
  readonly tcp: number;
  /** Its length in bytes, checked: it lies in the packet. */
  readonly headerLength: number;
  /** Whether the checksum field holds only the pseudo-header's sum, which options do not change. */
  readonly isPartial: boolean;
}

/** What a TCP end may announce on a path that carries inner packets of `mtu` bytes. */
export function mssFor(mtu: number, version: number): number {
  return mtu - (version === 4 ? IPV4_HEADER_SIZE : IPV6_HEADER_SIZE) - TCP_HEADER_SIZE;
}

/** Whether the TCP header at `tcp` is of a segment that may announce a size. */
export function isSyn(view: DataView, tcp: number): boolean {
  return (view.getUint8(tcp + TCP_FLAGS_AT) & TCP_SYN) !== 0;
}

/** Lowers the size that a SYN announces to `mssMax`. Whether it was larger. */
export function clampMss(view: DataView, place: SegmentPlace, mssMax: number): boolean {
  const { tcp, headerLength } = place;
  const end = tcp + headerLength;
  let at = tcp + TCP_HEADER_SIZE;
  while (at < end) {
    const kind = view.getUint8(at);
    if (kind === OPTION_END) return false;
    if (kind === OPTION_NOTHING) {
      at++;
      continue;
    }
    if (at + 1 >= end) return false;
    const size = view.getUint8(at + 1);
    if (size < 2 || at + size > end) return false;
    if (kind === OPTION_MSS && size === OPTION_MSS_SIZE) return lower(view, place, at + 2, mssMax);
    at += size;
  }
  return false;
}

function lower(view: DataView, place: SegmentPlace, at: number, mssMax: number): boolean {
  const old = view.getUint16(at);
  if (old <= mssMax) return false;
  view.setUint16(at, mssMax);
  if (place.isPartial) return true;
  // Options need not be aligned, while the checksum is over words from the header's start.
  const isOdd = ((at - place.tcp) & 1) === 1;
  const [from, to] = isOdd ? [swap(old), swap(mssMax)] : [old, mssMax];
  const field = place.tcp + TCP_CHECKSUM_AT;
  // RFC 1624, equation 3: HC' = ~(~HC + ~m + m').
  let sum = (~view.getUint16(field) & 0xffff) + (~from & 0xffff) + to;
  sum = (sum & 0xffff) + (sum >>> 16);
  sum = (sum & 0xffff) + (sum >>> 16);
  view.setUint16(field, ~sum & 0xffff);
  return true;
}

function swap(word: number): number {
  return ((word & 0xff) << 8) | (word >>> 8);
}
