/**
 * The udp backend: packets cross the underlay as UDP payload, carried by the packet engine.
 *
 * As flannel's udp backend has it: a TUN link with the lease's first address, and one route that
 * sends the whole network into it; which peer a packet goes to is the engine's table. Pure.
 *
 * @module
 */
import { addressFamily, familyBits, prefixAddress } from "../../base/address.ts";
import type { LeaseBackend } from "../../control/network/lease.ts";
import {
  type Backend,
  type BackendPeer,
  type BackendPlan,
  EMPTY_PLAN,
  type NodePlanInput,
} from "./backend.ts";
import { DEFAULT_METRIC, type DesiredSysctl, MAIN_TABLE } from "./desired-state.ts";
import { overlayMtu } from "./overhead.ts";
import { OVERLAY_LINK } from "./ownership.ts";

/** Room for a burst of super-packets while the engine is busy; the kernel's default is 500. */
export const TX_QUEUE_LENGTH_PACKETS = 1000;
/**
 * As large as the super-packets of containers, whose sockets do not know this link: what is larger
 * the kernel cuts into lone packets first. With the inner headers of each segment they pass the
 * 65,507 bytes of a UDP payload and take two sends, which costs less (docs/decisions/015).
 */
export const GSO_MAX_SIZE_BYTES = 65_536;

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

/** flannel's port, where the config says none. */
const PORT_DEFAULT = 8285;

export const udp: Backend = {
  kind: "udp",
  mtu: ({ host }) => {
    const family = addressFamily(host.underlayAddress);
    return overlayMtu(host.underlayMtu, family, host.sealOverhead);
  },
  publish: (_, config): LeaseBackend => {
    const port = config.kind === "udp" ? config.port : PORT_DEFAULT;
    return { kind: "udp", port, partialChecksum: true };
  },
  plan: planUdp,
};

/**
 * The peers are the packet engine's business: the kernel knows of none, but for those with routes
 * by other ways, which would otherwise be more specific than the network's.
 */
function planUdp(input: NodePlanInput, peers: readonly BackendPeer[]): BackendPlan {
  const { network, formerNetworks, subnets } = input;
  const family = addressFamily(network);
  const ranked = peers.filter(({ rank }) => rank !== undefined).map(({ subnet }) => subnet);
  return {
    ...EMPTY_PLAN,
    links: [
      {
        kind: "tun",
        name: OVERLAY_LINK,
        mtu: udp.mtu(input),
        txQueueLength: TX_QUEUE_LENGTH_PACKETS,
        gsoMaxSize: GSO_MAX_SIZE_BYTES,
      },
    ],
    addresses: subnets.map((subnet) => ({
      link: OVERLAY_LINK,
      address: prefixAddress(subnet),
      prefixLength: familyBits(addressFamily(subnet)),
    })),
    routes: [network, ...formerNetworks, ...ranked].map((destination) => ({
      destination,
      link: OVERLAY_LINK,
      gateway: undefined,
      onlink: false,
      table: MAIN_TABLE,
      metric: DEFAULT_METRIC[family],
    })),
    sysctls: family === 4 ? [OWN_SOURCE_SYSCTL] : [],
  };
}
