/**
 * Carries out one operation of the reconciler: which request, and how to speak of it.
 *
 * Deleting what is already gone succeeds: the state is the wanted one, whoever made it so.
 *
 * @module
 */
import { unreachable } from "../../base/assert.ts";
import { HostError } from "../../base/host-error.ts";
import type {
  AddressSpec,
  FdbSpec,
  NeighbourSpec,
  Operation,
  RouteKey,
  RouteSpec,
} from "../kernel-ports.ts";
import { writeSysctl } from "../sysctl/sysctl.ts";
import { encodeAddressDelete, encodeAddressReplace } from "./address.ts";
import type { Encode, Exchange, Purpose } from "./exchange.ts";
import { encodeLinkAdd, encodeLinkChange, encodeLinkDelete } from "./link.ts";
import {
  encodeFdbDelete,
  encodeFdbReplace,
  encodeNeighbourDelete,
  encodeNeighbourReplace,
} from "./neighbour.ts";
import type { Firewall, FirewallOperation } from "./nftables/firewall.ts";
import { encodeRouteAdd, encodeRouteDelete, encodeRouteReplace } from "./route.ts";

type RouteOperation = Exclude<Operation, FirewallOperation | { kind: "write_sysctl" }>;

type NeighbourOperation = Extract<
  Operation,
  { kind: "replace_neighbour" | "delete_neighbour" | "replace_fdb" | "delete_fdb" }
>;

/** The parts of the kernel that operations go to. */
export interface Parts {
  readonly exchange: Exchange;
  readonly firewall: Firewall;
}

interface Request {
  readonly purpose: Purpose;
  readonly encode: Encode;
}

/** The kernel's words for "no such link, address, route, neighbour or FDB entry". */
const GONE: ReadonlySet<string> = new Set(["ENODEV", "EADDRNOTAVAIL", "ESRCH", "ENOENT"]);

/** Makes the kernel do `operation`; throws `HostError` with its words when it will not. */
export function applyOperation({ exchange, firewall }: Parts, operation: Operation): void {
  switch (operation.kind) {
    case "write_sysctl":
      writeSysctl(operation.path, operation.value);
      break;
    case "replace_table":
    case "delete_table":
    case "append_rule":
    case "delete_rule":
      firewall.apply(operation);
      break;
    default:
      applyRoute(exchange, operation);
  }
}

function applyRoute(exchange: Exchange, operation: RouteOperation): void {
  const { purpose, encode } = requestFor(operation);
  try {
    exchange.request(purpose, encode);
  } catch (error) {
    const gone = error instanceof HostError && GONE.has(error.errno ?? "");
    if (!(gone && operation.kind.startsWith("delete_"))) throw error;
  }
}

function requestFor(operation: RouteOperation): Request {
  switch (operation.kind) {
    case "add_link":
      return {
        purpose: { operation: "add link", object: operation.link.name },
        encode: (out, sequence) => encodeLinkAdd(out, operation.link, sequence),
      };
    case "set_link": {
      const change = { index: operation.link.index, ...operation.changes };
      return {
        purpose: { operation: "set up link", object: operation.link.name },
        encode: (out, sequence) => encodeLinkChange(out, change, sequence),
      };
    }
    case "delete_link":
      return {
        purpose: { operation: "delete link", object: operation.link.name },
        encode: (out, sequence) => encodeLinkDelete(out, operation.link.index, sequence),
      };
    case "replace_address":
      return {
        purpose: { operation: "set address", object: addressText(operation.address) },
        encode: (out, sequence) => encodeAddressReplace(out, operation.address, sequence),
      };
    case "delete_address":
      return {
        purpose: { operation: "delete address", object: addressText(operation.address) },
        encode: (out, sequence) => encodeAddressDelete(out, operation.address, sequence),
      };
    case "add_route":
      return {
        purpose: { operation: "add route", object: routeText(operation.route) },
        encode: (out, sequence) => encodeRouteAdd(out, operation.route, sequence),
      };
    case "replace_route":
      return {
        purpose: { operation: "replace route", object: routeText(operation.route) },
        encode: (out, sequence) => encodeRouteReplace(out, operation.route, sequence),
      };
    case "delete_route":
      return {
        purpose: { operation: "delete route", object: keyText(operation.route) },
        encode: (out, sequence) => encodeRouteDelete(out, operation.route, sequence),
      };
    default:
      return neighbourRequestFor(operation);
  }
}

function neighbourRequestFor(operation: NeighbourOperation): Request {
  switch (operation.kind) {
    case "replace_neighbour":
      return {
        purpose: { operation: "set neighbour", object: neighbourText(operation.neighbour) },
        encode: (out, sequence) => encodeNeighbourReplace(out, operation.neighbour, sequence),
      };
    case "delete_neighbour":
      return {
        purpose: { operation: "delete neighbour", object: neighbourText(operation.neighbour) },
        encode: (out, sequence) => encodeNeighbourDelete(out, operation.neighbour, sequence),
      };
    case "replace_fdb":
      return {
        purpose: { operation: "set FDB entry", object: fdbText(operation.entry) },
        encode: (out, sequence) => encodeFdbReplace(out, operation.entry, sequence),
      };
    case "delete_fdb":
      return {
        purpose: { operation: "delete FDB entry", object: fdbText(operation.entry) },
        encode: (out, sequence) => encodeFdbDelete(out, operation.entry, sequence),
      };
    default:
      return unreachable(operation);
  }
}

function addressText({ address, link, prefixLength }: AddressSpec): string {
  return `${address}/${prefixLength} on ${link.name}`;
}

function routeText({ destination, gateway, link }: RouteSpec): string {
  const via = gateway === undefined ? "" : ` via ${gateway}`;
  return `${destination}${via} on ${link.name}`;
}

function keyText({ destination, metric, table }: RouteKey): string {
  return `${destination} metric ${metric} table ${table}`;
}

function neighbourText({ address, link }: Omit<NeighbourSpec, "mac">): string {
  return `${address} on ${link.name}`;
}

function fdbText({ link, mac }: Omit<FdbSpec, "endpoint">): string {
  return `${mac} on ${link.name}`;
}
