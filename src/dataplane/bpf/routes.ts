/**
 * The forwarding table as the kernel's programs read it: elements of the map "routes", and what
 * must change in the map from one table to the next. Pure.
 *
 * Every IPv4 prefix of the table gets an element, also one whose packets must stay in user mode:
 * without it a shorter prefix would claim them.
 *
 * @module
 */
import {
  addressBytes,
  addressFamily,
  addressToU32,
  type IpAddress,
  type Prefix,
  prefixAddress,
  prefixLength,
} from "../../base/address.ts";
import type { NodeId } from "../../base/ids.ts";
import type { FibRow, FibTable } from "../fib/row.ts";
import { ROUTE, ROUTE_KEY_SIZE, ROUTE_LOCAL, ROUTE_PEER, ROUTE_WHOLE } from "./layout.ts";

/** How the underlay leads to an endpoint. */
export interface KernelWay {
  /** Index of an Ethernet link. */
  readonly link: number;
  /** Whether it carries super-packets to the other end as they are. */
  readonly whole: boolean;
}

export interface RoutePlanInput {
  /** Largest inner packet in bytes. */
  readonly mtuOf: (row: FibRow) => number;
  /** Largest inner packet of all, in bytes: where a path carries less, nothing goes whole. */
  readonly overlayMtu: number;
  /** Undefined: packets to it stay in user mode. */
  readonly wayTo: (endpoint: IpAddress) => KernelWay | undefined;
  /** Which counters the peer has. */
  readonly slotOf: (peer: NodeId) => number;
  /** Whether the kernel may carry this row's packets at all: not when they are sealed. */
  readonly isPlain: (row: FibRow) => boolean;
}

/** One element of the map "routes". */
export interface KernelRoute {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/** Elements by their prefix. */
export type KernelRoutes = ReadonlyMap<Prefix, KernelRoute>;

/** The elements for `table`. Rows of IPv6 prefixes have none. */
export function planRoutes(table: FibTable, input: RoutePlanInput): KernelRoutes {
  const routes = new Map<Prefix, KernelRoute>();
  for (const row of table.rows) {
    if (addressFamily(row.prefix) !== 4) continue;
    routes.set(row.prefix, { key: encodeKey(row.prefix), value: encodePeer(row, input) });
  }
  for (const prefix of table.local) {
    if (addressFamily(prefix) !== 4) continue;
    const value = new Uint8Array(ROUTE.SIZE);
    value[ROUTE.FLAGS] = ROUTE_LOCAL;
    routes.set(prefix, { key: encodeKey(prefix), value });
  }
  return routes;
}

/** What turns `before` into `after`: first all of `set`, then all of `gone`. */
export function diffRoutes(
  before: KernelRoutes,
  after: KernelRoutes,
): { readonly set: readonly KernelRoute[]; readonly gone: readonly Uint8Array[] } {
  const set: KernelRoute[] = [];
  for (const [prefix, route] of after) {
    const known = before.get(prefix);
    if (known === undefined || !equalBytes(known.value, route.value)) set.push(route);
  }
  const gone = [...before].filter(([prefix]) => !after.has(prefix)).map(([, { key }]) => key);
  return { set, gone };
}

function encodeKey(prefix: Prefix): Uint8Array {
  const key = new Uint8Array(ROUTE_KEY_SIZE);
  const view = new DataView(key.buffer);
  view.setUint32(0, prefixLength(prefix), true);
  view.setUint32(4, addressToU32(prefixAddress(prefix)));
  return key;
}

function encodePeer(row: FibRow, input: RoutePlanInput): Uint8Array {
  const value = new Uint8Array(ROUTE.SIZE);
  const { address, port } = row.endpoint;
  if (addressFamily(address) !== 4 || !input.isPlain(row)) return value;
  const way = input.wayTo(address);
  if (way === undefined) return value;
  const view = new DataView(value.buffer);
  value.set(addressBytes(address), ROUTE.ADDRESS);
  view.setUint16(ROUTE.PORT, port);
  const mtu = input.mtuOf(row);
  const isWhole = way.whole && mtu >= input.overlayMtu;
  view.setUint16(ROUTE.MTU, mtu, true);
  view.setUint32(ROUTE.FLAGS, ROUTE_PEER | (isWhole ? ROUTE_WHOLE : 0), true);
  view.setUint32(ROUTE.LINK, way.link, true);
  view.setUint32(ROUTE.SLOT, input.slotOf(row.peer), true);
  return value;
}

function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, at) => byte === b[at]);
}
