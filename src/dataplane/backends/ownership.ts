/**
 * How to tell what is ours in the kernel from what is not, after any crash and without a record.
 *
 * Links are ours by name and kind, and the addresses on them with them. Routes are ours by their
 * protocol number, on whatever link. A firewall table is ours by its name, a rule in a chain of
 * others by the start of its comment. Nothing else is ever changed or removed.
 *
 * @module
 */
import type { ChainRef, TableRef } from "../../host/kernel-ports.ts";

/** An implementation choice of ours; 0 to 4 mean something to the kernel, and
 * include/uapi/linux/rtnetlink.h and /etc/iproute2/rt_protos give others to other programs. */
const ROUTE_PROTOCOL_OVERLAY = 85;

/** The TUN link of the packet engine. */
export const OVERLAY_LINK = "overlay0";

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
  routeProtocol: ROUTE_PROTOCOL_OVERLAY,
  firewallTable: { family: "inet", name: "overlay" },
  // Where iptables (its nf_tables variant) keeps the rules for forwarded packets.
  guestChains: [
    { table: { family: "ip", name: "filter" }, name: "FORWARD" },
    { table: { family: "ip6", name: "filter" }, name: "FORWARD" },
  ],
  ruleMark: RULE_MARK,
};
