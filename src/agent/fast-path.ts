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
/** A peer that has not answered for so long is left to user mode: three probes missed. */
const SILENT_MAX_MS = 3500;

/** What is known of the way to a peer, by its probes over the socket. */
export interface PeerWay {
  /** Since the last answer; undefined when there never was one. */
  readonly answeredAgoMs: number | undefined;
  /** Since the first probe after it that was not answered; undefined while it answers. */
  readonly silentForMs: number | undefined;
  /** Largest inner packet in bytes. */
  readonly innerMtu: number;
}

export interface FastPathOptions {
  readonly kernel: Kernel;
  readonly clock: Clock;
  readonly log: Log;
  /** Name of the overlay link, which exists. */
  readonly overlayLink: string;
  /** This node's underlay address. */
  readonly address: IpAddress;
  readonly port: number;
  /** Largest inner packet in bytes. */
  readonly overlayMtu: () => number;
  readonly wayOf: (peer: NodeId) => PeerWay | undefined;
}

/** Whether the kernel carries packets; `reason` is a sentence for people. */
export type FastPathState =
  | { readonly kind: "on" }
  | { readonly kind: "off"; readonly reason: string };

/** A table, and the largest inner packet for each of its rows; 0 is for user mode. */
interface OpenTable {
  readonly table: FibTable;
  readonly mtus: ReadonlyMap<FibRow, number>;
}

/** The fast path of one packet engine. */
export class FastPath {
  readonly #options: FastPathOptions;
  readonly #stopListening: () => void;
  readonly #stopTurning: () => void;
  readonly #slots = new Map<NodeId, number>();
  readonly #peers = new Map<NodeId, KernelPeerCounters>();
  #gone = sumOf([]);
  #slotCount = 0;
  #tables: KernelTables | undefined;
  #state: FastPathState = { kind: "off", reason: "it is being started" };
  #table: FibTable | undefined;
  #routes = new KernelRoutes();
  readonly #ways = new WayTable();
  #gates = "";
  #links: readonly ActualLink[] = [];
  #attached = new Set<LinkIndex>();
  #isOverlayAttached = false;
  #overlayIndex: LinkIndex | undefined;
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
    const peers = this.#readPeers();
    return { peers, gone: this.#gone, reasons: this.#reasons(), nowNs: Number(monotonicNs()) };
  }

  #readPeers(): ReadonlyMap<NodeId, KernelPeerCounters> {
    const tables = this.#tables;
    if (tables !== undefined) {
      this.#attempt(() => {
        for (const [peer, slot] of this.#slots) this.#peers.set(peer, tables.peer(slot));
      });
    }
    return this.#peers;
  }

  /** Packets to and from `peer` as of the last turn: cheap, and a second old at most. */
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
    this.#readPeers();
    this.#attempt(() => this.#follow());
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
    const mtus = new Map(table.rows.map((row) => [row, this.#mtuOf(row)]));
    const open = table.rows.filter((row) => mtus.get(row) !== 0);
    // One peer before any has answered: the first program on a link costs a packet, so it had
    // better be there before there are packets.
    const first = table.rows.filter(isPlainRow).slice(0, 1);
    const endpoints = new Set([...first, ...open].map((row) => row.endpoint.address));
    const haveChanged = this.#ways.follow({ kernel, endpoints, links: this.#links });
    const gates = [...mtus.values()].join(" ");
    if (haveChanged || this.#isTableNew || gates !== this.#gates) {
      this.#gates = gates;
      this.#isTableNew = false;
      this.#apply(tables, { table, mtus });
    }
    this.#attach(tables, areWaysStale);
  }

  /** Maps and programs, bound to the overlay link as it is now. */
  #open(): KernelTables {
    const { address, port, overlayLink } = this.#options;
    const index = this.#links.find((link) => link.name === overlayLink)?.index;
    if (index === undefined) throw this.#unfit(`there is no link "${overlayLink}"`);
    if (this.#tables !== undefined && index === this.#overlayIndex) return this.#tables;
    this.#tables?.close();
    this.#tables = undefined;
    this.#tables = new KernelTables({ address, port, overlayLink: index });
    this.#overlayIndex = index;
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
    const way = this.#options.wayOf(row.peer);
    if (way?.answeredAgoMs === undefined || (way.silentForMs ?? 0) > SILENT_MAX_MS) return 0;
    return Math.min(way.innerMtu, this.#options.overlayMtu());
  }

  #apply(tables: KernelTables, { table, mtus }: OpenTable): void {
    for (const row of table.rows) {
      if (mtus.get(row) === 0 || this.#slots.has(row.peer)) continue;
      tables.addPeer(this.#slotCount);
      this.#slots.set(row.peer, this.#slotCount++);
    }
    const mtuOf = (row: FibRow) => mtus.get(row) ?? 0;
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

/** Takes the fast path's programs from every link, whoever left them. Throws `HostError`. */
export function removeFastPath(kernel: Pick<Kernel, "snapshot">): void {
  detachEverywhere(listLinks(kernel).map((link) => link.index));
}

function listLinks(kernel: Pick<Kernel, "snapshot">): readonly ActualLink[] {
  return kernel.snapshot({ routeProtocol: OURS.routeProtocol, sysctls: [] }).links;
}
