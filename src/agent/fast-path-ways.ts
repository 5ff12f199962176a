/**
 * Which links the fast path may use: by which each endpoint is reached, of which kind it is, and
 * whether it carries super-packets whole.
 *
 * @module
 */
import type { IpAddress } from "../base/address.ts";
import { addressFamily } from "../base/address.ts";
import { HostError } from "../base/host-error.ts";
import type { LinkIndex } from "../base/ids.ts";
import type { KernelWay } from "../dataplane/bpf/routes.ts";
import { linkFeatures } from "../host/bpf/link-features.ts";
import type { ActualLink, Kernel } from "../host/kernel-ports.ts";

/**
 * Links whose frames the programs would misread (no Ethernet header at the ingress, or another
 * link's) or that lead back into a tunnel. Kinds of `ip -d link`.
 */
const UNFIT_KINDS: ReadonlySet<string> = new Set(["tun", "ipvlan", "vrf", "wireguard"]);
/** A virtual cable: what goes in at one end comes out at the other as it is. */
const CABLE_KIND = "veth";
/** Without it, even a virtual cable gets packets that are cut to its MTU. */
const WHOLE_FEATURE = "tx-udp_tnl-segmentation";

/** An Ethernet link. */
export interface FastWay extends KernelWay {
  readonly link: LinkIndex;
}

export interface WaysInput {
  readonly kernel: Pick<Kernel, "wayTo">;
  readonly endpoints: ReadonlySet<IpAddress>;
  readonly links: readonly ActualLink[];
}

/** The way to each endpoint that the fast path can take; the others are not in it. */
export function findWays({ kernel, endpoints, links }: WaysInput): Map<IpAddress, FastWay> {
  const byIndex = new Map(links.map((link) => [link.index, link]));
  const known = new Map<LinkIndex, FastWay | undefined>();
  const ways = new Map<IpAddress, FastWay>();
  for (const endpoint of endpoints) {
    if (addressFamily(endpoint) !== 4) continue;
    const index = kernel.wayTo(endpoint)?.link;
    const link = index === undefined ? undefined : byIndex.get(index);
    if (link === undefined) continue;
    if (!known.has(link.index)) known.set(link.index, wayOver(link));
    const way = known.get(link.index);
    if (way !== undefined) ways.set(endpoint, way);
  }
  return ways;
}

function wayOver(link: ActualLink): FastWay | undefined {
  // Only Ethernet has a MAC address of six bytes.
  if (link.loopback || !link.up || link.mac === undefined) return undefined;
  if (link.kind !== undefined && UNFIT_KINDS.has(link.kind)) return undefined;
  return { link: link.index, whole: link.kind === CABLE_KIND && carriesWhole(link.name) };
}

function carriesWhole(name: string): boolean {
  try {
    return linkFeatures(name).has(WHOLE_FEATURE);
  } catch (error) {
    // The link has just gone, or its driver tells nothing: then not.
    if (!(error instanceof HostError)) throw error;
    return false;
  }
}
