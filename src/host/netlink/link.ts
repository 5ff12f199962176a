/**
 * rtnetlink link messages: list the links, make one, change one, delete one.
 *
 *          0       1       2       3       4       5       6       7
 *         +-------+-------+-------+-------+-------+-------+-------+-------+
 *      16 | family| 0     | ifi_type      | ifi_index                     |  ifinfomsg
 *      24 | ifi_flags                     | ifi_change                    |
 *      32 | attributes (IFLA_*)
 *
 * Integers in host byte order. Layout: include/uapi/linux/{rtnetlink,if_link}.h. Pure.
 *
 * @module
 */
import { parseMac } from "../../base/address.ts";
import { decodeLinkIndex, type LinkIndex } from "../../base/ids.ts";
import type { ActualLink, LinkChanges, LinkSpec } from "../kernel-ports.ts";
import {
  decodeAttributes,
  decodeText,
  decodeU32,
  putBytes,
  putNested,
  putText,
  putU32,
} from "./attribute.ts";
import { formatMac, macBytes } from "./mac.ts";
import {
  beginRequest,
  finishRequest,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_EXCL,
} from "./message.ts";
import { decodeVxlan, putVxlan } from "./vxlan.ts";

export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
const RTM_GETLINK = 18;

const IFF_UP = 0x1;
const IFF_LOOPBACK = 0x8;

const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_TXQLEN = 13;
const IFLA_LINKINFO = 18;
const IFLA_IFALIAS = 20;
const IFLA_EXT_MASK = 29;
const IFLA_GSO_MAX_SIZE = 41;
const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;
const RTEXT_FILTER_SKIP_STATS = 0x8;

const IFINFOMSG_SIZE = 16;

/** Changes of one link; what is absent stays. A name can only change while the link is down. */
export interface LinkChange extends LinkChanges {
  readonly index: LinkIndex;
  readonly name?: string;
}

/** Writes the request that lists every link. @returns its length in bytes. */
export function encodeLinkDump(out: DataView, sequence: number): number {
  let end = beginRequest(out, { type: RTM_GETLINK, flags: NLM_F_DUMP, sequence });
  end = putInterface(out, end, { index: 0, flags: 0, change: 0 });
  end = putU32(out, end, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
  return finishRequest(out, end);
}

/** Writes the request that makes `link`, down, unless one of its name is there. @returns its
 * length in bytes. */
export function encodeLinkAdd(out: DataView, link: LinkSpec, sequence: number): number {
  const flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
  let end = beginRequest(out, { type: RTM_NEWLINK, flags, sequence });
  end = putInterface(out, end, { index: 0, flags: 0, change: 0 });
  end = putText(out, end, IFLA_IFNAME, link.name);
  end = putBytes(out, end, IFLA_ADDRESS, macBytes(link.mac));
  end = putU32(out, end, IFLA_MTU, link.mtu);
  end = putNested(out, end, {
    type: IFLA_LINKINFO,
    body: (start) =>
      putNested(out, putText(out, start, IFLA_INFO_KIND, link.kind), {
        type: IFLA_INFO_DATA,
        body: (offset) => putVxlan(out, offset, link.vxlan),
      }),
  });
  return finishRequest(out, end);
}

/** Writes the request that changes one link. @returns its length in bytes. */
export function encodeLinkChange(out: DataView, change: LinkChange, sequence: number): number {
  let end = beginRequest(out, { type: RTM_NEWLINK, flags: NLM_F_ACK, sequence });
  end = putInterface(out, end, {
    index: change.index,
    flags: change.up === true ? IFF_UP : 0,
    change: change.up === undefined ? 0 : IFF_UP,
  });
  if (change.name !== undefined) end = putText(out, end, IFLA_IFNAME, change.name);
  if (change.mtu !== undefined) end = putU32(out, end, IFLA_MTU, change.mtu);
  if (change.txQueueLength !== undefined) end = putU32(out, end, IFLA_TXQLEN, change.txQueueLength);
  if (change.gsoMaxSize !== undefined) end = putU32(out, end, IFLA_GSO_MAX_SIZE, change.gsoMaxSize);
  if (change.mac !== undefined) end = putBytes(out, end, IFLA_ADDRESS, macBytes(change.mac));
  if (change.alias !== undefined) end = putText(out, end, IFLA_IFALIAS, change.alias);
  return finishRequest(out, end);
}

/** Writes the request that deletes one link. @returns its length in bytes. */
export function encodeLinkDelete(out: DataView, index: LinkIndex, sequence: number): number {
  const end = beginRequest(out, { type: RTM_DELLINK, flags: NLM_F_ACK, sequence });
  return finishRequest(out, putInterface(out, end, { index, flags: 0, change: 0 }));
}

/** The link in the body of RTM_NEWLINK or RTM_DELLINK, or undefined when it makes no sense. */
export function decodeLink(body: Uint8Array): ActualLink | undefined {
  if (body.length < IFINFOMSG_SIZE) return undefined;
  const view = new DataView(body.buffer, body.byteOffset, body.length);
  const attributes = decodeAttributes(body.subarray(IFINFOMSG_SIZE));
  const index = view.getInt32(4, true);
  const name = decodeText(attributes?.get(IFLA_IFNAME));
  const mtu = decodeU32(attributes?.get(IFLA_MTU));
  if (attributes === undefined || index <= 0 || !name || mtu === undefined) return undefined;

  const flags = view.getUint32(8, true);
  const info = decodeAttributes(attributes.get(IFLA_LINKINFO) ?? new Uint8Array());
  const kind = decodeText(info?.get(IFLA_INFO_KIND));
  const alias = decodeText(attributes.get(IFLA_IFALIAS));
  const vxlan = kind === "vxlan" ? decodeVxlan(info?.get(IFLA_INFO_DATA)) : undefined;
  return {
    index: decodeLinkIndex(index),
    name,
    kind,
    up: (flags & IFF_UP) !== 0,
    loopback: (flags & IFF_LOOPBACK) !== 0,
    mtu,
    txQueueLength: decodeU32(attributes.get(IFLA_TXQLEN)) ?? 0,
    gsoMaxSize: decodeU32(attributes.get(IFLA_GSO_MAX_SIZE)),
    // Not every link layer has a MAC of 6 bytes (a TUN has none, a tunnel an IP address).
    mac: parseMac(formatMac(attributes.get(IFLA_ADDRESS))),
    ...(alias === undefined ? {} : { alias }),
    ...(vxlan === undefined ? {} : { vxlan }),
  };
}

function putInterface(
  out: DataView,
  offset: number,
  link: { readonly index: number; readonly flags: number; readonly change: number },
): number {
  out.setUint32(offset, 0, true); // Family AF_UNSPEC, padding, any hardware type.
  out.setInt32(offset + 4, link.index, true);
  out.setUint32(offset + 8, link.flags, true);
  out.setUint32(offset + 12, link.change, true);
  return offset + IFINFOMSG_SIZE;
}
