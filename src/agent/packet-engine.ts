/**
 * The user-mode data plane as the agent sees it: open it, publish tables, read counters, stop it.
 *
 * Owns the TUN, the underlay socket and the Worker whose loop moves the packets between them. The
 * loop needs this thread for nothing: a busy or stopped control plane leaves packets alone.
 * Address, MTU, routes and "up" of the TUN link are netlink's business.
 *
 * @module
 */
import { MessageChannel, Worker } from "node:worker_threads";
import type { IpAddress } from "../base/address.ts";
import type { HostError } from "../base/host-error.ts";
import type { NodeId } from "../base/ids.ts";
import type { Log } from "../base/log.ts";
import { PeerSlots } from "../dataplane/fib/peer-slots.ts";
import type { FibTable } from "../dataplane/fib/row.ts";
import { encodeFib } from "../dataplane/fib/table.ts";
import {
  COUNTER_COUNT,
  DROP_NAMES,
  DROPS_AT,
  PEER,
  PEER_STRIDE,
  TOTAL_NAMES,
} from "../dataplane/forward/counters.ts";
import { type Descriptor, openEventDescriptor, signalEvent } from "../host/sys/descriptor.ts";
import { systemError } from "../host/sys/errno.ts";
import { adoptTunDevice, openTunDevice, type TunDevice } from "../host/tun/tun-device.ts";
import { adoptUdpSocket, openUdpSocket, type UdpSocket } from "../host/udp/udp-socket.ts";
import { EngineSockets } from "./engine-sockets.ts";
import { OffloadControl, type PacketOffloads } from "./offload-control.ts";
import type { OffloadName } from "./offload-names.ts";
import { testSocketOffloads } from "./offload-test.ts";
import {
  CONTROL,
  CONTROL_WORD_COUNT,
  type TableMessage,
  type WorkerReport,
  type WorkerStart,
} from "./packet-messages.ts";
import { ProbeLink } from "./probe-link.ts";
import { SealLink, type SealSetting } from "./seal-link.ts";

/** Peers that the first counters have room for; they double when that is not enough. */
const PEER_SLOT_COUNT_START = 64;
/** How often offloads that failed are looked after. */
const OFFLOAD_INTERVAL_MS = 1000;

export interface PacketEngineOptions {
  /** Name of the TUN link. */
  readonly tunName: string;
  /** This node's address in the overlay at first: the source of ICMP errors. */
  readonly tunAddress: IpAddress;
  /** Underlay address to bind. */
  readonly address: IpAddress;
  /** UDP port to bind at first. */
  readonly port: number;
  /** Largest inner packet in bytes. */
  readonly overlayMtu: number;
  /** Offloads that are not to be used. */
  readonly offloadsOff?: readonly OffloadName[];
  readonly log: Log;
  /** What an earlier process left, and where the state of sealing lies; absent: nothing. */
  readonly kept?: KeptParts;
  /** Called once when the TUN is gone (somebody removed the link): stop and open a new engine. */
  readonly onLost?: (error: HostError) => void;
}

/** What outlives the process (host/keep). */
export interface KeptParts {
  /** Gives up the descriptor of an earlier process; undefined when there is none. */
  take(name: "tun" | "udp"): number | undefined;
  /** Has the holder close its copies: what is to be opened anew must not be held elsewhere. */
  drop(): void;
  /** Where the kept state of sealing lies in this process. */
  readonly sealAddress: number;
}

/** One peer's share; packets are inner packets, bytes are theirs. */
export interface PeerCounters {
  readonly peer: NodeId;
  readonly txPackets: number;
  readonly txBytes: number;
  readonly rxPackets: number;
  readonly rxBytes: number;
  /** Milliseconds since the last packet from the peer; undefined when there was none. */
  readonly lastSeenAgoMs: number | undefined;
}

export interface PacketCounters {
  /** By the names of TOTAL_NAMES (counters.ts): txPackets, rxBytes, … */
  readonly totals: Readonly<Record<string, number>>;
  /** Every reason by its name, zeros too. */
  readonly drops: Readonly<Record<string, number>>;
  readonly peers: readonly PeerCounters[];
}

export interface PacketEngine {
  /**
   * Forwards by `table` from now on; nothing is lost in between. Peers' probes are answered under
   * the name of `self`, and not at all without one.
   */
  publish(table: FibTable, self?: NodeId): void;
  /** The largest inner packet from the next `publish` on. */
  setOverlayMtu(mtu: number): void;
  /** The source of ICMP errors from the next `publish` on. */
  setTunAddress(address: IpAddress): void;
  /**
   * Listens on `port` from the next `publish` on, and on those of `formers`, the latest first, if
   * it did so far. Whether that changes anything. Throws `HostError` when the port is taken; then
   * all is as it was.
   */
  listen(port: number, formers: readonly number[]): boolean;
  /** The port that it listens on, but for a former one. */
  readonly port: number;
  /** Keys to seal and open with from the next `publish` on. */
  setSeal(seal: SealSetting): void;
  /** What seals: the name of the AEAD engine. */
  readonly aead: string;
  /** The way to the loop for whoever watches the peers. */
  readonly probes: ProbeLink;
  counters(): PacketCounters;
  /** Descriptors that another process can go on with. */
  readonly descriptors: { readonly tun: number; readonly udp: number };
  /** Which of tso, uso, gso, gro, tcp_join, udp_join are on, and why the others are not. */
  offloads(): PacketOffloads;
  /**
   * Ends the loop and closes its descriptors. The link stays, without carrier, for the next start,
   * unless `removeTun`.
   */
  stop(options: { readonly removeTun: boolean }): Promise<void>;
}

/**
 * Opens the TUN and the socket and starts the loop, with an empty table. Throws `HostError` when
 * the host does not allow it; then nothing stays open.
 */
export async function openPacketEngine(options: PacketEngineOptions): Promise<PacketEngine> {
  // Both are looked at before anything is opened: what cannot be gone on with is in the way.
  const { address, port, kept } = options;
  const keptUdp = adopt(kept?.take("udp"), (fd) => adoptUdpSocket({ address, port }, fd));
  const keptTun = adopt(kept?.take("tun"), (fd) => adoptTunDevice(options.tunName, fd));
  if (keptUdp === undefined || keptTun === undefined) kept?.drop();
  // The socket first: when another agent holds the port, its TUN must not be touched.
  const socket = keptUdp ?? openUdpSocket({ address, port });
  try {
    const tun = keptTun ?? openTunDevice(options.tunName);
    try {
      return await WorkerEngine.start(options, tun, socket);
    } catch (error) {
      tun.close();
      throw error;
    }
  } catch (error) {
    socket.close();
    throw error;
  }
}

function adopt<Port>(
  fd: number | undefined,
  open: (fd: number) => Port | undefined,
): Port | undefined {
  return fd === undefined ? undefined : open(fd);
}

class WorkerEngine implements PacketEngine {
  readonly #options: PacketEngineOptions;
  readonly #tun: TunDevice;
  readonly #sockets: EngineSockets;
  readonly #event: Descriptor;
  readonly probes: ProbeLink;
  readonly #slots = new PeerSlots();
  readonly #control = new Int32Array(new SharedArrayBuffer(CONTROL_WORD_COUNT * 4));
  readonly #totals = new Float64Array(new SharedArrayBuffer(COUNTER_COUNT * 8));
  readonly #offloads: OffloadControl;
  readonly #offloadTimer: Timer;
  readonly #channel = new MessageChannel();
  readonly #worker: Worker;
  readonly #exited: Promise<void>;
  /** What the loop counts in; during a growth it is still the old one until the loop took it. */
  #peers = peerArray(PEER_SLOT_COUNT_START);
  #grown: { readonly generation: number; readonly peers: Float64Array } | undefined;
  /** Counters of slots when their present peer got them. */
  readonly #baselines = new Map<number, Float64Array>();
  #loopClockOffsetMs = 0;
  #overlayMtu: number;
  #tunAddress: IpAddress;
  readonly #seal = new SealLink();
  aead = "";

  private constructor(options: PacketEngineOptions, tun: TunDevice, socket: UdpSocket) {
    this.#options = options;
    this.#tun = tun;
    this.#sockets = new EngineSockets(options.address, socket);
    this.#event = openEventDescriptor();
    this.#overlayMtu = options.overlayMtu;
    this.#tunAddress = options.tunAddress;
    this.probes = new ProbeLink({
      family: socket.family,
      wake: () => signalEvent(this.#event.fd),
      arrays: () => [this.#peers, ...(this.#grown === undefined ? [] : [this.#grown.peers])],
      slotOf: (peer) => this.#slots.slotOf(peer),
    });
    this.#offloads = new OffloadControl({
      tun,
      socket,
      test: testSocketOffloads(socket.family),
      forbidden: options.offloadsOff ?? [],
      log: options.log,
    });
    const tend = () => {
      this.#followLoop();
      this.#offloads.tend(performance.now());
    };
    this.#offloadTimer = setInterval(tend, OFFLOAD_INTERVAL_MS);
    this.#worker = new Worker(workerUrl(), {
      workerData: this.#startMessage(),
      transferList: [this.#channel.port2],
    });
    this.#exited = new Promise((resolve) => this.#worker.once("exit", () => resolve()));
  }

  static async start(
    options: PacketEngineOptions,
    tun: TunDevice,
    socket: UdpSocket,
  ): Promise<WorkerEngine> {
    const engine = new WorkerEngine(options, tun, socket);
    try {
      await engine.#ready();
    } catch (error) {
      clearInterval(engine.#offloadTimer);
      engine.#event.close();
      engine.#channel.port1.close();
      throw error;
    }
    const { on, off } = engine.offloads();
    options.log.info("packet engine runs", {
      tun: tun.name,
      address: options.address,
      port: socket.port,
      on: on.join(","),
      off: off.map(({ name }) => name).join(","),
      aead: engine.aead,
    });
    return engine;
  }

  setOverlayMtu(mtu: number): void {
    if (mtu === this.#overlayMtu) return;
    this.#overlayMtu = mtu;
    // A size that was refused may fit now, and what failed on it may work.
    this.#offloads.forgive();
  }

  setTunAddress(address: IpAddress): void {
    this.#tunAddress = address;
  }

  listen(port: number, formers: readonly number[]): boolean {
    const { address, log } = this.#options;
    const before = this.#sockets.current;
    if (!this.#sockets.listen(port, formers)) return false;
    this.#offloads.follow(this.#sockets.open);
    if (this.#sockets.current !== before) log.info("packet engine listens", { address, port });
    return true;
  }

  get port(): number {
    return this.#sockets.current.port;
  }

  setSeal(seal: SealSetting): void {
    this.#seal.set(seal);
  }

  publish(table: FibTable, self?: NodeId): void {
    const generation = Atomics.load(this.#control, CONTROL.PUBLISHED) + 1;
    const taken = this.#followLoop();
    const peers = new Set(table.rows.map((row) => row.peer));
    for (const slot of this.#slots.assign(peers, generation, taken)) {
      this.#baselines.set(slot, this.#peers.slice(slot * PEER_STRIDE, (slot + 1) * PEER_STRIDE));
      this.probes.forget(slot);
    }
    const message: TableMessage = {
      generation,
      sockets: this.#sockets.tell(generation),
      table: encodeFib(table, {
        generation,
        overlayMtu: this.#overlayMtu,
        own: [this.#tunAddress],
        underlayFamily: this.#sockets.current.family,
        slotOf: (peer) => this.#slots.slotOf(peer) ?? 0,
      }),
      peers: this.#growPeers(generation),
      probed: this.probes.encodeTable(table, self),
      seal: this.#seal.encode((peer) => this.#slots.slotOf(peer)),
    };
    this.#channel.port1.postMessage(message);
    Atomics.store(this.#control, CONTROL.PUBLISHED, generation);
    signalEvent(this.#event.fd);
  }

  counters(): PacketCounters {
    this.#followLoop();
    const at = (position: number) => this.#totals[position] ?? 0;
    return {
      totals: Object.fromEntries(TOTAL_NAMES.map((name, position) => [name, at(position)])),
      drops: Object.fromEntries(DROP_NAMES.map((name, reason) => [name, at(DROPS_AT + reason)])),
      peers: [...this.#slots.entries()].map(([peer, slot]) => this.#peerCounters(peer, slot)),
    };
  }

  get descriptors(): { readonly tun: number; readonly udp: number } {
    return { tun: this.#tun.fd, udp: this.#sockets.current.fd };
  }

  offloads(): PacketOffloads {
    return this.#offloads.report();
  }

  async stop({ removeTun }: { readonly removeTun: boolean }): Promise<void> {
    clearInterval(this.#offloadTimer);
    Atomics.store(this.#control, CONTROL.STOP, 1);
    signalEvent(this.#event.fd);
    await this.#exited;
    this.#channel.port1.close();
    if (removeTun) this.#tun.setPersistent(false);
    this.#tun.close();
    this.#sockets.close();
    this.#event.close();
  }

  #startMessage(): WorkerStart {
    return {
      tunFd: this.#tun.fd,
      sockets: this.#sockets.tell(0),
      udpFamily: this.#sockets.current.family,
      eventFd: this.#event.fd,
      control: sharedBuffer(this.#control),
      totals: sharedBuffer(this.#totals),
      peers: sharedBuffer(this.#peers),
      offloads: sharedBuffer(this.#offloads.states),
      questions: this.probes.questionMemory,
      reports: this.probes.reportMemory,
      keptAddress: this.#options.kept?.sealAddress,
      tables: this.#channel.port2,
    };
  }

  /** Resolves when the loop runs. An exception inside the Worker is our bug and ends the agent. */
  #ready(): Promise<void> {
    return new Promise((resolve, reject) => {
      let isReady = false;
      this.#worker.on("error", (cause: Error) => {
        const error = new Error("Cannot run the packet loop: its thread failed", { cause });
        if (!isReady) reject(error);
        else throw error;
      });
      this.#worker.on("message", (report: WorkerReport) => {
        if (report.kind === "lost") {
          this.#reportLost(report.errno);
          return;
        }
        isReady = true;
        this.#loopClockOffsetMs = performance.now() - report.nowMs;
        this.aead = report.aead;
        resolve();
      });
    });
  }

  #reportLost(errno: number): void {
    const error = systemError({
      operation: "read TUN",
      object: `"${this.#tun.name}"`,
      errno,
      reason: "the link was removed",
      next: "the agent makes it again",
    });
    this.#options.log.error(error.message);
    this.#options.onLost?.(error);
  }

  /**
   * Goes over to grown counters once the loop has, and gives up what it works with no more. Returns
   * the generation that it has taken.
   */
  #followLoop(): number {
    const taken = Atomics.load(this.#control, CONTROL.TAKEN);
    this.#sockets.taken(taken);
    if (this.#grown !== undefined && taken >= this.#grown.generation) {
      this.#peers = this.#grown.peers;
      this.#grown = undefined;
    }
    return taken;
  }

  /** New, larger counters when there are more slots than room; undefined when there is room. */
  #growPeers(generation: number): SharedArrayBuffer | undefined {
    const current = this.#grown?.peers ?? this.#peers;
    let room = current.length / PEER_STRIDE;
    if (this.#slots.count <= room) return undefined;
    while (room < this.#slots.count) room *= 2;
    this.#grown = { generation, peers: peerArray(room) };
    return sharedBuffer(this.#grown.peers);
  }

  #peerCounters(peer: NodeId, slot: number): PeerCounters {
    const baseline = this.#baselines.get(slot);
    const read = (field: number) =>
      (this.#peers[slot * PEER_STRIDE + field] ?? 0) - (baseline?.[field] ?? 0);
    const seenMs = this.#peers[slot * PEER_STRIDE + PEER.SEEN_MS] ?? 0;
    const rxPackets = read(PEER.RX_PACKETS);
    const nowMs = performance.now() - this.#loopClockOffsetMs;
    return {
      peer,
      txPackets: read(PEER.TX_PACKETS),
      txBytes: read(PEER.TX_BYTES),
      rxPackets,
      rxBytes: read(PEER.RX_BYTES),
      lastSeenAgoMs: rxPackets === 0 ? undefined : Math.max(0, nowMs - seenMs),
    };
  }
}

/**
 * Where the Worker's code is. Run from source it is beside this file; in the compiled executable
 * (`bun build --compile src/main.ts src/agent/packet-worker.ts`) this module is part of the main
 * bundle, and the Worker's is named after its path below src/.
 */
function workerUrl(): URL {
  const isSource = import.meta.path.endsWith("/packet-engine.ts");
  return new URL(isSource ? "./packet-worker.ts" : "./agent/packet-worker.js", import.meta.url);
}

function peerArray(slotCount: number): Float64Array {
  return new Float64Array(new SharedArrayBuffer(slotCount * PEER_STRIDE * 8));
}

function sharedBuffer(array: Int32Array | Float64Array): SharedArrayBuffer {
  const { buffer } = array;
  if (!(buffer instanceof SharedArrayBuffer)) throw new TypeError("the array must be shared");
  return buffer;
}
