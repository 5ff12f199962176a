/**
 * What the packet loop needs from the machine: a TUN device and a UDP socket, both by the batch.
 *
 * Types only. The loop owns one piece of memory, the arena; packets are positions in it, and the
 * batches are flat arrays of such positions. A port turns them into system calls (host/tun,
 * host/udp) or copies the bytes about in memory (tests/sim). No call allocates, waits or throws:
 * each returns a count, or a negative error number of Linux.
 *
 * An address is four 32-bit words, most significant first; an IPv4 address is IPv4-mapped
 * (0, 0, 0xffff, address), so that one code path serves both families.
 *
 * @module
 */

/** The only packet memory: one buffer, seen as bytes, as 32-bit words and through a view. */
export interface PacketMemory {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly words: Uint32Array<ArrayBuffer>;
  readonly view: DataView<ArrayBuffer>;
}

/**
 * Packets out of the TUN, each behind its virtio-net header, packed into one region of the arena.
 * The port places packet after packet at multiples of `step` from `start`, and stops when the
 * largest packet would no longer fit before `end`.
 */
export interface TunReadBatch {
  readonly start: number;
  readonly end: number;
  readonly step: number;
  /** Most bytes that one read may give, header included. */
  readonly packetSizeMax: number;
  /** Position of each packet's virtio-net header. */
  readonly offset: Int32Array;
  /** Bytes of each, header included. */
  readonly length: Int32Array;
}

/** Messages to be gathered from pieces of the arena: message i is its pieces, in order. */
export interface GatherBatch {
  /** How many messages are filled in. */
  count: number;
  /** First piece of message i; `pieceStart[count]` is the end of the last one. */
  readonly pieceStart: Int32Array;
  readonly pieceOffset: Int32Array;
  readonly pieceLength: Int32Array;
}

/** Packets into the TUN: the first piece of each is its virtio-net header. */
export interface TunWriteBatch extends GatherBatch {}

/** Datagrams out of the socket. */
export interface SendBatch extends GatherBatch {
  /** Payload bytes of each datagram that message i is cut into; 0 sends it as one. */
  readonly segmentSize: Int32Array;
  /** Four words for each message. */
  readonly targetAddress: Uint32Array;
  readonly targetPort: Int32Array;
}

/** Datagrams out of the socket, one slot of the arena each; equal ones may share a slot (GRO). */
export interface ReceiveBatch {
  /** Position of each slot, fixed. */
  readonly offset: Int32Array;
  /** Size of every slot in bytes. */
  readonly slotSize: number;
  /** Bytes received into each slot. */
  readonly length: Int32Array;
  /** Payload bytes of each datagram in the slot but the last, which may be shorter; 0: one. */
  readonly segmentSize: Int32Array;
  /** 1 when the kernel had more bytes than the slot could hold. */
  readonly truncated: Uint8Array;
  /** Four words for each slot. */
  readonly sourceAddress: Uint32Array;
  readonly sourcePort: Int32Array;
  /** The port that all of them came to; −1 where there is nothing but one socket without a say. */
  localPort: number;
}

/** A TUN device with virtio-net headers. */
export interface TunPort {
  /** Reads what waits. Returns how many packets (0: nothing), or a negative error number. */
  read(batch: TunReadBatch): number;
  /**
   * Writes messages `from` … `count` − 1, until one fails. Returns how many were written, or the
   * negative error number when the first one failed.
   */
  write(batch: TunWriteBatch, from: number): number;
}

/** The underlay socket. */
export interface UdpPort {
  /**
   * Sends messages `from` … `count` − 1, until one fails. Returns how many were taken, or the
   * negative error number when the first one failed.
   */
  send(batch: SendBatch, from: number): number;
  /**
   * The same with "don't fragment": EMSGSIZE (90) for what the underlay link cannot carry whole,
   * and routers drop what they cannot.
   */
  sendWhole(batch: SendBatch, from: number): number;
  /** Receives what waits. Returns how many slots are filled (0: nothing), or an error number. */
  receive(batch: ReceiveBatch): number;
}

/** The loop's only clock: monotonic milliseconds, read once a batch. */
export interface LoopClock {
  nowMs(): number;
}
