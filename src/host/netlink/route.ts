/**
 * rtnetlink route messages: list, look one up, add, replace, delete.
 *
 *          0       1       2       3       4       5       6       7
 *         +-------+-------+-------+-------+-------+-------+-------+-------+
 *      16 | family| dstlen| srclen| tos   | table | proto | scope | type  |  rtmsg
 *      24 | rtm_flags                     | attributes (RTA_*)
 *
 * Integers in host byte order, addresses in network order. Layout:
 * include/uapi/linux/rtnetlink.h. Pure.
 *
 * @module
 */
import {
  addressBytes,
  addressFamily,
  decodeAddress,
  decodePrefix,
  type Family,
  familyBits,
  type IpAddress,
  type Prefix,
  prefixAddress,
  prefixLength,
} from "../../base/address.ts";
import { assert } from "../../base/assert.ts";
import { decodeLinkIndex } from "../../base/ids.ts";
import type { ActualRoute, RouteKey, RouteSpec, Way } from "../kernel-ports.ts";
import { type Attributes, decodeAttributes, decodeU32, putBytes, putU32 } from "./attribute.ts";
import { decodeFamily, FAMILY_NUMBERS } from "./family.ts";
import {
  beginRequest,
  finishRequest,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_EXCL,
  NLM_F_REPLACE,
} from "./message.ts";

export const RTM_NEWROUTE = 24;
export const RTM_DELROUTE = 25;
const RTM_GETROUTE = 26;

const RTA_DST = 1;
const RTA_OIF = 4;
const RTA_GATEWAY = 5;
const RTA_PRIORITY = 6;
const RTA_PREFSRC = 7;
const RTA_MULTIPATH = 9;
const RTA_TABLE = 15;

const RTN_UNICAST = 1;
const RT_SCOPE_UNIVERSE = 0;
const RT_SCOPE_LINK = 253;
const RT_SCOPE_NOWHERE = 255;
const RTNH_F_ONLINK = 4;
const RTM_F_CLONED = 0x200;

const RTMSG_SIZE = 12;
const RTNEXTHOP_SIZE = 8;
/** `table` in the header has eight bits; the number itself is in RTA_TABLE. */
const RT_TABLE_UNSPEC = 0;

/** Which routes a dump lists; 0 means any. The kernel filters (NETLINK_GET_STRICT_CHK). */
export interface RouteFilter {
  readonly family: Family;
  readonly protocol: number;
  readonly table: number;
}

interface RouteHeader {
  readonly family: Family;
  readonly prefixLength: number;
  readonly protocol: number;
  readonly scope: number;
  readonly type: number;
  readonly flags: number;
}

/** Writes the request that lists the routes that `filter` lets through. @returns its length. */
export function encodeRouteDump(out: DataView, filter: RouteFilter, sequence: number): number {
  let end = beginRequest(out, { type: RTM_GETROUTE, flags: NLM_F_DUMP, sequence });
  end = putHeader(out, end, {
    family: filter.family,
    prefixLength: 0,
    protocol: filter.protocol,
    scope: RT_SCOPE_UNIVERSE,
    type: 0,
    flags: 0,
  });
  if (filter.table !== 0) end = putU32(out, end, RTA_TABLE, filter.table);
  return finishRequest(out, end);
}

/** Writes the request for the way to `target`. @returns its length in bytes. */
export function encodeRouteGet(out: DataView, target: IpAddress, sequence: number): number {
  const family = addressFamily(target);
  let end = beginRequest(out, { type: RTM_GETROUTE, flags: 0, sequence });
  end = putHeader(out, end, {
    family,
    prefixLength: familyBits(family),
    protocol: 0,
    scope: RT_SCOPE_UNIVERSE,
    type: 0,
    flags: 0,
  });
  end = putBytes(out, end, RTA_DST, addressBytes(target));
  return finishRequest(out, end);
}

/** Writes the request that adds `route` unless one with its key is there. @returns its length. */
export function encodeRouteAdd(out: DataView, route: RouteSpec, sequence: number): number {
  return encodeRoute(out, route, { flags: NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, sequence });
}

/** Writes the request that puts `route` in place of the one with its key. @returns its length. */
export function encodeRouteReplace(out: DataView, route: RouteSpec, sequence: number): number {
  return encodeRoute(out, route, { flags: NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, sequence });
}

/** Writes the request that deletes the unicast route that `key` describes. @returns its length. */
export function encodeRouteDelete(out: DataView, key: RouteKey, sequence: number): number {
  let end = beginRequest(out, { type: RTM_DELROUTE, flags: NLM_F_ACK, sequence });
  end = putHeader(out, end, {
    family: addressFamily(key.destination),
    prefixLength: prefixLength(key.destination),
    protocol: key.protocol,
    scope: RT_SCOPE_NOWHERE, // Matches every scope.
    type: RTN_UNICAST,
    flags: 0,
  });
  end = putBytes(out, end, RTA_DST, addressBytes(prefixAddress(key.destination)));
  if (key.link !== undefined) end = putU32(out, end, RTA_OIF, key.link);
  if (key.gateway !== undefined) end = putBytes(out, end, RTA_GATEWAY, addressBytes(key.gateway));
  end = putU32(out, end, RTA_PRIORITY, key.metric);
  end = putU32(out, end, RTA_TABLE, key.table);
  return finishRequest(out, end);
}

/** The route in the body of RTM_NEWROUTE or RTM_DELROUTE, or undefined if it makes no sense. */
export function decodeRoute(body: Uint8Array): ActualRoute | undefined {
  if (body.length < RTMSG_SIZE) return undefined;
  const family = decodeFamily(body[0]!);
  const length = body[1]!;
  const attributes = decodeAttributes(body.subarray(RTMSG_SIZE));
  if (family === undefined || attributes === undefined || length > familyBits(family)) {
    return undefined;
  }
  const flags = decodeU32(body.subarray(8)) ?? 0;
  // Clones are cache entries of IPv6 (redirects, path MTU), not configuration.
  if ((flags & RTM_F_CLONED) !== 0) return undefined;
  const destination = decodeDestination(attributes.get(RTA_DST), family, length);
  if (destination === undefined) return undefined;

  const hop = decodeFirstHop(attributes, flags);
  return {
    destination,
    table: decodeU32(attributes.get(RTA_TABLE)) ?? body[4]!,
    protocol: body[5]!,
    metric: decodeU32(attributes.get(RTA_PRIORITY)) ?? 0,
    unicast: body[7] === RTN_UNICAST,
    link: hop.link > 0 ? decodeLinkIndex(hop.link) : undefined,
    gateway: decodeOptionalAddress(hop.attributes.get(RTA_GATEWAY)),
    onlink: (hop.flags & RTNH_F_ONLINK) !== 0,
  };
}

/** The way in the kernel's answer to `encodeRouteGet`, or undefined when it leads nowhere. */
export function decodeWay(body: Uint8Array): Way | undefined {
  if (body.length < RTMSG_SIZE || body[7] !== RTN_UNICAST) return undefined;
  const attributes = decodeAttributes(body.subarray(RTMSG_SIZE));
  const link = decodeU32(attributes?.get(RTA_OIF)) ?? 0;
  if (attributes === undefined || link === 0 || link > 0x7fff_ffff) return undefined;
  return {
    link: decodeLinkIndex(link),
    gateway: decodeOptionalAddress(attributes.get(RTA_GATEWAY)),
    source: decodeOptionalAddress(attributes.get(RTA_PREFSRC)),
  };
}

function encodeRoute(
  out: DataView,
  route: RouteSpec,
  { flags, sequence }: { readonly flags: number; readonly sequence: number },
): number {
  const family = addressFamily(route.destination);
  const { gateway } = route;
  assert(gateway === undefined || addressFamily(gateway) === family, "gateway of another family");

  let end = beginRequest(out, { type: RTM_NEWROUTE, flags, sequence });
  end = putHeader(out, end, {
    family,
    prefixLength: prefixLength(route.destination),
    protocol: route.protocol,
    // IPv6 has no scopes. In IPv4, "link" says that the destination is at the link's other end.
    scope: gateway === undefined && family === 4 ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE,
    type: RTN_UNICAST,
    flags: route.onlink ? RTNH_F_ONLINK : 0,
  });
  end = putBytes(out, end, RTA_DST, addressBytes(prefixAddress(route.destination)));
  end = putU32(out, end, RTA_OIF, route.link.index);
  if (gateway !== undefined) end = putBytes(out, end, RTA_GATEWAY, addressBytes(gateway));
  end = putU32(out, end, RTA_PRIORITY, route.metric);
  end = putU32(out, end, RTA_TABLE, route.table);
  return finishRequest(out, end);
}

function putHeader(out: DataView, offset: number, header: RouteHeader): number {
  out.setUint8(offset, FAMILY_NUMBERS[header.family]);
  out.setUint8(offset + 1, header.prefixLength);
  out.setUint16(offset + 2, 0, true); // No source prefix, no type of service.
  out.setUint8(offset + 4, RT_TABLE_UNSPEC);
  out.setUint8(offset + 5, header.protocol);
  out.setUint8(offset + 6, header.scope);
  out.setUint8(offset + 7, header.type);
  out.setUint32(offset + 8, header.flags, true);
  return offset + RTMSG_SIZE;
}

/** A default route has no RTA_DST; any other has one of the family's size. */
function decodeDestination(
  bytes: Uint8Array | undefined,
  family: Family,
  length: number,
): Prefix | undefined {
  const size = familyBits(family) / 8;
  if (bytes === undefined) {
    return length === 0 ? decodePrefix(new Uint8Array(size), 0) : undefined;
  }
  return bytes.length === size ? decodePrefix(bytes, length) : undefined;
}

interface Hop {
  readonly link: number;
  readonly flags: number;
  readonly attributes: Attributes;
}

/** A route of several next hops has them in RTA_MULTIPATH: an rtnexthop, then its attributes. */
function decodeFirstHop(attributes: Attributes, flags: number): Hop {
  const hops = attributes.get(RTA_MULTIPATH);
  if (hops === undefined || hops.length < RTNEXTHOP_SIZE) {
    return { link: clampIndex(decodeU32(attributes.get(RTA_OIF)) ?? 0), flags, attributes };
  }
  const view = new DataView(hops.buffer, hops.byteOffset, hops.length);
  const length = view.getUint16(0, true);
  const own =
    length >= RTNEXTHOP_SIZE && length <= hops.length
      ? decodeAttributes(hops.subarray(RTNEXTHOP_SIZE, length))
      : undefined;
  return {
    link: clampIndex(view.getUint32(4, true)),
    flags: hops[2]!,
    attributes: own ?? new Map(),
  };
}

/** Link numbers are positive 32-bit integers; anything else is none. */
function clampIndex(value: number): number {
  return value <= 0x7fff_ffff ? value : 0;
}

function decodeOptionalAddress(bytes: Uint8Array | undefined): IpAddress | undefined {
  return bytes?.length === 4 || bytes?.length === 16 ? decodeAddress(bytes) : undefined;
}
