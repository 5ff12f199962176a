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
import { type FibView, ROW_PARTIAL_CHECKSUM, ROW_UNREACHABLE } from "../fib/table.ts";
import { FRAME_PARTIAL_BIT } from "../wire/frame.ts";
import { IPV4_TARGET_AT, IPV6_TARGET_AT } from "../wire/ip.ts";
import {
  VIRTIO_CHECKSUM_OFFSET_AT,
  VIRTIO_CHECKSUM_START_AT,
  VIRTIO_F_NEEDS_CSUM,
  VIRTIO_FLAGS_AT,
  VIRTIO_GSO_NONE,
  VIRTIO_GSO_TYPE_AT,
  VIRTIO_HEADER_SIZE,
} from "../wire/virtio.ts";
import { type Arena, HEADER_SIZE } from "./arena.ts";
import { DROP, type LoopCounters, TOTAL } from "./counters.ts";
import type { ErrorReplier } from "./error-replier.ts";
import { INNER_FAULT, InnerPacket } from "./inner-packet.ts";
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

export interface TransmitterParts {
  readonly arena: Arena;
  readonly tun: TunPort;
  readonly queue: SendQueue;
  readonly replier: ErrorReplier;
  readonly counters: LoopCounters;
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
  readonly #packet = new InnerPacket();
  readonly #segmenter: Segmenter;
  readonly #headersAt: number;
  readonly #headersEnd: number;
  #headerAt: number;
  #count = 0;
  #next = 0;
  /** Row of the super-packet in progress. */
  #row = -1;

  constructor(parts: TransmitterParts) {
    const { arena } = parts;
    this.#memory = arena.memory;
    this.#view = arena.memory.view;
    this.#batch = arena.read;
    this.#tun = parts.tun;
    this.#queue = parts.queue;
    this.#replier = parts.replier;
    this.#counters = parts.counters;
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
        this.#queueSegments(fib);
        continue;
      }
      this.#accept(fib, this.#batch.offset[this.#next]!, this.#batch.length[this.#next]!);
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
    const isPartial = (flags & ROW_PARTIAL_CHECKSUM) !== 0;
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

  /** Queues segments of the super-packet in progress until it or the room ends. */
  #queueSegments(fib: FibView): void {
    const segmenter = this.#segmenter;
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
  }

  /** Takes one packet behind its virtio-net header: queues it, starts on it, or drops it. */
  #accept(fib: FibView, virtio: number, length: number): void {
    const packet = this.#packet;
    const ip = virtio + VIRTIO_HEADER_SIZE;
    const fault = packet.parse(this.#memory, ip, length - VIRTIO_HEADER_SIZE);
    if (fault !== INNER_FAULT.NONE) {
      this.#counters.drop(DROP.TX_SHORT + fault, 1);
      return;
    }
    if ((this.#view.getUint8(ip) & FRAME_PARTIAL_BIT) !== 0) {
      this.#counters.drop(DROP.TX_NOT_IP, 1);
      return;
    }
    const row = this.#route(fib);
    if (row < 0) {
      this.#replier.unreachable(fib, packet);
      this.#counters.drop(DROP.TX_NO_ROUTE, 1);
      return;
    }
    const flags = fib.flags(row);
    if ((flags & ROW_UNREACHABLE) !== 0) {
      this.#counters.drop(DROP.TX_NO_ENDPOINT, 1);
      return;
    }
    const isPartial = (flags & ROW_PARTIAL_CHECKSUM) !== 0;
    if (this.#view.getUint8(virtio + VIRTIO_GSO_TYPE_AT) !== VIRTIO_GSO_NONE) {
      this.#row = row;
      if (!this.#segmenter.begin(virtio, packet, isPartial)) {
        this.#counters.drop(DROP.TX_BAD_OFFLOAD, 1);
      }
      return;
    }
    this.#queueWhole(fib, row, virtio, isPartial);
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
    if (packet.length > fib.overlayMtu && packet.isDontFragment) {
      this.#replier.tooBig(fib, packet);
      this.#counters.drop(DROP.TX_TOO_BIG, 1);
      return;
    }
    if ((view.getUint8(virtio + VIRTIO_FLAGS_AT) & VIRTIO_F_NEEDS_CSUM) !== 0) {
      const start = view.getUint16(virtio + VIRTIO_CHECKSUM_START_AT, true);
      const offset = view.getUint16(virtio + VIRTIO_CHECKSUM_OFFSET_AT, true);
      const isMarkable =
        isPartial &&
        packet.transportHeaderLength > 0 &&
        start === packet.headerLength &&
        offset === packet.checksumAt;
      if (isMarkable) {
        view.setUint8(packet.ip, view.getUint8(packet.ip) | FRAME_PARTIAL_BIT);
      } else if (!finishChecksum(this.#memory, packet, start, offset)) {
        this.#counters.drop(DROP.TX_BAD_OFFLOAD, 1);
        return;
      }
    }
    this.#queue.append(fib, row, packet.ip, packet.length, 0, 0);
  }
}
