/**
 * The loop's hand on the seal: datagrams into the arena's sealed region, and opened where they lie.
 *
 * Sealed datagrams lie one behind the other until the queue that refers to them was sent. What
 * cannot be sealed is dropped and counted here: nothing that should be sealed leaves plain.
 *
 * @module
 */
import type { PacketMemory } from "../../host/packet-ports.ts";
import { type FibView, ROW_REFUSES_PLAIN, ROW_SEALS } from "../fib/table.ts";
import { openPacket, SEAL_FAULT, type SealJob, sealPacket } from "../seal/frame.ts";
import { SEAL_OVERHEAD } from "../seal/limits.ts";
import type { SealKeys, SessionTable } from "../seal/session-table.ts";
import { type Arena, HEADER_SIZE, PACKET_SIZE_MAX } from "./arena.ts";
import { DROP, type LoopCounters } from "./counters.ts";

/** One loop's sealing and opening. Starts without keys. */
export class Sealer {
  /** Where the datagram is that `seal` last made. */
  sealedAt = 0;

  readonly #memory: PacketMemory;
  readonly #counters: LoopCounters;
  readonly #sessions: SessionTable;
  readonly #start: number;
  readonly #end: number;
  readonly #job: SealJob = { slot: 0, at: 0, head: 0, headLength: 0, tail: 0, tailLength: 0 };
  #next: number;
  /** ROW_SEALS and ROW_REFUSES_PLAIN by peer slot. */
  #flags = new Uint8Array(0);

  constructor(arena: Arena, sessions: SessionTable, counters: LoopCounters) {
    this.#memory = arena.memory;
    this.#counters = counters;
    this.#sessions = sessions;
    this.#start = arena.sealAt;
    this.#end = arena.sealEnd;
    this.#next = arena.sealAt;
  }

  /** Uses `keys` from the next packet on. */
  useKeys(keys: SealKeys): void {
    this.#sessions.use(keys);
  }

  /** Forgets every key. */
  close(): void {
    this.#sessions.close();
  }

  /** Knows by `fib` who is sealed to. */
  useTable(fib: FibView): void {
    let slotCount = 0;
    for (let row = 0; row < fib.rowCount; row++) slotCount = Math.max(slotCount, fib.slot(row) + 1);
    this.#flags = new Uint8Array(slotCount);
    for (let row = 0; row < fib.rowCount; row++) {
      this.#flags[fib.slot(row)] = fib.flags(row) & (ROW_SEALS | ROW_REFUSES_PLAIN);
    }
  }

  /** Whether nothing goes to the peer with `slot` but sealed. */
  seals(slot: number): boolean {
    return ((this.#flags[slot] ?? 0) & ROW_SEALS) !== 0;
  }

  /** Whether nothing is taken from the peer with `slot` but sealed. */
  refusesPlain(slot: number): boolean {
    return ((this.#flags[slot] ?? 0) & ROW_REFUSES_PLAIN) !== 0;
  }

  /** Whether `count` datagrams that are one packet together find room. */
  hasRoomFor(count: number): boolean {
    const size = PACKET_SIZE_MAX + count * (SEAL_OVERHEAD + HEADER_SIZE);
    return this.#next + size <= this.#end;
  }

  /** The datagrams sealed so far were sent: their room is free again. */
  reset(): void {
    this.#next = this.#start;
  }

  /**
   * Seals a packet in two pieces for the peer with `slot`, behind those sealed before. Bytes of
   * the datagram at `sealedAt`; 0 when there is none, and then it is counted.
   */
  seal(slot: number, head: number, headLength: number, tail: number, tailLength: number): number {
    const at = this.#next;
    const length = this.#sealInto(at, slot, head, headLength, tail, tailLength);
    if (length > 0) this.#next = at + length;
    this.sealedAt = at;
    return length;
  }

  /** The same into any place of the arena that has room: bytes written, or 0. */
  sealTo(to: number, slot: number, at: number, length: number): number {
    return this.#sealInto(to, slot, at, length, 0, 0);
  }

  /**
   * Opens the datagram of `length` bytes at `at` in place. The slot of the peer whose key it was
   * sealed with, or -1 and it is counted.
   */
  open(at: number, length: number): number {
    const slot = openPacket(this.#sessions, this.#memory, at, length);
    if (slot >= 0) return slot;
    this.#counters.drop(dropReason(slot), 1);
    return -1;
  }

  #sealInto(
    at: number,
    slot: number,
    head: number,
    headLength: number,
    tail: number,
    tailLength: number,
  ): number {
    const job = this.#job;
    job.slot = slot;
    job.at = at;
    job.head = head;
    job.headLength = headLength;
    job.tail = tail;
    job.tailLength = tailLength;
    const length = sealPacket(this.#sessions, this.#memory, job);
    if (length > 0) return length;
    this.#counters.drop(dropReason(length), 1);
    return 0;
  }
}

function dropReason(fault: number): number {
  switch (fault) {
    case SEAL_FAULT.NO_KEY:
      return DROP.TX_SEAL_NO_KEY;
    case SEAL_FAULT.USED_UP:
      return DROP.TX_SEAL_USED_UP;
    case SEAL_FAULT.ENGINE:
      return DROP.TX_SEAL_FAILED;
    case SEAL_FAULT.SHORT:
      return DROP.RX_SHORT;
    case SEAL_FAULT.UNKNOWN_KEY:
      return DROP.RX_SEAL_UNKNOWN_KEY;
    case SEAL_FAULT.REPLAYED:
      return DROP.RX_SEAL_REPLAYED;
    default:
      return DROP.RX_SEAL_FORGED;
  }
}
