/**
 * Asks peers by each way of the backend "auto", answers when they do, and says which way is used.
 *
 * What is to be asked and what follows from it is decided in dataplane/ways. Questions are probes
 * as the packet engine sends them, between the first addresses of two subnets: what passes is what
 * packets of containers would be, with their addresses, at their largest size. By the kernel's ways
 * they go through a socket of the link (host/udp/link-socket), by udp through the packet engine.
 *
 * Answering is for peers of this network only, by the way that was asked, and never larger.
 *
 * @module
 */
import {
  addressFamily,
  type Family,
  type IpAddress,
  type Prefix,
  prefixAddress,
} from "../base/address.ts";
import { HostError } from "../base/host-error.ts";
import type { NodeId } from "../base/ids.ts";
import type { Log } from "../base/log.ts";
import type { AutoBackendConfig } from "../control/network/backend-config.ts";
import { kernelWays } from "../dataplane/backends/auto.ts";
import type { BackendHost, BackendPeer } from "../dataplane/backends/backend.ts";
import {
  ENCAPSULATION_OVERHEAD_V4,
  ENCAPSULATION_OVERHEAD_V6,
} from "../dataplane/backends/overhead.ts";
import { vxlanLinkName } from "../dataplane/backends/ownership.ts";
import {
  encodeAnswer,
  PROBE_ANSWER,
  PROBE_QUESTION,
  PROBE_SIZE,
  ProbeFrame,
} from "../dataplane/probe/frame.ts";
import { type KernelWay, WAYS, type Way } from "../dataplane/ways/way.ts";
import type { WayObstacle } from "../dataplane/ways/way-choice.ts";
import { type WayQuestion, WayWatch } from "../dataplane/ways/way-watch.ts";
import type { Clock, Random } from "../host/ports.ts";
import { LinkSocket, type Received } from "../host/udp/link-socket.ts";
import type { PeerProber } from "./peer-prober.ts";

/** How soon a question is answered, and an answer seen. */
const TURN_MS = 50;
/** Links come and go: sockets are looked after this often. */
const SOCKETS_MS = 1000;
/** Datagrams that are taken from one socket in one turn. */
const RECEIVE_MAX = 256;
/** A plan of all peers costs some milliseconds for a thousand: moves wait for each other. */
const MOVE_PAUSE_PEER_MS = 0.1;
/** Log lines for the moves of one turn; the status has them all. */
const MOVES_LOGGED_MAX = 5;
/** By udp the answer is looked for by the prober. */
const UDP_TIMEOUT_MS = 1000;
/** As large as the largest MTU. */
const DATAGRAM_MAX = 65_536;

const HEADERS_SIZE: Readonly<Record<Family, number>> = {
  4: ENCAPSULATION_OVERHEAD_V4,
  6: ENCAPSULATION_OVERHEAD_V6,
};

export interface WayKeeperOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Asks by udp; undefined while no packet engine runs. */
  readonly prober: () => Pick<PeerProber, "ask"> | undefined;
  /** The ways that are in use when nothing has been asked yet. */
  readonly inForce: () => ReadonlyMap<Prefix, Way>;
  /** Another way is to be used to some peer. */
  readonly onMove: () => void;
}

/** What the keeper needs to know of the network. */
export interface WayNetwork {
  readonly self: NodeId;
  /** Our own; the first of each family is what is asked from. */
  readonly subnets: readonly Prefix[];
  readonly config: AutoBackendConfig;
  readonly peers: readonly BackendPeer[];
  readonly host: BackendHost;
  /** Of containers, in bytes: what a way must carry. */
  readonly mtu: number;
}

/** Which way is used to a peer, and what is wrong with each better one. */
export interface WayView {
  readonly way: Way;
  readonly obstacles: readonly {
    readonly way: Way;
    /** "absent": it does not lead there. */
    readonly obstacle: WayObstacle | { readonly kind: "absent" };
  }[];
}

/** One socket for each way and each of our own subnets. */
interface Gate {
  readonly way: KernelWay;
  readonly link: string;
  readonly address: IpAddress;
  readonly port: number;
  socket: LinkSocket | undefined;
}

/** The ways of one node, from the first `follow` to `stop`. */
export class WayKeeper {
  readonly #options: WayKeeperOptions;
  readonly #watch: WayWatch;
  readonly #frame = new ProbeFrame();
  /** Whoever has not seen our questions cannot answer them. */
  readonly #token: number;
  #network: WayNetwork | undefined;
  #byAddress: ReadonlyMap<IpAddress, BackendPeer> = new Map();
  #bySubnet: ReadonlyMap<Prefix, BackendPeer> = new Map();
  #gates: readonly Gate[] = [];
  #toldChoices: ReadonlyMap<Prefix, Way> = new Map();
  #toldMs = Number.NEGATIVE_INFINITY;
  #socketsMs = Number.NEGATIVE_INFINITY;
  #cancel: () => void = () => undefined;

  constructor(options: WayKeeperOptions) {
    this.#options = options;
    const { random } = options;
    this.#token = random.below(2 ** 32);
    this.#watch = new WayWatch({
      below: (limit) => random.below(limit),
      ask: (question) => this.#ask(question),
    });
  }

  /** The way to use to each subnet; the same map until one changes. */
  get choices(): ReadonlyMap<Prefix, Way> {
    return this.#watch.choices;
  }

  /** Moves to each way so far. */
  get moves(): Readonly<Record<Way, number>> {
    return this.#watch.moves;
  }

  /** The way to `subnet`, and why no better one; undefined when there is nothing to choose. */
  view(subnet: Prefix): WayView | undefined {
    const choice = this.#watch.choice(subnet);
    if (choice === undefined) return undefined;
    const nowMs = this.#options.clock.nowMs();
    const better = WAYS.slice(0, WAYS.indexOf(choice.current));
    const obstacles = better.map((way) => {
      const isThere = choice.ways.includes(way);
      const obstacle = isThere ? choice.obstacle(way, nowMs) : undefined;
      return { way, obstacle: obstacle ?? ({ kind: "absent" } as const) };
    });
    return { way: choice.current, obstacles };
  }

  /** Looks after these ways from now on; `choices` knows of them at once. */
  follow(network: WayNetwork): void {
    const { config, host, peers } = network;
    if (isSameNetwork(network, this.#network)) return;
    const inForce = this.#network === undefined ? this.#options.inForce() : undefined;
    this.#network = network;
    this.#byAddress = new Map(peers.map((peer) => [prefixAddress(peer.subnet), peer]));
    this.#bySubnet = new Map(peers.map((peer) => [peer.subnet, peer]));
    this.#watch.follow(
      peers.flatMap((peer) => {
        const ways = kernelWays(peer, { config, host });
        if (ways.length === 0) return [];
        const identity = `${peer.node} ${peer.address}`;
        const { subnet } = peer;
        const all: readonly Way[] = [...ways, "udp"];
        return [{ subnet, ways: all, identity, inForce: inForce?.get(subnet) }];
      }),
      this.#options.clock.nowMs(),
    );
    this.#toldChoices = this.#watch.choices;
    this.#replaceGates(network);
    this.#cancel();
    this.#cancel = this.#options.clock.after(0, () => this.#turn());
  }

  /** Asks and answers nobody any more, and forgets what was learned. */
  stop(): void {
    this.#cancel();
    this.#network = undefined;
    this.#closeGates();
    this.#watch.follow([], this.#options.clock.nowMs());
  }

  #turn(): void {
    const nowMs = this.#options.clock.nowMs();
    if (nowMs - this.#socketsMs >= SOCKETS_MS) this.#openGates(nowMs);
    // What waits first: it was in time, however long this thread was busy with something else.
    for (const gate of this.#gates) this.#receive(gate, nowMs);
    this.#watch.tick(nowMs);
    this.#tell(nowMs);
    this.#cancel = this.#options.clock.after(TURN_MS, () => this.#turn());
  }

  #tell(nowMs: number): void {
    const { choices } = this.#watch;
    if (choices === this.#toldChoices) return;
    if (nowMs - this.#toldMs < choices.size * MOVE_PAUSE_PEER_MS) return;
    this.#logMoves(choices);
    this.#toldChoices = choices;
    this.#toldMs = nowMs;
    this.#options.onMove();
  }

  #logMoves(choices: ReadonlyMap<Prefix, Way>): void {
    const moved = [...choices].filter(([subnet, way]) => this.#toldChoices.get(subnet) !== way);
    for (const [subnet, to] of moved.slice(0, MOVES_LOGGED_MAX)) {
      const from = this.#toldChoices.get(subnet) ?? "udp";
      this.#options.log.info("another way to a peer", { subnet, from, to });
    }
  }

  #ask({ subnet, way, sequence }: WayQuestion): void {
    const peer = this.#bySubnet.get(subnet);
    if (peer === undefined) return;
    if (way === "udp") {
      void this.#options
        .prober()
        ?.ask(peer.node, UDP_TIMEOUT_MS)
        .then((outcome) => {
          if (outcome?.kind === "answered") this.#answered({ subnet, way, sequence });
        });
      return;
    }
    const family = addressFamily(subnet);
    const gate = this.#gates.find((it) => it.way === way && addressFamily(it.address) === family);
    if (gate?.socket === undefined || this.#network === undefined) return;
    const size = Math.max(PROBE_SIZE, this.#network.mtu - HEADERS_SIZE[family]);
    const { memory } = gate.socket;
    memory.bytes.fill(0, 0, size);
    const frame = this.#frame;
    frame.kind = PROBE_QUESTION;
    frame.size = size;
    frame.sequence = sequence;
    frame.sender = this.#network.self;
    frame.target = peer.node;
    frame.stamp = 0;
    frame.token = this.#token;
    frame.told = 0;
    frame.questionSize = 0;
    frame.encode(memory.view, 0);
    const port = peer.backend.kind === "udp" ? peer.backend.port : gate.port;
    // What cannot be sent is lost: the watch sees that no answer comes.
    gate.socket.send(size, prefixAddress(subnet), port);
  }

  #receive(gate: Gate, nowMs: number): void {
    const { socket } = gate;
    if (socket === undefined) return;
    for (let count = 0; count < RECEIVE_MAX; count++) {
      const received = socket.receive();
      if (received === undefined) return;
      this.#take(gate, socket, received, nowMs);
    }
  }

  #take({ way }: Gate, socket: LinkSocket, received: Received, nowMs: number): void {
    const frame = this.#frame;
    const { view } = socket.memory;
    const peer = this.#byAddress.get(received.address);
    if (peer === undefined || !frame.decode(view, 0, received.length)) return;
    if (frame.sender !== peer.node || frame.target !== this.#network?.self) return;
    if (frame.kind === PROBE_QUESTION) {
      encodeAnswer(view, 0, 0, frame, 0);
      socket.send(PROBE_SIZE, received.address, received.port);
    } else if (frame.kind === PROBE_ANSWER && frame.token === this.#token) {
      this.#watch.answered({ subnet: peer.subnet, way, sequence: frame.sequence }, nowMs);
    }
  }

  #answered(question: WayQuestion): void {
    if (this.#network === undefined) return;
    this.#watch.answered(question, this.#options.clock.nowMs());
  }

  #replaceGates({ config, host, subnets }: WayNetwork): void {
    const wanted = subnets.flatMap((subnet) => {
      const address = prefixAddress(subnet);
      const at = { address, port: config.port, socket: undefined };
      return [
        { way: "direct" as const, link: host.link, ...at },
        {
          way: "vxlan" as const,
          link: vxlanLinkName({ vni: config.vni, port: config.vxlanPort }),
          ...at,
        },
      ];
    });
    const isSame =
      wanted.length === this.#gates.length &&
      wanted.every(({ address, link, port }, at) => {
        const known = this.#gates[at];
        return known?.address === address && known.link === link && known.port === port;
      });
    if (isSame) return;
    this.#closeGates();
    this.#gates = wanted;
    this.#socketsMs = Number.NEGATIVE_INFINITY;
  }

  /** Opens what is not open, and anew what has lost its link. */
  #openGates(nowMs: number): void {
    this.#socketsMs = nowMs;
    for (const gate of this.#gates) {
      if (gate.socket?.isOfLink() === true) continue;
      gate.socket?.[Symbol.dispose]();
      gate.socket = undefined;
      const { address, link, port, way } = gate;
      try {
        gate.socket = new LinkSocket({ address, link, port, sizeMax: DATAGRAM_MAX });
      } catch (error) {
        if (!(error instanceof HostError)) throw error;
        // The link or its address is about to come.
        this.#options.log.debug("cannot probe a way yet", { way, reason: error.message });
        this.#socketsMs = nowMs - SOCKETS_MS + 2 * TURN_MS;
      }
    }
  }

  #closeGates(): void {
    for (const { socket } of this.#gates) socket?.[Symbol.dispose]();
    this.#gates = [];
  }
}

/** Most assignments change nothing here, and looking at thousands of peers takes its time. */
function isSameNetwork(now: WayNetwork, before: WayNetwork | undefined): boolean {
  if (now.peers !== before?.peers) return false;
  const { peers: _, ...rest } = now;
  const { peers: __, ...restBefore } = before;
  return Bun.deepEquals(rest, restBefore);
}
