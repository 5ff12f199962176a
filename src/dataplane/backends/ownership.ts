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

/** The kernel's UDP port of VXLAN, which flannel's leases do not name; IANA's would be 4789. */
export const VXLAN_PORT_DEFAULT = 8472;

/**
 * Name of the VXLAN link for a VNI and a UDP port. Links for all of them may be there at once, and
 * flannel's `flannel.1` beside them.
 *
 *     overlay.1         the kernel's port
 *     overlay.1-4789    another one
 *     ovl-ffffff-12b5   both as hexadecimal digits, where that is too long for the kernel
 */
export function vxlanLinkName({
  port,
  vni,
}: {
  readonly vni: number;
  readonly port: number;
}): string {
  const name = port === VXLAN_PORT_DEFAULT ? `overlay.${vni}` : `overlay.${vni}-${port}`;
  if (name.length <= LINK_NAME_LENGTH_MAX) return name;
  return `ovl-${vni.toString(16)}-${port.toString(16)}`;
}
const VXLAN_NAME = /^(overlay\.[0-9]+(-[0-9]+)?|ovl-[0-9a-f]+-[0-9a-f]+)$/;
/** IFNAMSIZ − 1 (include/uapi/linux/if.h). */
const LINK_NAME_LENGTH_MAX = 15;

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
  /** Matches the names of our VXLAN links. */
  readonly vxlanName: RegExp;
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
  vxlanName: VXLAN_NAME,
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
  const { linkAlias, links, vxlanName } = ownership;
  if (links.some((owned) => owned.name === name && owned.kind === kind)) return true;
  return kind === "vxlan" && (alias === linkAlias || vxlanName.test(name));
}
