/**
 * The ways that the kernel's routes take at a start: what an earlier process of this node, or
 * another backend, left there.
 *
 * Going on with them costs nobody a packet, and probes say soon what they are worth.
 *
 * @module
 */
import { addressFamily, type Prefix } from "../base/address.ts";
import { HostError } from "../base/host-error.ts";
import { DEFAULT_METRIC, MAIN_TABLE } from "../dataplane/backends/desired-state.ts";
import { isOwnedLink, OURS, OVERLAY_LINK } from "../dataplane/backends/ownership.ts";
import type { Way } from "../dataplane/ways/way.ts";
import type { ActualLink, Kernel } from "../host/kernel-ports.ts";

/** By destination; empty when the kernel does not say. */
export function waysInForce(
  kernel: Pick<Kernel, "snapshot">,
  underlay: string,
): ReadonlyMap<Prefix, Way> {
  const ways = new Map<Prefix, Way>();
  try {
    const { links, routes } = kernel.snapshot({ routeProtocol: OURS.routeProtocol, sysctls: [] });
    const byIndex = new Map(links.map((link) => [link.index, link]));
    for (const { destination, link, metric, table, unicast } of routes) {
      const isFirst = metric === DEFAULT_METRIC[addressFamily(destination)];
      const by = link === undefined ? undefined : byIndex.get(link);
      if (by === undefined || !unicast || !isFirst || table !== MAIN_TABLE) continue;
      const way = wayOf(by, underlay);
      if (way !== undefined) ways.set(destination, way);
    }
  } catch (error) {
    if (!(error instanceof HostError)) throw error;
  }
  return ways;
}

function wayOf(link: ActualLink, underlay: string): Way | undefined {
  if (link.name === OVERLAY_LINK) return "udp";
  if (link.kind === "vxlan" && isOwnedLink(link, OURS)) return "vxlan";
  return link.name === underlay ? "direct" : undefined;
}
