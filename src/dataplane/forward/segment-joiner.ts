/**
 * Joins received segments of one flow into super-packets: the inverse of segmenter.ts.
 *
 * A few flows are open at a time, each a first packet and the payloads that continue it, all where
 * the socket put them. What may join follows the kernel's own receive offload
 * (net/ipv4/tcp_offload.c tcp_gro_receive, udp_offload.c): same addresses and ports, same headers
 * but length, identification and checksum, and for TCP the next sequence number. Whatever ends a
 * flow is written behind it, so no packet of a flow overtakes another.
 *
 * A segment with a finished checksum joins only after it was verified here, since the kernel will
 * not look at it again. One that fails is written alone, for the kernel to refuse.
 *
 * @module
 */
import { foldSum, sumBytes } from "../wire/checksum.ts";
import {
  IP_LENGTH_MAX,
  IPPROTO_TCP,
  IPPROTO_UDP,
  IPV4_CHECKSUM_AT,
  IPV4_DONT_FRAGMENT,
  IPV4_FRAGMENT_AT,
  IPV4_HEADER_SIZE,
  IPV4_ID_AT,
  IPV4_SOURCE_AT,
  IPV4_TARGET_AT,
  IPV4_TOTAL_LENGTH_AT,
  IPV4_TTL_AT,
  IPV6_HEADER_SIZE,
  IPV6_NEXT_HEADER_AT,
  IPV6_PAYLOAD_LENGTH_AT,
  IPV6_SOURCE_AT,
  pseudoSum,
  sumAddresses,
} from "../wire/ip.ts";
import type { WireMemory } from "../wire/memory.ts";
import {
  TCP_ACK,
  TCP_ACKNOWLEDGEMENT_AT,
  TCP_DATA_OFFSET_AT,
  TCP_FIN,
  TCP_FLAGS_AT,
  TCP_HEADER_SIZE,
  TCP_PSH,
  TCP_SEQUENCE_AT,
  UDP_CHECKSUM_AT,
  UDP_LENGTH_AT,
} from "../wire/transport.ts";
import type { InnerPacket } from "./inner-packet.ts";
import { OFFLOAD, type OffloadState } from "./offload-state.ts";
import { endsRun, isMarked, isSameButPlace } from "./segment-words.ts";
import { TunPacket, type TunWriter } from "./tun-writer.ts";

/** Flows open at a time. More flows in one burst than this are joined less, not lost. */
const FLOW_COUNT = 8;
/** Segments of one joined packet: 64 KiB of them at 512 bytes; UDP_MAX_SEGMENTS of Linux 6.9. */
const JOIN_COUNT_MAX = 128;

/** Flags that only the last segment of a joined packet may have. */
const TCP_LAST_FLAGS = TCP_PSH | TCP_FIN;
/** The first bytes of a packet without the mark of a partial one. */
const UNMARKED_WORD = 0x7fff;
const UNMARKED_LONG = 0x7fff_ffff;

/** The open flows of one burst. Everything is positions in the arena, valid until `flush`. */
export class SegmentJoiner {
  readonly #memory: WireMemory;
  readonly #view: DataView<ArrayBuffer>;
  /** The memory as whole numbers. */
  readonly #integers: Int32Array<ArrayBuffer>;
  readonly #writer: TunWriter;
  readonly #offloads: OffloadState;
  readonly #out = new TunPacket();
  // One entry a flow.
  readonly #ip = new Int32Array(FLOW_COUNT);
  readonly #version = new Int32Array(FLOW_COUNT);
  readonly #protocol = new Int32Array(FLOW_COUNT);
  readonly #ipHeader = new Int32Array(FLOW_COUNT);
  readonly #header = new Int32Array(FLOW_COUNT);
  readonly #segmentSize = new Int32Array(FLOW_COUNT);
  readonly #payload = new Int32Array(FLOW_COUNT);
  /** Segments so far; 0: the entry is free. */
  readonly #count = new Int32Array(FLOW_COUNT);
  readonly #nextSequence = new Uint32Array(FLOW_COUNT);
  readonly #lastFlags = new Int32Array(FLOW_COUNT);
  readonly #message = new Int32Array(FLOW_COUNT);
  readonly #slot = new Int32Array(FLOW_COUNT);
  readonly #isPartial = new Uint8Array(FLOW_COUNT);
  readonly #isVerified = new Uint8Array(FLOW_COUNT);
  // JOIN_COUNT_MAX entries a flow: the payloads after the first.
  readonly #pieceOffset = new Int32Array(FLOW_COUNT * JOIN_COUNT_MAX);
  readonly #pieceLength = new Int32Array(FLOW_COUNT * JOIN_COUNT_MAX);
  #openCount = 0;
  #recent = 0;
  #victim = 0;

  constructor(memory: WireMemory, writer: TunWriter, offloads: OffloadState) {
    this.#memory = memory;
    this.#view = memory.view;
    this.#integers = new Int32Array(memory.words.buffer);
    this.#writer = writer;
    this.#offloads = offloads;
  }

  /** Message of the receive batch whose first segment opened the flow that was last used. */
  get recentMessage(): number {
    return this.#message[this.#recent]!;
  }

  /** Peer slot that the packets of that flow count for. */
  get recentSlot(): number {
    return this.#slot[this.#recent]!;
  }

  /**
   * Joins `length` unchecked bytes at `ip` to the flow that was last used, if they are the segment
   * that continues it. True says that every header field was found right, since it is that of the
   * flow's first packet or what must follow it; only the datagram's source is left to the caller.
   */
  extendRecent(ip: number, length: number, isPartial: boolean): boolean {
    const flow = this.#recent;
    if (this.#count[flow] === 0 || !this.#continues(flow, ip, length)) return false;
    return this.#join(flow, ip, length, isPartial);
  }

  /**
   * Joins as many as it can of `count` datagrams of `size` unchecked bytes, one behind the other
   * from `ip` on, to the flow that was last used; how many. The same as one `extendRecent` after
   * the other for those with the partial mark, and none for others.
   */
  extendRun(ip: number, size: number, count: number): number {
    const flow = this.#recent;
    const first = this.#ip[flow]!;
    const header = this.#header[flow]!;
    const joined = this.#count[flow]!;
    const payload = size - header;
    const isSuited =
      joined > 0 &&
      this.#isPartial[flow] === 1 &&
      this.#protocol[flow] === IPPROTO_TCP &&
      this.#version[flow] === 4 &&
      payload === this.#segmentSize[flow] &&
      ((first | ip | size) & 3) === 0;
    if (!isSuited) return 0;
    const room = Math.floor((IP_LENGTH_MAX - header - this.#payload[flow]!) / payload);
    const end = Math.min(count, room, JOIN_COUNT_MAX - joined);
    const words = this.#integers;
    const sequence = this.#nextSequence[flow]!;
    const piece = flow * JOIN_COUNT_MAX + joined - 1;
    let done = 0;
    let isLast = false;
    while (done < end && !isLast) {
      const at = ip + done * size;
      const word = at >>> 2;
      if (!isMarked(words, word) || !isSameButPlace(words, first >>> 2, word, header >>> 2)) break;
      const expected = (sequence + done * payload) >>> 0;
      if (this.#view.getUint32(at + IPV4_HEADER_SIZE + TCP_SEQUENCE_AT) !== expected) break;
      this.#pieceOffset[piece + done] = at + header;
      this.#pieceLength[piece + done] = payload;
      isLast = endsRun(words, word);
      done++;
    }
    if (done === 0) return 0;
    this.#isVerified[flow] = 1;
    this.#payload[flow] = this.#payload[flow]! + done * payload;
    this.#count[flow] = joined + done;
    this.#nextSequence[flow] = sequence + done * payload;
    const lastTcp = ip + (done - 1) * size + IPV4_HEADER_SIZE;
    this.#lastFlags[flow] = this.#view.getUint8(lastTcp + TCP_FLAGS_AT);
    if (isLast || joined + done === JOIN_COUNT_MAX) this.#close(flow);
    return done;
  }

  /**
   * Takes one accepted packet: joins it, keeps it for others to join, or writes it. `message` and
   * `slot` are remembered for `recentMessage` and `recentSlot`.
   */
  add(packet: InnerPacket, isPartial: boolean, message: number, slot: number): void {
    if (packet.transportHeaderLength === 0) {
      this.#writer.whole(packet.ip, packet.length);
      return;
    }
    const { ip, length } = packet;
    const flow = this.#openCount === 0 ? -1 : this.#find(packet);
    if (flow >= 0) {
      if (this.#continues(flow, ip, length) && this.#join(flow, ip, length, isPartial)) return;
      this.#close(flow);
    }
    if (this.#isJoinable(packet) && !this.#isLast(packet)) {
      this.#open(packet, isPartial, message, slot);
    } else {
      this.#writeSingle(packet, isPartial);
    }
  }

  /** Writes all that is open. The arena's slots are free for the next burst after this. */
  flush(): void {
    for (let flow = 0; flow < FLOW_COUNT; flow++) this.#close(flow);
  }

  /** Whether `packet` can be part of a joined packet at all. */
  #isJoinable(packet: InnerPacket): boolean {
    const isPlainIp =
      packet.headerLength === (packet.version === 4 ? IPV4_HEADER_SIZE : IPV6_HEADER_SIZE);
    if (!isPlainIp || packet.payloadLength === 0) return false;
    if (packet.protocol !== IPPROTO_TCP) return this.#offloads.isOn(OFFLOAD.UDP_JOIN);
    const flags = this.#tcpFlags(packet);
    return (flags & ~TCP_LAST_FLAGS) === TCP_ACK && this.#offloads.isOn(OFFLOAD.TCP_JOIN);
  }

  /** PSH and FIN may only stand on the last segment, so nothing can follow this one. */
  #isLast(packet: InnerPacket): boolean {
    return packet.protocol === IPPROTO_TCP && (this.#tcpFlags(packet) & TCP_LAST_FLAGS) !== 0;
  }

  #tcpFlags(packet: InnerPacket): number {
    return this.#view.getUint8(packet.ip + packet.headerLength + TCP_FLAGS_AT);
  }

  /** The open flow with the packet's addresses, ports and protocol, or -1. */
  #find(packet: InnerPacket): number {
    if (this.#isSameFlow(this.#recent, packet)) return this.#recent;
    for (let flow = 0; flow < FLOW_COUNT; flow++) {
      if (!this.#isSameFlow(flow, packet)) continue;
      this.#recent = flow;
      return flow;
    }
    return -1;
  }

  #isSameFlow(flow: number, packet: InnerPacket): boolean {
    if (this.#count[flow] === 0 || this.#protocol[flow] !== packet.protocol) return false;
    if (this.#version[flow] !== packet.version) return false;
    const a = this.#ip[flow]!;
    const b = packet.ip;
    const portsA = a + this.#ipHeader[flow]!;
    if (!this.#isEqualWord(portsA, b + packet.headerLength)) return false;
    if (packet.version === 4) {
      return (
        this.#isEqualWord(a + IPV4_SOURCE_AT, b + IPV4_SOURCE_AT) &&
        this.#isEqualWord(a + IPV4_SOURCE_AT + 4, b + IPV4_SOURCE_AT + 4)
      );
    }
    for (let at = IPV6_SOURCE_AT; at < IPV6_HEADER_SIZE; at += 4) {
      if (!this.#isEqualWord(a + at, b + at)) return false;
    }
    return true;
  }

  #isEqualWord(a: number, b: number): boolean {
    return this.#view.getInt32(a) === this.#view.getInt32(b);
  }

  /** Adds a segment that continues `flow`; false when a checksum forbids it. */
  #join(flow: number, ip: number, length: number, isPartial: boolean): boolean {
    if (this.#isVerified[flow] === 0) {
      if (!this.#isFirstRight(flow)) return false;
      this.#isVerified[flow] = 1;
    }
    if (!isPartial && !this.#isChecksumRight(flow, ip, length)) return false;
    const count = this.#count[flow]!;
    const header = this.#header[flow]!;
    const payload = length - header;
    const piece = flow * JOIN_COUNT_MAX + count - 1;
    this.#pieceOffset[piece] = ip + header;
    this.#pieceLength[piece] = payload;
    this.#payload[flow] = this.#payload[flow]! + payload;
    this.#count[flow] = count + 1;
    let isLast = payload < this.#segmentSize[flow]! || count + 1 === JOIN_COUNT_MAX;
    if (this.#protocol[flow] === IPPROTO_TCP) {
      const flags = this.#view.getUint8(ip + this.#ipHeader[flow]! + TCP_FLAGS_AT);
      this.#nextSequence[flow] = this.#nextSequence[flow]! + payload;
      this.#lastFlags[flow] = flags;
      isLast = isLast || (flags & TCP_LAST_FLAGS) !== 0;
    }
    if (isLast) this.#close(flow);
    return true;
  }

  /**
   * Whether the `length` bytes at `ip` are the next segment of `flow`, with nothing changed that a
   * joined packet cannot say. Needs no parsing first: every field is compared with the first
   * packet's, which was parsed, or with what must follow it.
   */
  #continues(flow: number, ip: number, length: number): boolean {
    const payload = length - this.#header[flow]!;
    if (payload <= 0 || payload > this.#segmentSize[flow]!) return false;
    if (length + this.#payload[flow]! > IP_LENGTH_MAX) return false;
    const first = this.#ip[flow]!;
    const isIpEqual =
      this.#version[flow] === 4
        ? this.#isIpv4Next(flow, first, ip, length)
        : this.#isIpv6Next(first, ip, length);
    if (!isIpEqual) return false;
    const ipHeader = this.#ipHeader[flow]!;
    if (!this.#isEqualWord(first + ipHeader, ip + ipHeader)) return false; // Ports.
    return this.#protocol[flow] === IPPROTO_TCP
      ? this.#isTcpNext(flow, first + ipHeader, ip + ipHeader)
      : this.#view.getUint16(ip + ipHeader + UDP_LENGTH_AT) === length - ipHeader;
  }

  #isIpv4Next(flow: number, a: number, b: number, length: number): boolean {
    const view = this.#view;
    const lengthA = view.getUint16(a + IPV4_TOTAL_LENGTH_AT);
    const idA = view.getUint16(a + IPV4_ID_AT);
    const idB = view.getUint16(b + IPV4_ID_AT);
    const fragment = view.getUint16(b + IPV4_FRAGMENT_AT);
    const sumA = lengthA + idA + view.getUint16(a + IPV4_CHECKSUM_AT);
    const sumB = length + idB + view.getUint16(b + IPV4_CHECKSUM_AT);
    return (
      view.getUint16(b + IPV4_TOTAL_LENGTH_AT) === length &&
      // Version, header length and type of service; TTL and protocol.
      ((view.getUint16(a) ^ view.getUint16(b)) & UNMARKED_WORD) === 0 &&
      view.getUint16(a + IPV4_TTL_AT) === view.getUint16(b + IPV4_TTL_AT) &&
      view.getUint16(a + IPV4_FRAGMENT_AT) === fragment &&
      // Cut again, the segments are numbered from the first one's identification on.
      ((fragment & IPV4_DONT_FRAGMENT) !== 0 || idB === ((idA + this.#count[flow]!) & 0xffff)) &&
      this.#isEqualWord(a + IPV4_SOURCE_AT, b + IPV4_SOURCE_AT) &&
      this.#isEqualWord(a + IPV4_TARGET_AT, b + IPV4_TARGET_AT) &&
      // All other words being equal, the checksum is right when these three sum up alike.
      (sumA - sumB) % 0xffff === 0
    );
  }

  #isIpv6Next(a: number, b: number, length: number): boolean {
    const view = this.#view;
    if (view.getUint16(b + IPV6_PAYLOAD_LENGTH_AT) !== length - IPV6_HEADER_SIZE) return false;
    if (((view.getInt32(a) ^ view.getInt32(b)) & UNMARKED_LONG) !== 0) return false;
    // Next header and hop limit; then both addresses.
    if (view.getUint16(a + IPV6_NEXT_HEADER_AT) !== view.getUint16(b + IPV6_NEXT_HEADER_AT)) {
      return false;
    }
    for (let at = IPV6_SOURCE_AT; at < IPV6_HEADER_SIZE; at += 4) {
      if (!this.#isEqualWord(a + at, b + at)) return false;
    }
    return true;
  }

  #isTcpNext(flow: number, a: number, b: number): boolean {
    const view = this.#view;
    if (view.getUint32(b + TCP_SEQUENCE_AT) !== this.#nextSequence[flow]) return false;
    if (!this.#isEqualWord(a + TCP_ACKNOWLEDGEMENT_AT, b + TCP_ACKNOWLEDGEMENT_AT)) return false;
    // Header length, flags but PSH and FIN, and window in one word.
    const changes = view.getInt32(a + TCP_DATA_OFFSET_AT) ^ view.getInt32(b + TCP_DATA_OFFSET_AT);
    if ((changes & ~(TCP_LAST_FLAGS << 16)) !== 0) return false;
    const end = this.#header[flow]! - this.#ipHeader[flow]!;
    for (let at = TCP_HEADER_SIZE; at < end; at += 4) {
      if (!this.#isEqualWord(a + at, b + at)) return false;
    }
    return true;
  }

  /** The first packet's checksum, looked at when a second one comes: most flows have one. */
  #isFirstRight(flow: number): boolean {
    if (this.#isPartial[flow] === 1) return true;
    const length = this.#header[flow]! + this.#segmentSize[flow]!;
    return this.#isChecksumRight(flow, this.#ip[flow]!, length);
  }

  /** Whether `length` bytes at `ip`, of the flow's protocol and headers, have a right checksum. */
  #isChecksumRight(flow: number, ip: number, length: number): boolean {
    const protocol = this.#protocol[flow]!;
    const transport = ip + this.#ipHeader[flow]!;
    // RFC 768: an all-zero field means that the sender made none.
    if (protocol === IPPROTO_UDP && this.#view.getUint16(transport + UDP_CHECKSUM_AT) === 0) {
      return false;
    }
    const transportLength = length - this.#ipHeader[flow]!;
    const addressSum = sumAddresses(this.#memory, ip, this.#version[flow]!);
    const pseudo = pseudoSum(addressSum, protocol, transportLength);
    return foldSum(pseudo + sumBytes(this.#memory, transport, transportLength)) === 0xffff;
  }

  #open(packet: InnerPacket, isPartial: boolean, message: number, slot: number): void {
    const flow = this.#freeFlow();
    const length = packet.payloadLength;
    this.#ip[flow] = packet.ip;
    this.#version[flow] = packet.version;
    this.#protocol[flow] = packet.protocol;
    this.#ipHeader[flow] = packet.headerLength;
    this.#header[flow] = packet.headerLength + packet.transportHeaderLength;
    this.#segmentSize[flow] = length;
    this.#payload[flow] = length;
    this.#count[flow] = 1;
    this.#isPartial[flow] = isPartial ? 1 : 0;
    this.#isVerified[flow] = 0;
    this.#message[flow] = message;
    this.#slot[flow] = slot;
    if (packet.protocol === IPPROTO_TCP) {
      const sequence = this.#view.getUint32(packet.ip + packet.headerLength + TCP_SEQUENCE_AT);
      this.#nextSequence[flow] = sequence + length;
      this.#lastFlags[flow] = this.#tcpFlags(packet);
    }
    this.#openCount++;
    this.#recent = flow;
  }

  #freeFlow(): number {
    if (this.#openCount < FLOW_COUNT) {
      for (let flow = 0; flow < FLOW_COUNT; flow++) if (this.#count[flow] === 0) return flow;
    }
    const victim = this.#victim;
    this.#victim = (victim + 1) % FLOW_COUNT;
    this.#close(victim);
    return victim;
  }

  /** Writes what `flow` holds and frees its entry; nothing when it is free. */
  #close(flow: number): void {
    const count = this.#count[flow]!;
    if (count === 0) return;
    this.#count[flow] = 0;
    this.#openCount--;
    const out = this.#out;
    out.ip = this.#ip[flow]!;
    out.ipHeader = this.#ipHeader[flow]!;
    out.header = this.#header[flow]!;
    out.length = out.header + this.#segmentSize[flow]!;
    out.protocol = this.#protocol[flow]!;
    out.total = out.header + this.#payload[flow]!;
    out.count = count;
    if (count === 1) {
      if (this.#isPartial[flow] === 1) this.#writer.partial(out);
      else this.#writer.whole(out.ip, out.length);
      return;
    }
    if (out.protocol === IPPROTO_TCP) {
      this.#view.setUint8(out.ip + out.ipHeader + TCP_FLAGS_AT, this.#lastFlags[flow]!);
    }
    this.#writer.beginJoined(out);
    const first = flow * JOIN_COUNT_MAX;
    for (let piece = first; piece < first + count - 1; piece++) {
      this.#writer.joinPayload(this.#pieceOffset[piece]!, this.#pieceLength[piece]!);
    }
    this.#writer.endJoined();
  }

  #writeSingle(packet: InnerPacket, isPartial: boolean): void {
    if (!isPartial) {
      this.#writer.whole(packet.ip, packet.length);
      return;
    }
    const out = this.#out;
    out.ip = packet.ip;
    out.length = packet.length;
    out.ipHeader = packet.headerLength;
    out.protocol = packet.protocol;
    this.#writer.partial(out);
  }
}
