/**
 * What must leave for a frame out of the TUN, in slow and plain words: segments and fragments made
 * one after the other out of copies, written apart from src/dataplane/forward on purpose.
 *
 * @module
 */
import {
  type Bytes,
  checksumAt,
  finishHeader,
  finishTransport,
  type Inner,
  lowerMss,
  onesSum,
  putWord,
  readInner,
  TCP,
  UDP,
  word,
} from "./bytes.ts";
import { mtuTo, ownerOf, PEERS } from "./world.ts";

const VIRTIO = 10;
const NEEDS_CHECKSUM = 1;
const SEGMENT_COUNT_MAX = 2048;
const HEADERS_MAX = 128;
const FRAGMENT_COUNT_MAX = 32;
const IP_LENGTH_MAX = 65_535;

/** Packets with finished checksums for the peer with `slot`, or why there is none. */
export type Departure =
  | { readonly kind: "sent"; readonly slot: number; readonly packets: readonly Bytes[] }
  | { readonly kind: "drop"; readonly reason: string; readonly count: number };

const drop = (reason: string, count = 1): Departure => ({ kind: "drop", reason, count });

/** The fields of a virtio-net header, numbers in little-endian (virtio 1.2 §5.1.6). */
interface Offload {
  readonly needsChecksum: boolean;
  readonly type: number;
  readonly size: number;
  readonly start: number;
  readonly offset: number;
}

interface Job {
  readonly packet: Bytes;
  readonly inner: Inner;
  readonly offload: Offload;
  readonly slot: number;
  readonly mtu: number;
}

/** Judges one frame: a virtio-net header and what lies behind it. */
export function judgeFrame(frame: Uint8Array): Departure {
  const packet = Uint8Array.from(frame.subarray(VIRTIO));
  const inner = readInner(packet);
  if (typeof inner === "string") return drop(`tx_${inner}`);
  if (packet[0]! >= 0x80) return drop("tx_not_ip");
  const [at, size] = inner.version === 4 ? [16, 4] : [24, 16];
  const slot = ownerOf(packet, at, size);
  if (slot < 0) return drop("tx_no_route");
  if (PEERS[slot]!.endpoint.text.includes(":")) return drop("tx_no_endpoint");
  const little = (position: number) => frame[position]! | (frame[position + 1]! << 8);
  const offload = {
    needsChecksum: (frame[0]! & NEEDS_CHECKSUM) !== 0,
    type: frame[1]!,
    size: little(4),
    start: little(6),
    offset: little(8),
  };
  const job = { packet, inner, offload, slot, mtu: mtuTo(slot) };
  if (offload.type !== 0) return sendSuper(job);
  return packet.length > job.mtu ? sendTooBig(job) : sendLone(job);
}

/** A packet that stands for many. */
function sendSuper({ packet, inner, offload, slot, mtu }: Job): Departure {
  const headers = inner.header + inner.transport;
  const payload = packet.length - headers;
  const isTooBig = headers + Math.min(offload.size, payload) > mtu;
  const isTcp = inner.protocol === TCP;
  if (isTooBig && !isTcp && inner.isDontFragment) {
    return drop("tx_too_big", Math.ceil(payload / Math.max(1, offload.size)));
  }
  const isCutTwice = isTooBig && !isTcp;
  const step = isCutTwice ? offload.size : Math.min(offload.size, mtu - headers);
  const isRight =
    isSuperType(inner, offload.type) &&
    offload.needsChecksum &&
    offload.start === inner.header &&
    offload.start + offload.offset === checksumAt(inner) &&
    step > 0 &&
    Math.ceil(payload / step) <= SEGMENT_COUNT_MAX &&
    headers <= HEADERS_MAX;
  if (!isRight) return drop("tx_bad_offload");
  const segments = cut(packet, inner, step);
  const packets = isCutTwice
    ? segments.flatMap((segment) => fragment(segment, inner.header, mtu))
    : segments;
  return { kind: "sent", slot, packets };
}

function isSuperType({ version, protocol, transport }: Inner, type: number): boolean {
  if (transport === 0) return false;
  const withoutEcn = type & 0x7f;
  if (protocol === TCP) return withoutEcn === (version === 4 ? 1 : 4);
  return protocol === UDP && withoutEcn === 5;
}

/** Segments with `step` bytes of payload (Linux, networking/segmentation-offloads). */
export function cut(packet: Bytes, inner: Inner, step: number): Bytes[] {
  const headers = inner.header + inner.transport;
  const segments: Bytes[] = [];
  for (let at = headers; at < packet.length || segments.length === 0; at += step) {
    const payload = packet.subarray(at, Math.min(packet.length, at + step));
    const segment = new Uint8Array(headers + payload.length);
    segment.set(packet.subarray(0, headers));
    segment.set(payload, headers);
    const isLast = at + step >= packet.length;
    number(segment, inner, { index: segments.length, step, isLast });
    segments.push(segment);
  }
  return segments;
}

function number(
  segment: Bytes,
  inner: Inner,
  place: { index: number; step: number; isLast: boolean },
): void {
  const { header, protocol, version } = inner;
  if (version === 4) {
    putWord(segment, 2, segment.length);
    putWord(segment, 4, (word(segment, 4) + place.index) & 0xffff);
    finishHeader(segment, header);
  } else {
    putWord(segment, 4, segment.length - 40);
  }
  if (protocol === UDP) putWord(segment, header + 4, segment.length - header);
  if (protocol === TCP) {
    const view = new DataView(segment.buffer);
    view.setUint32(header + 4, view.getUint32(header + 4) + place.index * place.step);
    const withoutEnd = place.isLast ? 0xff : ~0x09;
    const withoutCwr = place.index === 0 ? 0xff : ~0x80;
    segment[header + 13] = segment[header + 13]! & withoutEnd & withoutCwr;
  }
  finishTransport(segment, inner);
}

/** A packet over the MTU that is not said to stand for many. */
function sendTooBig(job: Job): Departure {
  const { packet, inner, offload, slot, mtu } = job;
  if (inner.protocol === TCP && offload.needsChecksum && inner.transport > 0) {
    const type = inner.version === 4 ? 1 : 4;
    const size = Math.min(IP_LENGTH_MAX, packet.length);
    return sendSuper({ ...job, offload: { ...offload, type, size } });
  }
  if (inner.isDontFragment) return drop("tx_too_big");
  const end = (word(packet, 6) & 0x1fff) * 8 + packet.length;
  const step = Math.floor((mtu - inner.header) / 8) * 8;
  const payload = packet.length - inner.header;
  if (end > IP_LENGTH_MAX || step <= 0 || payload > step * FRAGMENT_COUNT_MAX) {
    return drop("tx_too_big");
  }
  if (!finishLone(packet, inner, offload)) return drop("tx_bad_offload");
  return { kind: "sent", slot, packets: fragment(packet, inner.header, mtu) };
}

/** RFC 791 §3.2, and what is for the first fragment only is blanked in the others. */
function fragment(packet: Bytes, header: number, mtu: number): Bytes[] {
  const step = Math.floor((mtu - header) / 8) * 8;
  const flags = word(packet, 6);
  const fragments: Bytes[] = [];
  for (let at = header; at < packet.length; at += step) {
    const payload = packet.subarray(at, Math.min(packet.length, at + step));
    const out = new Uint8Array(header + payload.length);
    out.set(packet.subarray(0, header));
    out.set(payload, header);
    if (at > header) blankOptions(out.subarray(20, header));
    const isLast = at + step >= packet.length;
    const more = isLast ? flags & 0x2000 : 0x2000;
    putWord(out, 2, out.length);
    putWord(out, 6, more | (((flags & 0x1fff) + (at - header) / 8) & 0x1fff));
    finishHeader(out, header);
    fragments.push(out);
  }
  return fragments;
}

function blankOptions(options: Uint8Array): void {
  for (let at = 0; at < options.length && options[at] !== 0; ) {
    const size = options[at] === 1 ? 1 : (options[at + 1] ?? 0);
    if (size < 1 || (options[at] !== 1 && size < 2) || at + size > options.length) return;
    if (options[at]! < 0x80) options.fill(1, at, at + size);
    at += size;
  }
}

/** A packet that leaves as it is, but for its checksum and the MSS that it announces. */
function sendLone({ packet, inner, offload, slot, mtu }: Job): Departure {
  const mss = mtu - (inner.version === 4 ? 40 : 60);
  lowerMss(packet, inner, mss, !offload.needsChecksum);
  const isOrdinary =
    inner.transport > 0 &&
    offload.start === inner.header &&
    offload.start + offload.offset === checksumAt(inner);
  if (offload.needsChecksum && isOrdinary && PEERS[slot]!.partial) {
    finishTransport(packet, inner);
  } else if (!finishLone(packet, inner, offload)) {
    return drop("tx_bad_offload");
  }
  return { kind: "sent", slot, packets: [packet] };
}

/** Adds up from where the virtio-net header says to where it says; false when that is outside. */
function finishLone(packet: Bytes, inner: Inner, offload: Offload): boolean {
  const { needsChecksum, start, offset } = offload;
  if (!needsChecksum) return true;
  if (start < inner.header || start + offset + 2 > packet.length) return false;
  const sum = onesSum(packet, start, packet.length) ^ 0xffff;
  putWord(packet, start + offset, sum === 0 && inner.protocol === UDP ? 0xffff : sum);
  return true;
}
