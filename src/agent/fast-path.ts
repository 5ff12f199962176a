/**
 * The fast path: lone packets carried by programs in the kernel, beside the packet loop.
 *
 * The same datagrams leave and arrive; see dataplane/bpf for what is taken and what is left to user
 * mode, and docs/decisions/013 for why. This keeps the kernel's tables equal to the forwarding
 * table:
 *
 *   - a peer's packets are let through while its probes over the socket are answered. So where the
 *     socket does not get through, because of a firewall perhaps, neither does the fast path;
 *   - each endpoint's link is what the kernel's routes say, looked up again when they change;
 *   - a deadline is moved on every second. When the agent is gone for DEADLINE_MS, the programs,
 *     which outlive it, leave everything to user mode.
 *
 * Whatever fails here leaves user mode, which needs none of this, with the reason in `state`.
 *
 * @module
 */
import { addressFamily, type IpAddress } from "../base/address.ts";
import { HostError } from "../base/host-error.ts";
import type { LinkIndex, NodeId } from "../base/ids.ts";
import type { Log } from "../base/log.ts";
import { OURS } from "../dataplane/backends/ownership.ts";
import { diffRoutes, KernelRoutes, planRoutes } from "../dataplane/bpf/routes.ts";
import { type FibRow, type FibTable, isPlainRow } from "../dataplane/fib/row.ts";
import { countIpsecPolicies } from "../host/bpf/ipsec-policies.ts";
import type { ActualLink, Kernel, KernelChange } from "../host/kernel-ports.ts";
import type { Clock } from "../host/ports.ts";
import { monotonicNs } from "../host/sys/monotonic.ts";
import { type KernelCounters, sumOf } from "./fast-path-counters.ts";
import { WayTable } from "./fast-path-ways.ts";
import { detachEverywhere, type KernelPeerCounters, KernelTables } from "./kernel-tables.ts";

/** How often the deadline moves, and what is known of peers is looked at. */
const TURN_MS = 1000;
/** A restart and an upgrade take less; a node whose agent is gone must not go on for long. */
const DEADLINE_MS = 120_000;
const NS_PER_MS = 1_000_000n;
/** Routes and features are looked up so often though nobody told of a change. */
const WAYS_TURNS = 10;
/** What failed is tried again. */
const RETRY_TURNS = 10;
/** Peers whose counters are read in one turn: some 2 ms of system calls. */
const READ_COUNT_MAX = 500;

/** What is known of the ways to the peers, by their probes over the socket. */
export interface PeerWays {
  /** Grows whenever `openMtu` of some peer changes. */
  readonly changeCount: number;
  /** Largest inner packet to `peer` in bytes while it answers; 0 while it does not. */
  openMtu(peer: NodeId): number;
}

export interface FastPathOptions {
  readonly kernel: Kernel;
  readonly clock: Clock;
  readonly log: Log;
  /** Name of the overlay link, which exists. */
  readonly overlayLink: string;
  /** This node's underlay address. */
  readonly address: IpAddress;
  /** The port that it listens on. */
  readonly port: () => number;
  /** Largest inner packet in bytes. */
  readonly overlayMtu: () => number;
  /** Undefined while nobody watches the peers: all are left to user mode. */
  readonly ways: () => PeerWays | undefined;
}

/** Whether the kernel carries packets; `reason` is a sentence for people. */
export type FastPathState =
  | { readonly kind: "on" }
  | { readonly kind: "off"; readonly reason: string };

/** The fast path of one packet engine. */
export class FastPath {
  readonly #options: FastPathOptions;
  readonly #stopListening: () => void;
  readonly #stopTurning: () => void;
  readonly #slots = new Map<NodeId, number>();
  readonly #peers = new Map<NodeId, KernelPeerCounters>();
  /** Where the reading of their counters goes on. */
  #reading = this.#slots.entries();
  #gone = sumOf([]);
  #slotCount = 0;
  #tables: KernelTables | undefined;
  #state: FastPathState = { kind: "off", reason: "it is being started" };
  #table: FibTable | undefined;
  #routes = new KernelRoutes();
  readonly #ways = new WayTable();
  /** Largest inner packet for each row of the table; 0 is for user mode. */
  #mtus = new Uint16Array();
  /** `changeCount` of the ways at the last look. */
  #lookedAt: number | undefined;
  #links: readonly ActualLink[] = [];
  #attached = new Set<LinkIndex>();
  #isOverlayAttached = false;
  #overlayIndex: LinkIndex | undefined;
  /** What the programs take datagrams for. */
  #port: number | undefined;
  #turn = 0;
  #waysTurn = 0;
  #retryTurn = 0;
  #areWaysStale = true;
  #isTableNew = false;

  constructor(options: FastPathOptions) {
    this.#options = options;
    this.#stopListening = options.kernel.onChange((change) => this.#changed(change));
    this.#stopTurning = options.clock.every(TURN_MS, () => this.#turnOnce());
  }

  get state(): FastPathState {
    return this.#state;
  }

  /** Carries packets by `table` from now on. */
  publish(table: FibTable): void {
    this.#table = table;
    this.#isTableNew = true;
    this.#areWaysStale = true;
    this.#attempt(() => this.#follow());
  }

  /** All that the programs counted so far. */
  counters(): KernelCounters {
    const peers = this.#peers;
    this.#attempt(() => this.#read(this.#slots.entries(), Number.POSITIVE_INFINITY));
    return { peers, gone: this.#gone, reasons: this.#reasons(), nowNs: Number(monotonicNs()) };
  }

  /** Reads the counters of the next `countMax` of `slots`. False when those were the last ones. */
  #read(slots: IterableIterator<[NodeId, number]>, countMax: number): boolean {
    const tables = this.#tables;
    if (tables === undefined) return false;
    for (let count = 0; count < countMax; count++) {
      const next = slots.next();
      if (next.done === true) return false;
      const [peer, slot] = next.value;
      this.#peers.set(peer, tables.peer(slot));
    }
    return true;
  }

  /** Packets to and from `peer` when they were last read: cheap. */
  recentPackets(peer: NodeId): number {
    const counters = this.#peers.get(peer);
    return counters === undefined ? 0 : counters.txPackets + counters.rxPackets;
  }

  #reasons(): Readonly<Record<string, number>> {
    let reasons: Readonly<Record<string, number>> = {};
    this.#attempt(() => {
      reasons = this.#tables?.reasons() ?? {};
    });
    return reasons;
  }

  /** Ends the watch. What is attached carries packets on, until the deadline. */
  close(): void {
    this.#stopListening();
    this.#stopTurning();
    this.#tables?.close();
    this.#tables = undefined;
    this.#state = { kind: "off", reason: "the agent stops" };
  }

  /** The same, and takes the programs from the links. */
  remove(): void {
    this.#attempt(() => this.#detach());
    this.close();
  }

  #changed(change: KernelChange): void {
    if (change.kind === "route" || change.kind === "link" || change.kind === "overrun") {
      this.#areWaysStale = true;
    }
  }

  #turnOnce(): void {
    this.#turn++;
    if (this.#turn - this.#waysTurn >= WAYS_TURNS) this.#areWaysStale = true;
    if (this.#table === undefined) return;
    if (this.#tables === undefined && this.#turn < this.#retryTurn) return;
    this.#attempt(() => {
      const isMore = this.#read(this.#reading, READ_COUNT_MAX);
      if (!isMore) this.#reading = this.#slots.entries();
      this.#follow();
    });
  }

  /** Brings the kernel's tables in line with all that is known. */
  #follow(): void {
    const table = this.#table;
    if (table === undefined) return;
    const { kernel, address } = this.#options;
    if (addressFamily(address) !== 4) throw this.#unfit("the underlay is IPv6");
    const areWaysStale = this.#areWaysStale;
    if (areWaysStale) this.#expireWays(kernel);
    const tables = this.#open();
    tables.setDeadline(monotonicNs() + BigInt(DEADLINE_MS) * NS_PER_MS);
    const isOpenOtherwise = this.#look(table);
    const haveChanged = this.#ways.follow({ kernel, links: this.#links });
    if (haveChanged || isOpenOtherwise || this.#isTableNew) {
      this.#isTableNew = false;
      this.#apply(tables, table);
    }
    this.#attach(tables, areWaysStale);
  }

  /** Looks at all rows when some way has changed. Whether a row is open that was not, or not. */
  #look(table: FibTable): boolean {
    const changeCount = this.#options.ways()?.changeCount;
    if (!this.#isTableNew && changeCount === this.#lookedAt) return false;
    this.#lookedAt = changeCount;
    const mtus = new Uint16Array(table.rows.length);
    for (const [number, row] of table.rows.entries()) mtus[number] = this.#mtuOf(row);
    const isSame =
      mtus.length === this.#mtus.length && mtus.every((mtu, i) => mtu === this.#mtus[i]);
    if (isSame && !this.#isTableNew) return false;
    this.#mtus = mtus;
    const open = table.rows.filter((_, number) => mtus[number] !== 0);
    // One peer before any has answered: the first program on a link costs a packet, so it had
    // better be there before there are packets.
    const first = table.rows.find(isPlainRow);
    this.#ways.want([...(first === undefined ? [] : [first]), ...open].map(endpointAddress));
    return true;
  }

  /** Maps and programs, bound to the overlay link and the port as they are now. */
  #open(): KernelTables {
    const { address, overlayLink } = this.#options;
    const port = this.#options.port();
    const index = this.#links.find((link) => link.name === overlayLink)?.index;
    if (index === undefined) throw this.#unfit(`there is no link "${overlayLink}"`);
    const isBoundSo = index === this.#overlayIndex && port === this.#port;
    if (this.#tables !== undefined && isBoundSo) return this.#tables;
    this.#tables?.close();
    this.#tables = undefined;
    this.#tables = new KernelTables({ address, port, overlayLink: index });
    this.#overlayIndex = index;
    this.#port = port;
    this.#attached = new Set();
    this.#isOverlayAttached = false;
    this.#routes = new KernelRoutes();
    this.#gone = sumOf([this.#gone, ...this.#peers.values()]);
    this.#slots.clear();
    this.#peers.clear();
    this.#isTableNew = true;
    return this.#tables;
  }

  /** Everything that may have changed outside is looked at again. */
  #expireWays(kernel: Kernel): void {
    // Programs at the links are before and behind IPsec: what it should seal would leave open.
    if (countIpsecPolicies() > 0) throw this.#unfit("this machine has IPsec policies");
    this.#links = listLinks(kernel);
    this.#ways.expire();
    this.#areWaysStale = false;
    this.#waysTurn = this.#turn;
  }

  /** Largest inner packet to the peer; 0 keeps its packets in user mode. */
  #mtuOf(row: FibRow): number {
    // What is sealed is for user mode alone.
    if (!isPlainRow(row)) return 0;
    return Math.min(this.#options.ways()?.openMtu(row.peer) ?? 0, this.#options.overlayMtu());
  }

  #apply(tables: KernelTables, table: FibTable): void {
    for (const [number, row] of table.rows.entries()) {
      if (this.#mtus[number] === 0 || this.#slots.has(row.peer)) continue;
      tables.addPeer(this.#slotCount);
      this.#slots.set(row.peer, this.#slotCount++);
    }
    const mtuOf = (row: FibRow) => this.#mtuOf(row);
    const routes = planRoutes(table, {
      mtuOf,
      overlayMtu: this.#options.overlayMtu(),
      wayTo: (endpoint) => this.#ways.get(endpoint),
      slotOf: (peer) => this.#slots.get(peer) ?? 0,
      isPlain: (row) => mtuOf(row) > 0,
    });
    const { set, gone } = diffRoutes(this.#routes, routes);
    for (const route of set) tables.setRoute(route);
    for (const key of gone) tables.deleteRoute(key);
    this.#routes = routes;
    const peers = new Set(table.rows.map((row) => row.peer));
    for (const [peer, slot] of this.#slots) {
      if (peers.has(peer)) continue;
      this.#gone = sumOf([this.#gone, tables.peer(slot)]);
      tables.deletePeer(slot);
      this.#slots.delete(peer);
      this.#peers.delete(peer);
    }
  }

  /**
   * The programs where packets come and go; receiving first, so that both ends can answer. They
   * stay on a link that no way takes any more, where they pass everything on: taking the qdisc
   * from a link stops its queues for a moment, which costs a packet.
   */
  #attach(tables: KernelTables, isCheckDue: boolean): void {
    const wanted = this.#ways.links;
    for (const link of wanted) {
      if (this.#attached.has(link) && (!isCheckDue || tables.isAttached(link))) continue;
      tables.attachUnderlay(link);
      this.#attached.add(link);
    }
    if (!this.#isOverlayAttached || (isCheckDue && !tables.isAttached("overlay"))) {
      tables.attachOverlay();
      this.#isOverlayAttached = true;
    }
    this.#tell();
  }

  #tell(): void {
    const rows = this.#table?.rows ?? [];
    if (rows.length > 0 && !rows.some(isPlainRow)) {
      this.#state = { kind: "off", reason: "all packets are sealed, which user mode does" };
      return;
    }
    if (this.#state.kind === "off") {
      this.#options.log.info("fast path on: the kernel carries lone packets");
    }
    this.#state = { kind: "on" };
  }

  #detach(): void {
    removeFastPath(this.#options.kernel);
  }

  /** Runs `action`; the environment's failure leaves user mode, and says so once. */
  #attempt(action: () => void): void {
    try {
      action();
    } catch (error) {
      if (!(error instanceof HostError)) throw error;
      this.#fail(error);
    }
  }

  #fail(error: HostError): void {
    const reason = error.message;
    if (this.#state.kind === "on" || this.#state.reason !== reason) {
      this.#options.log.info("fast path off: user mode carries all packets", { reason });
    }
    this.#state = { kind: "off", reason };
    this.#retryTurn = this.#turn + RETRY_TURNS;
    try {
      this.#detach();
    } catch (second) {
      if (!(second instanceof HostError)) throw second;
    }
    this.#tables?.close();
    this.#tables = undefined;
  }

  #unfit(reason: string): HostError {
    return new HostError({ operation: "carry packets in", object: "the kernel", reason });
  }
}

function endpointAddress({ endpoint }: FibRow): IpAddress {
  return endpoint.address;
}

/** Takes the fast path's programs from every link, whoever left them. Throws `HostError`. */
export function removeFastPath(kernel: Pick<Kernel, "snapshot">): void {
  detachEverywhere(listLinks(kernel).map((link) => link.index));
}

function listLinks(kernel: Pick<Kernel, "snapshot">): readonly ActualLink[] {
  return kernel.snapshot({ routeProtocol: OURS.routeProtocol, sysctls: [] }).links;
}
