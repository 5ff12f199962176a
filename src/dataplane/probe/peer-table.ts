/**
 * Who may ask and who may answer: the peers by their counter slots and by their endpoints, in
 * shared memory. Published beside the forwarding table, and like it never changed afterwards.
 *
 * Layout, in 32-bit words:
 *
 *    0 how many slots       1, 2 this node's id       3 where the index starts
 *    8 records of 8 words by slot: endpoint address (four words), port (0: nobody), node id (two)
 *    … index from an endpoint's address to a slot
 *
 * Of two peers at one address the last one counts; nodes that announce one address are warned of
 * elsewhere.
 *
 * @module
 */
import { assert } from "../../base/assert.ts";
import type { NodeId } from "../../base/ids.ts";
import { buildPrefixIndex, type IndexedPrefix, PrefixIndex } from "../fib/prefix-index.ts";
import type { Endpoint } from "../fib/row.ts";
import { addressWords } from "../fib/table.ts";

const HEADER_WORDS = 8;
const RECORD_WORDS = 8;
const PORT_AT = 4;
const ID_AT = 5;
const ADDRESS_BITS = 128;

/** One peer of the table. */
export interface ProbePeer {
  readonly peer: NodeId;
  readonly endpoint: Endpoint;
}

/** Peers by counter slot: a slot without a peer is undefined. */
export type PeersBySlot = readonly (ProbePeer | undefined)[];

/** The peers of the node `self` (undefined: it does not know yet who it is) in shared memory. */
export function encodePeerTable(self: NodeId | undefined, peers: PeersBySlot): SharedArrayBuffer {
  const slotCount = peers.length;
  const prefixes: IndexedPrefix[] = [];
  for (const [slot, peer] of peers.entries()) {
    if (peer === undefined) continue;
    const words = addressWords(peer.endpoint.address);
    prefixes.push({ words, length: ADDRESS_BITS, value: slot });
  }
  const index = buildPrefixIndex(4, prefixes);
  const indexAt = HEADER_WORDS + slotCount * RECORD_WORDS;
  const shared = new SharedArrayBuffer((indexAt + index.length) * 4);
  const words = new Int32Array(shared);
  words.set([slotCount, ...idWords(self ?? 0), indexAt]);
  for (const [slot, one] of peers.entries()) {
    if (one === undefined) continue;
    const { peer, endpoint } = one;
    const record = [...addressWords(endpoint.address), endpoint.port, ...idWords(peer)];
    words.set(record, HEADER_WORDS + slot * RECORD_WORDS);
  }
  words.set(index, indexAt);
  return shared;
}

/** A published table as the packet loop sees it. Allocates nothing after construction. */
export class PeerTableView {
  readonly slotCount: number;
  /** This node's id; 0 while unknown. */
  readonly self: number;
  readonly #words: Int32Array;
  readonly #index: PrefixIndex;
  /** The index reads keys from a view. */
  readonly #key = new DataView(new ArrayBuffer(16));

  constructor(shared: SharedArrayBuffer) {
    const words = new Int32Array(shared);
    assert(words.length > HEADER_WORDS, "peer table must have a header");
    this.#words = words;
    this.slotCount = words[0]!;
    this.self = idOf(words, 1);
    this.#index = new PrefixIndex(words, words[3]!);
  }

  /** Slot of the peer at this address (four words from `first`); −1 for a stranger. */
  slotAt(address: Uint32Array, first: number): number {
    for (let word = 0; word < 4; word++) this.#key.setUint32(4 * word, address[first + word]!);
    const slot = this.#index.lookupV6(this.#key, 0);
    return slot >= 0 ? slot : -1;
  }

  /** Whether `slot` is a peer's. */
  has(slot: number): boolean {
    return slot >= 0 && slot < this.slotCount && this.port(slot) !== 0;
  }

  /** Id of the peer with `slot`. */
  node(slot: number): number {
    return idOf(this.#words, HEADER_WORDS + slot * RECORD_WORDS + ID_AT);
  }

  port(slot: number): number {
    return this.#words[HEADER_WORDS + slot * RECORD_WORDS + PORT_AT]!;
  }

  /** Copies the endpoint's address into four words of `out` from `first`. */
  copyEndpoint(slot: number, out: Uint32Array, first: number): void {
    const at = HEADER_WORDS + slot * RECORD_WORDS;
    for (let word = 0; word < 4; word++) out[first + word] = this.#words[at + word]!;
  }
}

function idWords(id: number): [number, number] {
  return [Math.floor(id / 2 ** 32), id >>> 0];
}

function idOf(words: Int32Array, at: number): number {
  return (words[at]! >>> 0) * 2 ** 32 + (words[at + 1]! >>> 0);
}
