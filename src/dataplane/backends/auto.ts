/**
 * The auto backend: for each peer the best way that works, of those that both ends know.
 *
 * Made of others. A node is reached by the packet engine and by a VXLAN link at once, and says so
 * in a lease of the udp backend with a few words more: who does not know them sends by udp. To a
 * peer with such a lease there are routes by several ways, in the order of their metrics:
 *
 *     10.0.7.0/24 via 10.0.7.0 dev overlay.1 onlink           rank 0: what packets take
 *     10.0.7.0/24 via 192.168.1.7 dev eth0 metric 1           what probes take that try it
 *
 * Which one is first is decided elsewhere (dataplane/ways) and is an input here. Pure.
 *
 * @module
 */
import { addressFamily, prefixHas } from "../../base/address.ts";
import type {
  AutoBackendConfig,
  BackendConfig,
  UdpBackendConfig,
  VxlanBackendConfig,
} from "../../control/network/backend-config.ts";
import type { LeaseBackend } from "../../control/network/lease.ts";
import { type KernelWay, WAYS, type Way } from "../ways/way.ts";
import { type Backend, type BackendPeer, EMPTY_PLAN, type NodePlanInput } from "./backend.ts";
import type { DesiredSysctl } from "./desired-state.ts";
import { hostGw } from "./host-gw.ts";
import { OVERLAY_LINK, vxlanLinkName } from "./ownership.ts";
import { udp } from "./udp.ts";
import { vtepMac, vxlan } from "./vxlan.ts";

export const auto: Backend = {
  kind: "auto",
  // Containers keep their MTU, and any of their peers may be behind the narrowest way tomorrow.
  mtu: ({ config, host }) =>
    Math.min(
      ...partsOf(config).map((part) =>
        (part.kind === "vxlan" ? vxlan : udp).mtu({ config: part, host }),
      ),
    ),
  publish: (self, config): LeaseBackend => {
    const plain = udp.publish(self, config);
    if (config.kind !== "auto" || plain.kind !== "udp") return plain;
    const { port, vni, vxlanPort } = config;
    const vtep = { vni, mac: vtepMac(self), port: vxlanPort };
    const isDirect = takesPart(config, "direct");
    const isTunnel = takesPart(config, "vxlan");
    if (!isDirect && !isTunnel) return { ...plain, port };
    return { ...plain, port, ways: { direct: isDirect, vxlan: isTunnel ? vtep : null } };
  },
  plan: ({ config }) => ({
    ...EMPTY_PLAN,
    sysctls: config.kind === "auto" ? looseSources(config) : [],
  }),
};

/** How a node that takes part in `ways` (absent: all) takes part in a network. */
export function ownBackend(
  { backend }: { readonly backend: BackendConfig },
  ways: readonly Way[] = WAYS,
): BackendConfig {
  if (backend.kind !== "auto") return backend;
  return { ...backend, ways: ways.filter((way) => way !== "udp") };
}

/** The backends that a config makes a node reached by: all but "auto" are their own only part. */
export function partsOf(config: BackendConfig): readonly BackendConfig[] {
  if (config.kind !== "auto") return [config];
  const tunnel = takesPart(config, "vxlan") ? [vxlanPart(config)] : [];
  return [config, udpPart(config), ...tunnel];
}

function takesPart({ ways }: AutoBackendConfig, way: KernelWay): boolean {
  return ways === undefined || ways.includes(way);
}

function udpPart({ port }: AutoBackendConfig): UdpBackendConfig {
  return { kind: "udp", port, encryption: "none" };
}

function vxlanPart({ vni, vxlanPort: port }: AutoBackendConfig): VxlanBackendConfig {
  const plain = { gbp: false, learning: false, directRouting: false, underlayMtu: undefined };
  return { kind: "vxlan", vni, port, ...plain };
}

/**
 * A peer may answer by another way than it is asked by. The kernel must not take that for a forgery
 * (2: the source is reached by some link; the stricter of this and the setting for all links
 * counts, but 2 goes before 1: Documentation/networking/ip-sysctl.rst, rp_filter).
 */
function looseSources(config: AutoBackendConfig): DesiredSysctl[] {
  const tunnels = takesPart(config, "vxlan") ? [vxlanLinkName(vxlanPart(config))] : [];
  return [OVERLAY_LINK, ...tunnels].map((link) => ({
    path: `net/ipv4/conf/${link}/rp_filter`,
    value: "2",
    link,
  }));
}

/** The kernel's ways that can be tried to `peer`, the best first; empty: only its lease's own. */
export function kernelWays(
  { address, backend, subnet }: BackendPeer,
  { config, host }: Pick<NodePlanInput, "config" | "host">,
): readonly KernelWay[] {
  if (config.kind !== "auto" || backend.kind !== "udp" || backend.ways === undefined) return [];
  const { direct, vxlan: vtep } = backend.ways;
  const family = addressFamily(address);
  const ways: KernelWay[] = [];
  const isNear = host.segments.some((it) => prefixHas(it, address));
  const isPlain = direct && isNear && family === addressFamily(subnet);
  if (isPlain && takesPart(config, "direct")) ways.push("direct");
  // One end of another tunnel, while the config changes.
  const isOurs = vtep?.vni === config.vni && vtep.port === config.vxlanPort;
  const isTunnel = isOurs && family === addressFamily(host.underlayAddress);
  if (isTunnel && takesPart(config, "vxlan")) ways.push("vxlan");
  return ways;
}

/** The peers once for each way that leads to them, with its rank. */
export function byWays(
  input: Pick<NodePlanInput, "config" | "host" | "peers" | "choices">,
): readonly BackendPeer[] {
  if (input.config.kind !== "auto") return input.peers;
  return input.peers.flatMap((peer) => {
    const ways = kernelWays(peer, input);
    if (ways.length === 0) return [peer];
    const wanted = input.choices?.get(peer.subnet) ?? "udp";
    const chosen: Way = ways.find((way) => way === wanted) ?? "udp";
    const standby: readonly Way[] = ways.filter((way) => way !== chosen);
    return [chosen, ...standby].map((way) =>
      reachedBy(peer, way, way === chosen ? 0 : WAYS.indexOf(way) + 1),
    );
  });
}

/** What `reachedBy` made of a peer: the same objects again, which the reconciler knows at once. */
const known = new WeakMap<BackendPeer, Map<string, BackendPeer>>();

/** The peer as if its lease said `way` alone. */
function reachedBy(peer: BackendPeer, way: Way, rank: number): BackendPeer {
  const key = `${way} ${rank}`;
  const made = known.get(peer) ?? new Map<string, BackendPeer>();
  known.set(peer, made);
  const before = made.get(key);
  if (before !== undefined) return before;
  const again = { ...peer, backend: leaseOf(peer, way), rank };
  made.set(key, again);
  return again;
}

function leaseOf({ backend }: BackendPeer, way: Way): LeaseBackend {
  const vtep = backend.kind === "udp" ? backend.ways?.vxlan : undefined;
  if (way === "direct") return { kind: "other", type: hostGw.kind, data: null };
  if (way === "udp" || vtep === undefined || vtep === null) return backend;
  const data = { VNI: vtep.vni, VtepMAC: vtep.mac, Port: vtep.port };
  return { kind: "other", type: vxlan.kind, data };
}
