/**
 * The kernel's programs with their maps, outside any network: fed packet by packet
 * (BPF_PROG_TEST_RUN). Both see Ethernet frames here.
 *
 * @module
 */
import { linkProgram } from "../../src/dataplane/bpf/assembler.ts";
import { BPF_MAP_TYPE, MAPS, PEER_COUNTER, REASONS } from "../../src/dataplane/bpf/layout.ts";
import { receiveProgram } from "../../src/dataplane/bpf/receive-program.ts";
import { planRoutes, type RoutePlanInput } from "../../src/dataplane/bpf/routes.ts";
import { transmitProgram } from "../../src/dataplane/bpf/transmit-program.ts";
import type { FibTable } from "../../src/dataplane/fib/row.ts";
import {
  type BpfMap,
  type BpfProgram,
  loadProgram,
  openMap,
  possibleCoreCount,
  runProgram,
} from "../../src/host/bpf/bpf-call.ts";

export const TRIAL_PORT = 8285;
const OVERLAY_LINK = 7;
const SK_BUFF_SIZE = 192;
const SK_BUFF_GSO_SIZE = 176;
const FOREVER = new Uint8Array(8).fill(0xff, 0, 7);

/** How to leave the programs: what happened to one packet. */
export interface Trial {
  /** 7: redirected. -1: left to user mode. 2: dropped. */
  readonly verdict: number;
  readonly packet: Uint8Array;
}

export class KernelPrograms implements Disposable {
  readonly #maps: ReadonlyMap<string, BpfMap>;
  readonly #transmit: BpfProgram;
  readonly #receive: BpfProgram;
  readonly #cores = possibleCoreCount();

  /** Loads both for the node at `address` (its four bytes as a number). */
  constructor(address: number) {
    this.#maps = new Map(
      MAPS.map((spec) => {
        const perCore =
          spec.type === BPF_MAP_TYPE.PERCPU_ARRAY || spec.type === BPF_MAP_TYPE.PERCPU_HASH;
        return [spec.name, openMap({ ...spec, copies: perCore ? this.#cores : 1 })];
      }),
    );
    const fdOf = (name: string) => this.map(name).fd;
    const transmit = transmitProgram({ address, linkHeaderSize: 14 });
    const receive = receiveProgram({ address, port: TRIAL_PORT, overlayLink: OVERLAY_LINK });
    this.#transmit = loadProgram({ name: "trial-tx", code: linkProgram(transmit, fdOf) });
    this.#receive = loadProgram({ name: "trial-rx", code: linkProgram(receive, fdOf) });
    this.setDeadline(FOREVER);
  }

  /** Puts the routes of `table` in place. */
  publish(table: FibTable, input: RoutePlanInput): void {
    const routes = planRoutes(table, input);
    for (const prefix of routes.prefixes()) {
      const { key, value } = routes.get(prefix)!;
      this.map("routes").set(key, value);
    }
    for (const { peer } of table.rows) {
      this.map("counters").set(u32(input.slotOf(peer)), new Uint8Array(PEER_COUNTER.SIZE));
    }
  }

  /** Until when the programs may act, as eight bytes. */
  setDeadline(ns: Uint8Array): void {
    this.map("control").set(u32(0), ns);
  }

  /** Gives the program at the overlay's egress a frame; `gsoSize` makes it a super-packet. */
  transmit(frame: Uint8Array, gsoSize = 0): Trial {
    if (gsoSize === 0) return runProgram(this.#transmit, frame);
    const context = new Uint8Array(SK_BUFF_SIZE);
    new DataView(context.buffer).setUint32(SK_BUFF_GSO_SIZE, gsoSize, true);
    return runProgram(this.#transmit, frame, context);
  }

  /** Gives the program at the underlay's ingress a frame. */
  receive(frame: Uint8Array): Trial {
    return runProgram(this.#receive, frame);
  }

  /** Packets left to user mode so far, by reason. */
  reasons(): Record<string, number> {
    return Object.fromEntries(
      REASONS.map((reason, index) => {
        const copies = this.map("reasons").get(u32(index))!;
        return [reason, sumAt(copies, 8, 0)];
      }),
    );
  }

  /** A number of one peer. */
  counter(slot: number, field: number): number {
    return sumAt(this.map("counters").get(u32(slot))!, PEER_COUNTER.SIZE, field);
  }

  map(name: string): BpfMap {
    return this.#maps.get(name)!;
  }

  [Symbol.dispose](): void {
    this.#transmit[Symbol.dispose]();
    this.#receive[Symbol.dispose]();
    for (const map of this.#maps.values()) map[Symbol.dispose]();
  }
}

function sumAt(copies: Uint8Array, stride: number, field: number): number {
  const view = new DataView(copies.buffer);
  let sum = 0;
  for (let at = field; at < copies.length; at += stride) sum += Number(view.getBigUint64(at, true));
  return sum;
}

function u32(value: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(value).buffer);
}
