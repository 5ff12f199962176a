/**
 * The agent's end of the offloads: which are used from the start, which have failed since, why, and
 * when a failed one is tried again.
 *
 *    asked of the kernel ─► tested on the loopback ─► used ──failed in use──► off
 *                                                     used ◄──after a while── off
 *
 * The packet loop notes a failure in shared memory and goes on without that offload at once. What
 * only the kernel can switch (super-packets out of the TUN, joining on receive) is switched here.
 *
 * @module
 */
import type { Log } from "../base/log.ts";
import {
  OFFLOAD,
  OFFLOAD_FAILED_IN_USE,
  OFFLOAD_FAILED_TEST,
  OFFLOAD_FORBIDDEN,
  OFFLOAD_NAMES,
  OFFLOAD_ON,
} from "../dataplane/forward/offload-state.ts";
import { errnoName } from "../host/sys/errno.ts";
import type { TunDevice } from "../host/tun/tun-device.ts";
import { setJoining, type UdpSocket } from "../host/udp/udp-socket.ts";
import type { OffloadName } from "./offload-names.ts";
import type { OffloadTest } from "./offload-test.ts";

/** How long a failed offload rests; doubled each time up to the other. */
const REST_MIN_MS = 60_000;
const REST_MAX_MS = 3_600_000;
const EBADMSG = 74;

/** What is said of an offload that the operator does not want: no fault, and no warning. */
export const FORBIDDEN_REASON = "switched off by --offloads-off";

/** Which are on, and why the others are not. */
export interface PacketOffloads {
  readonly on: readonly string[];
  readonly off: readonly { readonly name: string; readonly reason: string }[];
}

export interface OffloadControlOptions {
  readonly tun: Pick<TunDevice, "tso" | "uso" | "refusedErrno" | "setOffloads">;
  /** The first of the sockets (see `follow`): the kernel can do the same for all. */
  readonly socket: Pick<UdpSocket, "fd" | "gsoErrno" | "groErrno">;
  /** What the test at start has found. */
  readonly test: OffloadTest;
  /** What the operator does not want. */
  readonly forbidden: readonly OffloadName[];
  /** In place of the socket option, for tests. */
  readonly setJoining?: (fd: number, isOn: boolean) => number;
  readonly log: Log;
}

interface Rest {
  untilMs: number;
  lengthMs: number;
  isOver: boolean;
}

/** The offloads of one engine. */
export class OffloadControl {
  /** One number for each of OFFLOAD_NAMES, shared with the loop. */
  readonly states = new Int32Array(new SharedArrayBuffer(OFFLOAD_NAMES.length * 4));
  readonly #options: OffloadControlOptions;
  readonly #rests = new Map<number, Rest>();
  #sockets: readonly Pick<UdpSocket, "fd">[];

  constructor(options: OffloadControlOptions) {
    this.#options = options;
    this.#sockets = [options.socket];
    const { tun, socket, test, forbidden } = options;
    const { states } = this;
    states[OFFLOAD.TSO] = tun.tso ? OFFLOAD_ON : tun.refusedErrno;
    states[OFFLOAD.USO] = tun.uso ? OFFLOAD_ON : tun.refusedErrno;
    // A kernel that cannot give UDP super-packets cannot take them either (both Linux 6.2).
    states[OFFLOAD.UDP_JOIN] = tun.uso ? OFFLOAD_ON : tun.refusedErrno;
    states[OFFLOAD.GSO] = testedState(socket.gsoErrno, test.gsoErrno);
    states[OFFLOAD.GRO] = testedState(socket.groErrno, test.groErrno);
    for (const name of forbidden) states[OFFLOAD_NAMES.indexOf(name)] = OFFLOAD_FORBIDDEN;
    if (!this.#isOn(OFFLOAD.GRO)) this.#apply(OFFLOAD.GRO);
    if (!this.#isOn(OFFLOAD.TSO) || !this.#isOn(OFFLOAD.USO)) this.#apply(OFFLOAD.TSO);
  }

  report(): PacketOffloads {
    const on: string[] = [];
    const off: { name: string; reason: string }[] = [];
    for (const [position, name] of OFFLOAD_NAMES.entries()) {
      const state = Atomics.load(this.states, position);
      if (state === OFFLOAD_ON) on.push(name);
      else off.push({ name, reason: offloadReason(state) });
    }
    return { on, off };
  }

  /** Carries out what the loop has noted since the last call, and ends rests that are over. */
  tend(nowMs: number): void {
    for (const [position, name] of OFFLOAD_NAMES.entries()) {
      const state = Atomics.load(this.states, position);
      if ((state & OFFLOAD_FAILED_IN_USE) === 0) continue;
      const rest = this.#rests.get(position);
      if (rest === undefined || rest.isOver) {
        this.#begin(position, rest, nowMs);
        this.#options.log.warn("offload switched off", { name, reason: offloadReason(state) });
        this.#apply(position);
      } else if (nowMs >= rest.untilMs) {
        rest.isOver = true;
        Atomics.store(this.states, position, OFFLOAD_ON);
        this.#options.log.info("offload tried again", { name });
        this.#apply(position);
      }
    }
  }

  /** These are the sockets from now on; new ones may join what they receive. */
  follow(sockets: readonly Pick<UdpSocket, "fd">[]): void {
    this.#sockets = sockets;
    this.#apply(OFFLOAD.GRO);
  }

  /** Surroundings have changed: what failed in them is tried again with the next `tend`. */
  forgive(): void {
    for (const rest of this.#rests.values()) {
      rest.untilMs = Number.NEGATIVE_INFINITY;
      rest.lengthMs = REST_MIN_MS / 2;
    }
  }

  #begin(position: number, rest: Rest | undefined, nowMs: number): void {
    const lengthMs = Math.min(REST_MAX_MS, (rest?.lengthMs ?? REST_MIN_MS / 2) * 2);
    this.#rests.set(position, { untilMs: nowMs + lengthMs, lengthMs, isOver: false });
  }

  /** Brings the kernel in line where it is the kernel's to switch. */
  #apply(position: number): void {
    const { tun } = this.#options;
    if (position === OFFLOAD.GRO) {
      const join = this.#options.setJoining ?? setJoining;
      for (const { fd } of this.#sockets) join(fd, this.#isOn(OFFLOAD.GRO));
    }
    if (position === OFFLOAD.TSO || position === OFFLOAD.USO) {
      const tso = this.#isOn(OFFLOAD.TSO);
      tun.setOffloads({ tso, uso: tso && this.#isOn(OFFLOAD.USO) });
    }
  }

  #isOn(position: number): boolean {
    return Atomics.load(this.states, position) === OFFLOAD_ON;
  }
}

function testedState(offered: number, tested: number): number {
  if (offered !== 0) return offered;
  return tested === 0 ? OFFLOAD_ON : tested | OFFLOAD_FAILED_TEST;
}

function offloadReason(state: number): string {
  const number = state & 0xffff;
  const errno = errnoName(number);
  if ((state & OFFLOAD_FORBIDDEN) !== 0) return FORBIDDEN_REASON;
  if ((state & OFFLOAD_FAILED_TEST) !== 0) {
    if (number === EBADMSG) return "its test at start moved wrong bytes";
    return `its test at start failed with ${errno}`;
  }
  if ((state & OFFLOAD_FAILED_IN_USE) !== 0) {
    if (number === EBADMSG) return "it gave packets that make no sense; tried again later";
    return `it failed in use with ${errno}; tried again later`;
  }
  return `the kernel does not offer it (${errno})`;
}
