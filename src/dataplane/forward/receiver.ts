/**
 * From the underlay to the TUN: receive a batch, check every datagram, join, write the batch.
 *
 * A packet passes only if the datagram came from the endpoint of the node that owns its inner
 * source, or was sealed with that node's key, and its inner target is in our own lease. Everything
 * else is dropped and counted. While nodes change to another port, each at its own time, what comes
 * between two equal ports is from the node's endpoint, too.
 *
 * Where a datagram came from is its origin: the number of the message that brought it, whose
 * endpoint counts; or, sealed, a negative number for the peer whose key it was sealed with.
 *
 * @module
 */
import type { PacketMemory, ReceiveBatch, UdpPort } from "../../host/packet-ports.ts";
import { NO_MATCH } from "../fib/prefix-index.ts";
import { type FibView, LOCAL_MATCH, ROW_REFUSES_PLAIN } from "../fib/table.ts";
import { SEAL_HEADER_SIZE, SEAL_OVERHEAD } from "../seal/limits.ts";
import {
  FRAME_CONTROL,
  FRAME_IPV4,
  FRAME_IPV4_PARTIAL,
  FRAME_IPV6,
  FRAME_IPV6_PARTIAL,
  FRAME_SEALED,
} from "../wire/frame.ts";
import {
  IPPROTO_TCP,
  IPV4_SOURCE_AT,
  IPV4_TARGET_AT,
  IPV6_HEADER_SIZE,
  IPV6_SOURCE_AT,
  IPV6_TARGET_AT,
  isIpv4ChecksumRight,
} from "../wire/ip.ts";
import { clampMss, isSyn, mssFor } from "../wire/mss.ts";
import { TCP_HEADER_SIZE } from "../wire/transport.ts";
import type { Arena } from "./arena.ts";
import { DROP, type LoopCounters, TOTAL } from "./counters.ts";
import { INNER_FAULT, InnerPacket } from "./inner-packet.ts";
import { OFFLOAD, type OffloadState } from "./offload-state.ts";
import { pathMtu } from "./path-mtu.ts";
import type { ProbeStation } from "./probe-station.ts";
import type { Sealer } from "./sealer.ts";
import type { SegmentJoiner } from "./segment-joiner.ts";
import type { TunWriter } from "./tun-writer.ts";

/** What is noted as the error of a joining that went wrong. */
const EBADMSG = 74;

export interface ReceiverParts {
  readonly arena: Arena;
  readonly udp: UdpPort;
  readonly joiner: SegmentJoiner;
  readonly writer: TunWriter;
  readonly probes: ProbeStation;
  readonly counters: LoopCounters;
  readonly offloads: OffloadState;
  readonly sealer: Sealer;
}

/** One loop's receive direction. */
export class Receiver {
  readonly #memory: PacketMemory;
  readonly #view: DataView<ArrayBuffer>;
  readonly #batch: ReceiveBatch;
  readonly #udp: UdpPort;
  readonly #joiner: SegmentJoiner;
  readonly #writer: TunWriter;
  readonly #probes: ProbeStation;
  readonly #counters: LoopCounters;
  readonly #sealer: Sealer;
  readonly #offloads: OffloadState;
  readonly #packet = new InnerPacket();
  /** IP header of the last packet that passed in this burst, or -1, and what it passed with. */
  #passedIp = -1;
  #passedVersion = 0;
  #passedOrigin = 0;
  #passedRow = 0;
  #passedSlot = 0;
  /** Packets of one peer that are not in the counters yet. */
  #runSlot = 0;
  #runPackets = 0;
  #runBytes = 0;
  /** Packets that passed, and datagrams that were no packets at all, in the message at hand. */
  #passedCount = 0;
  #brokenCount = 0;
  #nowMs = 0;

  constructor(parts: ReceiverParts) {
    this.#memory = parts.arena.memory;
    this.#view = parts.arena.memory.view;
    this.#batch = parts.arena.receive;
    this.#udp = parts.udp;
    this.#joiner = parts.joiner;
    this.#writer = parts.writer;
    this.#probes = parts.probes;
    this.#counters = parts.counters;
    this.#sealer = parts.sealer;
    this.#offloads = parts.offloads;
  }

  /** How many messages fill a batch, so that more may wait in the socket. */
  get countMax(): number {
    return this.#batch.offset.length;
  }

  /** Receives one batch and writes what passes. How many messages came, or a negative error. */
  burst(fib: FibView, nowMs: number): number {
    const count = this.#udp.receive(this.#batch);
    if (count <= 0) return count;
    this.#counters.add(TOTAL.RX_MESSAGES, count);
    this.#passedIp = -1;
    this.#nowMs = nowMs;
    for (let message = 0; message < count; message++) this.#split(fib, message);
    this.#flushRun();
    this.#joiner.flush();
    this.#writer.flush();
    return count;
  }

  /** Walks the datagrams that the kernel joined into one message. */
  #split(fib: FibView, message: number): void {
    const length = this.#batch.length[message]!;
    const start = this.#batch.offset[message]!;
    const given = this.#batch.segmentSize[message]!;
    const size = given > 0 ? given : length;
    if (this.#batch.truncated[message] !== 0) {
      this.#counters.drop(DROP.RX_TRUNCATED, 1);
      return;
    }
    if (length === 0) this.#counters.drop(DROP.RX_SHORT, 1);
    this.#passedCount = 0;
    this.#brokenCount = 0;
    for (let at = 0; at < length; at += size) {
      if (given > 0) at += size * this.#acceptRun(start + at, size, length - at, message);
      if (at >= length) break;
      this.#dispatch(fib, start + at, Math.min(size, length - at), message);
    }
    if (given > 0) this.#judgeJoining(message);
  }

  /**
   * A joined message of which nothing is a packet was cut wrong, or is junk. Only a peer's counts:
   * a stranger must not be able to switch the joining off.
   */
  #judgeJoining(message: number): void {
    if (this.#passedCount > 0) {
      this.#offloads.succeeded(OFFLOAD.GRO);
      return;
    }
    if (this.#brokenCount === 0) return;
    const slot = this.#probes.slotOf(this.#batch, message);
    if (slot >= 0) this.#offloads.failed(OFFLOAD.GRO, EBADMSG);
  }

  #dispatch(fib: FibView, at: number, length: number, message: number): void {
    const kind = this.#view.getUint8(at) >>> 4;
    switch (kind) {
      case FRAME_IPV4:
      case FRAME_IPV6:
        this.#accept(fib, at, length, message, false);
        return;
      case FRAME_IPV4_PARTIAL:
      case FRAME_IPV6_PARTIAL:
        this.#accept(fib, at, length, message, true);
        return;
      case FRAME_SEALED:
        this.#open(fib, at, length);
        return;
      case FRAME_CONTROL:
        this.#probes.receive(at, length, this.#batch, message);
        return;
      default:
        this.#counters.drop(DROP.RX_UNKNOWN_KIND, 1);
    }
  }

  /** Opens a sealed datagram; what was sealed passes as its kind does, but for its origin. */
  #open(fib: FibView, at: number, length: number): void {
    const slot = this.#sealer.open(at, length);
    if (slot < 0) {
      this.#brokenCount++;
      return;
    }
    const inner = at + SEAL_HEADER_SIZE;
    const innerLength = length - SEAL_OVERHEAD;
    const kind = this.#view.getUint8(inner) >>> 4;
    switch (kind) {
      case FRAME_IPV4:
      case FRAME_IPV6:
      case FRAME_IPV4_PARTIAL:
      case FRAME_IPV6_PARTIAL: {
        const isPartial = kind === FRAME_IPV4_PARTIAL || kind === FRAME_IPV6_PARTIAL;
        this.#accept(fib, inner, innerLength, originOf(slot), isPartial);
        return;
      }
      case FRAME_CONTROL:
        this.#probes.receiveOpened(inner, innerLength, slot);
        return;
      default:
        this.#counters.drop(DROP.RX_UNKNOWN_KIND, 1);
    }
  }

  /**
   * Accepts datagrams of `size` bytes, of `length` bytes in all, that continue what came before
   * them; how many.
   */
  #acceptRun(ip: number, size: number, length: number, message: number): number {
    const joiner = this.#joiner;
    const recent = joiner.recentMessage;
    if (message !== recent && !this.#isSameSource(message, recent)) return 0;
    const slot = joiner.recentSlot;
    const count = joiner.extendRun(ip, size, Math.floor(length / size));
    if (count > 0) this.#count(slot, count, count * size);
    return count;
  }

  #accept(fib: FibView, ip: number, length: number, origin: number, isPartial: boolean): void {
    const joiner = this.#joiner;
    const recent = joiner.recentMessage;
    if (
      (origin === recent || this.#isSameSource(origin, recent)) &&
      joiner.extendRecent(ip, length, isPartial)
    ) {
      this.#count(joiner.recentSlot, 1, length);
      return;
    }
    const packet = this.#packet;
    const fault = packet.parse(this.#memory, ip, length);
    if (fault !== INNER_FAULT.NONE) {
      this.#counters.drop(DROP.RX_SHORT + fault, 1);
      this.#brokenCount++;
      return;
    }
    if (isPartial && packet.transportHeaderLength === 0) {
      this.#counters.drop(DROP.RX_BAD_PARTIAL, 1);
      return;
    }
    if (packet.version === 4 && !this.#isHeaderRight(packet, isPartial)) {
      this.#counters.drop(DROP.RX_BAD_CHECKSUM, 1);
      return;
    }
    const reason = this.#hasPassed(packet, origin) ? -1 : this.#judge(fib, packet, origin);
    if (reason >= 0) {
      this.#counters.drop(reason, 1);
      return;
    }
    if (packet.transportHeaderLength > TCP_HEADER_SIZE && packet.protocol === IPPROTO_TCP) {
      this.#clampMss(fib, packet, isPartial);
    }
    this.#count(this.#passedSlot, 1, length);
    joiner.add(packet, isPartial, origin, this.#passedSlot);
  }

  /** A connection that is being opened: what we send on it must fit the way to the peer. */
  #clampMss(fib: FibView, packet: InnerPacket, isPartial: boolean): void {
    const tcp = packet.ip + packet.headerLength;
    if (!isSyn(this.#view, tcp)) return;
    const mtu = pathMtu(fib, this.#passedRow, this.#counters);
    const place = { tcp, headerLength: packet.transportHeaderLength, isPartial };
    clampMss(this.#view, place, mssFor(mtu, packet.version));
  }

  /** Counts packets of the peer with `slot`, a run of one peer's packets at a time. */
  #count(slot: number, packets: number, bytes: number): void {
    if (slot !== this.#runSlot) this.#flushRun();
    this.#passedCount += packets;
    this.#runSlot = slot;
    this.#runPackets += packets;
    this.#runBytes += bytes;
  }

  #flushRun(): void {
    if (this.#runPackets === 0) return;
    this.#counters.received(this.#runSlot, this.#runPackets, this.#runBytes, this.#nowMs);
    this.#runPackets = 0;
    this.#runBytes = 0;
  }

  /** The IPv4 header checksum, from which the mark of a partial packet is taken out first. */
  #isHeaderRight(packet: InnerPacket, isPartial: boolean): boolean {
    if (isPartial) this.#view.setUint8(packet.ip, this.#view.getUint8(packet.ip) & 0x7f);
    return isIpv4ChecksumRight(this.#memory, packet.ip, packet.headerLength);
  }

  /** Whether a packet with the same addresses from the same source has just passed. */
  #hasPassed(packet: InnerPacket, origin: number): boolean {
    const last = this.#passedIp;
    if (last < 0 || packet.version !== this.#passedVersion) return false;
    if (origin !== this.#passedOrigin && !this.#isSameSource(origin, this.#passedOrigin)) {
      return false;
    }
    const isV4 = packet.version === 4;
    const end = isV4 ? IPV4_TARGET_AT + 4 : IPV6_HEADER_SIZE;
    for (let at = isV4 ? IPV4_SOURCE_AT : IPV6_SOURCE_AT; at < end; at += 4) {
      if (this.#view.getInt32(packet.ip + at) !== this.#view.getInt32(last + at)) return false;
    }
    return true;
  }

  /** Whether two origins that are not equal are one endpoint. */
  #isSameSource(a: number, b: number): boolean {
    if (a < 0 || b < 0) return false;
    const { sourceAddress, sourcePort } = this.#batch;
    return (
      sourcePort[a] === sourcePort[b] &&
      sourceAddress[4 * a + 3] === sourceAddress[4 * b + 3] &&
      sourceAddress[4 * a + 2] === sourceAddress[4 * b + 2] &&
      sourceAddress[4 * a + 1] === sourceAddress[4 * b + 1] &&
      sourceAddress[4 * a] === sourceAddress[4 * b]
    );
  }

  /** Looks both addresses up: -1 and the packet is remembered as passed, or why it must drop. */
  #judge(fib: FibView, packet: InnerPacket, origin: number): number {
    const view = this.#view;
    const { ip, version } = packet;
    const row =
      version === 4
        ? fib.lookupV4(view.getInt32(ip + IPV4_SOURCE_AT))
        : fib.lookupV6(view, ip + IPV6_SOURCE_AT);
    if (row === NO_MATCH) return DROP.RX_UNKNOWN_SOURCE;
    if (row === LOCAL_MATCH) return DROP.RX_OWN_SOURCE;
    if (!this.#isOwner(fib, row, origin)) return DROP.RX_FOREIGN_SOURCE;
    if (origin >= 0 && (fib.flags(row) & ROW_REFUSES_PLAIN) !== 0) return DROP.RX_PLAIN_REFUSED;
    const target =
      version === 4
        ? fib.lookupV4(view.getInt32(ip + IPV4_TARGET_AT))
        : fib.lookupV6(view, ip + IPV6_TARGET_AT);
    if (target !== LOCAL_MATCH) return DROP.RX_FOREIGN_TARGET;
    this.#passedIp = ip;
    this.#passedVersion = version;
    this.#passedOrigin = origin;
    this.#passedRow = row;
    this.#passedSlot = fib.slot(row);
    return -1;
  }

  /**
   * Whether the node that owns `row` is where the packet came from: the port that its lease says,
   * or the one that the packet came to, since a node sends from the port that it sends to.
   */
  #isOwner(fib: FibView, row: number, origin: number): boolean {
    if (origin < 0) return origin === originOf(fib.slot(row));
    const { sourceAddress, sourcePort, localPort } = this.#batch;
    const port = sourcePort[origin]!;
    return fib.isEndpoint(
      row,
      sourceAddress,
      4 * origin,
      port === localPort ? fib.port(row) : port,
    );
  }
}

/** The origin of what was sealed with a key of the peer with `slot`. */
function originOf(slot: number): number {
  return -1 - slot;
}
