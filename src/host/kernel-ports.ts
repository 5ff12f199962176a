/**
 * The kernel's network configuration as the reconciler sees it: what is there, what can be done.
 *
 * Types only. The real implementation is `host/netlink`, the simulated one in `tests/sim`. Nothing
 * here knows what is wanted; that is `dataplane/backends/desired-state.ts`.
 *
 * @module
 */
import type { Family, IpAddress, MacAddress, Prefix } from "../base/address.ts";
import type { LinkIndex } from "../base/ids.ts";

/** A link by its number, for the kernel, and by its name, for people. */
export interface LinkRef {
  readonly index: LinkIndex;
  readonly name: string;
}

/** How a VXLAN link encapsulates (RFC 7348). The kernel changes none of it on a living link. */
export interface VxlanSettings {
  /** 24 bits. */
  readonly vni: number;
  /** UDP, of source and target alike. */
  readonly port: number;
  /** The link that outer packets leave by; undefined when routes decide. */
  readonly underlay: LinkIndex | undefined;
  /** Source of outer packets; undefined when routes decide. */
  readonly local: IpAddress | undefined;
  /** Whether the kernel takes FDB entries from what it receives. */
  readonly learning: boolean;
  /** Whether the packet's mark travels along (group policy extension). */
  readonly gbp: boolean;
}

/** A link to be made. */
export interface LinkSpec {
  readonly kind: "vxlan";
  readonly name: string;
  readonly mac: MacAddress;
  readonly mtu: number;
  readonly vxlan: VxlanSettings;
}

/** A link as it is. */
export interface ActualLink extends LinkRef {
  /** The kernel's word: "tun", "vxlan", "bridge", "veth"; undefined for a plain device. */
  readonly kind: string | undefined;
  /** Set up by an administrator (IFF_UP); says nothing of the carrier. */
  readonly up: boolean;
  readonly loopback: boolean;
  readonly mtu: number;
  /** In packets. */
  readonly txQueueLength: number;
  /** In bytes; undefined where the kernel does not say. */
  readonly gsoMaxSize: number | undefined;
  readonly mac: MacAddress | undefined;
  /** What `ip link show` prints below the link: says who made it, whatever its name is now. */
  readonly alias?: string;
  /** Of a link of the kind "vxlan". */
  readonly vxlan?: VxlanSettings;
}

/** An address on a link. */
export interface ActualAddress {
  readonly link: LinkIndex;
  readonly address: IpAddress;
  readonly prefixLength: number;
  /** "link" covers IPv6 link-local addresses and 169.254/16; "host" is the loopback's. */
  readonly scope: "global" | "link" | "host";
  /** IPv4: not the first of its prefix. IPv6: temporary. Never a source we want to be known by. */
  readonly secondary: boolean;
}

/** A route, or the first way of one that has several. */
export interface ActualRoute {
  readonly destination: Prefix;
  readonly table: number;
  /** Who made it (RTPROT_*): kernel 2, boot 3, static 4, ours. */
  readonly protocol: number;
  /** Lower wins. IPv4 default 0, IPv6 default 1024. */
  readonly metric: number;
  /** Whether packets are forwarded (unicast), not refused, dropped or delivered here. */
  readonly unicast: boolean;
  /** Of the first hop where there are several; undefined when the kernel names none. */
  readonly link: LinkIndex | undefined;
  readonly gateway: IpAddress | undefined;
  readonly onlink: boolean;
}

/** The MAC behind an address on a link, set by somebody and not found out (NUD_PERMANENT). */
export interface ActualNeighbour {
  readonly link: LinkIndex;
  readonly address: IpAddress;
  readonly mac: MacAddress | undefined;
}

/** Where a VXLAN link sends frames for a MAC, set by somebody and not learned. */
export interface ActualFdbEntry {
  readonly link: LinkIndex;
  readonly mac: MacAddress;
  /** Underlay address; undefined for an entry that leads elsewhere than an address. */
  readonly endpoint: IpAddress | undefined;
}

/** An nf_tables table. Family "inet" sees packets of both IP versions. */
export interface TableRef {
  readonly family: "ip" | "ip6" | "inet";
  readonly name: string;
}

/** An nf_tables chain by its name. */
export interface ChainRef {
  readonly table: TableRef;
  readonly name: string;
}

/** Where a chain is hung into the path of packets; lower priorities run first. */
export interface ChainHook {
  readonly type: "filter" | "nat";
  readonly hook: "forward" | "postrouting";
  readonly priority: number;
}

/** One condition of a rule; all conditions must hold. */
export type FirewallMatch =
  | {
      readonly kind: "source" | "target";
      readonly prefix: Prefix;
      /** True: the address is not in the prefix. */
      readonly negate: boolean;
    }
  /** The packet's mark has every bit of `bits`. */
  | { readonly kind: "mark"; readonly bits: number };

/** "What matches all of this is treated so." */
export interface FirewallRule {
  readonly matches: readonly FirewallMatch[];
  /** "masquerade" takes the outgoing link's address and a port that is fully random. */
  readonly verdict: "accept" | "masquerade" | "return";
  /** Kept with the rule and shown by `nft`. Rules of different meaning have different comments. */
  readonly comment: string;
}

/** A chain with the policy "accept". */
export interface FirewallChain {
  readonly name: string;
  readonly hook: ChainHook;
  readonly rules: readonly FirewallRule[];
}

/** A table with all that is to be in it. */
export interface FirewallTable extends TableRef {
  readonly chains: readonly FirewallChain[];
}

/** A rule as it is found: by number, and with what its maker wrote on it. */
export interface ActualRule {
  /** Unique within its table, never used again. */
  readonly handle: number;
  readonly comment: string | undefined;
}

/** A chain as it is, whoever made it. */
export interface ActualChain {
  readonly chain: ChainRef;
  /** Undefined for a chain that is only jumped to, or hung in elsewhere than we know. */
  readonly hook: ChainHook | undefined;
  readonly rules: readonly ActualRule[];
}

/** The answer to a `FirewallQuery`. */
export interface ActualFirewall {
  /** Tables among those asked for that exist. */
  readonly tables: readonly TableRef[];
  /** Chains among those asked for that exist. */
  readonly chains: readonly ActualChain[];
}

/** Which tables and chains to look for; others stay unread. */
export interface FirewallQuery {
  readonly tables: readonly TableRef[];
  readonly chains: readonly ChainRef[];
}

/** What one snapshot has to look at, so that other people's ten thousand routes stay unread. */
export interface SnapshotQuery {
  /** Only routes of this protocol are read. */
  readonly routeProtocol: number;
  /** Paths below /proc/sys, such as `net/ipv4/ip_forward`. */
  readonly sysctls: readonly string[];
  /** Names of links whose permanent neighbours and FDB entries are read; absent: none. */
  readonly neighbourLinks?: readonly string[];
  /** Absent: the firewall is not looked at. */
  readonly firewall?: FirewallQuery;
}

/** One look at the kernel. */
export interface ActualState {
  readonly links: readonly ActualLink[];
  readonly addresses: readonly ActualAddress[];
  /** Routes of the queried protocol, every table and both families. */
  readonly routes: readonly ActualRoute[];
  /** Permanent ones on the queried links. */
  readonly neighbours: readonly ActualNeighbour[];
  readonly fdb: readonly ActualFdbEntry[];
  /** Values of the queried paths, without the line end; a path the kernel lacks is absent. */
  readonly sysctls: ReadonlyMap<string, string>;
  readonly firewall: ActualFirewall;
}

/** What to set of a link; what is absent stays. */
export interface LinkChanges {
  readonly up?: boolean;
  readonly mtu?: number;
  readonly txQueueLength?: number;
  readonly gsoMaxSize?: number;
  readonly mac?: MacAddress;
  readonly alias?: string;
}

/** A permanent neighbour to set or delete. */
export interface NeighbourSpec {
  readonly link: LinkRef;
  readonly address: IpAddress;
  readonly mac: MacAddress;
}

/** A permanent FDB entry to set or delete. */
export interface FdbSpec {
  readonly link: LinkRef;
  readonly mac: MacAddress;
  readonly endpoint: IpAddress;
}

/** An address to set or delete. */
export interface AddressSpec {
  readonly link: LinkRef;
  readonly address: IpAddress;
  readonly prefixLength: number;
}

/** A unicast route through `link`, straight or through `gateway`. */
export interface RouteSpec {
  readonly destination: Prefix;
  readonly link: LinkRef;
  readonly gateway: IpAddress | undefined;
  /** Take the gateway for reachable on the link although no prefix says so (RTNH_F_ONLINK). */
  readonly onlink: boolean;
  readonly table: number;
  readonly metric: number;
  readonly protocol: number;
}

/** Which route to delete: all of it must match, so that neither another program's is hit nor a
 * better one of ours with the same metric. */
export type RouteKey = Pick<
  ActualRoute,
  "destination" | "gateway" | "link" | "metric" | "protocol" | "table"
>;

/** One change of the kernel's state. */
export type Operation =
  /** Fails when a link of this name is there, or one that encapsulates in the same way. */
  | { readonly kind: "add_link"; readonly link: LinkSpec }
  | { readonly kind: "set_link"; readonly link: LinkRef; readonly changes: LinkChanges }
  | { readonly kind: "delete_link"; readonly link: LinkRef }
  | { readonly kind: "replace_address"; readonly address: AddressSpec }
  | { readonly kind: "delete_address"; readonly address: AddressSpec }
  /** Fails when any route of the same destination, table and metric is there. */
  | { readonly kind: "add_route"; readonly route: RouteSpec }
  /** Only for a route that is known to be ours: it overwrites whoever's is there. */
  | { readonly kind: "replace_route"; readonly route: RouteSpec }
  | { readonly kind: "delete_route"; readonly route: RouteKey }
  | { readonly kind: "replace_neighbour"; readonly neighbour: NeighbourSpec }
  | { readonly kind: "delete_neighbour"; readonly neighbour: Omit<NeighbourSpec, "mac"> }
  | { readonly kind: "replace_fdb"; readonly entry: FdbSpec }
  | { readonly kind: "delete_fdb"; readonly entry: Omit<FdbSpec, "endpoint"> }
  | { readonly kind: "write_sysctl"; readonly path: string; readonly value: string }
  /** In one transaction: no packet sees the table half made. */
  | { readonly kind: "replace_table"; readonly table: FirewallTable }
  | { readonly kind: "delete_table"; readonly table: TableRef }
  | { readonly kind: "append_rule"; readonly chain: ChainRef; readonly rule: FirewallRule }
  | { readonly kind: "delete_rule"; readonly chain: ChainRef; readonly rule: ActualRule };

/** What the kernel told of a change, by us or by others; enough to see whom it concerns. */
export type KernelChange =
  | { readonly kind: "link"; readonly link: LinkRef }
  | { readonly kind: "address"; readonly link: LinkIndex }
  | {
      readonly kind: "route";
      readonly destination: Prefix;
      readonly link: LinkIndex | undefined;
      readonly protocol: number;
    }
  | { readonly kind: "neighbour"; readonly link: LinkIndex }
  /** Forwarding or filtering settings, of one link or (undefined) of all. */
  | { readonly kind: "settings"; readonly link: LinkIndex | undefined }
  /** Chain undefined: the table itself. */
  | { readonly kind: "firewall"; readonly table: TableRef; readonly chain: string | undefined }
  /** Events were lost: anything may have changed. */
  | { readonly kind: "overrun" };

/** How packets to an address would leave this machine. */
export interface Way {
  readonly link: LinkIndex;
  /** Undefined when the address is on the link's own segment. */
  readonly gateway: IpAddress | undefined;
  /** The source address that the kernel would choose. */
  readonly source: IpAddress | undefined;
}

/**
 * The network configuration of one kernel namespace.
 *
 * Every call is synchronous (rtnetlink answers within microseconds) and throws `HostError` with
 * the kernel's own words.
 */
export interface Kernel {
  snapshot(query: SnapshotQuery): ActualState;
  /** Every route of the main table, whoever made it. For decisions, not for the reconciler. */
  mainRoutes(family: Family): readonly ActualRoute[];
  /** The way to `target`, or undefined when there is none. */
  wayTo(target: IpAddress): Way | undefined;
  apply(operation: Operation): void;
  /** Calls `listener` on each change until the returned function is called. */
  onChange(listener: (change: KernelChange) => void): () => void;
  close(): void;
}
