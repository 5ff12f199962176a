/**
 * Sealing and opening one packet where it lies: lookup, counter, replay window, AEAD, in the order
 * that docs/SECURITY.md gives. Allocates nothing by itself; faults are small numbers.
 *
 * @module
 */
import type { WireMemory } from "../wire/memory.ts";
import { SEAL_COUNTER_AT, SEAL_RECEIVER_AT, SEAL_SENDER_AT } from "./header.ts";
import { SEAL_INCARNATION_COUNT, SEAL_OVERHEAD, SEAL_SEQUENCE_COUNT } from "./limits.ts";
import type { SessionTable } from "./session-table.ts";

/** Why a packet was not sealed or opened. */
export const SEAL_FAULT = {
  /** There are no keys to seal to this peer. */
  NO_KEY: -1,
  /** Our key pair has sealed all that it may. */
  USED_UP: -2,
  /** The engine failed. */
  ENGINE: -3,
  /** Shorter than an empty sealed packet and one byte. */
  SHORT: -4,
  /** No session begins its packets so: another pair's, an old key's, or nonsense. */
  UNKNOWN_KEY: -5,
  /** Its counter came before, or is too far behind. */
  REPLAYED: -6,
  /** Not what the peer sealed. */
  FORGED: -7,
} as const;

/** What to seal for whom, and where to put it. Filled in anew for each packet. */
export interface SealJob {
  /** Of the peer. */
  slot: number;
  /** Where the result goes: SEAL_OVERHEAD bytes more than the pieces have. */
  at: number;
  /** The packet in two pieces; `tailLength` may be 0. */
  head: number;
  headLength: number;
  tail: number;
  tailLength: number;
}

/** Seals the packet of `job`. The bytes written, or a SEAL_FAULT. */
export function sealPacket(sessions: SessionTable, memory: WireMemory, job: SealJob): number {
  const session = sessions.sender(job.slot);
  if (session === undefined) return SEAL_FAULT.NO_KEY;
  const { at, head, headLength, tail, tailLength } = job;
  if (!session.putHeader(memory.view, at)) return SEAL_FAULT.USED_UP;
  if (!session.key.seal(at, head, headLength, tail, tailLength)) return SEAL_FAULT.ENGINE;
  return SEAL_OVERHEAD + headLength + tailLength;
}

/**
 * Opens the `length` bytes at `at` in place: what was sealed lies SEAL_HEADER_SIZE bytes further
 * and is SEAL_OVERHEAD bytes shorter. The slot of the peer that sealed it, or a SEAL_FAULT.
 */
export function openPacket(
  sessions: SessionTable,
  memory: WireMemory,
  at: number,
  length: number,
): number {
  if (length <= SEAL_OVERHEAD) return SEAL_FAULT.SHORT;
  const { view } = memory;
  const session = sessions.receiver(
    view.getUint32(at + SEAL_RECEIVER_AT),
    view.getUint32(at + SEAL_SENDER_AT),
  );
  if (session === undefined) return SEAL_FAULT.UNKNOWN_KEY;
  const incarnation = view.getUint32(at + SEAL_COUNTER_AT);
  if (incarnation >= SEAL_INCARNATION_COUNT) return SEAL_FAULT.FORGED;
  const counter = incarnation * SEAL_SEQUENCE_COUNT + view.getUint32(at + SEAL_COUNTER_AT + 4);
  if (!session.window.isFresh(counter)) return SEAL_FAULT.REPLAYED;
  if (!session.key.open(at, length)) return SEAL_FAULT.FORGED;
  session.window.note(counter);
  return session.slot;
}
