/**
 * The forwarding table as one piece of shared memory: written by the control plane's thread, read
 * by the packet loop's. A table never changes once published; the next one replaces it whole.
 *
 * Layout, in 32-bit words:
 *
 *    0 generation          4 where rows start
 *    1 overlay MTU         5 where the IPv4 index starts
 *    2 how many rows       6 where the IPv6 index starts
 *    3 bits of own addresses that exist: 1 IPv4, 2 IPv6
 *    8 own IPv4 address, four words (IPv4-mapped)     12 own IPv6 address, four words
 *   16 rows of 8 words: peer slot, flags, port, -, endpoint address (four words)
 *
 * An index maps an inner prefix to a row, or to LOCAL_MATCH for this node's own leases.
 *
 * @module
 */

import {
  addressBits,
  addressFamily,
  addressToU32,
  type IpAddress,
  type Prefix,
  prefixAddress,
  prefixLength,
} from "../../base/address.ts";
import { assert } from "../../base/assert.ts";
import type { NodeId } from "../../base/ids.ts";
import { buildPrefixIndex, type IndexedPrefix, PrefixIndex } from "./prefix-index.ts";
import type { FibRow, FibTable } from "./row.ts";

/** What a lookup gives for an address of this node's own leases. */
export const LOCAL_MATCH = -2;

/** The peer finishes partial checksums (nibbles 12 and 14). */
export const ROW_PARTIAL_CHECKSUM = 1;
/** The endpoint's family is not the socket's: nothing can be sent there. */
export const ROW_UNREACHABLE = 2;
/** Packets to the peer are sealed, or not sent. */
export const ROW_SEALS = 4;
/** Plain packets from the peer are dropped. */
export const ROW_REFUSES_PLAIN = 8;

const HEADER_WORDS = 16;
const OWN_V4_AT = 8;
const OWN_V6_AT = 12;
const HAS_OWN_V4 = 1;
const HAS_OWN_V6 = 2;
const ROW_WORDS = 8;
const ROW_ENDPOINT_AT = 4;
/** Third word of an IPv4-mapped address (RFC 4291 §2.5.5.2). */
const MAPPED_WORD = 0xffff;

export interface FibEncoding {
  readonly generation: number;
  /** Largest inner packet in bytes. */
  readonly overlayMtu: number;
  /** This node's own addresses in the overlay, at most one of each family: those of its TUN. */
  readonly own: readonly IpAddress[];
  /** Family of the underlay socket. */
  readonly underlayFamily: 4 | 6;
  /** Counter slot of each peer in the table. */
  readonly slotOf: (peer: NodeId) => number;
}

/** `table` in shared memory. A row for a prefix of our own counts for nothing. */
export function encodeFib(table: FibTable, encoding: FibEncoding): SharedArrayBuffer {
  const v4: IndexedPrefix[] = [];
  const v6: IndexedPrefix[] = [];
  const addPrefix = (prefix: Prefix, value: number) => {
    const address = prefixAddress(prefix);
    const isV4 = addressFamily(address) === 4;
    const words = addressWords(address);
    const key = isV4 ? words.slice(3) : words;
    (isV4 ? v4 : v6).push({ words: key, length: prefixLength(prefix), value });
  };
  for (const [row, { prefix }] of table.rows.entries()) addPrefix(prefix, row);
  for (const prefix of table.local) addPrefix(prefix, LOCAL_MATCH);

  const v4Index = buildPrefixIndex(1, v4);
  const v6Index = buildPrefixIndex(4, v6);
  const rowsAt = HEADER_WORDS;
  const v4At = rowsAt + table.rows.length * ROW_WORDS;
  const v6At = v4At + v4Index.length;
  const shared = new SharedArrayBuffer((v6At + v6Index.length) * 4);
  const words = new Int32Array(shared);
  const { generation, overlayMtu } = encoding;
  words.set([generation, overlayMtu, table.rows.length, 0, rowsAt, v4At, v6At]);
  putOwnAddresses(words, encoding.own);
  for (const [number, row] of table.rows.entries()) {
    const { peer, endpoint } = row;
    const at = rowsAt + number * ROW_WORDS;
    const flags = flagsOf(row, encoding.underlayFamily);
    words.set([encoding.slotOf(peer), flags, endpoint.port, 0], at);
    words.set(addressWords(endpoint.address), at + ROW_ENDPOINT_AT);
  }
  words.set(v4Index, v4At);
  words.set(v6Index, v6At);
  return shared;
}

function flagsOf(row: FibRow, underlayFamily: 4 | 6): number {
  const isReachable = addressFamily(row.endpoint.address) === underlayFamily;
  return (
    (row.partialChecksum ? ROW_PARTIAL_CHECKSUM : 0) |
    (isReachable ? 0 : ROW_UNREACHABLE) |
    (row.seals === true ? ROW_SEALS : 0) |
    (row.refusesPlain === true ? ROW_REFUSES_PLAIN : 0)
  );
}

function putOwnAddresses(words: Int32Array, own: readonly IpAddress[]): void {
  for (const address of own) {
    const isV4 = addressFamily(address) === 4;
    words[3] = words[3]! | (isV4 ? HAS_OWN_V4 : HAS_OWN_V6);
    words.set(addressWords(address), isV4 ? OWN_V4_AT : OWN_V6_AT);
  }
}

/** The address as four 32-bit words, most significant first; IPv4 becomes IPv4-mapped. */
export function addressWords(address: IpAddress): number[] {
  if (addressFamily(address) === 4) return [0, 0, MAPPED_WORD, addressToU32(address)];
  const bits = addressBits(address);
  return [96n, 64n, 32n, 0n].map((shift) => Number((bits >> shift) & 0xffff_ffffn));
}

/** A published table as the packet loop sees it. Rows are numbers from 0. Allocates nothing. */
export class FibView {
  readonly generation: number;
  readonly overlayMtu: number;
  readonly rowCount: number;
  /** This node's own IPv4 address in the overlay, in four words. */
  readonly ownV4: Uint32Array;
  readonly ownV6: Uint32Array;
  readonly hasOwnV4: boolean;
  readonly hasOwnV6: boolean;
  readonly #words: Int32Array;
  readonly #rowsAt: number;
  readonly #v4: PrefixIndex;
  readonly #v6: PrefixIndex;

  constructor(shared: SharedArrayBuffer) {
    const words = new Int32Array(shared);
    assert(words.length >= HEADER_WORDS, "forwarding table must have a header");
    this.#words = words;
    this.generation = words[0]!;
    this.overlayMtu = words[1]!;
    this.rowCount = words[2]!;
    this.hasOwnV4 = (words[3]! & HAS_OWN_V4) !== 0;
    this.hasOwnV6 = (words[3]! & HAS_OWN_V6) !== 0;
    this.ownV4 = Uint32Array.from(words.subarray(OWN_V4_AT, OWN_V4_AT + 4));
    this.ownV6 = Uint32Array.from(words.subarray(OWN_V6_AT, OWN_V6_AT + 4));
    this.#rowsAt = words[4]!;
    this.#v4 = new PrefixIndex(words, words[5]!);
    this.#v6 = new PrefixIndex(words, words[6]!);
  }

  /** Row of the longest prefix that holds `address`, LOCAL_MATCH, or NO_MATCH. */
  lookupV4(address: number): number {
    return this.#v4.lookupV4(address | 0);
  }

  /** The same for the 16 bytes at `at` of `view`. */
  lookupV6(view: DataView, at: number): number {
    return this.#v6.lookupV6(view, at);
  }

  /** Counter slot of the peer that owns `row`. */
  slot(row: number): number {
    return this.#words[this.#rowsAt + row * ROW_WORDS]!;
  }

  /** ROW_PARTIAL_CHECKSUM and its like. */
  flags(row: number): number {
    return this.#words[this.#rowsAt + row * ROW_WORDS + 1]!;
  }

  port(row: number): number {
    return this.#words[this.#rowsAt + row * ROW_WORDS + 2]!;
  }

  /** Copies the endpoint's address into four words of `out` from `first`. */
  copyEndpoint(row: number, out: Uint32Array, first: number): void {
    const at = this.#rowsAt + row * ROW_WORDS + ROW_ENDPOINT_AT;
    for (let word = 0; word < 4; word++) out[first + word] = this.#words[at + word]!;
  }

  /** Whether `row` is reached at exactly this address (four words from `first`) and port. */
  isEndpoint(row: number, address: Uint32Array, first: number, port: number): boolean {
    const at = this.#rowsAt + row * ROW_WORDS + ROW_ENDPOINT_AT;
    return (
      this.port(row) === port &&
      this.#words[at + 3] === (address[first + 3]! | 0) &&
      this.#words[at + 2] === (address[first + 2]! | 0) &&
      this.#words[at + 1] === (address[first + 1]! | 0) &&
      this.#words[at] === (address[first]! | 0)
    );
  }

  /** Whether two rows lead to the same endpoint, so that their datagrams may share a message. */
  isSameEndpoint(rowA: number, rowB: number): boolean {
    if (rowA === rowB) return true;
    const a = this.#rowsAt + rowA * ROW_WORDS;
    const b = this.#rowsAt + rowB * ROW_WORDS;
    for (let word = 2; word < ROW_WORDS; word++) {
      if (this.#words[a + word] !== this.#words[b + word]) return false;
    }
    return true;
  }
}

/** A table without rows, for the time before the first one is published. */
export function encodeEmptyFib(overlayMtu: number): SharedArrayBuffer {
  return encodeFib(
    { local: [], rows: [] },
    { generation: 0, overlayMtu, own: [], underlayFamily: 4, slotOf: () => 0 },
  );
}
