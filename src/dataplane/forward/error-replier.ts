/**
 * Tells a local sender why its packet went nowhere: one ICMP error, written back into the TUN.
 *
 * Rate-limited by a token bucket, as RFC 1812 §4.3.2.8 and RFC 4443 §2.4 (f) demand, so that a
 * scan of unused addresses costs the loop nothing but the lookups.
 *
 * @module
 */
import type { LoopClock, PacketMemory, TunPort, TunWriteBatch } from "../../host/packet-ports.ts";
import type { FibView } from "../fib/table.ts";
import { encodeTooBig, encodeUnreachable, mayAnswer } from "../wire/icmp.ts";
import { putPlainVirtioHeader, VIRTIO_HEADER_SIZE } from "../wire/virtio.ts";
import type { Arena } from "./arena.ts";
import { type LoopCounters, TOTAL } from "./counters.ts";
import type { InnerPacket } from "./inner-packet.ts";

/** Errors a second in the long run, of all kinds to all senders. */
export const ICMP_ERRORS_PER_SECOND_MAX = 100;
/** Errors at once after a quiet time. */
export const ICMP_ERROR_BURST_MAX = 50;

const MS_PER_SECOND = 1000;

/** Writes errors to the TUN at once: there are few. */
export class ErrorReplier {
  readonly #memory: PacketMemory;
  readonly #tun: TunPort;
  readonly #clock: LoopClock;
  readonly #counters: LoopCounters;
  readonly #batch: TunWriteBatch;
  readonly #at: number;
  #tokens = ICMP_ERROR_BURST_MAX;
  #filledMs: number;

  constructor(arena: Arena, tun: TunPort, clock: LoopClock, counters: LoopCounters) {
    this.#memory = arena.memory;
    this.#tun = tun;
    this.#clock = clock;
    this.#counters = counters;
    this.#batch = arena.icmpWrite;
    this.#at = arena.icmpAt;
    this.#filledMs = clock.nowMs();
  }

  /** Answers `packet` with "network unreachable", if one may be sent now. */
  unreachable(fib: FibView, packet: InnerPacket): void {
    if (!this.#allows(fib, packet)) return;
    const source = packet.version === 4 ? fib.ownV4 : fib.ownV6;
    this.#write(encodeUnreachable(this.#memory, this.#at + VIRTIO_HEADER_SIZE, packet, source));
  }

  /** Answers `packet` with "too big" and what its path carries, if one may be sent now. */
  tooBig(fib: FibView, packet: InnerPacket, mtu: number): void {
    if (!this.#allows(fib, packet)) return;
    const source = packet.version === 4 ? fib.ownV4 : fib.ownV6;
    const at = this.#at + VIRTIO_HEADER_SIZE;
    this.#write(encodeTooBig(this.#memory, at, packet, source, mtu));
  }

  #allows(fib: FibView, packet: InnerPacket): boolean {
    if (!(packet.version === 4 ? fib.hasOwnV4 : fib.hasOwnV6)) return false;
    return mayAnswer(this.#memory, packet) && this.#takeToken();
  }

  #takeToken(): boolean {
    const nowMs = this.#clock.nowMs();
    const earned = ((nowMs - this.#filledMs) * ICMP_ERRORS_PER_SECOND_MAX) / MS_PER_SECOND;
    this.#tokens = Math.min(ICMP_ERROR_BURST_MAX, this.#tokens + earned);
    this.#filledMs = nowMs;
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }

  #write(length: number): void {
    putPlainVirtioHeader(this.#memory.view, this.#at);
    this.#batch.count = 1;
    this.#batch.pieceStart[1] = 1;
    this.#batch.pieceOffset[0] = this.#at;
    this.#batch.pieceLength[0] = VIRTIO_HEADER_SIZE + length;
    if (this.#tun.write(this.#batch, 0) > 0) this.#counters.add(TOTAL.ICMP_ERRORS, 1);
  }
}
