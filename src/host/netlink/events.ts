/**
 * Multicast events of rtnetlink: which groups to join, and what one event says.
 *
 * Only enough is decoded to see whom a change concerns. What is there now is read by a snapshot,
 * never pieced together from events: then a lost event costs a little time and no truth. Pure.
 *
 * @module
 */
import { decodeLinkIndex, type LinkIndex } from "../../base/ids.ts";
import type { KernelChange } from "../kernel-ports.ts";
import { decodeInterfaceAddress, RTM_DELADDR, RTM_NEWADDR } from "./address.ts";
import { decodeAttributes, decodeU32 } from "./attribute.ts";
import { decodeLink, RTM_DELLINK, RTM_NEWLINK } from "./link.ts";
import type { Message } from "./message.ts";
import { decodeNeighbourLink, RTM_DELNEIGH, RTM_NEWNEIGH } from "./neighbour.ts";
import { decodeRoute, RTM_DELROUTE, RTM_NEWROUTE } from "./route.ts";

const RTNLGRP_LINK = 1;
const RTNLGRP_NEIGH = 3;
const RTNLGRP_IPV4_IFADDR = 5;
const RTNLGRP_IPV4_ROUTE = 7;
const RTNLGRP_IPV6_IFADDR = 9;
const RTNLGRP_IPV6_ROUTE = 11;
const RTNLGRP_IPV4_NETCONF = 24;
const RTNLGRP_IPV6_NETCONF = 25;

/** The groups whose events `decodeChange` knows. */
export const ROUTE_GROUPS: readonly number[] = [
  RTNLGRP_LINK,
  RTNLGRP_NEIGH,
  RTNLGRP_IPV4_IFADDR,
  RTNLGRP_IPV4_ROUTE,
  RTNLGRP_IPV6_IFADDR,
  RTNLGRP_IPV6_ROUTE,
  RTNLGRP_IPV4_NETCONF,
  RTNLGRP_IPV6_NETCONF,
];

const RTM_NEWNETCONF = 80;
const RTM_DELNETCONF = 81;

/** struct netconfmsg is one byte, padded. */
const NETCONFMSG_SIZE = 4;
const NETCONFA_IFINDEX = 1;

/** The change that an event tells of, or undefined for one that makes no sense or is not ours. */
export function decodeChange({ type, body }: Message): KernelChange | undefined {
  switch (type) {
    case RTM_NEWLINK:
    case RTM_DELLINK: {
      const link = decodeLink(body);
      return link && { kind: "link", link: { index: link.index, name: link.name } };
    }
    case RTM_NEWADDR:
    case RTM_DELADDR: {
      const address = decodeInterfaceAddress(body);
      return address && { kind: "address", link: address.link };
    }
    case RTM_NEWROUTE:
    case RTM_DELROUTE: {
      const route = decodeRoute(body);
      if (route === undefined) return undefined;
      const { destination, link, protocol } = route;
      return { kind: "route", destination, link, protocol };
    }
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH: {
      const link = decodeNeighbourLink(body);
      return link === undefined ? undefined : { kind: "neighbour", link };
    }
    case RTM_NEWNETCONF:
    case RTM_DELNETCONF: {
      const attributes = decodeAttributes(body.subarray(NETCONFMSG_SIZE));
      if (attributes === undefined) return undefined;
      const index = decodeU32(attributes.get(NETCONFA_IFINDEX));
      return { kind: "settings", link: decodeOptionalIndex(index) };
    }
    default:
      return undefined;
  }
}

/** The negative numbers of NETCONFA_IFINDEX mean "all links" and "links to come". */
function decodeOptionalIndex(value: number | undefined): LinkIndex | undefined {
  return value !== undefined && value > 0 && value <= 0x7fff_ffff
    ? decodeLinkIndex(value)
    : undefined;
}
