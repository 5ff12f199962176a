/**
 * rtnetlink neighbour messages: the MAC behind an address on a link, and, in the family of
 * bridges, where a VXLAN link sends frames for a MAC (its forwarding database, FDB).
 *
 *          0       1       2       3       4       5       6       7
 *         +-------+-------+-------+-------+-------+-------+-------+-------+
 *      16 | family| 0                     | ndm_ifindex                   |  ndmsg
 *      24 | ndm_state     | flags | type  | attributes (NDA_*)
 *
 * Only permanent entries: what the kernel found out by itself is its own business. Integers in
 * host byte order. Layout: include/uapi/linux/neighbour.h. Pure.
 *
 * @module
 */
import {
  addressBytes,
  addressFamily,
  decodeAddress,
  type Family,
  type IpAddress,
} from "../../base/address.ts";
import { decodeLinkIndex, type LinkIndex } from "../../base/ids.ts";
import type { ActualFdbEntry, ActualNeighbour, FdbSpec, NeighbourSpec } from "../kernel-ports.ts";
import { type Attributes, decodeAttributes, putBytes, putU32 } from "./attribute.ts";
import { decodeFamily, FAMILY_NUMBERS } from "./family.ts";
import { decodeMac, macBytes } from "./mac.ts";
import {
  beginRequest,
  finishRequest,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_REPLACE,
} from "./message.ts";

export const RTM_NEWNEIGH = 28;
export const RTM_DELNEIGH = 29;
const RTM_GETNEIGH = 30;

const AF_BRIDGE = 7;
const NDA_DST = 1;
const NDA_LLADDR = 2;
const NDA_IFINDEX = 8;
const NUD_PERMANENT = 0x80;
/** The entry is the link's own, not that of a bridge above it. */
const NTF_SELF = 0x02;

const NDMSG_SIZE = 12;

interface NeighbourHeader {
  readonly family: number;
  readonly link: number;
  readonly state: number;
  readonly flags: number;
}

/** Which entries a dump lists: of one family of addresses, or the FDB; of one link. */
export interface NeighbourFilter {
  readonly family: Family | "fdb";
  readonly link: LinkIndex;
}

/** Writes the request that lists what `filter` lets through. @returns its length in bytes. */
export function encodeNeighbourDump(
  out: DataView,
  { family, link }: NeighbourFilter,
  sequence: number,
): number {
  const number = family === "fdb" ? AF_BRIDGE : FAMILY_NUMBERS[family];
  let end = beginRequest(out, { type: RTM_GETNEIGH, flags: NLM_F_DUMP, sequence });
  end = putHeader(out, end, { family: number, link: 0, state: 0, flags: 0 });
  return finishRequest(out, putU32(out, end, NDA_IFINDEX, link));
}

/** Writes the request that sets a permanent neighbour, whatever was known of the address. */
export function encodeNeighbourReplace(
  out: DataView,
  { address, link, mac }: NeighbourSpec,
  sequence: number,
): number {
  const flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
  let end = beginRequest(out, { type: RTM_NEWNEIGH, flags, sequence });
  end = putHeader(out, end, {
    family: FAMILY_NUMBERS[addressFamily(address)],
    link: link.index,
    state: NUD_PERMANENT,
    flags: 0,
  });
  end = putBytes(out, end, NDA_DST, addressBytes(address));
  return finishRequest(out, putBytes(out, end, NDA_LLADDR, macBytes(mac)));
}

/** Writes the request that deletes what is known of an address. @returns its length in bytes. */
export function encodeNeighbourDelete(
  out: DataView,
  { address, link }: Pick<NeighbourSpec, "address" | "link">,
  sequence: number,
): number {
  let end = beginRequest(out, { type: RTM_DELNEIGH, flags: NLM_F_ACK, sequence });
  const family = FAMILY_NUMBERS[addressFamily(address)];
  end = putHeader(out, end, { family, link: link.index, state: 0, flags: 0 });
  return finishRequest(out, putBytes(out, end, NDA_DST, addressBytes(address)));
}

/** Writes the request that has a link send frames for a MAC to one endpoint and no other. */
export function encodeFdbReplace(
  out: DataView,
  { endpoint, link, mac }: FdbSpec,
  sequence: number,
): number {
  const flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
  let end = beginRequest(out, { type: RTM_NEWNEIGH, flags, sequence });
  end = putFdbHeader(out, end, { link: link.index, state: NUD_PERMANENT });
  end = putBytes(out, end, NDA_DST, addressBytes(endpoint));
  return finishRequest(out, putBytes(out, end, NDA_LLADDR, macBytes(mac)));
}

/** Writes the request that deletes every endpoint of a MAC. @returns its length in bytes. */
export function encodeFdbDelete(
  out: DataView,
  { link, mac }: Pick<FdbSpec, "link" | "mac">,
  sequence: number,
): number {
  let end = beginRequest(out, { type: RTM_DELNEIGH, flags: NLM_F_ACK, sequence });
  end = putFdbHeader(out, end, { link: link.index, state: 0 });
  return finishRequest(out, putBytes(out, end, NDA_LLADDR, macBytes(mac)));
}

/** The permanent neighbour in the body of a message; undefined for any other, and for nonsense. */
export function decodeNeighbour(body: Uint8Array): ActualNeighbour | undefined {
  const entry = decodeEntry(body);
  if (entry === undefined || decodeFamily(entry.family) === undefined) return undefined;
  const address = decodeEndpoint(entry.attributes);
  if (address === undefined) return undefined;
  return { link: entry.link, address, mac: decodeMac(entry.attributes.get(NDA_LLADDR)) };
}

/** The permanent FDB entry in the body of a message; undefined for any other, and for nonsense. */
export function decodeFdbEntry(body: Uint8Array): ActualFdbEntry | undefined {
  const entry = decodeEntry(body);
  const mac = decodeMac(entry?.attributes.get(NDA_LLADDR));
  if (entry?.family !== AF_BRIDGE || mac === undefined) return undefined;
  return { link: entry.link, mac, endpoint: decodeEndpoint(entry.attributes) };
}

/** The link that a message of any state speaks of. */
export function decodeNeighbourLink(body: Uint8Array): LinkIndex | undefined {
  if (body.length < NDMSG_SIZE) return undefined;
  const index = new DataView(body.buffer, body.byteOffset, body.length).getInt32(4, true);
  return index > 0 ? decodeLinkIndex(index) : undefined;
}

interface Entry {
  readonly family: number;
  readonly link: LinkIndex;
  readonly attributes: Attributes;
}

function decodeEntry(body: Uint8Array): Entry | undefined {
  const link = decodeNeighbourLink(body);
  if (link === undefined) return undefined;
  const state = body[8]! | (body[9]! << 8);
  const attributes = decodeAttributes(body.subarray(NDMSG_SIZE));
  if ((state & NUD_PERMANENT) === 0 || attributes === undefined) return undefined;
  return { family: body[0]!, link, attributes };
}

function decodeEndpoint(attributes: Attributes): IpAddress | undefined {
  const bytes = attributes.get(NDA_DST);
  return bytes?.length === 4 || bytes?.length === 16 ? decodeAddress(bytes) : undefined;
}

function putFdbHeader(
  out: DataView,
  offset: number,
  header: Pick<NeighbourHeader, "link" | "state">,
): number {
  return putHeader(out, offset, { ...header, family: AF_BRIDGE, flags: NTF_SELF });
}

function putHeader(out: DataView, offset: number, header: NeighbourHeader): number {
  out.setUint32(offset, header.family, true); // Then three bytes of padding.
  out.setInt32(offset + 4, header.link, true);
  out.setUint16(offset + 8, header.state, true);
  out.setUint8(offset + 10, header.flags);
  out.setUint8(offset + 11, 0);
  return offset + NDMSG_SIZE;
}
