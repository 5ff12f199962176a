/**
 * The packet loop: one thread's share of the data plane, a turn at a time.
 *
 * A turn moves one batch each way and returns what it did; the caller (agent/packet-worker.ts)
 * decides when to wait. Synchronous, and silent: no log, no allocation, no exception per packet.
 *
 * @module
 */
import { assert } from "../../base/assert.ts";
import type { LoopClock, TunPort, UdpPort } from "../../host/packet-ports.ts";
import { encodeEmptyFib, FibView } from "../fib/table.ts";
import { createMailMemory, MailRing } from "../probe/mail-ring.ts";
import { PeerTableView } from "../probe/peer-table.ts";
import type { AeadEngine } from "../seal/aead.ts";
import type { KeptWindows } from "../seal/kept-state.ts";
import { SEAL_OVERHEAD } from "../seal/limits.ts";
import { createNodeAead } from "../seal/node-aead.ts";
import { type SealKeys, SessionTable } from "../seal/session-table.ts";
import type { Arena } from "./arena.ts";
import { COUNTER_COUNT, LoopCounters } from "./counters.ts";
import { ErrorReplier } from "./error-replier.ts";
import { OFFLOAD_NAMES, OffloadState } from "./offload-state.ts";
import { type ProbeSeal, ProbeStation } from "./probe-station.ts";
import { Receiver } from "./receiver.ts";
import { Sealer } from "./sealer.ts";
import { SegmentJoiner } from "./segment-joiner.ts";
import { SendQueue } from "./send-queue.ts";
import { PUMP, Transmitter } from "./transmitter.ts";
import { TunWriter } from "./tun-writer.ts";

/** What one turn did. */
export const TURN = {
  /** Nothing came from either side. */
  IDLE: 0,
  /** Packets moved. */
  BUSY: 1,
  /** The socket is full: wait until it takes or gives something, and leave the TUN alone. */
  BLOCKED: 2,
  /** The TUN fails for now: leave it alone, and try again a little later. */
  STALLED: 3,
  /** The TUN is gone: this loop has no more use. `lostErrno` says how. */
  LOST: 4,
} as const;

/** The two sides of a loop, as bits. */
export const SIDE = { TUN: 1, UDP: 2, BOTH: 3 } as const;

const EBADF = 9;
const ENODEV = 19;
const EBADFD = 77;

export interface PacketLoopParts {
  readonly arena: Arena;
  readonly tun: TunPort;
  readonly udp: UdpPort;
  readonly clock: LoopClock;
  /** COUNTER_COUNT numbers. */
  readonly totals: Float64Array;
  /** PEER_STRIDE numbers for each peer slot. */
  readonly peers: Float64Array;
  /** One number for each of OFFLOAD_NAMES. */
  readonly offloads: Int32Array;
  /** Rings to and from the prober; without them nothing is asked, and peers are answered. */
  readonly probes?: { readonly questions: MailRing; readonly reports: MailRing };
  /** Seals and opens over the arena; absent: node:crypto does. */
  readonly aead?: AeadEngine;
  /** Windows against replays that outlive this loop; absent: they end with it. */
  readonly windows?: KeptWindows;
}

/** A ring that nobody writes to or reads from. */
const NO_RING_CAPACITY = 1;

/** One loop over one TUN queue and one socket. Starts with an empty table. */
export class PacketLoop {
  /** Error number with which the TUN was lost; 0 while it is there. */
  lostErrno = 0;
  /** SIDE bits of where more may wait than the last turn could take. */
  unfinished: number = SIDE.BOTH;

  readonly #clock: LoopClock;
  readonly #counters: LoopCounters;
  readonly #transmitter: Transmitter;
  readonly #receiver: Receiver;
  readonly #probes: ProbeStation;
  readonly #sealer: Sealer;
  #fib = new FibView(encodeEmptyFib(0));

  constructor(parts: PacketLoopParts) {
    const { arena, tun, udp, clock } = parts;
    assert(parts.totals.length >= COUNTER_COUNT, "totals must hold every counter");
    assert(parts.offloads.length >= OFFLOAD_NAMES.length, "every offload needs its state");
    const counters = new LoopCounters(parts.totals, parts.peers);
    const offloads = new OffloadState(parts.offloads);
    const engine = parts.aead ?? createNodeAead(arena.memory);
    const sealer = new Sealer(arena, new SessionTable(engine, parts.windows), counters);
    const queue = new SendQueue({ arena, udp, counters, offloads, sealer });
    const writer = new TunWriter(arena, tun, counters, offloads);
    const joiner = new SegmentJoiner(arena.memory, writer, offloads);
    const replier = new ErrorReplier(arena, tun, clock, counters);
    const noRing = () => new MailRing(createMailMemory(NO_RING_CAPACITY));
    this.#probes = new ProbeStation({
      arena,
      udp,
      clock,
      counters,
      questions: parts.probes?.questions ?? noRing(),
      reports: parts.probes?.reports ?? noRing(),
      seal: probeSeal(sealer),
    });
    this.#clock = clock;
    this.#counters = counters;
    this.#sealer = sealer;
    this.#transmitter = new Transmitter({ arena, tun, queue, replier, counters, offloads });
    const probes = this.#probes;
    this.#receiver = new Receiver({
      ...{ arena, udp, joiner, writer, probes, counters, offloads, sealer },
    });
  }

  /** Inner bytes moved so far, both ways together. */
  get byteCount(): number {
    return this.#counters.byteCount;
  }

  /** Forwards by `table` from the next packet on; `peers` is larger when new slots need it. */
  useTable(table: SharedArrayBuffer, peers: Float64Array | undefined): void {
    if (peers !== undefined) this.#counters.replacePeers(peers);
    this.#fib = new FibView(table);
    this.#sealer.useTable(this.#fib);
    this.#transmitter.useTable(this.#fib);
  }

  /** Seals and opens with `keys` from the next packet on; they belong to the table to come. */
  useKeys(keys: SealKeys): void {
    this.#sealer.useKeys(keys);
  }

  /** Forgets every key; the loop must not turn any more. */
  close(): void {
    this.#sealer.close();
  }

  /** Knows the peers of `table` (peer-table.ts): who may probe us, and where they are. */
  usePeers(table: SharedArrayBuffer): void {
    this.#probes.useTable(new PeerTableView(table));
  }

  /** Sends the prober's questions that wait. */
  ask(): void {
    this.#probes.ask();
  }

  /**
   * Moves at most one batch each way, looking only at the sides (SIDE bits) that are `ready`; for
   * a full socket that is the TUN's side once it takes more. Returns a TURN value.
   */
  turn(ready: number = SIDE.BOTH): number {
    this.unfinished = 0;
    const pumped = (ready & SIDE.TUN) === 0 ? PUMP.IDLE : this.#transmitter.pump(this.#fib);
    if (isLost(pumped)) {
      this.lostErrno = -pumped;
      return TURN.LOST;
    }
    if (pumped === PUMP.BUSY && this.#transmitter.isFull) this.unfinished = SIDE.TUN;
    const received = (ready & SIDE.UDP) === 0 ? 0 : this.#receive();
    if (this.#transmitter.isHolding) return TURN.BLOCKED;
    if (pumped < 0) return TURN.STALLED;
    return received > 0 || pumped === PUMP.BUSY ? TURN.BUSY : TURN.IDLE;
  }

  #receive(): number {
    const received = this.#receiver.burst(this.#fib, this.#clock.nowMs());
    if (received === this.#receiver.countMax) this.unfinished |= SIDE.UDP;
    return received;
  }
}

/** How probes are sealed: as packets to the same peer. */
function probeSeal(sealer: Sealer): ProbeSeal {
  return {
    overhead: (slot) => (sealer.seals(slot) ? SEAL_OVERHEAD : 0),
    refusesPlain: (slot) => sealer.refusesPlain(slot),
    seal: (slot, at, length, to) => sealer.sealTo(to, slot, at, length),
  };
}

/** Errors after which a TUN descriptor never works again: its device was removed. */
function isLost(result: number): boolean {
  return result === -EBADFD || result === -EBADF || result === -ENODEV;
}
