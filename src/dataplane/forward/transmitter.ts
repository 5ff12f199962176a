/**
 * From the TUN to the underlay: read a batch, look each packet up, send the batch.
 *
 *   read ──► check ──► look up ──► super-packet? ──► segment by segment ──► send queue ──► flush
 *              │          │             └─ no ──────► as it is ───────────────┘
 *              └──────────┴─► drop, counted, and perhaps an ICMP error
 *
 * A full socket stops this direction where it is, in the middle of a super-packet if need be; the
 * kernel's queue in front of the TUN fills, and senders slow down. Nothing is lost in here.
 *
 * @module
 */
import type { PacketMemory, TunPort, TunReadBatch } from "../../host/packet-ports.ts";
import { type FibView, ROW_PARTIAL_CHECKSUM, ROW_SEALS, ROW_UNREACHABLE } from "../fib/table.ts";
import { fragmentPayload, putFragmentHeader } from "../wire/fragment.ts";
import { FRAME_PARTIAL_BIT } from "../wire/frame.ts";
import {
  IP_LENGTH_MAX,
  IPPROTO_TCP,
  IPV4_FRAGMENT_AT,
  IPV4_FRAGMENT_OFFSET_MASK,
  IPV4_TARGET_AT,
  IPV6_TARGET_AT,
} from "../wire/ip.ts";
import { clampMss, isSyn, mssFor } from "../wire/mss.ts";
import { TCP_HEADER_SIZE } from "../wire/transport.ts";
import {
  VIRTIO_CHECKSUM_OFFSET_AT,
  VIRTIO_CHECKSUM_START_AT,
  VIRTIO_F_NEEDS_CSUM,
  VIRTIO_FLAGS_AT,
  VIRTIO_GSO_NONE,
  VIRTIO_GSO_SIZE_AT,
  VIRTIO_GSO_TCPV4,
  VIRTIO_GSO_TCPV6,
  VIRTIO_GSO_TYPE_AT,
  VIRTIO_HEADER_SIZE,
} from "../wire/virtio.ts";
import { type Arena, HEADER_SIZE } from "./arena.ts";
import { DROP, type LoopCounters, TOTAL } from "./counters.ts";
import type { ErrorReplier } from "./error-replier.ts";
import { INNER_FAULT, InnerPacket } from "./inner-packet.ts";
import { OFFLOAD, type OffloadState } from "./offload-state.ts";
import { pathMtu } from "./path-mtu.ts";
import { finishChecksum, Segmenter } from "./segmenter.ts";
import type { SendQueue } from "./send-queue.ts";

/** What one `pump` did. */
export const PUMP = {
  /** The TUN had nothing. */
  IDLE: 0,
  BUSY: 1,
  /** The socket is full: pump again when it takes more. */
  BLOCKED: 2,
} as const;

/** What is noted as the error of a super-packet that makes no sense. */
const EBADMSG = 74;
/** More fragments of one packet than a jumbo frame has on the narrowest path are no packet. */
const FRAGMENT_COUNT_MAX = 32;

export interface TransmitterParts {
  readonly arena: Arena;
  readonly tun: TunPort;
  readonly queue: SendQueue;
  readonly replier: ErrorReplier;
  readonly counters: LoopCounters;
  readonly offloads: OffloadState;
}

/** A packet in two pieces that is to be cut into fragments. */
interface WidePacket {
  /** Position of the IP header, with `extra` bytes of the payload behind it. */
  readonly ip: number;
  readonly headerLength: number;
  readonly extra: number;
  /** Where the rest of the payload is. */
  readonly payloadAt: number;
  readonly payloadLength: number;
  /** Of the path. */
  readonly mtu: number;
}

/** One loop's transmit direction. */
export class Transmitter {
  readonly #memory: PacketMemory;
  readonly #view: DataView<ArrayBuffer>;
  readonly #batch: TunReadBatch;
  readonly #tun: TunPort;
  readonly #queue: SendQueue;
  readonly #replier: ErrorReplier;
  readonly #counters: LoopCounters;
  readonly #offloads: OffloadState;
  readonly #packet = new InnerPacket();
  readonly #segmenter: Segmenter;
  readonly #headersAt: number;
  readonly #headersEnd: number;
  #headerAt: number;
  #count = 0;
  #next = 0;
  /** Row of the super-packet in progress. */
  #row = -1;
  /** MTU of the path of a super-packet whose segments must be cut further; 0: they fit. */
  #fragmentMtu = 0;

  constructor(parts: TransmitterParts) {
    const { arena } = parts;
    this.#memory = arena.memory;
    this.#view = arena.memory.view;
    this.#batch = arena.read;
    this.#tun = parts.tun;
    this.#queue = parts.queue;
    this.#replier = parts.replier;
    this.#counters = parts.counters;
    this.#offloads = parts.offloads;
    this.#segmenter = new Segmenter(arena.memory);
    this.#headersAt = arena.headersAt;
    this.#headersEnd = arena.headersAt + arena.headerCount * HEADER_SIZE;
    this.#headerAt = arena.headersAt;
  }

  /** Whether packets were read that are not sent yet: the socket was full. */
  get isHolding(): boolean {
    return !this.#queue.isEmpty || this.#next < this.#count || this.#segmenter.hasNext;
  }

  /** Whether the last batch left no room, so that more may wait in the TUN. */
  get isFull(): boolean {
    const last = this.#count - 1;
    if (last < 0) return false;
    const { offset, length, step, end, packetSizeMax } = this.#batch;
    const next = offset[last]! + Math.ceil(length[last]! / step) * step;
    return this.#count === offset.length || next + packetSizeMax > end;
  }

  /** Sends what an earlier call left, then one batch. A PUMP value, or a negative TUN error. */
  pump(fib: FibView): number {
    if (!this.#queue.isEmpty && !this.#flush()) return PUMP.BLOCKED;
    if (this.#next === this.#count && !this.#segmenter.hasNext) {
      const count = this.#tun.read(this.#batch);
      this.#count = Math.max(0, count);
      this.#next = 0;
      if (count <= 0) return count < 0 ? count : PUMP.IDLE;
      this.#counters.add(TOTAL.TX_READS, count);
    }
    while (this.#next < this.#count || this.#segmenter.hasNext) {
      if (!this.#hasRoom() && !this.#flush()) return PUMP.BLOCKED;
      if (this.#segmenter.hasNext) {
        if (!this.#queueSegments(fib)) return PUMP.BLOCKED;
        continue;
      }
      const [at, length] = [this.#batch.offset[this.#next]!, this.#batch.length[this.#next]!];
      if (!this.#accept(fib, at, length)) return PUMP.BLOCKED;
      this.#next++;
    }
    return this.#flush() ? PUMP.BUSY : PUMP.BLOCKED;
  }

  /**
   * Goes over to `fib`, whose rows are new numbers. What is queued keeps its endpoint; the rest of
   * a super-packet in progress finds its row again, or is dropped when its way is gone.
   */
  useTable(fib: FibView): void {
    this.#queue.close();
    if (!this.#segmenter.hasNext) return;
    this.#row = this.#route(fib);
    const flags = this.#row < 0 ? ROW_UNREACHABLE : fib.flags(this.#row);
    const isPartial = (flags & ROW_PARTIAL_CHECKSUM) !== 0 && this.#fragmentMtu === 0;
    if ((flags & ROW_UNREACHABLE) !== 0 || isPartial !== this.#segmenter.isPartial) {
      this.#counters.drop(DROP.TX_NO_ROUTE, this.#segmenter.cancel());
    }
  }

  #hasRoom(): boolean {
    return this.#queue.hasRoom && this.#headerAt < this.#headersEnd;
  }

  #flush(): boolean {
    if (!this.#queue.flush()) return false;
    this.#headerAt = this.#headersAt;
    return true;
  }

  /** Makes room for `count` datagrams; false when the socket is full. */
  #makeRoom(count: number): boolean {
    const end = this.#headerAt + count * HEADER_SIZE;
    return (this.#queue.hasRoomFor(count) && end <= this.#headersEnd) || this.#flush();
  }

  /**
   * Queues segments of the super-packet in progress until it or the room ends. False when segments
   * that must be cut find no room at all: the socket is full.
   */
  #queueSegments(fib: FibView): boolean {
    const segmenter = this.#segmenter;
    if (this.#fragmentMtu !== 0) return this.#fragmentSegment(fib);
    if ((fib.flags(this.#row) & ROW_SEALS) === 0) return this.#queueRuns(fib);
    while (segmenter.hasNext && this.#hasRoom()) {
      const at = this.#headerAt;
      this.#headerAt = at + HEADER_SIZE;
      segmenter.putHeader(at);
      this.#queue.append(
        fib,
        this.#row,
        at,
        segmenter.headerLength,
        segmenter.payloadAt,
        segmenter.payloadLength,
      );
    }
    return true;
  }

  /** The same for what is not sealed: as many segments at a time as there is room for. */
  #queueRuns(fib: FibView): boolean {
    const segmenter = this.#segmenter;
    while (segmenter.hasNext && this.#hasRoom()) {
      const at = this.#headerAt;
      const headers = Math.floor((this.#headersEnd - at) / HEADER_SIZE);
      const count = segmenter.putRun(at, Math.min(headers, this.#queue.roomCount));
      this.#headerAt = at + count * HEADER_SIZE;
      this.#queue.appendRun(fib, this.#row, segmenter, at, count);
    }
    return true;
  }

  /** Queues the next segment of a super-packet in fragments. */
  #fragmentSegment(fib: FibView): boolean {
    const segmenter = this.#segmenter;
    if (!this.#makeRoom(FRAGMENT_COUNT_MAX)) return false;
    const ip = this.#headerAt;
    this.#headerAt = ip + HEADER_SIZE;
    segmenter.putHeader(ip);
    const headerLength = this.#packet.headerLength;
    this.#fragment(fib, this.#row, {
      ip,
      headerLength,
      extra: segmenter.headerLength - headerLength,
      payloadAt: segmenter.payloadAt,
      payloadLength: segmenter.payloadLength,
      mtu: this.#fragmentMtu,
    });
    return true;
  }

  /**
   * Queues an IPv4 packet in fragments: its header and `extra` bytes behind it lie at `ip`, the
   * rest at `payloadAt`. There is room for all of them.
   */
  #fragment(fib: FibView, row: number, packet: WidePacket): void {
    const { ip, headerLength, extra, payloadAt, payloadLength, mtu } = packet;
    const total = extra + payloadLength;
    const step = fragmentPayload(mtu, headerLength);
    // The last one first: the first one is written over the header that the others copy.
    const count = Math.ceil(total / step);
    const firstAt = this.#headerAt;
    this.#headerAt = firstAt + (count - 1) * HEADER_SIZE;
    for (let index = count - 1; index >= 0; index--) {
      const start = index * step;
      const length = Math.min(step, total - start);
      const to = index === 0 ? ip : firstAt + (index - 1) * HEADER_SIZE;
      putFragmentHeader(this.#memory, to, packet, { start, length, isLast: index === count - 1 });
    }
    const first = Math.min(step, total) - extra;
    this.#queue.append(fib, row, ip, headerLength + extra, payloadAt, first);
    for (let index = 1; index < count; index++) {
      const start = index * step;
      const at = firstAt + (index - 1) * HEADER_SIZE;
      const length = Math.min(step, total - start);
      this.#queue.append(fib, row, at, headerLength, payloadAt + start - extra, length);
    }
  }

  /** Largest inner packet for the peer of `row`. */
  #mtuOf(fib: FibView, row: number): number {
    return pathMtu(fib, row, this.#counters);
  }

  /**
   * Takes one packet behind its virtio-net header: queues it, starts on it, or drops it. False
   * when it needs more room than a full socket leaves.
   */
  #accept(fib: FibView, virtio: number, length: number): boolean {
    const packet = this.#packet;
    const ip = virtio + VIRTIO_HEADER_SIZE;
    const fault = packet.parse(this.#memory, ip, length - VIRTIO_HEADER_SIZE);
    if (fault !== INNER_FAULT.NONE) {
      this.#counters.drop(DROP.TX_SHORT + fault, 1);
      return true;
    }
    if ((this.#view.getUint8(ip) & FRAME_PARTIAL_BIT) !== 0) {
      this.#counters.drop(DROP.TX_NOT_IP, 1);
      return true;
    }
    const row = this.#route(fib);
    if (row < 0) {
      this.#replier.unreachable(fib, packet);
      this.#counters.drop(DROP.TX_NO_ROUTE, 1);
      return true;
    }
    const flags = fib.flags(row);
    if ((flags & ROW_UNREACHABLE) !== 0) {
      this.#counters.drop(DROP.TX_NO_ENDPOINT, 1);
      return true;
    }
    const isPartial = (flags & ROW_PARTIAL_CHECKSUM) !== 0;
    if (this.#view.getUint8(virtio + VIRTIO_GSO_TYPE_AT) !== VIRTIO_GSO_NONE) {
      this.#begin(fib, row, virtio, isPartial);
      return true;
    }
    const mtu = this.#mtuOf(fib, row);
    if (packet.length > mtu) return this.#acceptTooBig(fib, row, virtio, isPartial);
    this.#queueWhole(fib, row, virtio, isPartial);
    return true;
  }

  /** Starts on a super-packet whose segments are made to fit the path of `row`. */
  #begin(fib: FibView, row: number, virtio: number, isPartial: boolean): void {
    const packet = this.#packet;
    const mtu = this.#mtuOf(fib, row);
    const headers = packet.headerLength + packet.transportHeaderLength;
    const size = this.#view.getUint16(virtio + VIRTIO_GSO_SIZE_AT, true);
    this.#row = row;
    this.#fragmentMtu = 0;
    let payloadMax = mtu - headers;
    const isTooBig = headers + Math.min(size, packet.payloadLength) > mtu;
    if (isTooBig && packet.protocol !== IPPROTO_TCP) {
      if (packet.isDontFragment) {
        this.#replier.tooBig(fib, packet, mtu);
        this.#counters.drop(DROP.TX_TOO_BIG, Math.ceil(packet.payloadLength / Math.max(1, size)));
        return;
      }
      this.#fragmentMtu = mtu;
      payloadMax = size;
    } else if (isTooBig && packet.isDontFragment) {
      // It is cut to fit; its sender shall know all the same.
      this.#replier.tooBig(fib, packet, mtu);
    }
    const isMarked = isPartial && this.#fragmentMtu === 0;
    const offload = packet.protocol === IPPROTO_TCP ? OFFLOAD.TSO : OFFLOAD.USO;
    if (this.#segmenter.begin(virtio, packet, isMarked, payloadMax)) {
      this.#offloads.succeeded(offload);
      const { count } = this.#segmenter;
      this.#queue.begin(count, count * headers + packet.payloadLength);
    } else {
      this.#counters.drop(DROP.TX_BAD_OFFLOAD, 1);
      this.#offloads.failed(offload, EBADMSG);
    }
  }

  /** A packet over the MTU of its path: cut as TCP or IPv4 allow, or its sender is told. */
  #acceptTooBig(fib: FibView, row: number, virtio: number, isPartial: boolean): boolean {
    const packet = this.#packet;
    const view = this.#view;
    const mtu = this.#mtuOf(fib, row);
    const needsChecksum = (view.getUint8(virtio + VIRTIO_FLAGS_AT) & VIRTIO_F_NEEDS_CSUM) !== 0;
    if (packet.protocol === IPPROTO_TCP && needsChecksum && packet.transportHeaderLength > 0) {
      // As a super-packet of one segment, which `#begin` cuts to size.
      const type = packet.version === 4 ? VIRTIO_GSO_TCPV4 : VIRTIO_GSO_TCPV6;
      view.setUint8(virtio + VIRTIO_GSO_TYPE_AT, type);
      view.setUint16(virtio + VIRTIO_GSO_SIZE_AT, Math.min(IP_LENGTH_MAX, packet.length), true);
      this.#begin(fib, row, virtio, isPartial);
      return true;
    }
    if (packet.isDontFragment) {
      this.#replier.tooBig(fib, packet, mtu);
      this.#counters.drop(DROP.TX_TOO_BIG, 1);
      return true;
    }
    return this.#fragmentWhole(fib, row, virtio);
  }

  #fragmentWhole(fib: FibView, row: number, virtio: number): boolean {
    const packet = this.#packet;
    const { ip, headerLength } = packet;
    const payloadLength = packet.length - headerLength;
    const mtu = this.#mtuOf(fib, row);
    const word = this.#view.getUint16(ip + IPV4_FRAGMENT_AT);
    const end = (word & IPV4_FRAGMENT_OFFSET_MASK) * 8 + packet.length;
    const step = fragmentPayload(mtu, headerLength);
    const isPossible = end <= IP_LENGTH_MAX && step > 0;
    if (!isPossible || payloadLength > step * FRAGMENT_COUNT_MAX) {
      this.#counters.drop(DROP.TX_TOO_BIG, 1);
      return true;
    }
    if (!this.#makeRoom(FRAGMENT_COUNT_MAX)) return false;
    if (!this.#finish(virtio)) return true;
    const payloadAt = ip + headerLength;
    this.#fragment(fib, row, { ip, headerLength, extra: 0, payloadAt, payloadLength, mtu });
    return true;
  }

  /** Finishes the packet's checksum where it lies; false, and counted, when that cannot be. */
  #finish(virtio: number): boolean {
    const view = this.#view;
    if ((view.getUint8(virtio + VIRTIO_FLAGS_AT) & VIRTIO_F_NEEDS_CSUM) === 0) return true;
    const start = view.getUint16(virtio + VIRTIO_CHECKSUM_START_AT, true);
    const offset = view.getUint16(virtio + VIRTIO_CHECKSUM_OFFSET_AT, true);
    if (finishChecksum(this.#memory, this.#packet, start, offset)) return true;
    this.#counters.drop(DROP.TX_BAD_OFFLOAD, 1);
    return false;
  }

  /** A connection that is being opened: the other end's packets must fit this way, too. */
  #clampMss(fib: FibView, row: number, isPartial: boolean): void {
    const packet = this.#packet;
    const tcp = packet.ip + packet.headerLength;
    if (!isSyn(this.#view, tcp)) return;
    const place = { tcp, headerLength: packet.transportHeaderLength, isPartial };
    clampMss(this.#view, place, mssFor(this.#mtuOf(fib, row), packet.version));
  }

  /** Row for the packet's target; below 0 when there is none, or when it is one of our own. */
  #route(fib: FibView): number {
    const { ip, version } = this.#packet;
    return version === 4
      ? fib.lookupV4(this.#view.getInt32(ip + IPV4_TARGET_AT))
      : fib.lookupV6(this.#view, ip + IPV6_TARGET_AT);
  }

  /** Queues a packet that is no super-packet, its checksum marked or finished where it lies. */
  #queueWhole(fib: FibView, row: number, virtio: number, isPartial: boolean): void {
    const packet = this.#packet;
    const view = this.#view;
    const needsChecksum = (view.getUint8(virtio + VIRTIO_FLAGS_AT) & VIRTIO_F_NEEDS_CSUM) !== 0;
    if (packet.transportHeaderLength > TCP_HEADER_SIZE && packet.protocol === IPPROTO_TCP) {
      this.#clampMss(fib, row, needsChecksum);
    }
    if (needsChecksum) {
      const start = view.getUint16(virtio + VIRTIO_CHECKSUM_START_AT, true);
      const offset = view.getUint16(virtio + VIRTIO_CHECKSUM_OFFSET_AT, true);
      const isMarkable =
        isPartial &&
        packet.transportHeaderLength > 0 &&
        start === packet.headerLength &&
        offset === packet.checksumAt;
      if (isMarkable) {
        view.setUint8(packet.ip, view.getUint8(packet.ip) | FRAME_PARTIAL_BIT);
      } else if (!this.#finish(virtio)) return;
    }
    this.#queue.append(fib, row, packet.ip, packet.length, 0, 0);
  }
}
