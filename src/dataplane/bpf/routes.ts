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
  addressFamily,
  addressToU32,
  type IpAddress,
  type Prefix,
  prefixAddress,
  prefixLength,
} from "../../base/address.ts";
import type { NodeId } from "../../base/ids.ts";
import type { FibRow, FibTable } from "../fib/row.ts";
import { ROUTE, ROUTE_KEY_SIZE, ROUTE_LOCAL, ROUTE_PEER } from "./layout.ts";

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

/**
 * Elements by their prefix, all bytes in one array: two small arrays for each of ten thousand
 * leases would take tens of megabytes.
 */
export class KernelRoutes {
  readonly #positions = new Map<Prefix, number>();
  readonly #bytes: Uint8Array;
  readonly #view: DataView;

  /** `countMax`: prefixes that may be added. */
  constructor(countMax = 0) {
    this.#bytes = new Uint8Array(countMax * ELEMENT_SIZE);
    this.#view = new DataView(this.#bytes.buffer);
  }

  /** The element of `prefix`, made of zeros when it is new; views of memory of this. */
  make(prefix: Prefix): KernelRoute {
    const known = this.get(prefix);
    if (known !== undefined) {
      known.value.fill(0);
      return known;
    }
    const at = this.#positions.size * ELEMENT_SIZE;
    this.#view.setUint32(at, prefixLength(prefix), true);
    this.#view.setUint32(at + 4, addressToU32(prefixAddress(prefix)));
    this.#positions.set(prefix, at);
    return this.#at(at);
  }

  get(prefix: Prefix): KernelRoute | undefined {
    const at = this.#positions.get(prefix);
    return at === undefined ? undefined : this.#at(at);
  }

  prefixes(): IterableIterator<Prefix> {
    return this.#positions.keys();
  }

  #at(at: number): KernelRoute {
    const valueAt = at + ROUTE_KEY_SIZE;
    return {
      key: this.#bytes.subarray(at, valueAt),
      value: this.#bytes.subarray(valueAt, at + ELEMENT_SIZE),
    };
  }
}

const ELEMENT_SIZE = ROUTE_KEY_SIZE + ROUTE.SIZE;

/** The elements for `table`. Rows of IPv6 prefixes have none. */
export function planRoutes(table: FibTable, input: RoutePlanInput): KernelRoutes {
  const routes = new KernelRoutes(table.rows.length + table.local.length);
  for (const row of table.rows) {
    if (addressFamily(row.prefix) === 4) writePeer(routes.make(row.prefix).value, row, input);
  }
  for (const prefix of table.local) {
    if (addressFamily(prefix) === 4) routes.make(prefix).value[ROUTE.FLAGS] = ROUTE_LOCAL;
  }
  return routes;
}

/** What turns `before` into `after`: first all of `set`, then all of `gone`. */
export function diffRoutes(
  before: KernelRoutes,
  after: KernelRoutes,
): { readonly set: readonly KernelRoute[]; readonly gone: readonly Uint8Array[] } {
  const set: KernelRoute[] = [];
  for (const prefix of after.prefixes()) {
    const route = after.get(prefix)!;
    const known = before.get(prefix);
    if (known === undefined || !equalBytes(known.value, route.value)) set.push(route);
  }
  const gone: Uint8Array[] = [];
  for (const prefix of before.prefixes()) {
    if (after.get(prefix) === undefined) gone.push(before.get(prefix)!.key);
  }
  return { set, gone };
}

/** Writes the route to `row` over the zeros in `value`, which are what grants nothing. */
function writePeer(value: Uint8Array, row: FibRow, input: RoutePlanInput): void {
  const { address, port } = row.endpoint;
  if (addressFamily(address) !== 4 || !input.isPlain(row)) return;
  const way = input.wayTo(address);
  if (way === undefined) return;
  const view = new DataView(value.buffer, value.byteOffset, value.length);
  const mtu = input.mtuOf(row);
  const isWhole = way.whole && mtu >= input.overlayMtu;
  view.setUint32(ROUTE.ADDRESS, addressToU32(address));
  view.setUint16(ROUTE.PORT, port);
  view.setUint16(ROUTE.MTU, mtu, true);
  view.setUint32(ROUTE.FLAGS, ROUTE_PEER, true);
  view.setUint32(ROUTE.LINK, way.link, true);
  view.setUint32(ROUTE.SLOT, input.slotOf(row.peer), true);
  // Its containers are behind a bridge, which would cut what still looks like a tunnel's.
  if (isWhole) view.setUint32(ROUTE.WHOLE_TARGET, addressToU32(prefixAddress(row.prefix)));
}

function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, at) => byte === b[at]);
}
