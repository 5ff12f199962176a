/**
 * What rtnetlink says of a VXLAN link beyond what all links have (IFLA_INFO_DATA).
 *
 * Integers in host byte order, except the port and addresses. Layout:
 * include/uapi/linux/if_link.h, IFLA_VXLAN_*. Pure.
 *
 * @module
 */
import { addressBytes, addressFamily, decodeAddress } from "../../base/address.ts";
import { decodeLinkIndex } from "../../base/ids.ts";
import type { VxlanSettings } from "../kernel-ports.ts";
import { decodeAttributes, decodeU32, putBytes, putU8, putU32 } from "./attribute.ts";

const IFLA_VXLAN_ID = 1;
const IFLA_VXLAN_LINK = 3;
const IFLA_VXLAN_LOCAL = 4;
const IFLA_VXLAN_LEARNING = 7;
const IFLA_VXLAN_PORT = 15;
const IFLA_VXLAN_LOCAL6 = 17;
/** A flag: there or not, without a value. */
const IFLA_VXLAN_GBP = 23;

const NO_LINK = 0;

/** Writes the attributes of `settings`; the result is where the next one starts. */
export function putVxlan(out: DataView, offset: number, settings: VxlanSettings): number {
  const { gbp, learning, local, port, underlay, vni } = settings;
  let end = putU32(out, offset, IFLA_VXLAN_ID, vni);
  if (underlay !== undefined) end = putU32(out, end, IFLA_VXLAN_LINK, underlay);
  if (local !== undefined) {
    const type = addressFamily(local) === 4 ? IFLA_VXLAN_LOCAL : IFLA_VXLAN_LOCAL6;
    end = putBytes(out, end, type, addressBytes(local));
  }
  end = putU8(out, end, IFLA_VXLAN_LEARNING, learning ? 1 : 0);
  end = putBytes(out, end, IFLA_VXLAN_PORT, Uint8Array.of(port >> 8, port & 255));
  return gbp ? putBytes(out, end, IFLA_VXLAN_GBP, new Uint8Array()) : end;
}

/** The settings in IFLA_INFO_DATA, or undefined when they make no sense. */
export function decodeVxlan(data: Uint8Array | undefined): VxlanSettings | undefined {
  const attributes = data && decodeAttributes(data);
  const vni = decodeU32(attributes?.get(IFLA_VXLAN_ID));
  const port = attributes?.get(IFLA_VXLAN_PORT);
  if (attributes === undefined || vni === undefined || port?.length !== 2) return undefined;
  const underlay = decodeU32(attributes.get(IFLA_VXLAN_LINK)) ?? NO_LINK;
  const local = attributes.get(IFLA_VXLAN_LOCAL) ?? attributes.get(IFLA_VXLAN_LOCAL6);
  const hasLocal = (local?.length === 4 || local?.length === 16) && local.some((it) => it !== 0);
  return {
    vni,
    port: (port[0]! << 8) | port[1]!,
    underlay: underlay > NO_LINK && underlay <= 0x7fff_ffff ? decodeLinkIndex(underlay) : undefined,
    local: hasLocal ? decodeAddress(local) : undefined,
    learning: attributes.get(IFLA_VXLAN_LEARNING)?.[0] === 1,
    gbp: attributes.has(IFLA_VXLAN_GBP),
  };
}
