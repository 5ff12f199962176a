/**
 * The UDP port on a real socket: sendmmsg with UDP_SEGMENT, recvmmsg with UDP_GRO.
 *
 * Source: sendmmsg(2), recvmmsg(2), cmsg(3), udp(7). Layouts are those of the kernel on 64-bit
 * machines; glibc and musl differ only in which bytes they call padding, which stay zero here.
 *
 *   struct mmsghdr (64 bytes)              control message (24 bytes)
 *    0 name pointer      32 control          0 length
 *    8 name length       40 control length   8 level (SOL_UDP)
 *   16 iovec pointer     48 flags           12 type
 *   24 iovec count       56 result length   16 segment size (u16 to send, i32 received)
 *
 * Runs in the packet loop's thread. Allocates nothing after construction, never throws.
 *
 * @module
 */
import { assert } from "../../base/assert.ts";
import type { PacketMemory, ReceiveBatch, SendBatch, UdpPort } from "../packet-ports.ts";
import { EAGAIN, EINTR } from "../sys/errno.ts";
import { lastErrno, libc, syscallNumbers } from "../sys/libc.ts";
import {
  addressOf,
  IOVEC_SIZE,
  IovecArray,
  type KernelMemory,
  kernelBytes,
  putAddress,
} from "../sys/memory.ts";
import {
  AF_INET,
  AF_INET6,
  putSocketTarget,
  SOCKADDR_SIZE,
  socketAddressSize,
  takeSocketSource,
} from "./socket-address.ts";

const MMSGHDR_SIZE = 64;
const MSG_NAMELEN = 8;
const MSG_IOV = 16;
const MSG_IOVLEN = 24;
const MSG_CONTROL = 32;
const MSG_CONTROLLEN = 40;
const MSG_FLAGS = 48;
const MSG_RESULT = 56;

/** One control message with room for its data: CMSG_SPACE(4). */
const CONTROL_SIZE = 24;
/** CMSG_LEN(2): header and one u16. */
const SEGMENT_CONTROL_LENGTH = 18;
/** CMSG_LEN(4): header and one i32. */
const GRO_CONTROL_LENGTH = 20;
const CMSG_LEVEL = 8;
const CMSG_TYPE = 12;
const CMSG_DATA = 16;
const SOL_UDP = 17;
const UDP_SEGMENT = 103;
const UDP_GRO = 104;

/** Options of ip(7) and ipv6(7); the two families agree on the values. */
const MTU_DISCOVER = {
  4: { level: 0, name: 10 },
  6: { level: 41, name: 23 },
} as const;
/** Never "don't fragment", the link's MTU; always, and no other limit than the link's. */
const PMTUDISC_OMIT = 5;
const PMTUDISC_PROBE = 3;

const MSG_TRUNC = 0x20;
const MSG_DONTWAIT = 0x40;

export interface UdpPortOptions {
  readonly fd: number;
  readonly family: 4 | 6;
  /** Most messages of one send batch. */
  readonly sendCountMax: number;
  /** Most pieces of one send batch, all messages together. */
  readonly pieceCountMax: number;
  /** Slots of the receive batch. */
  readonly receiveCountMax: number;
}

/** Sends from and receives into positions of one arena. */
export class UdpSocketPort implements UdpPort {
  readonly #fd: number;
  readonly #family: 4 | 6;
  readonly #base: number;
  readonly #libc = libc();
  readonly #sendmmsg = syscallNumbers().sendmmsg;
  readonly #sendCountMax: number;
  readonly #sendHeaders: KernelMemory;
  readonly #sendNames: KernelMemory;
  readonly #sendControls: KernelMemory;
  readonly #sendIovecs: IovecArray;
  readonly #receiveCountMax: number;
  readonly #receiveHeaders: KernelMemory;
  readonly #receiveNames: KernelMemory;
  readonly #receiveControls: KernelMemory;
  readonly #receiveIovecs: IovecArray;
  /** The batch that the headers point into, and how many of them the kernel has written to. */
  #receiveBatch: ReceiveBatch | undefined = undefined;
  #usedSlotCount = 0;
  /** Values of the option that says "don't fragment": on, then off. */
  readonly #discover = kernelBytes(8);

  constructor(memory: PacketMemory, options: UdpPortOptions) {
    this.#fd = options.fd;
    this.#family = options.family;
    this.#base = addressOf(memory.bytes);
    this.#sendCountMax = options.sendCountMax;
    this.#sendHeaders = kernelBytes(options.sendCountMax * MMSGHDR_SIZE);
    this.#sendNames = kernelBytes(options.sendCountMax * SOCKADDR_SIZE);
    this.#sendControls = kernelBytes(options.sendCountMax * CONTROL_SIZE);
    this.#sendIovecs = new IovecArray(options.pieceCountMax, this.#base);
    this.#receiveCountMax = options.receiveCountMax;
    this.#receiveHeaders = kernelBytes(options.receiveCountMax * MMSGHDR_SIZE);
    this.#receiveNames = kernelBytes(options.receiveCountMax * SOCKADDR_SIZE);
    this.#receiveControls = kernelBytes(options.receiveCountMax * CONTROL_SIZE);
    this.#receiveIovecs = new IovecArray(options.receiveCountMax, this.#base);
    this.#discover.view.setInt32(0, PMTUDISC_PROBE, true);
    this.#discover.view.setInt32(4, PMTUDISC_OMIT, true);
    this.#layOutSend();
    this.#layOutReceive();
  }

  send(batch: SendBatch, from: number): number {
    assert(batch.count <= this.#sendCountMax, "send batch must fit its headers");
    const count = batch.count - from;
    if (count <= 0) return 0;
    this.#fillSend(batch, from);
    const address = this.#sendHeaders.address + from * MMSGHDR_SIZE;
    const sent = this.#libc.syscall(this.#sendmmsg, this.#fd, address, count, MSG_DONTWAIT, 0, 0);
    return sent < 0 ? -lastErrno() : sent;
  }

  /** There is no flag for one message of IPv4, so the socket is another one for its time. */
  sendWhole(batch: SendBatch, from: number): number {
    const { level, name } = MTU_DISCOVER[this.#family];
    const { address } = this.#discover;
    if (this.#libc.setsockopt(this.#fd, level, name, address, 4) < 0) return -lastErrno();
    const result = this.send(batch, from);
    this.#libc.setsockopt(this.#fd, level, name, address + 4, 4);
    return result;
  }

  receive(batch: ReceiveBatch): number {
    const count = Math.min(batch.offset.length, this.#receiveCountMax);
    this.#prepareSlots(batch, batch === this.#receiveBatch ? this.#usedSlotCount : count);
    this.#receiveBatch = batch;
    const headers = this.#receiveHeaders.address;
    const received = this.#libc.recvmmsg(this.#fd, headers, count, MSG_DONTWAIT, 0);
    this.#usedSlotCount = Math.max(0, received);
    if (received < 0) {
      const errno = lastErrno();
      return errno === EAGAIN || errno === EINTR ? 0 : -errno;
    }
    for (let slot = 0; slot < received; slot++) this.#takeReceived(batch, slot);
    return received;
  }

  #prepareSlots(batch: ReceiveBatch, count: number): void {
    const { view } = this.#receiveHeaders;
    for (let slot = 0; slot < count; slot++) {
      // The kernel overwrites these with what it used.
      const header = slot * MMSGHDR_SIZE;
      view.setUint32(header + MSG_NAMELEN, SOCKADDR_SIZE, true);
      view.setUint32(header + MSG_CONTROLLEN, CONTROL_SIZE, true);
      this.#receiveIovecs.set(slot, batch.offset[slot]!, batch.slotSize);
    }
  }

  #takeReceived(batch: ReceiveBatch, slot: number): void {
    const header = slot * MMSGHDR_SIZE;
    const control = slot * CONTROL_SIZE;
    const headers = this.#receiveHeaders.view;
    const controls = this.#receiveControls.view;
    const isJoined =
      headers.getUint32(header + MSG_CONTROLLEN, true) >= GRO_CONTROL_LENGTH &&
      controls.getInt32(control + CMSG_LEVEL, true) === SOL_UDP &&
      controls.getInt32(control + CMSG_TYPE, true) === UDP_GRO;
    batch.length[slot] = headers.getUint32(header + MSG_RESULT, true);
    batch.segmentSize[slot] = isJoined ? controls.getInt32(control + CMSG_DATA, true) : 0;
    batch.truncated[slot] = (headers.getUint32(header + MSG_FLAGS, true) & MSG_TRUNC) === 0 ? 0 : 1;
    const name = slot * SOCKADDR_SIZE;
    batch.sourcePort[slot] = this.#receiveNames.view.getUint16(name + 2);
    takeSocketSource(this.#receiveNames.view, name, batch.sourceAddress, slot * 4);
  }

  #fillSend(batch: SendBatch, from: number): void {
    const headers = this.#sendHeaders.view;
    const names = this.#sendNames.view;
    for (let message = from; message < batch.count; message++) {
      const header = message * MMSGHDR_SIZE;
      const first = batch.pieceStart[message]!;
      const size = batch.segmentSize[message]!;
      putAddress(headers, header + MSG_IOV, this.#sendIovecs.address + first * IOVEC_SIZE);
      headers.setUint32(header + MSG_IOVLEN, batch.pieceStart[message + 1]! - first, true);
      headers.setUint32(header + MSG_CONTROLLEN, size === 0 ? 0 : CONTROL_SIZE, true);
      this.#sendControls.view.setUint16(message * CONTROL_SIZE + CMSG_DATA, size, true);
      const name = message * SOCKADDR_SIZE;
      names.setUint16(name + 2, batch.targetPort[message]!);
      putSocketTarget(names, name, batch.targetAddress, message * 4);
    }
    const pieceCount = batch.pieceStart[batch.count]!;
    for (let piece = batch.pieceStart[from]!; piece < pieceCount; piece++) {
      this.#sendIovecs.set(piece, batch.pieceOffset[piece]!, batch.pieceLength[piece]!);
    }
  }

  #layOutSend(): void {
    const family = this.#family === 4 ? AF_INET : AF_INET6;
    for (let message = 0; message < this.#sendCountMax; message++) {
      const header = message * MMSGHDR_SIZE;
      const control = message * CONTROL_SIZE;
      const view = this.#sendHeaders.view;
      putAddress(view, header, this.#sendNames.address + message * SOCKADDR_SIZE);
      view.setUint32(header + MSG_NAMELEN, socketAddressSize(family), true);
      putAddress(view, header + MSG_CONTROL, this.#sendControls.address + control);
      this.#sendNames.view.setUint16(message * SOCKADDR_SIZE, family, true);
      putAddress(this.#sendControls.view, control, SEGMENT_CONTROL_LENGTH);
      this.#sendControls.view.setInt32(control + CMSG_LEVEL, SOL_UDP, true);
      this.#sendControls.view.setInt32(control + CMSG_TYPE, UDP_SEGMENT, true);
    }
  }

  #layOutReceive(): void {
    for (let slot = 0; slot < this.#receiveCountMax; slot++) {
      const header = slot * MMSGHDR_SIZE;
      const view = this.#receiveHeaders.view;
      putAddress(view, header, this.#receiveNames.address + slot * SOCKADDR_SIZE);
      putAddress(view, header + MSG_IOV, this.#receiveIovecs.address + slot * IOVEC_SIZE);
      view.setUint32(header + MSG_IOVLEN, 1, true);
      putAddress(view, header + MSG_CONTROL, this.#receiveControls.address + slot * CONTROL_SIZE);
    }
  }
}
