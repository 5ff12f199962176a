/**
 * Who is who while the packet loop is fed at random: this node, its peers and what they hold, and
 * strangers. The loop reads it as a table; the twins read it from here, prefix by prefix.
 *
 * @module
 */
import { parseAddress, parsePrefix } from "../../../src/base/address.ts";
import { decodeNodeId } from "../../../src/base/ids.ts";
import { encodeFib } from "../../../src/dataplane/fib/table.ts";
import { encodePeerTable } from "../../../src/dataplane/probe/peer-table.ts";

export const SELF_ID = 1000;
export const OVERLAY_MTU = 1472;
const PORT = 8285;

/** A prefix in bytes. */
export interface FuzzPrefix {
  readonly bytes: readonly number[];
  readonly length: number;
}

export interface FuzzEndpoint {
  /** Dotted quad, or IPv6. */
  readonly text: string;
  /** Four words, as the socket gives them. */
  readonly words: readonly number[];
  readonly port: number;
}

export interface FuzzPeer {
  readonly id: number;
  readonly endpoint: FuzzEndpoint;
  readonly prefixes: readonly string[];
  /** Takes packets with an unfinished checksum. */
  readonly partial: boolean;
  readonly seals: boolean;
  readonly refusesPlain: boolean;
  /** Most payload of a datagram to it; 0: nothing is known. */
  readonly payloadMax: number;
}

function v4(text: string, port = PORT): FuzzEndpoint {
  const value = text.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
  return { text, words: [0, 0, 0xffff, value], port };
}

/** Everything else of a peer that is not told: plain, of one lease, nothing known of its path. */
const PLAIN = { partial: true, seals: false, refusesPlain: false, payloadMax: 0 };

/** Slots are positions. The third has a lease inside one of the second's. */
export const PEERS: readonly FuzzPeer[] = [
  {
    ...PLAIN,
    id: 101,
    endpoint: v4("192.0.2.1"),
    prefixes: ["10.0.1.0/24", "fd00:0:0:1::/64"],
  },
  {
    ...PLAIN,
    id: 102,
    endpoint: v4("192.0.2.1", 9999),
    prefixes: ["10.0.3.0/24", "fd00:0:0:3::/64"],
    partial: false,
    payloadMax: 700,
  },
  {
    ...PLAIN,
    id: 103,
    endpoint: v4("192.0.2.3"),
    prefixes: ["10.0.3.128/25", "fd00:0:0:3:8000::/65", "10.0.7.0/24"],
    payloadMax: 1300,
  },
  {
    ...PLAIN,
    id: 104,
    endpoint: v4("192.0.2.4"),
    prefixes: ["10.0.4.0/24", "fd00:0:0:4::/64"],
    seals: true,
    refusesPlain: true,
  },
  {
    ...PLAIN,
    id: 105,
    endpoint: v4("192.0.2.5"),
    prefixes: ["10.0.5.0/24", "fd00:0:0:5::/64"],
    seals: true,
    payloadMax: 900,
  },
  {
    ...PLAIN,
    id: 106,
    endpoint: { text: "fd11::6", words: [0xfd11_0000, 0, 0, 6], port: PORT },
    prefixes: ["10.0.6.0/24"],
  },
];

export const STRANGERS: readonly FuzzEndpoint[] = [
  v4("192.0.2.99"),
  v4("192.0.2.3", PORT + 1),
  { text: "2001:db8::1", words: [0x2001_0db8, 0, 0, 1], port: PORT },
];

/** This node's own leases. */
export const LOCAL = ["10.0.2.0/24", "fd00:0:0:2::/64"] as const;

export const LOCAL_OWNER = -1;
export const NOBODY = -2;

/** An address of the family in bytes that lies in `prefix`, its free bits from `fill`. */
export function addressIn(prefix: FuzzPrefix, fill: Uint8Array): number[] {
  return prefix.bytes.map((byte, at) => {
    const fixed = Math.min(8, Math.max(0, prefix.length - 8 * at));
    const mask = (0xff << (8 - fixed)) & 0xff;
    return (byte & mask) | (fill[at]! & ~mask & 0xff);
  });
}

export function prefixOf(text: string): FuzzPrefix {
  const [address, length] = text.split("/") as [string, string];
  if (address.includes(".")) return { bytes: address.split(".").map(Number), length: +length };
  const [head, tail] = address.split("::") as [string, string | undefined];
  const groups = head.split(":");
  const rest = tail === undefined || tail === "" ? [] : tail.split(":");
  const zeros = Array<string>(8 - groups.length - rest.length).fill("0");
  const bytes = [...groups, ...zeros, ...rest].flatMap((group) => {
    const value = Number(`0x${group}`);
    return [value >>> 8, value & 255];
  });
  return { bytes, length: +length };
}

const OWNED: readonly { readonly owner: number; readonly prefix: FuzzPrefix }[] = [
  ...LOCAL.map((text) => ({ owner: LOCAL_OWNER, prefix: prefixOf(text) })),
  ...PEERS.flatMap(({ prefixes }, owner) =>
    prefixes.map((text) => ({ owner, prefix: prefixOf(text) })),
  ),
];

/** Slot of the peer that holds the address of `size` bytes at `at`; or LOCAL_OWNER, or NOBODY. */
export function ownerOf(bytes: Uint8Array, at: number, size: number): number {
  let owner = NOBODY;
  let longest = -1;
  for (const one of OWNED) {
    const { prefix } = one;
    if (prefix.bytes.length !== size || prefix.length <= longest) continue;
    let isInside = true;
    for (let bit = 0; bit < prefix.length && isInside; bit += 8) {
      const mask = prefix.length - bit >= 8 ? 0xff : (0xff << (8 - (prefix.length - bit))) & 0xff;
      isInside = ((bytes[at + bit / 8]! ^ prefix.bytes[bit / 8]!) & mask) === 0;
    }
    if (!isInside) continue;
    owner = one.owner;
    longest = prefix.length;
  }
  return owner;
}

/** Largest inner packet to the peer with `slot`. */
export function mtuTo(slot: number): number {
  const { payloadMax, seals } = PEERS[slot]!;
  if (payloadMax === 0) return OVERLAY_MTU;
  return Math.min(OVERLAY_MTU, payloadMax - (seals ? 32 : 0));
}

/** The same world as the loop reads it. */
export function encodeWorld(): { fib: SharedArrayBuffer; peers: SharedArrayBuffer } {
  const endpointOf = ({ endpoint }: FuzzPeer) => ({
    address: parseAddress(endpoint.text)!,
    port: endpoint.port,
  });
  const rows = PEERS.flatMap((peer, slot) =>
    peer.prefixes.map((prefix) => ({
      prefix: parsePrefix(prefix)!,
      peer: decodeNodeId(slot + 1),
      endpoint: endpointOf(peer),
      partialChecksum: peer.partial,
      seals: peer.seals,
      refusesPlain: peer.refusesPlain,
    })),
  );
  const fib = encodeFib(
    { local: LOCAL.map((text) => parsePrefix(text)!), rows },
    {
      generation: 1,
      overlayMtu: OVERLAY_MTU,
      own: LOCAL.map((text) => parseAddress(text.split("/")[0]!)!),
      underlayFamily: 4,
      slotOf: (node) => node - 1,
    },
  );
  const probed = PEERS.map((peer, slot) => ({
    peer: decodeNodeId(peer.id),
    slot,
    endpoint: endpointOf(peer),
  }));
  return { fib, peers: encodePeerTable(decodeNodeId(SELF_ID), probed) };
}
