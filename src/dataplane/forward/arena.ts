/**
 * All memory for packets, allocated once, and the batches over it.
 *
 *     528 KiB  packets read from the TUN          (READ_REGION_SIZE)
 *     128 KiB  header copies of segments          (HEADER_COUNT × HEADER_SIZE)
 *   2,052 KiB  datagrams received                 (RECEIVE_COUNT × RECEIVE_SLOT_SIZE)
 *       2 KiB  virtio-net headers to write        (WRITE_COUNT × VIRTIO_SLOT_SIZE)
 *       2 KiB  one ICMP error with its virtio-net header
 *     320 KiB  datagrams sealed and not sent     (SEAL_REGION_SIZE)
 *     192 KiB  a question, an answer, a sealed probe (3 × PROBE_AREA_SIZE)
 *
 * Pages that no packet has touched cost nothing: an idle agent uses a few of them. The read region
 * and one burst of super-packets should stay in the second-level cache.
 *
 * @module
 */
import type {
  GatherBatch,
  PacketMemory,
  ReceiveBatch,
  SendBatch,
  TunReadBatch,
  TunWriteBatch,
} from "../../host/packet-ports.ts";
import { ICMP_ERROR_SIZE_MAX } from "../wire/icmp.ts";
import { createWireMemory } from "../wire/memory.ts";
import { VIRTIO_HEADER_SIZE } from "../wire/virtio.ts";

/** Largest packet out of the TUN: a 64 KiB super-packet and its virtio-net header. */
export const PACKET_SIZE_MAX = 65_536 + VIRTIO_HEADER_SIZE;
/** Packets read before the first of them is sent. */
const READ_COUNT = 64;
/** Eight of the largest packets. */
const READ_REGION_SIZE = 528 * 1024;
const READ_STEP = 64;

/** Room for a copy of one segment's headers: IP at most 60, TCP at most 60 bytes. */
export const HEADER_SIZE = 128;
const HEADER_COUNT = 1024;

/** Messages of one send. */
const SEND_COUNT = 64;
/** Two pieces a segment. */
const SEND_PIECE_COUNT = 2 * HEADER_COUNT;

/** Messages of one receive; each may hold 64 KiB of joined datagrams. */
const RECEIVE_COUNT = 32;
/** The largest datagram, and 128 bytes so that slots do not share the same cache sets. */
const RECEIVE_SLOT_SIZE = 65_536 + 128;

/** Packets written to the TUN before the region of their headers is used anew. */
const WRITE_COUNT = 128;
const WRITE_PIECE_COUNT = 4096;
const VIRTIO_SLOT_SIZE = 16;

/** Four of the largest super-packets, sealed, and room for one more before it must be sent. */
const SEAL_REGION_SIZE = 320 * 1024;

/** Room for the largest datagram; a probe that is padded so far is zeros that nobody touches. */
export const PROBE_AREA_SIZE = 65_536;

/** Offset of a packet in its slot that puts its IP header on a multiple of 16. */
const IP_ALIGNMENT = 16;

/** The most that the ports must be able to hold, for their constructors. */
export const PORT_LIMITS = {
  sendCountMax: SEND_COUNT,
  pieceCountMax: SEND_PIECE_COUNT,
  receiveCountMax: RECEIVE_COUNT,
  /** Pieces of one packet to the TUN; more than SEGMENT_COUNT_MAX of segment-joiner.ts. */
  writePieceCountMax: WRITE_PIECE_COUNT,
} as const;

/** The arena and everything that points into it. */
export interface Arena {
  readonly memory: PacketMemory;
  readonly read: TunReadBatch;
  readonly send: SendBatch;
  /** For what must be sent again, one datagram a message. */
  readonly resend: SendBatch;
  readonly receive: ReceiveBatch;
  readonly write: TunWriteBatch;
  readonly icmpWrite: TunWriteBatch;
  /** Start of the header copies, each HEADER_SIZE bytes. */
  readonly headersAt: number;
  readonly headerCount: number;
  /** Start of the virtio-net headers to write, each VIRTIO_SLOT_SIZE bytes apart. */
  readonly virtioAt: number;
  readonly virtioSlotSize: number;
  readonly writeCount: number;
  /** Where an ICMP error's virtio-net header goes; the packet follows. */
  readonly icmpAt: number;
  /** One probe at a time. */
  readonly probeSend: SendBatch;
  /** Start of three areas of PROBE_AREA_SIZE bytes. */
  readonly probeAt: number;
  /** The region for sealed datagrams. */
  readonly sealAt: number;
  readonly sealEnd: number;
}

/** Allocates the arena: the only packet memory of one loop. */
export function createArena(): Arena {
  const readAt = IP_ALIGNMENT - VIRTIO_HEADER_SIZE;
  const headersAt = READ_REGION_SIZE;
  const receiveAt = headersAt + HEADER_COUNT * HEADER_SIZE;
  const virtioAt = receiveAt + RECEIVE_COUNT * RECEIVE_SLOT_SIZE;
  const icmpAt = virtioAt + WRITE_COUNT * VIRTIO_SLOT_SIZE + IP_ALIGNMENT - VIRTIO_HEADER_SIZE;
  const probeAt = Math.ceil((icmpAt + VIRTIO_HEADER_SIZE + ICMP_ERROR_SIZE_MAX) / 64) * 64;
  const sealAt = probeAt + 3 * PROBE_AREA_SIZE;
  const sealEnd = sealAt + SEAL_REGION_SIZE;
  return {
    memory: createWireMemory(sealEnd),
    read: {
      start: readAt,
      end: READ_REGION_SIZE,
      step: READ_STEP,
      packetSizeMax: PACKET_SIZE_MAX,
      offset: new Int32Array(READ_COUNT),
      length: new Int32Array(READ_COUNT),
    },
    send: createSendBatch(SEND_COUNT, SEND_PIECE_COUNT),
    resend: createSendBatch(SEND_COUNT, SEND_PIECE_COUNT),
    receive: createReceiveBatch(receiveAt),
    write: createGatherBatch(WRITE_COUNT, WRITE_PIECE_COUNT),
    icmpWrite: createGatherBatch(1, 2),
    headersAt,
    headerCount: HEADER_COUNT,
    virtioAt,
    virtioSlotSize: VIRTIO_SLOT_SIZE,
    writeCount: WRITE_COUNT,
    icmpAt,
    probeSend: createSendBatch(1, 1),
    probeAt,
    sealAt,
    sealEnd,
  };
}

function createGatherBatch(messageCount: number, pieceCount: number): GatherBatch {
  return {
    count: 0,
    pieceStart: new Int32Array(messageCount + 1),
    pieceOffset: new Int32Array(pieceCount),
    pieceLength: new Int32Array(pieceCount),
  };
}

function createSendBatch(messageCount: number, pieceCount: number): SendBatch {
  return {
    ...createGatherBatch(messageCount, pieceCount),
    segmentSize: new Int32Array(messageCount),
    targetAddress: new Uint32Array(4 * messageCount),
    targetPort: new Int32Array(messageCount),
  };
}

function createReceiveBatch(start: number): ReceiveBatch {
  const offsets = { length: RECEIVE_COUNT };
  return {
    offset: Int32Array.from(offsets, (_, slot) => start + slot * RECEIVE_SLOT_SIZE),
    slotSize: RECEIVE_SLOT_SIZE,
    length: new Int32Array(RECEIVE_COUNT),
    segmentSize: new Int32Array(RECEIVE_COUNT),
    truncated: new Uint8Array(RECEIVE_COUNT),
    sourceAddress: new Uint32Array(4 * RECEIVE_COUNT),
    sourcePort: new Int32Array(RECEIVE_COUNT),
    localPort: -1,
  };
}
