/**
 * Datagrams on their way to the socket, joined into few messages.
 *
 * Consecutive datagrams of equal size to one endpoint become one message that the kernel cuts
 * again (UDP_SEGMENT): a trip through its stack for 64 of them. On the wire nothing changes.
 * The last datagram of a message may be shorter, and closes it. Order is kept.
 *
 * @module
 */
import type { SendBatch, UdpPort } from "../../host/packet-ports.ts";
import { type FibView, ROW_SEALS } from "../fib/table.ts";
import { SEAL_OVERHEAD } from "../seal/limits.ts";
import { type Arena, HEADER_SIZE } from "./arena.ts";
import { DROP, type LoopCounters, TOTAL } from "./counters.ts";
import { OFFLOAD, type OffloadState } from "./offload-state.ts";
import type { Sealer } from "./sealer.ts";

/** UDP_MAX_SEGMENTS of Linux before 6.9 (include/linux/udp.h); 128 since. */
const SEGMENTS_PER_MESSAGE_MAX = 64;
/** Largest payload of an IPv4 datagram; a larger message fails with EMSGSIZE. */
const MESSAGE_SIZE_MAX = 65_507;

const EIO = 5;
const EAGAIN = 11;
const EINTR = 4;
const EINVAL = 22;
const EMSGSIZE = 90;
const EOPNOTSUPP = 95;
const ENETDOWN = 100;
const ENETUNREACH = 101;
const EHOSTUNREACH = 113;

/** Segments whose headers lie in a row, and their payloads too. */
export interface SegmentRun {
  readonly headerLength: number;
  /** Position of the first one's payload. */
  readonly payloadAt: number;
  /** Bytes of each one's payload, but for the last. */
  readonly payloadLength: number;
  readonly lastPayloadLength: number;
}

export interface SendQueueParts {
  readonly arena: Arena;
  readonly udp: UdpPort;
  readonly counters: LoopCounters;
  readonly offloads: OffloadState;
  readonly sealer: Sealer;
}

/** Collects datagrams as positions in the arena; sends, and sends again what GSO broke. */
export class SendQueue {
  readonly #udp: UdpPort;
  readonly #counters: LoopCounters;
  readonly #offloads: OffloadState;
  readonly #sealer: Sealer;
  readonly #batch: SendBatch;
  readonly #resend: SendBatch;
  readonly #messageMax: number;
  readonly #pieceMax: number;
  readonly #slot: Int32Array;
  readonly #segments: Int32Array;
  readonly #bytes: Int32Array;
  /** Bytes of each message that sealing added. */
  readonly #overhead: Int32Array;
  #pieceCount = 0;
  #sent = 0;
  /** Row of the last message while more may join it, else -1. */
  #openRow = -1;

  constructor({ arena, udp, counters, offloads, sealer }: SendQueueParts) {
    this.#udp = udp;
    this.#counters = counters;
    this.#offloads = offloads;
    this.#sealer = sealer;
    this.#batch = arena.send;
    this.#resend = arena.resend;
    this.#messageMax = arena.send.segmentSize.length;
    this.#pieceMax = arena.send.pieceOffset.length;
    this.#slot = new Int32Array(this.#messageMax);
    this.#segments = new Int32Array(this.#messageMax);
    this.#bytes = new Int32Array(this.#messageMax);
    this.#overhead = new Int32Array(this.#messageMax);
  }

  /** Whether something waits to be sent. */
  get isEmpty(): boolean {
    return this.#batch.count === 0;
  }

  /** Whether `append` would find room. */
  get hasRoom(): boolean {
    return this.hasRoomFor(1);
  }

  /** Whether `append` would find room `count` times. */
  hasRoomFor(count: number): boolean {
    return (
      this.#batch.count + count <= this.#messageMax &&
      this.#pieceCount + 2 * count <= this.#pieceMax &&
      this.#sealer.hasRoomFor(count)
    );
  }

  /** How many datagrams that are not sealed `appendRun` would find room for. */
  get roomCount(): number {
    const messages = this.#messageMax - this.#batch.count;
    return Math.min(messages, (this.#pieceMax - this.#pieceCount) >>> 1);
  }

  /** Lets no datagram join what is queued: rows will mean something else. */
  close(): void {
    this.#openRow = -1;
  }

  /**
   * Says that `count` datagrams of one super-packet follow, `bytes` together: when they do not fit
   * the open message, they begin another. What leaves in one message arrives in one, and so the
   * receiver can write it in one; the pieces of two super-packets would take two.
   */
  begin(count: number, bytes: number): void {
    if (this.#openRow < 0) return;
    const message = this.#batch.count - 1;
    const isFitting =
      this.#segments[message]! + count <= SEGMENTS_PER_MESSAGE_MAX &&
      this.#bytes[message]! + bytes <= MESSAGE_SIZE_MAX;
    if (!isFitting) this.#openRow = -1;
  }

  /**
   * Queues one datagram for `row`: `headLength` bytes at `head`, then `tailLength` at `tail` (none
   * when 0), sealed when the row says so. The bytes are borrowed until `flush` has sent all. The
   * caller asked `hasRoom`.
   */
  append(
    fib: FibView,
    row: number,
    head: number,
    headLength: number,
    tail: number,
    tailLength: number,
  ): void {
    if ((fib.flags(row) & ROW_SEALS) === 0) {
      this.#append(fib, row, head, headLength, tail, tailLength);
      return;
    }
    const length = this.#sealer.seal(fib.slot(row), head, headLength, tail, tailLength);
    if (length === 0) return;
    this.#append(fib, row, this.#sealer.sealedAt, length, 0, 0);
    const message = this.#batch.count - 1;
    this.#overhead[message] = this.#overhead[message]! + SEAL_OVERHEAD;
  }

  /**
   * Queues `count` datagrams of one super-packet for `row`, which does not seal: headers in steps
   * of HEADER_SIZE bytes from `head` on, payloads one behind the other, as `run` says. The same as
   * one `append` after the other. The caller asked `roomCount`.
   */
  appendRun(fib: FibView, row: number, run: SegmentRun, head: number, count: number): void {
    const { headerLength, payloadLength, lastPayloadLength } = run;
    let { payloadAt } = run;
    let headAt = head;
    let left = count;
    while (left > 0) {
      const size = headerLength + (left === 1 ? lastPayloadLength : payloadLength);
      let message = this.#batch.count - 1;
      if (this.#openRow < 0 || !this.#canJoin(fib, row, message, size)) {
        message = this.#open(fib, row, size);
      }
      const taken = Math.min(left, this.#joinableCount(message, size));
      for (let i = 1; i <= taken; i++) {
        const length = i === left ? lastPayloadLength : payloadLength;
        this.#putPiece(headAt, headerLength);
        if (length > 0) this.#putPiece(payloadAt, length);
        headAt += HEADER_SIZE;
        payloadAt += length;
      }
      left -= taken;
      const missing = left === 0 && taken > 1 ? payloadLength - lastPayloadLength : 0;
      this.#batch.pieceStart[message + 1] = this.#pieceCount;
      this.#segments[message] = this.#segments[message]! + taken;
      this.#bytes[message] = this.#bytes[message]! + taken * size - missing;
      if (missing > 0 || size < this.#batch.segmentSize[message]!) this.#openRow = -1;
    }
  }

  /** How many datagrams of `size` bytes `message` can take, of which it takes one. */
  #joinableCount(message: number, size: number): number {
    const isClosing = this.#openRow < 0 || size < this.#batch.segmentSize[message]!;
    if (isClosing) return 1;
    const bytesLeft = MESSAGE_SIZE_MAX - this.#bytes[message]!;
    const segmentsLeft = SEGMENTS_PER_MESSAGE_MAX - this.#segments[message]!;
    return Math.max(1, Math.min(segmentsLeft, Math.floor(bytesLeft / size)));
  }

  #append(
    fib: FibView,
    row: number,
    head: number,
    headLength: number,
    tail: number,
    tailLength: number,
  ): void {
    const size = headLength + tailLength;
    let message = this.#batch.count - 1;
    if (this.#openRow < 0 || !this.#canJoin(fib, row, message, size)) {
      message = this.#open(fib, row, size);
    }
    this.#putPiece(head, headLength);
    if (tailLength > 0) this.#putPiece(tail, tailLength);
    this.#batch.pieceStart[message + 1] = this.#pieceCount;
    this.#segments[message] = this.#segments[message]! + 1;
    this.#bytes[message] = this.#bytes[message]! + size;
    if (size < this.#batch.segmentSize[message]!) this.#openRow = -1;
  }

  /**
   * Sends what is queued. False when the socket is full: the rest stays, and nothing may be
   * appended until a later `flush` gives true.
   */
  flush(): boolean {
    const batch = this.#batch;
    this.#openRow = -1;
    if (this.#sent === 0) this.#markSingles();
    while (this.#sent < batch.count) {
      const result = this.#udp.send(batch, this.#sent);
      if (result > 0) {
        for (let i = 0; i < result; i++) this.#countSent(this.#sent + i);
        this.#sent += result;
      } else if (isFull(-result)) {
        this.#counters.add(TOTAL.TX_PAUSES, 1);
        return false;
      } else {
        this.#handleFailure(this.#sent, -result);
        this.#sent++;
      }
    }
    batch.count = 0;
    this.#sent = 0;
    this.#pieceCount = 0;
    this.#sealer.reset();
    return true;
  }

  #canJoin(fib: FibView, row: number, message: number, size: number): boolean {
    return (
      size <= this.#batch.segmentSize[message]! &&
      this.#segments[message]! < SEGMENTS_PER_MESSAGE_MAX &&
      this.#bytes[message]! + size <= MESSAGE_SIZE_MAX &&
      this.#slot[message] === fib.slot(row) &&
      fib.isSameEndpoint(row, this.#openRow)
    );
  }

  #open(fib: FibView, row: number, size: number): number {
    const batch = this.#batch;
    const message = batch.count++;
    batch.pieceStart[message] = this.#pieceCount;
    batch.segmentSize[message] = size;
    batch.targetPort[message] = fib.port(row);
    fib.copyEndpoint(row, batch.targetAddress, 4 * message);
    this.#slot[message] = fib.slot(row);
    this.#segments[message] = 0;
    this.#bytes[message] = 0;
    this.#overhead[message] = 0;
    this.#openRow = this.#offloads.isOn(OFFLOAD.GSO) ? row : -1;
    return message;
  }

  #putPiece(offset: number, length: number): void {
    this.#batch.pieceOffset[this.#pieceCount] = offset;
    this.#batch.pieceLength[this.#pieceCount] = length;
    this.#pieceCount++;
  }

  /** A message of one datagram needs no cutting, and works where cutting does not. */
  #markSingles(): void {
    for (let message = 0; message < this.#batch.count; message++) {
      if (this.#segments[message] === 1) this.#batch.segmentSize[message] = 0;
    }
  }

  #countSent(message: number): void {
    const bytes = this.#bytes[message]! - this.#overhead[message]!;
    this.#counters.sent(this.#slot[message]!, this.#segments[message]!, bytes);
    this.#counters.add(TOTAL.TX_MESSAGES, 1);
    if (this.#segments[message]! > 1) this.#offloads.succeeded(OFFLOAD.GSO);
  }

  #handleFailure(message: number, errno: number): void {
    const segments = this.#segments[message]!;
    if (segments > 1 && isGsoFailure(errno)) {
      // Only a message that works in single datagrams tells something about cutting.
      if (this.#sendSingly(message)) this.#offloads.failed(OFFLOAD.GSO, errno);
      return;
    }
    this.#counters.drop(dropReason(errno), segments);
  }

  /** Sends a message that the kernel would not cut, one datagram at a time; true if any left. */
  #sendSingly(message: number): boolean {
    const { pieceOffset, pieceLength } = this.#batch;
    const size = this.#batch.segmentSize[message]!;
    const end = this.#batch.pieceStart[message + 1]!;
    const resend = this.#resend;
    let pieces = 0;
    let filled = 0;
    resend.count = 0;
    resend.pieceStart[0] = 0;
    for (let piece = this.#batch.pieceStart[message]!; piece < end; piece++) {
      resend.pieceOffset[pieces] = pieceOffset[piece]!;
      resend.pieceLength[pieces++] = pieceLength[piece]!;
      filled += pieceLength[piece]!;
      if (filled < size && piece < end - 1) continue;
      const single = resend.count++;
      resend.pieceStart[single + 1] = pieces;
      resend.segmentSize[single] = 0;
      resend.targetPort[single] = this.#batch.targetPort[message]!;
      for (let word = 0; word < 4; word++) {
        resend.targetAddress[4 * single + word] = this.#batch.targetAddress[4 * message + word]!;
      }
      filled = 0;
    }
    return this.#flushResend(message);
  }

  #flushResend(message: number): boolean {
    const slot = this.#slot[message]!;
    const overhead = this.#overhead[message] === 0 ? 0 : SEAL_OVERHEAD;
    let hasSent = false;
    let done = 0;
    while (done < this.#resend.count) {
      const result = this.#udp.send(this.#resend, done);
      if (result <= 0) this.#counters.drop(dropReason(-result), 1);
      for (let i = 0; i < result; i++) {
        this.#counters.sent(slot, 1, this.#resendSize(done + i) - overhead);
      }
      if (result > 0) this.#counters.add(TOTAL.TX_MESSAGES, result);
      hasSent = hasSent || result > 0;
      done += result > 0 ? result : 1;
    }
    return hasSent;
  }

  #resendSize(single: number): number {
    const { pieceStart, pieceLength } = this.#resend;
    let size = 0;
    for (let p = pieceStart[single]!; p < pieceStart[single + 1]!; p++) size += pieceLength[p]!;
    return size;
  }
}

/** The socket's buffer is full, or a signal came: the same call works later. */
function isFull(errno: number): boolean {
  return errno === 0 || errno === EAGAIN || errno === EINTR;
}

function isGsoFailure(errno: number): boolean {
  return errno === EINVAL || errno === EIO || errno === EMSGSIZE || errno === EOPNOTSUPP;
}

function dropReason(errno: number): number {
  switch (errno) {
    case EMSGSIZE:
      return DROP.TX_UNDERLAY_TOO_BIG;
    case ENETUNREACH:
    case EHOSTUNREACH:
    case ENETDOWN:
      return DROP.TX_UNDERLAY_UNREACHABLE;
    default:
      return DROP.TX_SEND_FAILED;
  }
}
