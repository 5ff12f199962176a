/**
 * rtnetlink address messages: list, add or replace, delete.
 *
 *          0       1       2       3       4       5       6       7
 *         +-------+-------+-------+-------+-------+-------+-------+-------+
 *      16 | family| length| flags | scope | ifa_index                     |  ifaddrmsg
 *      24 | attributes (IFA_*), addresses in network order
 *
 * On a point-to-point link IFA_LOCAL is ours and IFA_ADDRESS the other end's; elsewhere they are
 * the same, and IPv6 may leave IFA_LOCAL out. Layout: include/uapi/linux/if_addr.h. Pure.
 *
 * @module
 */
import {
  addressBytes,
  addressFamily,
  decodeAddress,
  type Family,
  familyBits,
} from "../../base/address.ts";
import { assert } from "../../base/assert.ts";
import { decodeLinkIndex } from "../../base/ids.ts";
import type { ActualAddress, AddressSpec } from "../kernel-ports.ts";
import { decodeAttributes, decodeU32, putBytes, putU32 } from "./attribute.ts";
import { decodeFamily, FAMILY_NUMBERS } from "./family.ts";
import {
  beginRequest,
  finishRequest,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_REPLACE,
} from "./message.ts";

export const RTM_NEWADDR = 20;
export const RTM_DELADDR = 21;
const RTM_GETADDR = 22;

const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFA_FLAGS = 8;
/** IPv4: secondary. The same bit says "temporary" in IPv6. */
const IFA_F_SECONDARY = 0x01;
const IFA_F_NODAD = 0x02;

const RT_SCOPE_UNIVERSE = 0;
const RT_SCOPE_SITE = 200;

const IFADDRMSG_SIZE = 8;

/** Writes the request that lists the addresses of one family. @returns its length in bytes. */
export function encodeAddressDump(out: DataView, family: Family, sequence: number): number {
  const end = beginRequest(out, { type: RTM_GETADDR, flags: NLM_F_DUMP, sequence });
  out.setUint32(end, FAMILY_NUMBERS[family], true);
  out.setUint32(end + 4, 0, true);
  return finishRequest(out, end + IFADDRMSG_SIZE);
}

/** Writes the request that adds `address` or brings it up to date. @returns its length in bytes. */
export function encodeAddressReplace(
  out: DataView,
  address: AddressSpec,
  sequence: number,
): number {
  const flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
  return encodeAddress(out, address, { type: RTM_NEWADDR, flags, sequence });
}

/** Writes the request that deletes exactly `address`. @returns its length in bytes. */
export function encodeAddressDelete(out: DataView, address: AddressSpec, sequence: number): number {
  return encodeAddress(out, address, { type: RTM_DELADDR, flags: NLM_F_ACK, sequence });
}

/** The address in the body of RTM_NEWADDR or RTM_DELADDR, or undefined if it makes no sense. */
export function decodeInterfaceAddress(body: Uint8Array): ActualAddress | undefined {
  if (body.length < IFADDRMSG_SIZE) return undefined;
  const family = decodeFamily(body[0]!);
  const prefixLength = body[1]!;
  const view = new DataView(body.buffer, body.byteOffset, body.length);
  const index = view.getUint32(4, true);
  const attributes = decodeAttributes(body.subarray(IFADDRMSG_SIZE));
  if (family === undefined || attributes === undefined || index === 0) return undefined;
  const bytes = attributes.get(IFA_LOCAL) ?? attributes.get(IFA_ADDRESS);
  if (bytes?.length !== familyBits(family) / 8 || prefixLength > familyBits(family)) {
    return undefined;
  }
  // The header has room for eight flags only; the attribute repeats them with the others.
  const flags = decodeU32(attributes.get(IFA_FLAGS)) ?? body[2]!;
  return {
    link: decodeLinkIndex(index),
    address: decodeAddress(bytes),
    prefixLength,
    scope: decodeScope(body[3]!),
    secondary: (flags & IFA_F_SECONDARY) !== 0,
  };
}

function encodeAddress(
  out: DataView,
  { address, link, prefixLength }: AddressSpec,
  header: { readonly type: number; readonly flags: number; readonly sequence: number },
): number {
  const family = addressFamily(address);
  assert(prefixLength >= 0 && prefixLength <= familyBits(family), "prefix length out of range");

  let end = beginRequest(out, header);
  out.setUint8(end, FAMILY_NUMBERS[family]);
  out.setUint8(end + 1, prefixLength);
  out.setUint8(end + 2, 0);
  out.setUint8(end + 3, RT_SCOPE_UNIVERSE);
  out.setUint32(end + 4, link.index, true);
  end += IFADDRMSG_SIZE;

  const bytes = addressBytes(address);
  end = putBytes(out, end, IFA_LOCAL, bytes);
  end = putBytes(out, end, IFA_ADDRESS, bytes);
  // An overlay address is ours by lease: duplicate detection would only keep it back for a second.
  if (family === 6) end = putU32(out, end, IFA_FLAGS, IFA_F_NODAD);
  return finishRequest(out, end);
}

function decodeScope(scope: number): ActualAddress["scope"] {
  const RT_SCOPE_LINK = 253;
  if (scope <= RT_SCOPE_SITE) return "global";
  return scope === RT_SCOPE_LINK ? "link" : "host";
}
