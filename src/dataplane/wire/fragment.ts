/**
 * Fragments of an IPv4 packet that is too big for a path and may be cut (RFC 791 §3.2).
 *
 * Each fragment gets a header of its own; the payload stays where it is. In later fragments the
 * options that are for the first one only become "no operation", so that all headers are equally
 * long (as Linux does it, net/ipv4/ip_options.c). A fragment may be cut again. Pure.
 *
 * @module
 */
import {
  IPV4_FRAGMENT_AT,
  IPV4_FRAGMENT_OFFSET_MASK,
  IPV4_HEADER_SIZE,
  IPV4_MORE_FRAGMENTS,
  IPV4_TOTAL_LENGTH_AT,
  putIpv4Checksum,
} from "./ip.ts";
import type { WireMemory } from "./memory.ts";

/** Offsets count in these. */
const UNIT = 8;
const OPTION_END = 0;
const OPTION_NOTHING = 1;
const OPTION_COPIED = 0x80;

/** Payload bytes of each fragment but the last, for a path that carries `mtu` bytes. */
export function fragmentPayload(mtu: number, headerLength: number): number {
  return Math.floor((mtu - headerLength) / UNIT) * UNIT;
}

/** What one fragment carries of the payload of the packet that is cut. */
export interface FragmentPart {
  /** First byte, from the start of the payload: a multiple of 8. */
  readonly start: number;
  readonly length: number;
  readonly isLast: boolean;
}

/**
 * Writes at `to` the header of a fragment with `part` of the packet whose header of `headerLength`
 * bytes is at `ip`. `to` may be `ip`, when the first fragment is written last.
 */
export function putFragmentHeader(
  memory: WireMemory,
  to: number,
  from: { readonly ip: number; readonly headerLength: number },
  part: FragmentPart,
): void {
  const { view, bytes } = memory;
  const { ip, headerLength } = from;
  const word = view.getUint16(ip + IPV4_FRAGMENT_AT);
  bytes.copyWithin(to, ip, ip + headerLength);
  if (part.start > 0) blankOptions(view, to, headerLength);
  const offset = (word & IPV4_FRAGMENT_OFFSET_MASK) + part.start / UNIT;
  const more = part.isLast ? word & IPV4_MORE_FRAGMENTS : IPV4_MORE_FRAGMENTS;
  view.setUint16(to + IPV4_TOTAL_LENGTH_AT, headerLength + part.length);
  view.setUint16(to + IPV4_FRAGMENT_AT, more | (offset & IPV4_FRAGMENT_OFFSET_MASK));
  putIpv4Checksum(memory, to, headerLength);
}

function blankOptions(view: DataView, ip: number, headerLength: number): void {
  const end = ip + headerLength;
  let at = ip + IPV4_HEADER_SIZE;
  while (at < end) {
    const kind = view.getUint8(at);
    if (kind === OPTION_END) return;
    if (kind === OPTION_NOTHING) {
      at++;
      continue;
    }
    const size = at + 1 < end ? view.getUint8(at + 1) : 0;
    if (size < 2 || at + size > end) return;
    if ((kind & OPTION_COPIED) === 0) {
      for (let i = 0; i < size; i++) view.setUint8(at + i, OPTION_NOTHING);
    }
    at += size;
  }
}
