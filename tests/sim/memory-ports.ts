/**
 * TUN and socket in memory: the packet ports without a kernel, for tests and simulations.
 *
 * Faithful in what the loop can see: messages cut by segment size, equal datagrams joined on
 * receive, full buffers, refused calls. Bytes are copied, so a test may look at them later.
 *
 * @module
 */
import type {
  GatherBatch,
  PacketMemory,
  ReceiveBatch,
  SendBatch,
  TunPort,
  TunReadBatch,
  TunWriteBatch,
  UdpPort,
} from "../../src/host/packet-ports.ts";

const EAGAIN = 11;
const EMSGSIZE = 90;
/** Outer IPv4 and UDP headers. */
const OVERHEAD = 28;
const DATAGRAM_SIZE_MAX = 65_507;
const JOINED_COUNT_MAX = 64;

/** A TUN whose kernel side is two lists of frames, each behind its virtio-net header. */
export class MemoryTun implements TunPort {
  readonly #memory: PacketMemory;
  /** What the loop will read. */
  readonly waiting: Uint8Array<ArrayBuffer>[] = [];
  /** What the loop wrote. */
  readonly written: Uint8Array<ArrayBuffer>[] = [];
  /** Number of the error with which a frame is refused, 0 to take it. */
  refuse: (frame: Uint8Array<ArrayBuffer>) => number = () => 0;
  /** Number of the error that reading gives while it is not 0. */
  readErrno = 0;

  constructor(memory: PacketMemory) {
    this.#memory = memory;
  }

  read(batch: TunReadBatch): number {
    if (this.readErrno !== 0) return -this.readErrno;
    let offset = batch.start;
    let count = 0;
    while (count < batch.offset.length && offset + batch.packetSizeMax <= batch.end) {
      const frame = this.waiting.shift();
      if (frame === undefined) break;
      this.#memory.bytes.set(frame.subarray(0, batch.packetSizeMax), offset);
      batch.offset[count] = offset;
      batch.length[count++] = Math.min(frame.length, batch.packetSizeMax);
      offset += Math.ceil(frame.length / batch.step) * batch.step;
    }
    return count;
  }

  write(batch: TunWriteBatch, from: number): number {
    for (let message = from; message < batch.count; message++) {
      const frame = gather(this.#memory, batch, message);
      const errno = this.refuse(frame);
      if (errno !== 0) return message > from ? message - from : -errno;
      this.written.push(frame);
    }
    return batch.count - from;
  }
}

interface Datagram {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly sourceAddress: readonly number[];
  readonly sourcePort: number;
}

export interface MemoryEndpoint {
  /** Four words, most significant first. */
  readonly address: readonly number[];
  readonly port: number;
}

/** A wire that joins sockets by address and port, and can be looked at. */
export class MemoryWire {
  readonly #sockets = new Map<string, MemoryUdp>();
  /** Every datagram that was sent, in order. */
  readonly sent: { readonly from: MemoryEndpoint; readonly bytes: Uint8Array<ArrayBuffer> }[] = [];

  attach(socket: MemoryUdp): void {
    this.#sockets.set(wireKey(socket.endpoint.address, socket.endpoint.port), socket);
  }

  /** Largest outer packet that crosses whole. Larger ones cross in fragments, if they may. */
  mtu = 65_535;
  /** Whether fragments are lost too. */
  isBlackHole = false;

  deliver(
    from: MemoryEndpoint,
    address: readonly number[],
    port: number,
    bytes: Uint8Array<ArrayBuffer>,
    isWhole = false,
  ): void {
    this.sent.push({ from, bytes });
    if (bytes.length + OVERHEAD > this.mtu && (isWhole || this.isBlackHole)) return;
    const target = this.#sockets.get(wireKey(address, port));
    target?.queue.push({ bytes, sourceAddress: from.address, sourcePort: from.port });
  }
}

/** One socket on a MemoryWire. */
export class MemoryUdp implements UdpPort {
  readonly endpoint: MemoryEndpoint;
  readonly queue: Datagram[] = [];
  /** Messages that `send` takes before it is full; tests lower and raise it. */
  room = Number.POSITIVE_INFINITY;
  /** Number of the error for a message, 0 to take it. */
  refuse: (segmentSize: number, bytes: Uint8Array<ArrayBuffer>) => number = () => 0;
  /** Whether equal datagrams arrive joined. */
  joins = true;
  /** What it says of the port that datagrams came to. */
  localPort = -1;
  readonly #memory: PacketMemory;
  readonly #wire: MemoryWire;

  constructor(memory: PacketMemory, wire: MemoryWire, endpoint: MemoryEndpoint) {
    this.#memory = memory;
    this.#wire = wire;
    this.endpoint = endpoint;
    wire.attach(this);
  }

  /** MTU of the link that the socket is on. */
  linkMtu = 65_535;

  sendWhole(batch: SendBatch, from: number): number {
    return this.send(batch, from, true);
  }

  send(batch: SendBatch, from: number, isWhole = false): number {
    for (let message = from; message < batch.count; message++) {
      const errno = this.#sendOne(batch, message, isWhole);
      if (errno !== 0) return message > from ? message - from : -errno;
    }
    return batch.count - from;
  }

  #sendOne(batch: SendBatch, message: number, isWhole: boolean): number {
    const bytes = gather(this.#memory, batch, message);
    const size = batch.segmentSize[message]!;
    if (this.room <= 0) return EAGAIN;
    if (bytes.length > DATAGRAM_SIZE_MAX) return EMSGSIZE;
    if (isWhole && bytes.length + OVERHEAD > this.linkMtu) return EMSGSIZE;
    const errno = this.refuse(size, bytes);
    if (errno !== 0) return errno;
    this.room--;
    const address = [...batch.targetAddress.subarray(4 * message, 4 * message + 4)];
    const step = size === 0 ? Math.max(1, bytes.length) : size;
    for (let at = 0; at < bytes.length; at += step) {
      const datagram = bytes.slice(at, at + step);
      const port = batch.targetPort[message]!;
      this.#wire.deliver(this.endpoint, address, port, datagram, isWhole);
    }
    return 0;
  }

  receive(batch: ReceiveBatch): number {
    batch.localPort = this.localPort;
    let count = 0;
    while (count < batch.offset.length && this.queue.length > 0) this.#receiveOne(batch, count++);
    return count;
  }

  #receiveOne(batch: ReceiveBatch, slot: number): void {
    const first = this.queue.shift()!;
    const size = first.bytes.length;
    const parts = [first.bytes];
    let length = size;
    while (this.joins && parts.length < JOINED_COUNT_MAX && parts.at(-1)!.length === size) {
      const next = this.queue[0];
      const isSame =
        next !== undefined &&
        next.bytes.length > 0 &&
        next.sourcePort === first.sourcePort &&
        next.sourceAddress.join() === first.sourceAddress.join();
      if (!isSame || next.bytes.length > size || length + next.bytes.length > DATAGRAM_SIZE_MAX) {
        break;
      }
      parts.push(this.queue.shift()!.bytes);
      length += next.bytes.length;
    }
    let offset = batch.offset[slot]!;
    const end = offset + batch.slotSize;
    for (const part of parts) {
      this.#memory.bytes.set(part.subarray(0, end - offset), offset);
      offset += Math.min(part.length, end - offset);
    }
    batch.length[slot] = Math.min(length, batch.slotSize);
    batch.segmentSize[slot] = parts.length > 1 ? size : 0;
    batch.truncated[slot] = length > batch.slotSize ? 1 : 0;
    batch.sourceAddress.set(first.sourceAddress, 4 * slot);
    batch.sourcePort[slot] = first.sourcePort;
  }
}

function gather(
  memory: PacketMemory,
  batch: GatherBatch,
  message: number,
): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array<ArrayBuffer>[] = [];
  for (let piece = batch.pieceStart[message]!; piece < batch.pieceStart[message + 1]!; piece++) {
    const offset = batch.pieceOffset[piece]!;
    parts.push(memory.bytes.subarray(offset, offset + batch.pieceLength[piece]!));
  }
  return new Uint8Array(Buffer.concat(parts));
}

function wireKey(address: readonly number[], port: number): string {
  return `${address.join(":")}/${port}`;
}
