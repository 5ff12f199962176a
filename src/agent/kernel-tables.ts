/**
 * One generation of the kernel's fast path: its maps, its two programs, and where they are
 * attached.
 *
 * What is attached stays when this process ends, and with it the maps; a later process makes its
 * own and puts its programs in the place of these. All calls are synchronous system calls.
 *
 * @module
 */
import { addressToU32, type IpAddress } from "../base/address.ts";
import type { LinkIndex } from "../base/ids.ts";
import { linkProgram, type Program } from "../dataplane/bpf/assembler.ts";
import { BPF_MAP_TYPE, MAPS, PEER_COUNTER, REASONS } from "../dataplane/bpf/layout.ts";
import { receiveProgram } from "../dataplane/bpf/receive-program.ts";
import type { KernelRoute } from "../dataplane/bpf/routes.ts";
import { transmitProgram } from "../dataplane/bpf/transmit-program.ts";
import {
  type BpfMap,
  type BpfProgram,
  loadProgram,
  openMap,
  possibleCoreCount,
} from "../host/bpf/bpf-call.ts";
import {
  attachProgram,
  detachProgram,
  type Hook,
  isOurFilter,
  listFilters,
} from "../host/bpf/traffic-control.ts";
import { createExchange, type Exchange } from "../host/netlink/exchange.ts";
import { openNetlinkSocket } from "../host/sys/netlink-socket.ts";

/** Names by which `tc filter show` and the next agent know the programs. */
const PROGRAM_NAME = { egress: "overlay-tx", ingress: "overlay-rx" } as const;

export interface KernelTablesOptions {
  /** This node's IPv4 underlay address. */
  readonly address: IpAddress;
  readonly port: number;
  readonly overlayLink: LinkIndex;
}

/** What the programs counted for one peer; inner packets and bytes. */
export interface KernelPeerCounters {
  readonly txPackets: number;
  readonly txBytes: number;
  readonly rxPackets: number;
  readonly rxBytes: number;
  /** CLOCK_MONOTONIC of the last packet received, 0 before the first. */
  readonly seenNs: number;
}

/** Maps and programs, from `open` to `close`. */
export class KernelTables {
  readonly #overlayLink: LinkIndex;
  readonly #exchange: Exchange;
  readonly #opened: Disposable[] = [];
  readonly #maps = new Map<string, BpfMap>();
  readonly #transmit: BpfProgram;
  readonly #receive: BpfProgram;

  /** Makes the maps and loads the programs. Throws `HostError`; then nothing stays open. */
  constructor({ address, port, overlayLink }: KernelTablesOptions) {
    this.#overlayLink = overlayLink;
    this.#exchange = createExchange(openNetlinkSocket("route"));
    try {
      const cores = possibleCoreCount();
      for (const spec of MAPS) {
        const isPerCore =
          spec.type === BPF_MAP_TYPE.PERCPU_ARRAY || spec.type === BPF_MAP_TYPE.PERCPU_HASH;
        const map = openMap({ ...spec, copies: isPerCore ? cores : 1 });
        this.#opened.push(map);
        this.#maps.set(spec.name, map);
      }
      const own = { address: addressToU32(address), port };
      this.#transmit = this.#load(
        PROGRAM_NAME.egress,
        transmitProgram({ address: own.address, linkHeaderSize: 0 }),
      );
      this.#receive = this.#load(PROGRAM_NAME.ingress, receiveProgram({ ...own, overlayLink }));
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Lets the programs act until `deadlineNs` of CLOCK_MONOTONIC. */
  setDeadline(deadlineNs: bigint): void {
    const value = new Uint8Array(8);
    new DataView(value.buffer).setBigUint64(0, deadlineNs, true);
    this.#map("control").set(key(0), value);
  }

  /** Makes or replaces the route; a packet sees the old or the new one. */
  setRoute(route: KernelRoute): void {
    this.#map("routes").set(route.key, route.value);
  }

  deleteRoute(routeKey: Uint8Array): void {
    this.#map("routes").delete(routeKey);
  }

  /** Begins to count for the peer with `slot`, which no other ever had. */
  addPeer(slot: number): void {
    this.#map("counters").set(key(slot), new Uint8Array(PEER_COUNTER.SIZE));
  }

  deletePeer(slot: number): void {
    this.#map("counters").delete(key(slot));
  }

  /** What was counted for the peer with `slot`. */
  peer(slot: number): KernelPeerCounters {
    const copies = this.#map("counters").get(key(slot)) ?? new Uint8Array();
    const read = (field: number) => readCopies(copies, PEER_COUNTER.SIZE, field);
    const total = (field: number) => read(field).reduce((sum, value) => sum + value, 0);
    return {
      txPackets: total(PEER_COUNTER.TX_PACKETS),
      txBytes: total(PEER_COUNTER.TX_BYTES),
      rxPackets: total(PEER_COUNTER.RX_PACKETS),
      rxBytes: total(PEER_COUNTER.RX_BYTES),
      seenNs: Math.max(0, ...read(PEER_COUNTER.SEEN_NS)),
    };
  }

  /** Packets that the programs left to user mode, by reason. */
  reasons(): Readonly<Record<string, number>> {
    return Object.fromEntries(
      REASONS.map((reason, position) => {
        const copies = this.#map("reasons").get(key(position)) ?? new Uint8Array();
        return [reason, readCopies(copies, 8, 0).reduce((sum, value) => sum + value, 0)];
      }),
    );
  }

  /** Has the program at the ingress of `link`, in the place of an older one. Throws `HostError`. */
  attachUnderlay(link: LinkIndex): void {
    attachProgram(this.#exchange, { link, direction: "ingress" }, this.#receive);
  }

  /** The same at the egress of the overlay link. */
  attachOverlay(): void {
    attachProgram(this.#exchange, this.#overlayHook, this.#transmit);
  }

  /** Whether a program of ours is still attached there: others may take it away. */
  isAttached(link: LinkIndex | "overlay"): boolean {
    const hook: Hook = link === "overlay" ? this.#overlayHook : { link, direction: "ingress" };
    return listFilters(this.#exchange, hook).some(isOurFilter);
  }

  /** Closes this process's descriptors; what is attached goes on. */
  close(): void {
    for (const one of this.#opened.splice(0)) one[Symbol.dispose]();
    this.#exchange.close();
  }

  get #overlayHook(): Hook {
    return { link: this.#overlayLink, direction: "egress" };
  }

  #load(name: string, program: Program): BpfProgram {
    const code = linkProgram(program, (map) => this.#map(map).fd);
    const loaded = loadProgram({ name, code });
    this.#opened.push(loaded);
    return loaded;
  }

  #map(name: string): BpfMap {
    const map = this.#maps.get(name);
    if (map === undefined) throw new TypeError(`no map is called "${name}"`);
    return map;
  }
}

/** Takes our programs from the links with these indexes, whoever attached them. */
export function detachEverywhere(links: readonly LinkIndex[]): void {
  const exchange = createExchange(openNetlinkSocket("route"));
  try {
    for (const link of links) {
      for (const direction of ["ingress", "egress"] as const) {
        const hook: Hook = { link, direction };
        if (listFilters(exchange, hook).some(isOurFilter)) detachProgram(exchange, hook);
      }
    }
  } finally {
    exchange.close();
  }
}

/** The numbers at `field` of each core's copy. */
function readCopies(copies: Uint8Array, stride: number, field: number): number[] {
  const view = new DataView(copies.buffer, copies.byteOffset, copies.length);
  const values: number[] = [];
  for (let at = field; at + 8 <= copies.length; at += stride) {
    values.push(Number(view.getBigUint64(at, true)));
  }
  return values;
}

function key(index: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(index).buffer);
}
