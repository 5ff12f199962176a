/**
 * The udp backend: packets cross the underlay as UDP payload, carried by the packet engine.
 *
 * As flannel's udp backend has it: a TUN link with the lease's first address, and one route that
 * sends the whole network into it; which peer a packet goes to is the engine's table. Pure.
 *
 * @module
 */
import {
  addressFamily,
  type Family,
  familyBits,
  type IpAddress,
  type Prefix,
  prefixAddress,
} from "../../base/address.ts";
import { assert } from "../../base/assert.ts";
import type { FibRow } from "../fib/row.ts";
import {
  DEFAULT_METRIC,
  type DesiredState,
  type DesiredSysctl,
  MAIN_TABLE,
} from "./desired-state.ts";
import { planFirewall } from "./firewall.ts";
import { overlayMtu } from "./overhead.ts";
import { OVERLAY_LINK } from "./ownership.ts";

/** Room for a burst of super-packets while the engine is busy; the kernel's default is 500. */
export const TX_QUEUE_LENGTH_PACKETS = 1000;
/**
 * A super-packet leaves as one send with a copy of the inner headers for each segment, which must
 * stay below the 65,507 bytes of a UDP payload; the link's default of 65,536 would take two sends.
 * Sockets of containers do not know this limit: what they make larger, the kernel cuts into lone
 * packets first, and that is slow (scripts/bench packets --only containers1).
 */
export const GSO_MAX_SIZE_BYTES = 62_000;

/** Without it the kernel drops what it should pass between containers and the overlay. */
const FORWARDING_SYSCTL: Readonly<Record<Family, string>> = {
  4: "net/ipv4/ip_forward",
  6: "net/ipv6/conf/all/forwarding",
};

/**
 * ICMP errors about packets that no node wants come out of the TUN with its own address as their
 * source. By default the kernel takes such a packet for a forgery and drops it in silence
 * (Documentation/networking/ip-sysctl.rst, accept_local).
 */
const OWN_SOURCE_SYSCTL: DesiredSysctl = {
  path: `net/ipv4/conf/${OVERLAY_LINK}/accept_local`,
  value: "1",
  link: OVERLAY_LINK,
};

/** What the plan of one node depends on. */
export interface UdpPlanInput {
  readonly lease: { readonly subnet: Prefix };
  readonly network: Prefix;
  /** The peers: nothing but the packet engine knows them. */
  readonly rows: readonly FibRow[];
  readonly host: {
    /** Of the chosen underlay link; its family decides how large the outer headers are. */
    readonly underlayAddress: IpAddress;
    readonly underlayMtu: number;
    /** Bytes that sealing adds to a packet; absent: none is sealed. */
    readonly sealOverhead?: number;
  };
  /** `--ip-masq`; absent means no. */
  readonly ipMasq?: boolean;
}

/** What a node with `lease` in `network` needs, given its peers and its underlay. */
export function planUdp(input: UdpPlanInput): DesiredState {
  const { lease, network, rows, host, ipMasq = false } = input;
  const family = addressFamily(network);
  assert(addressFamily(lease.subnet) === family, "lease and network must be of one family");
  const underlayFamily = addressFamily(host.underlayAddress);
  return {
    links: [
      {
        kind: "tun",
        name: OVERLAY_LINK,
        mtu: overlayMtu(host.underlayMtu, underlayFamily, host.sealOverhead),
        txQueueLength: TX_QUEUE_LENGTH_PACKETS,
        gsoMaxSize: GSO_MAX_SIZE_BYTES,
      },
    ],
    addresses: [
      {
        link: OVERLAY_LINK,
        address: prefixAddress(lease.subnet),
        prefixLength: familyBits(family),
      },
    ],
    routes: [
      {
        destination: network,
        link: OVERLAY_LINK,
        gateway: undefined,
        onlink: false,
        table: MAIN_TABLE,
        metric: DEFAULT_METRIC[family],
      },
    ],
    neighbours: [],
    fdb: [],
    sysctls: planSysctls(family),
    firewall: planFirewall({ network, subnet: lease.subnet, masquerade: ipMasq }),
    fib: { local: [lease.subnet], rows },
  };
}

function planSysctls(family: Family): readonly DesiredSysctl[] {
  const forwarding = { path: FORWARDING_SYSCTL[family], value: "1" };
  return family === 4 ? [forwarding, OWN_SOURCE_SYSCTL] : [forwarding];
}
