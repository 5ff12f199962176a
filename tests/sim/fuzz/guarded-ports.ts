/**
 * TUN and socket in memory for the fuzzer: they give what they are told to, keep what they get, and
 * watch every byte of the arena that nobody has any business with.
 *
 * @module
 */
import { type Arena, createArena, PROBE_AREA_SIZE } from "../../../src/dataplane/forward/arena.ts";
import { createWireMemory } from "../../../src/dataplane/wire/memory.ts";
import type {
  GatherBatch,
  ReceiveBatch,
  SendBatch,
  TunPort,
  TunReadBatch,
  TunWriteBatch,
  UdpPort,
} from "../../../src/host/packet-ports.ts";
import type { Bytes } from "./bytes.ts";
import type { FuzzEndpoint } from "./world.ts";

const CANARY = 0xa5;
/** Behind the end of the arena, where nothing is at all. */
const TAIL_SIZE = 128 * 1024;
const VIRTIO = 10;
const ICMP_SIZE_MAX = 1280;
/** A probe's answer, and what sealing adds. */
const ANSWER_SIZE = 40;
const SEALED_ANSWER_SIZE = ANSWER_SIZE + 32;
/** Bytes behind a packet that are looked at each time, and how often all of them are. */
const NEAR = 2048;
const WIDE_CHECK_PERIOD = 16;
const EINVAL = 22;
const EAGAIN = 11;

const zeros = Buffer.alloc(PROBE_AREA_SIZE);
const canaries = Buffer.alloc(256 * 1024, CANARY);

/** One message of the socket: equal datagrams behind each other. */
export interface Message {
  readonly bytes: Bytes;
  /** Bytes of each but the last; 0: it is one. */
  readonly segmentSize: number;
  readonly isTruncated: boolean;
  readonly source: FuzzEndpoint;
}

/** A datagram that left. */
export interface SentDatagram {
  readonly address: readonly number[];
  readonly port: number;
  readonly bytes: Bytes;
}

/** An arena full of canaries, with more of them behind its end. */
export class GuardedArena {
  readonly arena: Arena;
  readonly #bytes: Buffer;

  constructor() {
    const arena = createArena();
    this.arena = { ...arena, memory: createWireMemory(arena.sealEnd + TAIL_SIZE) };
    const { bytes } = this.arena.memory;
    bytes.fill(CANARY);
    // A question's padding is zero from the start.
    bytes.fill(0, arena.probeAt, arena.probeAt + PROBE_AREA_SIZE);
    this.#bytes = Buffer.from(bytes.buffer);
  }

  /** Throws when a byte from `from` up to `to` was written. */
  check(from: number, to: number, what: string): void {
    for (let at = from; at < to; at += canaries.length) {
      const end = Math.min(to, at + canaries.length);
      if (this.#bytes.compare(canaries, 0, end - at, at, end) === 0) continue;
      const first = this.#bytes.subarray(at, end).findIndex((byte) => byte !== CANARY);
      throw new Error(`written outside the packet: byte ${at + first - from} of ${what}`);
    }
  }

  /** Makes them canaries again. */
  refill(from: number, to: number): void {
    this.#bytes.fill(CANARY, from, to);
  }

  /** Throws when anything was written that neither direction may write. */
  checkAlways(): void {
    const { virtioAt, virtioSlotSize, writeCount, icmpAt, probeAt, sealEnd } = this.arena;
    for (let slot = 0; slot < writeCount; slot++) {
      const at = virtioAt + slot * virtioSlotSize;
      this.check(at + VIRTIO, at + virtioSlotSize, "the room between virtio-net headers");
    }
    this.check(icmpAt + VIRTIO + ICMP_SIZE_MAX, probeAt, "the room behind ICMP errors");
    if (this.#bytes.compare(zeros, 0, PROBE_AREA_SIZE, probeAt, probeAt + PROBE_AREA_SIZE) !== 0) {
      throw new Error("written into the question's area");
    }
    const answers = probeAt + PROBE_AREA_SIZE;
    const sealed = answers + PROBE_AREA_SIZE;
    this.check(answers + ANSWER_SIZE, sealed, "the room behind answers");
    this.check(sealed + SEALED_ANSWER_SIZE, sealed + PROBE_AREA_SIZE, "behind sealed answers");
    this.check(sealEnd, sealEnd + TAIL_SIZE, "the memory behind the arena");
  }

  /** The same for what only the other direction may write. */
  checkTransmitAreas(): void {
    const { headersAt, headerCount, sealAt, sealEnd } = this.arena;
    const isUsed = this.#bytes[headersAt] !== CANARY;
    if (!isUsed) this.check(0, headersAt + 128 * headerCount, "what the TUN is read into");
    if (!isUsed) this.check(sealAt, sealEnd, "the room for sealed datagrams");
  }

  checkReceiveSlots(): void {
    const { offset, slotSize } = this.arena.receive;
    this.check(offset[0]!, offset.at(-1)! + slotSize, "what the socket is read into");
  }
}

/** The TUN: frames that wait, frames that were written. */
export class GuardedTun implements TunPort {
  readonly #guard: GuardedArena;
  waiting: Bytes[] = [];
  written: Bytes[] = [];
  /** Whether the next joined packet is refused, as an old kernel does. */
  refuses: () => boolean = () => false;
  #end = 0;
  #gaps: number[] = [];
  #checkCount = 0;

  constructor(guard: GuardedArena) {
    this.#guard = guard;
  }

  read(batch: TunReadBatch): number {
    if (this.#gaps.length > 0) this.checkAll();
    let offset = batch.start;
    let count = 0;
    while (count < batch.offset.length && offset + batch.packetSizeMax <= batch.end) {
      const frame = this.waiting.shift();
      if (frame === undefined) break;
      this.#guard.arena.memory.bytes.set(frame, offset);
      batch.offset[count] = offset;
      batch.length[count++] = frame.length;
      const end = offset + frame.length;
      offset += Math.ceil(frame.length / batch.step) * batch.step;
      this.#gaps.push(end, offset);
      this.#end = offset;
    }
    return count;
  }

  /** Looks at the room between the frames of the last batch and behind them. */
  checkAll(): void {
    const { start, end } = this.#guard.arena.read;
    this.#guard.check(0, start, "the room before the frames");
    for (let gap = 0; gap < this.#gaps.length; gap += 2) {
      this.#guard.check(this.#gaps[gap]!, this.#gaps[gap + 1]!, `the room behind frame ${gap / 2}`);
    }
    const behind = Math.max(start, this.#end);
    const reach = this.#checkCount++ % WIDE_CHECK_PERIOD === 0 ? end : Math.min(end, behind + NEAR);
    this.#guard.check(behind, reach, "the room behind the frames");
    this.#guard.refill(start, this.#end);
    this.#gaps = [];
    this.#end = 0;
  }

  write(batch: TunWriteBatch, from: number): number {
    for (let message = from; message < batch.count; message++) {
      const frame = gather(this.#guard.arena, batch, message);
      const isJoined = frame[1] !== 0;
      if (isJoined && this.refuses()) return message > from ? message - from : -EINVAL;
      this.written.push(frame);
    }
    return batch.count - from;
  }
}

/** The socket: messages that wait, datagrams that were sent. */
export class GuardedUdp implements UdpPort {
  readonly #guard: GuardedArena;
  waiting: Message[] = [];
  sent: SentDatagram[] = [];
  /** Whether the socket is full for now. */
  isFull: () => boolean = () => false;
  #used = 0;
  #checkCount = 0;

  constructor(guard: GuardedArena) {
    this.#guard = guard;
  }

  receive(batch: ReceiveBatch): number {
    if (this.#used > 0) this.checkAll();
    let count = 0;
    while (count < batch.offset.length && this.waiting.length > 0) {
      const message = this.waiting.shift()!;
      this.#guard.arena.memory.bytes.set(message.bytes, batch.offset[count]!);
      batch.length[count] = message.bytes.length;
      batch.segmentSize[count] = message.segmentSize;
      batch.truncated[count] = message.isTruncated ? 1 : 0;
      batch.sourceAddress.set(message.source.words, 4 * count);
      batch.sourcePort[count++] = message.source.port;
    }
    this.#used = count;
    return count;
  }

  /** Looks at the rest of each slot that the last batch used. */
  checkAll(): void {
    const { offset, length, slotSize } = this.#guard.arena.receive;
    const reach = this.#checkCount++ % WIDE_CHECK_PERIOD === 0 ? slotSize : NEAR;
    for (let slot = 0; slot < this.#used; slot++) {
      const at = offset[slot]!;
      const [from, end] = [at + length[slot]!, at + slotSize];
      this.#guard.check(from, Math.min(end, from + reach), `the room behind message ${slot}`);
      this.#guard.refill(at, from);
    }
    this.#used = 0;
  }

  send(batch: SendBatch, from: number): number {
    for (let message = from; message < batch.count; message++) {
      if (this.isFull()) return message > from ? message - from : -EAGAIN;
      const bytes = gather(this.#guard.arena, batch, message);
      const size = batch.segmentSize[message]!;
      const step = size === 0 ? Math.max(1, bytes.length) : size;
      const address = [...batch.targetAddress.subarray(4 * message, 4 * message + 4)];
      const port = batch.targetPort[message]!;
      for (let at = 0; at < bytes.length; at += step) {
        this.sent.push({ address, port, bytes: bytes.slice(at, at + step) });
      }
    }
    return batch.count - from;
  }

  sendWhole(batch: SendBatch, from: number): number {
    return this.send(batch, from);
  }
}

function gather({ memory }: Arena, batch: GatherBatch, message: number): Bytes {
  const [first, end] = [batch.pieceStart[message]!, batch.pieceStart[message + 1]!];
  let size = 0;
  for (let piece = first; piece < end; piece++) size += batch.pieceLength[piece]!;
  const out = new Uint8Array(size);
  let at = 0;
  for (let piece = first; piece < end; piece++) {
    const from = batch.pieceOffset[piece]!;
    const length = batch.pieceLength[piece]!;
    if (length < 0 || from < 0) throw new Error(`a piece of ${length} bytes at ${from}`);
    out.set(memory.bytes.subarray(from, from + length), at);
    at += length;
  }
  return out;
}
