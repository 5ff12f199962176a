/**
 * Tries what the kernel says it can do for datagrams by the batch: one message that it is to cut,
 * from one socket to another, and every byte and size compared.
 *
 * Some kernels and cards accept UDP_SEGMENT and send nothing, or datagrams of other sizes, or join
 * what they receive and tell the wrong size. A data plane on top of that moves a few megabits.
 *
 * Over ports, so that tests can have broken ones. Blocks for a few milliseconds.
 *
 * @module
 */
import type { PacketMemory, ReceiveBatch, SendBatch, UdpPort } from "../../host/packet-ports.ts";

/** What came of a check: right, not possible here, or the number of an error. */
export const CHECK_RIGHT = 0;
export const CHECK_IMPOSSIBLE = -1;
/** EBADMSG: something arrived, and it was wrong; or nothing did. */
export const CHECK_WRONG = 74;

const EIO = 5;
/** A size that no header makes look like a multiple of another one. */
const SEGMENT_SIZE = 997;
const SEGMENT_COUNT = 5;
/** The last one is shorter, as at the end of a transfer. */
const LAST_SIZE = 401;
const TOTAL_SIZE = (SEGMENT_COUNT - 1) * SEGMENT_SIZE + LAST_SIZE;
const SLOT_COUNT = 8;
const SLOT_SIZE = 65_536;
/** Looks at the receiving socket before what is missing counts as lost. */
const LOOK_COUNT = 20;

/** Bytes of memory that a check needs. */
export const CHECK_MEMORY_SIZE = (SLOT_COUNT + 1) * SLOT_SIZE;

export interface OffloadCheckParts {
  /** CHECK_MEMORY_SIZE bytes, the check's own. */
  readonly memory: PacketMemory;
  readonly sender: UdpPort;
  readonly receiver: UdpPort;
  /** Where the receiver is: four words and a port. */
  readonly target: { readonly address: readonly number[]; readonly port: number };
  /** Waits a little for something to arrive. */
  readonly wait: () => void;
}

/**
 * Sends one message that the kernel cuts, and looks at what arrives: CHECK_RIGHT, CHECK_WRONG, or
 * the error with which it was refused. CHECK_IMPOSSIBLE when not even a single datagram arrives.
 */
export function checkSegments(parts: OffloadCheckParts): number {
  const { bytes } = parts.memory;
  for (let at = 0; at < TOTAL_SIZE; at++) bytes[at] = (at * 31 + (at >>> 8) * 7) & 0xff;
  const plain = exchange(parts, 0, LAST_SIZE);
  if (plain !== CHECK_RIGHT) return CHECK_IMPOSSIBLE;
  return exchange(parts, SEGMENT_SIZE, TOTAL_SIZE);
}

/** Sends `total` bytes, to be cut at `segmentSize` (0: not), and compares what arrives. */
function exchange(parts: OffloadCheckParts, segmentSize: number, total: number): number {
  const sent = parts.sender.send(sendBatch(parts, segmentSize, total), 0);
  if (sent <= 0) return sent === 0 ? EIO : -sent;
  const step = segmentSize === 0 ? total : segmentSize;
  const batch = receiveBatch();
  let arrived = 0;
  for (let look = 0; look < LOOK_COUNT && arrived < total; look++) {
    const count = parts.receiver.receive(batch);
    if (count <= 0) parts.wait();
    for (let slot = 0; slot < count; slot++) {
      const length = takeSlot(parts.memory, batch, slot, { arrived, step, total });
      if (length < 0) return CHECK_WRONG;
      arrived += length;
    }
  }
  return arrived === total ? CHECK_RIGHT : CHECK_WRONG;
}

/** Bytes of `slot` that continue what has arrived, datagram by datagram; −1 when they do not. */
function takeSlot(
  { bytes }: PacketMemory,
  batch: ReceiveBatch,
  slot: number,
  { arrived, step, total }: { arrived: number; step: number; total: number },
): number {
  const length = batch.length[slot]!;
  const given = batch.segmentSize[slot]!;
  const size = given > 0 ? given : length;
  if (batch.truncated[slot] !== 0 || size === 0 || arrived + length > total) return -1;
  for (let at = 0; at < length; at += size) {
    const expected = Math.min(step, total - arrived - at);
    if (Math.min(size, length - at) !== expected) return -1;
  }
  const from = batch.offset[slot]!;
  for (let at = 0; at < length; at++) {
    if (bytes[from + at] !== bytes[arrived + at]) return -1;
  }
  return length;
}

/** The message in pieces that do not end where datagrams do, as headers and payloads are. */
function sendBatch({ target }: OffloadCheckParts, segmentSize: number, total: number): SendBatch {
  const cut = Math.min(700, total - 1);
  return {
    count: 1,
    pieceStart: Int32Array.of(0, 2),
    pieceOffset: Int32Array.of(0, cut),
    pieceLength: Int32Array.of(cut, total - cut),
    segmentSize: Int32Array.of(segmentSize),
    targetAddress: Uint32Array.from(target.address),
    targetPort: Int32Array.of(target.port),
  };
}

function receiveBatch(): ReceiveBatch {
  const slots = { length: SLOT_COUNT };
  return {
    offset: Int32Array.from(slots, (_, slot) => (slot + 1) * SLOT_SIZE),
    slotSize: SLOT_SIZE,
    length: new Int32Array(SLOT_COUNT),
    segmentSize: new Int32Array(SLOT_COUNT),
    truncated: new Uint8Array(SLOT_COUNT),
    sourceAddress: new Uint32Array(4 * SLOT_COUNT),
    sourcePort: new Int32Array(SLOT_COUNT),
    localPort: -1,
  };
}
