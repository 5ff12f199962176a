/**
 * One node's packet loop on memory ports, ready for a test to push packets through.
 *
 * @module
 */
import { parseAddress, parsePrefix } from "../../src/base/address.ts";
import { decodeNodeId } from "../../src/base/ids.ts";
import type { FibRow } from "../../src/dataplane/fib/row.ts";
import { addressWords, encodeFib } from "../../src/dataplane/fib/table.ts";
import { type Arena, createArena } from "../../src/dataplane/forward/arena.ts";
import {
  COUNTER_COUNT,
  type DROP,
  DROP_NAMES,
  DROPS_AT,
  PEER_STRIDE,
  type TOTAL,
} from "../../src/dataplane/forward/counters.ts";
import { PacketLoop, TURN } from "../../src/dataplane/forward/packet-loop.ts";
import { createMailMemory, MailRing } from "../../src/dataplane/probe/mail-ring.ts";
import { encodePeerTable } from "../../src/dataplane/probe/peer-table.ts";
import { type EngineOf, SealNode } from "../../src/dataplane/seal/seal-pair.fake.ts";
import { MemoryTun, MemoryUdp, MemoryWire } from "./memory-ports.ts";

export const RIG_PORT = 8285;
export const RIG_OVERLAY_MTU = 1472;
const TURN_COUNT_MAX = 10_000;

export interface RigPeer {
  /** Prefixes of the overlay that the peer holds. */
  readonly prefixes: readonly string[];
  /** Underlay address. */
  readonly address: string;
  readonly port?: number;
  readonly node?: number;
  readonly partialChecksum?: boolean;
  readonly seals?: boolean;
  readonly refusesPlain?: boolean;
  /** Node id by which it goes in probes; as in the table when absent. */
  readonly id?: number;
}

export interface RigOptions {
  readonly wire: MemoryWire;
  /** Underlay address of this node. */
  readonly address: string;
  /** Its own leases. */
  readonly local: readonly string[];
  readonly peers: readonly RigPeer[];
  /** Node id by which this node goes in probes. */
  readonly id?: number;
  /** What it seals with; node:crypto when absent. */
  readonly engineOf?: EngineOf;
}

/** A node: its ports to look at, its loop to turn. */
export class PacketRig {
  readonly arena: Arena = createArena();
  readonly tun: MemoryTun;
  readonly udp: MemoryUdp;
  readonly loop: PacketLoop;
  readonly totals = new Float64Array(COUNTER_COUNT);
  readonly peers = new Float64Array(16 * PEER_STRIDE);
  readonly offloads = new Int32Array(8);
  /** To and from the loop, for a test that takes the prober's part. */
  readonly questions = new MailRing(createMailMemory(64));
  readonly reports = new MailRing(createMailMemory(64));
  nowMs = 1000;
  readonly #local: readonly string[];
  readonly #id: number;
  #generation = 0;

  constructor(options: RigOptions) {
    const { memory } = this.arena;
    const endpoint = { address: wordsOf(options.address), port: RIG_PORT };
    this.#local = options.local;
    this.#id = options.id ?? 1000;
    this.tun = new MemoryTun(memory);
    this.udp = new MemoryUdp(memory, options.wire, endpoint);
    this.loop = new PacketLoop({
      arena: this.arena,
      tun: this.tun,
      udp: this.udp,
      clock: { nowMs: () => this.nowMs },
      totals: this.totals,
      peers: this.peers,
      offloads: this.offloads,
      probes: { questions: this.questions, reports: this.reports },
      ...(options.engineOf === undefined ? {} : { aead: options.engineOf(memory) }),
    });
    this.publish(options.peers);
  }

  /** Replaces the table. Slots are the positions in `peers`. */
  publish(peers: readonly RigPeer[]): void {
    const rows = peers.flatMap((peer, position) =>
      peer.prefixes.map((p) => rowOf(peer, p, position)),
    );
    const table = encodeFib(
      { local: this.#local.map((text) => parsePrefix(text)!), rows },
      {
        generation: ++this.#generation,
        overlayMtu: RIG_OVERLAY_MTU,
        own: this.#local.map((text) => parseAddress(text.split("/")[0]!)!),
        underlayFamily: 4,
        slotOf: (node) => node - 1,
      },
    );
    this.loop.useTable(table, undefined);
    const probed = peers.map((peer, slot) => ({
      peer: decodeNodeId(peer.id ?? peer.node ?? slot + 1),
      endpoint: { address: parseAddress(peer.address)!, port: peer.port ?? RIG_PORT },
    }));
    this.loop.usePeers(encodePeerTable(decodeNodeId(this.#id), probed));
  }

  /** Turns until nothing moves. */
  settle(): void {
    for (let turns = 0; turns < TURN_COUNT_MAX; turns++) {
      if (this.loop.turn() !== TURN.BUSY) return;
    }
    throw new Error("the loop never came to rest");
  }

  /** Drops that happened, by name. */
  drops(): Record<string, number> {
    const list: [string, number][] = [];
    for (const [reason, name] of DROP_NAMES.entries()) {
      const count = this.totals[DROPS_AT + reason]!;
      if (count > 0) list.push([name, count]);
    }
    return Object.fromEntries(list);
  }

  total(position: (typeof TOTAL)[keyof typeof TOTAL]): number {
    return this.totals[position]!;
  }

  drop(reason: (typeof DROP)[keyof typeof DROP]): number {
    return this.totals[DROPS_AT + reason]!;
  }

  /** What the loop wrote to the TUN since the last call. */
  takeWritten(): Uint8Array<ArrayBuffer>[] {
    return this.tun.written.splice(0);
  }
}

export const SIDE_A = {
  prefixes: ["10.0.1.0/24", "fd00:0:0:1::/64"],
  address: "192.0.2.1",
  id: 101,
};
export const SIDE_B = {
  prefixes: ["10.0.2.0/24", "fd00:0:0:2::/64"],
  address: "192.0.2.2",
  id: 202,
};

/** Two nodes on one wire: `a` holds 10.0.1.0/24 and fd00:…:1::/64, `b` the ones with 2. */
export function openRigPair(partialChecksum = true): {
  wire: MemoryWire;
  a: PacketRig;
  b: PacketRig;
} {
  const wire = new MemoryWire();
  const [sideA, sideB] = [SIDE_A, SIDE_B];
  const a = new PacketRig({
    wire,
    address: sideA.address,
    id: sideA.id,
    local: sideA.prefixes,
    peers: [{ ...sideB, partialChecksum }],
  });
  const b = new PacketRig({
    wire,
    address: sideB.address,
    id: sideB.id,
    local: sideB.prefixes,
    peers: [{ ...sideA, partialChecksum }],
  });
  return { wire, a, b };
}

/** The same two nodes with keys for each other: all is sealed, and plain packets are refused. */
export function openSealedPair(options: Partial<RigPeer> = {}): {
  wire: MemoryWire;
  a: PacketRig;
  b: PacketRig;
  /** What the nodes know of keys. */
  nodes: readonly [SealNode, SealNode];
} {
  const { wire, a, b } = openRigPair();
  const nodes = [new SealNode(101), new SealNode(202)] as const;
  const sealed = { seals: true, refusesPlain: true, ...options };
  a.publish([{ ...SIDE_B, ...sealed }]);
  b.publish([{ ...SIDE_A, ...sealed }]);
  nodes[0].peers = [nodes[1].asPeer(0)];
  nodes[1].peers = [nodes[0].asPeer(0)];
  a.loop.useKeys(nodes[0].keys);
  b.loop.useKeys(nodes[1].keys);
  return { wire, a, b, nodes };
}

function rowOf(peer: RigPeer, prefix: string, position: number): FibRow {
  return {
    prefix: parsePrefix(prefix)!,
    peer: decodeNodeId(peer.node ?? position + 1),
    endpoint: { address: parseAddress(peer.address)!, port: peer.port ?? RIG_PORT },
    partialChecksum: peer.partialChecksum ?? true,
    seals: peer.seals ?? false,
    refusesPlain: peer.refusesPlain ?? false,
  };
}

function wordsOf(address: string): number[] {
  return addressWords(parseAddress(address)!);
}
