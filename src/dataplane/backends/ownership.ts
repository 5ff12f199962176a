/**
 * How to tell what is ours in the kernel from what is not, after any crash and without a record.
 *
 * Links are ours by name and kind, VXLAN links also by their alias, and the addresses, neighbours
 * and FDB entries on them with them. Routes are ours by their
 * protocol number, on whatever link. A firewall table is ours by its name, a rule in a chain of
 * others by the start of its comment. Nothing else is ever changed or removed.
 *
 * @module
 */
import type { ActualLink, ChainRef, TableRef } from "../../host/kernel-ports.ts";

/** An implementation choice of ours; 0 to 4 mean something to the kernel, and
 * include/uapi/linux/rtnetlink.h and /etc/iproute2/rt_protos give others to other programs. */
const ROUTE_PROTOCOL_OVERLAY = 85;

/** The TUN link of the packet engine. */
export const OVERLAY_LINK = "overlay0";

/** Name of the VXLAN link for a VNI; flannel has `flannel.1`, and both may be there. */
export function vxlanLinkName(vni: number): string {
  return `${VXLAN_NAME_START}${vni}`;
}
const VXLAN_NAME_START = "overlay.";

/** Alias of each of our VXLAN links: a link that was renamed still holds its VNI. */
export const LINK_ALIAS = "overlay";

/** How the comment of each of our firewall rules starts. */
export const RULE_MARK = "overlay: ";

/** A link that is ours wherever it is found. */
export interface OwnedLink {
  readonly name: string;
  /** The kernel's word. A link of this name and another kind is somebody else's. */
  readonly kind: string;
}

/** The marks of what is ours. */
export interface Ownership {
  readonly links: readonly OwnedLink[];
  /** How the names of our VXLAN links start; a number follows. */
  readonly vxlanNameStart: string;
  readonly linkAlias: string;
  /** RTPROT_* number on every route that we make. */
  readonly routeProtocol: number;
  readonly firewallTable: TableRef;
  /** Chains of others in which we may have rules. */
  readonly guestChains: readonly ChainRef[];
  readonly ruleMark: string;
}

/** What this program marks as its own. */
export const OURS: Ownership = {
  links: [{ name: OVERLAY_LINK, kind: "tun" }],
  vxlanNameStart: VXLAN_NAME_START,
  linkAlias: LINK_ALIAS,
  routeProtocol: ROUTE_PROTOCOL_OVERLAY,
  firewallTable: { family: "inet", name: "overlay" },
  // Where iptables (its nf_tables variant) keeps the rules for forwarded packets.
  guestChains: [
    { table: { family: "ip", name: "filter" }, name: "FORWARD" },
    { table: { family: "ip6", name: "filter" }, name: "FORWARD" },
  ],
  ruleMark: RULE_MARK,
};

/** Whether `link` is ours. */
export function isOwnedLink(
  { alias, kind, name }: Pick<ActualLink, "alias" | "kind" | "name">,
  ownership: Ownership,
): boolean {
  const { linkAlias, links, vxlanNameStart } = ownership;
  if (links.some((owned) => owned.name === name && owned.kind === kind)) return true;
  return kind === "vxlan" && (alias === linkAlias || isOwnedName(name, vxlanNameStart));
}

function isOwnedName(name: string, start: string): boolean {
  return name.startsWith(start) && /^[0-9]+$/.test(name.slice(start.length));
}
