/**
 * Cuts a super-packet into the packets that it stands for, without touching the payload.
 *
 * The kernel hands over up to 64 KiB of one flow behind one set of headers, with the size of a
 * segment in the virtio-net header. Each segment gets a copy of the headers, corrected as the
 * kernel's own segmentation does it (net/ipv4/tcp_offload.c, udp_offload.c): length, IPv4
 * identification and checksum, TCP sequence number, PSH and FIN on the last segment only, CWR on
 * the first only. A step at a time, so that a full send queue can interrupt it anywhere.
 *
 * Pure over the arena. Everything in the packet and in the virtio-net header is checked in `begin`.
 *
 * @module
 */
import { finishSum, foldSum, sumBytes } from "../wire/checksum.ts";
import { FRAME_PARTIAL_BIT } from "../wire/frame.ts";
import {
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPV4_CHECKSUM_AT,
  IPV4_ID_AT,
  IPV4_TOTAL_LENGTH_AT,
  IPV6_HEADER_SIZE,
  IPV6_PAYLOAD_LENGTH_AT,
  pseudoSum,
  sumAddresses,
} from "../wire/ip.ts";
import type { WireMemory } from "../wire/memory.ts";
import {
  TCP_CWR,
  TCP_FIN,
  TCP_FLAGS_AT,
  TCP_PSH,
  TCP_SEQUENCE_AT,
  UDP_LENGTH_AT,
} from "../wire/transport.ts";
import {
  VIRTIO_CHECKSUM_OFFSET_AT,
  VIRTIO_CHECKSUM_START_AT,
  VIRTIO_F_NEEDS_CSUM,
  VIRTIO_FLAGS_AT,
  VIRTIO_GSO_ECN,
  VIRTIO_GSO_SIZE_AT,
  VIRTIO_GSO_TCPV4,
  VIRTIO_GSO_TCPV6,
  VIRTIO_GSO_TYPE_AT,
  VIRTIO_GSO_UDP_L4,
} from "../wire/virtio.ts";
import { HEADER_SIZE } from "./arena.ts";
import type { InnerPacket } from "./inner-packet.ts";

/**
 * Most segments of one super-packet: 64 KiB at the smallest TCP payload that Linux settles for
 * (TCP_MIN_SND_MSS 48 less 12 bytes of options) are 1,821. More is an attempt to make work.
 */
export const SEGMENT_COUNT_MAX = 2048;

/** One super-packet in progress. Belongs to one loop; refers to its InnerPacket until done. */
export class Segmenter {
  /** Bytes of all headers of each segment. */
  headerLength = 0;
  /** Position and bytes of the payload of the segment that `putHeader` last wrote. */
  payloadAt = 0;
  payloadLength = 0;
  /** Of a run: payload bytes of its last segment; the others have `payloadLength`. */
  lastPayloadLength = 0;

  readonly #memory: WireMemory;
  /** The memory as whole numbers: copying unsigned ones would make fractions of them. */
  readonly #integers: Int32Array<ArrayBuffer>;
  #ip = 0;
  #version = 0;
  #protocol = 0;
  #ipHeaderLength = 0;
  #checksumAt = 0;
  #gsoSize = 0;
  #payloadStart = 0;
  #payloadTotal = 0;
  #done = 0;
  #index = 0;
  #count = 0;
  #isPartial = false;
  #addressSum = 0;
  /** Sum of the IPv4 header without length, identification and checksum. */
  #headerSum = 0;
  #id = 0;
  #sequence = 0;
  #flags = 0;

  constructor(memory: WireMemory) {
    this.#memory = memory;
    this.#integers = new Int32Array(memory.words.buffer);
  }

  /** Whether `putHeader` has a segment left to write. */
  get hasNext(): boolean {
    return this.#index < this.#count;
  }

  /** Segments of the super-packet, those that are done included. */
  get count(): number {
    return this.#count;
  }

  /** Whether the segments carry a pseudo-header sum for the receiver's kernel to finish. */
  get isPartial(): boolean {
    return this.#isPartial;
  }

  /** Gives up on what is left; how many segments that was. */
  cancel(): number {
    const left = this.#count - this.#index;
    this.#count = this.#index;
    return left;
  }

  /**
   * Starts on `packet` behind the virtio-net header at `virtio`. With `isPartial` the segments
   * keep a pseudo-header sum and are marked so, otherwise their checksums are finished. A segment
   * has at most `payloadMax` bytes behind its headers: TCP does not mind where it is cut.
   * False when the two headers do not fit together: nothing of it may be sent.
   */
  begin(virtio: number, packet: InnerPacket, isPartial: boolean, payloadMax: number): boolean {
    this.#index = 0;
    this.#count = 0;
    if (!this.#isConsistent(virtio, packet)) return false;
    const { view } = this.#memory;
    const { ip, payloadLength } = packet;
    const wanted = view.getUint16(virtio + VIRTIO_GSO_SIZE_AT, true);
    const gsoSize = Math.max(0, Math.min(wanted, payloadMax));
    if (gsoSize === 0) return false;
    const count = Math.max(1, Math.ceil(payloadLength / gsoSize));
    if (count > SEGMENT_COUNT_MAX) return false;
    this.headerLength = packet.headerLength + packet.transportHeaderLength;
    if (this.headerLength > HEADER_SIZE) return false;
    this.#ip = ip;
    this.#version = packet.version;
    this.#protocol = packet.protocol;
    this.#ipHeaderLength = packet.headerLength;
    this.#checksumAt = packet.headerLength + packet.checksumAt;
    this.#gsoSize = gsoSize;
    this.#payloadStart = ip + this.headerLength;
    this.#payloadTotal = payloadLength;
    this.#done = 0;
    this.#count = count;
    this.#isPartial = isPartial;
    this.#takeConstantParts(packet);
    return true;
  }

  /** Writes the next segment's headers at `at` (HEADER_SIZE bytes) and sets its payload. */
  putHeader(at: number): void {
    const { view } = this.#memory;
    const isLast = this.#index === this.#count - 1;
    this.payloadAt = this.#payloadStart + this.#done;
    this.payloadLength = Math.min(this.#gsoSize, this.#payloadTotal - this.#done);
    this.#copyHeader(this.#ip, at);

    const length = this.headerLength + this.payloadLength;
    if (this.#version === 4) this.#putIpv4(at, length);
    else view.setUint16(at + IPV6_PAYLOAD_LENGTH_AT, length - IPV6_HEADER_SIZE);
    const transport = at + this.#ipHeaderLength;
    if (this.#protocol === IPPROTO_TCP) {
      view.setUint32(transport + TCP_SEQUENCE_AT, (this.#sequence + this.#done) >>> 0);
      let flags = this.#flags;
      if (!isLast) flags &= ~(TCP_PSH | TCP_FIN);
      if (this.#index > 0) flags &= ~TCP_CWR;
      view.setUint8(transport + TCP_FLAGS_AT, flags);
    } else {
      view.setUint16(transport + UDP_LENGTH_AT, length - this.#ipHeaderLength);
    }
    this.#putChecksum(at, length);
    this.#done += this.payloadLength;
    this.#index++;
  }

  /**
   * Writes the headers of the next segments, at most `countMax`, HEADER_SIZE bytes apart from `at`
   * on, and returns how many. `payloadAt` is the first one's payload; the others' follow it.
   */
  putRun(at: number, countMax: number): number {
    const isWithEnd = this.#count - this.#index <= countMax;
    const count = isWithEnd ? this.#count - this.#index : countMax;
    // What only the first segment says must not be repeated, and a finished checksum is each one's.
    const isRepeatable = this.#isPartial && !(this.#index === 0 && (this.#flags & TCP_CWR) !== 0);
    this.putHeader(at);
    const { payloadAt, payloadLength } = this;
    let next = 1;
    if (isRepeatable) {
      const repeated = count - (isWithEnd ? 2 : 1);
      if (repeated > 0) {
        this.#repeatHeader(at, repeated);
        next += repeated;
      }
    }
    for (; next < count; next++) this.putHeader(at + next * HEADER_SIZE);
    this.lastPayloadLength = this.payloadLength;
    this.payloadAt = payloadAt;
    this.payloadLength = payloadLength;
    return count;
  }

  /**
   * Writes the headers of the next `count` segments, none of them the last one, behind those of
   * the one before them at `at`. They differ in what they are numbered with, and nothing else.
   */
  #repeatHeader(at: number, count: number): void {
    const { view } = this.#memory;
    const isV4 = this.#version === 4;
    const isTcp = this.#protocol === IPPROTO_TCP;
    const gsoSize = this.#gsoSize;
    const headerSum = this.#headerSum + this.headerLength + gsoSize;
    const sequenceAt = this.#ipHeaderLength + TCP_SEQUENCE_AT;
    const start = this.#sequence + this.#done;
    const firstId = this.#id + this.#index;
    for (let copy = 0; copy < count; copy++) {
      const to = at + (copy + 1) * HEADER_SIZE;
      this.#copyHeader(at, to);
      if (isV4) {
        const id = (firstId + copy) & 0xffff;
        view.setUint16(to + IPV4_ID_AT, id);
        view.setUint16(to + IPV4_CHECKSUM_AT, finishSum(headerSum + id));
      }
      if (isTcp) view.setUint32(to + sequenceAt, (start + copy * gsoSize) >>> 0);
    }
    this.#done += count * gsoSize;
    this.#index += count;
    this.payloadLength = gsoSize;
  }

  /** Header lengths are multiples of four; the copies and (by READ_STEP) the source are aligned. */
  #copyHeader(from: number, to: number): void {
    const integers = this.#integers;
    const source = from >>> 2;
    const target = to >>> 2;
    const wordCount = this.headerLength >>> 2;
    for (let word = 0; word < wordCount; word++) integers[target + word] = integers[source + word]!;
  }

  #isConsistent(virtio: number, packet: InnerPacket): boolean {
    const { view } = this.#memory;
    const type = view.getUint8(virtio + VIRTIO_GSO_TYPE_AT) & ~VIRTIO_GSO_ECN;
    const isTcp =
      packet.protocol === IPPROTO_TCP &&
      type === (packet.version === 4 ? VIRTIO_GSO_TCPV4 : VIRTIO_GSO_TCPV6);
    const isUdp = packet.protocol === IPPROTO_UDP && type === VIRTIO_GSO_UDP_L4;
    return (
      (isTcp || isUdp) &&
      packet.transportHeaderLength > 0 &&
      (view.getUint8(virtio + VIRTIO_FLAGS_AT) & VIRTIO_F_NEEDS_CSUM) !== 0 &&
      view.getUint16(virtio + VIRTIO_CHECKSUM_START_AT, true) === packet.headerLength &&
      view.getUint16(virtio + VIRTIO_CHECKSUM_OFFSET_AT, true) === packet.checksumAt
    );
  }

  #takeConstantParts(packet: InnerPacket): void {
    const { view } = this.#memory;
    const { ip, headerLength } = packet;
    this.#addressSum = sumAddresses(this.#memory, ip, packet.version);
    const transport = ip + headerLength;
    if (packet.protocol === IPPROTO_TCP) {
      this.#sequence = view.getUint32(transport + TCP_SEQUENCE_AT);
      this.#flags = view.getUint8(transport + TCP_FLAGS_AT);
    }
    if (packet.version !== 4) return;
    this.#id = view.getUint16(ip + IPV4_ID_AT);
    view.setUint16(ip + IPV4_TOTAL_LENGTH_AT, 0);
    view.setUint16(ip + IPV4_ID_AT, 0);
    view.setUint16(ip + IPV4_CHECKSUM_AT, 0);
    this.#headerSum = sumBytes(this.#memory, ip, headerLength);
  }

  #putIpv4(at: number, length: number): void {
    const { view } = this.#memory;
    const id = (this.#id + this.#index) & 0xffff;
    view.setUint16(at + IPV4_TOTAL_LENGTH_AT, length);
    view.setUint16(at + IPV4_ID_AT, id);
    view.setUint16(at + IPV4_CHECKSUM_AT, finishSum(this.#headerSum + length + id));
  }

  #putChecksum(at: number, length: number): void {
    const { view } = this.#memory;
    const transportLength = length - this.#ipHeaderLength;
    const pseudo = pseudoSum(this.#addressSum, this.#protocol, transportLength);
    const field = at + this.#checksumAt;
    if (this.#isPartial) {
      view.setUint16(field, pseudo);
      view.setUint8(at, view.getUint8(at) | FRAME_PARTIAL_BIT);
      return;
    }
    view.setUint16(field, 0);
    const headers = sumBytes(
      this.#memory,
      at + this.#ipHeaderLength,
      this.headerLength - this.#ipHeaderLength,
    );
    const payload = sumBytes(this.#memory, this.payloadAt, this.payloadLength);
    view.setUint16(field, transportChecksum(pseudo + headers + payload, this.#protocol));
  }
}

/** The checksum that goes with `sum`; for UDP, 0 would mean "none" and becomes 0xffff (RFC 768). */
export function transportChecksum(sum: number, protocol: number): number {
  const checksum = finishSum(sum);
  return checksum === 0 && protocol === IPPROTO_UDP ? 0xffff : checksum;
}

/**
 * Finishes the checksum of a single packet whose field at `start + offset` holds the pseudo-header
 * sum. False when that does not lie in the packet.
 */
export function finishChecksum(
  memory: WireMemory,
  packet: InnerPacket,
  start: number,
  offset: number,
): boolean {
  if (start < packet.headerLength || start + offset + 2 > packet.length) return false;
  const sum = sumBytes(memory, packet.ip + start, packet.length - start);
  const field = packet.ip + start + offset;
  memory.view.setUint16(field, transportChecksum(foldSum(sum), packet.protocol));
  return true;
}
