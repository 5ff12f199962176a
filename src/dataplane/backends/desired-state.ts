/**
 * What should exist on this machine, as every backend says it and the reconciler brings about.
 *
 * A value, replaced whole. Links are named, not numbered: what is wanted does not depend on what
 * happens to exist. A link that is wanted is also wanted up.
 *
 * @module
 */
import type { Family, IpAddress, MacAddress, Prefix } from "../../base/address.ts";
import type { ChainRef, FirewallRule, FirewallTable } from "../../host/kernel-ports.ts";
import type { FibTable } from "../fib/row.ts";

/** The routing table that packets meet first (RT_TABLE_MAIN, include/uapi/linux/rtnetlink.h). */
export const MAIN_TABLE = 254;

/** What the kernel makes of "no metric given"; said outright so that it compares. */
export const DEFAULT_METRIC: Readonly<Record<Family, number>> = { 4: 0, 6: 1024 };

/** A TUN link. The packet engine makes it; the reconciler only sets it up. */
export interface DesiredTun {
  readonly kind: "tun";
  readonly name: string;
  readonly mtu: number;
  /** In packets. */
  readonly txQueueLength: number;
  /** Largest super-packet in bytes that the kernel may hand to the link. */
  readonly gsoMaxSize: number;
}

/** A VXLAN link. The reconciler makes it, and makes it anew when it encapsulates otherwise. */
export interface DesiredVxlan {
  readonly kind: "vxlan";
  readonly name: string;
  readonly mtu: number;
  readonly mac: MacAddress;
  /** Says that the link is ours, whatever it is called now. */
  readonly alias: string;
  readonly vni: number;
  /** UDP. */
  readonly port: number;
  /** Name of the link that outer packets leave by, and their source address. */
  readonly underlay: string;
  readonly local: IpAddress;
  readonly learning: boolean;
  readonly gbp: boolean;
}

export type DesiredLink = DesiredTun | DesiredVxlan;

/** The MAC behind an address on a link of ours; nobody is asked for it. */
export interface DesiredNeighbour {
  readonly link: string;
  readonly address: IpAddress;
  readonly mac: MacAddress;
}

/** Where a VXLAN link of ours sends frames for a MAC. */
export interface DesiredFdbEntry {
  readonly link: string;
  readonly mac: MacAddress;
  /** Underlay address. */
  readonly endpoint: IpAddress;
}

/** An address that a link should have. */
export interface DesiredAddress {
  readonly link: string;
  readonly address: IpAddress;
  readonly prefixLength: number;
}

/** A unicast route that should be there. */
export interface DesiredRoute {
  readonly destination: Prefix;
  readonly link: string;
  /** Undefined when the destination is at the link's other end. */
  readonly gateway: IpAddress | undefined;
  /** Take the gateway for reachable on the link although no prefix says so. */
  readonly onlink: boolean;
  readonly table: number;
  readonly metric: number;
}

/** A kernel setting by its path below /proc/sys. Set, and never set back: others rely on it too. */
export interface DesiredSysctl {
  readonly path: string;
  readonly value: string;
  /** The link whose setting it is: there is nothing to set before the link is there. */
  readonly link?: string;
}

/** Rules in a chain that another program has made, at its end. */
export interface GuestRules {
  readonly chain: ChainRef;
  readonly rules: readonly FirewallRule[];
}

/** Firewall rules that should be there. */
export interface DesiredFirewall {
  /** Our own table, whole; undefined for none. */
  readonly table: FirewallTable | undefined;
  /** Only where the chain exists. */
  readonly guests: readonly GuestRules[];
}

/** All that should exist. What is ours and not in it should not. */
export interface DesiredState {
  readonly links: readonly DesiredLink[];
  readonly addresses: readonly DesiredAddress[];
  readonly routes: readonly DesiredRoute[];
  readonly neighbours: readonly DesiredNeighbour[];
  readonly fdb: readonly DesiredFdbEntry[];
  readonly sysctls: readonly DesiredSysctl[];
  readonly firewall: DesiredFirewall;
  /** For the packet engine, not for the kernel. */
  readonly fib: FibTable;
}

/** Nothing of ours: what is left after `overlay leave`. */
export const EMPTY_STATE: DesiredState = {
  links: [],
  addresses: [],
  routes: [],
  neighbours: [],
  fdb: [],
  sysctls: [],
  firewall: { table: undefined, guests: [] },
  fib: { local: [], rows: [] },
};
