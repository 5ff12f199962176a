/**
 * Nodes that seal for each other in one process. Tests only.
 *
 * @module
 */
import { decodeNodeId } from "../../base/ids.ts";
import { createWireMemory, type WireMemory } from "../wire/memory.ts";
import type { AeadEngine } from "./aead.ts";
import { createKeyPair, type SharedKeyPair } from "./exchange-key.ts";
import { openPacket, sealPacket } from "./frame.ts";
import { SEAL_HEADER_SIZE, SEAL_OVERHEAD } from "./limits.ts";
import { createNodeAead } from "./node-aead.ts";
import { encodePeerKeys, type PeerKeys } from "./peer-keys.ts";
import { type SealKeys, SessionTable } from "./session-table.ts";

export type EngineOf = (memory: WireMemory) => AeadEngine;

export const TEST_CLUSTER = Uint8Array.from({ length: 16 }, (_, i) => 17 * i);
const MEMORY_SIZE = 64 * 1024;
const INNER_AT = 32 * 1024;

/** 32 bytes that differ for each `seed`. */
export function secretOf(seed: number): Uint8Array {
  return Uint8Array.from({ length: 32 }, (_, i) => (seed * 31 + i * 7 + 1) & 0xff);
}

/** One node with its keys and its memory. Peers are known to it by slot. */
export class SealNode {
  readonly memory = createWireMemory(MEMORY_SIZE);
  readonly sessions: SessionTable;
  readonly node: number;
  own: SharedKeyPair[];
  sendEpoch: number;
  generation = 1;
  peers: readonly PeerKeys[] = [];

  constructor(node: number, engineOf: EngineOf = createNodeAead) {
    this.node = node;
    this.sessions = new SessionTable(engineOf(this.memory));
    this.own = [createKeyPair(1, secretOf(node))];
    this.sendEpoch = 1;
  }

  /** This node as its peers know it. */
  asPeer(slot: number): PeerKeys {
    const keys = this.own.map(({ publicKey }) => publicKey).reverse();
    return { slot, node: decodeNodeId(this.node), keys };
  }

  get keys(): SealKeys {
    return {
      context: { clusterId: TEST_CLUSTER, generation: this.generation },
      node: decodeNodeId(this.node),
      own: this.own,
      sendEpoch: this.sendEpoch,
      peers: encodePeerKeys(this.peers),
    };
  }

  /** Goes over to the keys that it has now. */
  publish(): void {
    this.sessions.use(this.keys);
  }

  /** The datagram that `inner` becomes, or a SEAL_FAULT. */
  trySeal(slot: number, inner: Uint8Array, headLength = inner.length): Uint8Array | number {
    this.memory.bytes.set(inner, INNER_AT);
    const length = sealPacket(this.sessions, this.memory, {
      slot,
      at: 0,
      head: INNER_AT,
      headLength,
      tail: INNER_AT + headLength,
      tailLength: inner.length - headLength,
    });
    return length < 0 ? length : this.memory.bytes.slice(0, length);
  }

  seal(slot: number, inner: Uint8Array, headLength = inner.length): Uint8Array {
    const sealed = this.trySeal(slot, inner, headLength);
    if (typeof sealed === "number") throw new Error(`not sealed: ${sealed}`);
    return sealed;
  }

  /** The slot of the peer and what it sealed, or a SEAL_FAULT. `at`: any alignment. */
  open(datagram: Uint8Array, at = 0): { slot: number; inner: Uint8Array } | number {
    this.memory.bytes.fill(0xee);
    this.memory.bytes.set(datagram, at);
    const slot = openPacket(this.sessions, this.memory, at, datagram.length);
    if (slot < 0) return slot;
    const start = at + SEAL_HEADER_SIZE;
    const inner = this.memory.bytes.slice(start, start + datagram.length - SEAL_OVERHEAD);
    return { slot, inner };
  }
}

/** Two nodes that know each other: a knows b by slot 5, b knows a by slot 3. */
export function sealPair(engineOf: EngineOf = createNodeAead): { a: SealNode; b: SealNode } {
  const a = new SealNode(101, engineOf);
  const b = new SealNode(202, engineOf);
  a.peers = [b.asPeer(5)];
  b.peers = [a.asPeer(3)];
  a.publish();
  b.publish();
  return { a, b };
}
