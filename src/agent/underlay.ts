/**
 * The underlay as this agent uses it: which link and address, and what a network must not overlap.
 *
 * @module
 */
import type { FieldIssue } from "../admin/service.ts";
import {
  addressFamily,
  familyBits,
  type IpAddress,
  type Prefix,
  parsePrefix,
  prefixCovers,
  prefixesOverlap,
  prefixOf,
} from "../base/address.ts";
import { HostError } from "../base/host-error.ts";
import type { Member } from "../control/cluster/types.ts";
import { type Conflict, planConflicts } from "../dataplane/backends/conflicts.ts";
import { isOwnedLink, OURS } from "../dataplane/backends/ownership.ts";
import type { ActualState, Kernel } from "../host/kernel-ports.ts";
import {
  chooseUnderlay,
  describeUnderlayFailure,
  type UnderlayChoice,
} from "../host/underlay/choose.ts";
import type { InterfaceChoice } from "./config.ts";

/** The link that packets leave by. Throws `HostError` when none is right, naming the others. */
export function findUnderlay(
  kernel: Kernel,
  { names, patterns, canReach, publicIpv4, publicIpv6 }: InterfaceChoice,
  lease: Prefix | undefined,
): UnderlayChoice {
  const { links, addresses } = snapshot(kernel);
  const wish = {
    iface: names,
    ifaceRegex: patterns.map((pattern) => pattern.source),
    ifaceCanReach: canReach,
    publicIp: publicIpv4,
    publicIpv6,
  };
  const choice = chooseUnderlay(wish, {
    links,
    addresses,
    routes: [...kernel.mainRoutes(4), ...kernel.mainRoutes(6)],
    wayTo: (target) => kernel.wayTo(target),
    overlayLinks: new Set(links.filter((link) => isOwnedLink(link, OURS)).map((link) => link.name)),
    lease,
  });
  if (choice.ok) return choice.value;
  const reason = describeUnderlayFailure(choice.error).replace(/^Cannot [^:]*: /, "");
  throw new HostError({ operation: "choose", object: "the underlay link", reason });
}

/** Calls `listener` with the MTU of `link` whenever it has become another one. */
export function followLinkMtu(
  kernel: Kernel,
  link: Pick<UnderlayChoice, "index" | "mtu">,
  listener: (mtu: number) => void,
): () => void {
  let known = link.mtu;
  return kernel.onChange((change) => {
    const concerns =
      change.kind === "overrun" || (change.kind === "link" && change.link.index === link.index);
    if (!concerns) return;
    const mtu = snapshot(kernel).links.find(({ index }) => index === link.index)?.mtu;
    if (mtu === undefined || mtu === known) return;
    known = mtu;
    listener(mtu);
  });
}

/** The link that has addresses in `subnet` or leads to some, beside the overlay's own. */
export function userOf(kernel: Kernel, subnet: Prefix): string | undefined {
  const { links, addresses } = snapshot(kernel);
  const family = addressFamily(subnet);
  const routes = kernel
    .mainRoutes(family)
    .filter((route) => prefixCovers(subnet, route.destination));
  const isInside = (address: IpAddress) =>
    addressFamily(address) === family &&
    prefixCovers(subnet, prefixOf(address, familyBits(family)));
  const used = new Set([
    ...addresses.filter(({ address }) => isInside(address)).map(({ link }) => link),
    ...routes.map(({ link }) => link),
  ]);
  return links.find((link) => used.has(link.index) && !isOwnedLink(link, OURS))?.name;
}

/** What on this machine stands in the way of `network`. */
function localConflicts(
  kernel: Kernel,
  network: Prefix,
  leases: readonly Prefix[],
): readonly Conflict[] {
  const { links, addresses } = snapshot(kernel);
  const routes = [...kernel.mainRoutes(4), ...kernel.mainRoutes(6)];
  return planConflicts({ network, leases, links, addresses, routes, ownership: OURS });
}

/** The same as sentences for the person who wrote the config, members' underlays included. */
export function networkConflicts(
  kernel: Kernel,
  request: { network: Prefix; leases: readonly Prefix[]; members: readonly Member[] },
): readonly FieldIssue[] {
  const { network, leases, members } = request;
  const issues = localConflicts(kernel, network, leases).map((conflict) => ({
    path: "Network",
    message: describeConflict(network, conflict),
  }));
  for (const member of members) {
    if (member.self) continue;
    for (const text of member.underlayPrefixes) {
      const prefix = parsePrefix(text);
      if (prefix === undefined || !prefixesOverlap(network, prefix)) continue;
      const message = `${network} overlaps the underlay ${prefix} of node "${member.name}"; choose another Network`;
      if (!issues.some((issue) => issue.message.includes(`underlay ${prefix} `))) {
        issues.push({ path: "Network", message });
      }
    }
  }
  return issues;
}

/** Why this node cannot take part in `network`; undefined when it can. */
export function firstConflict(
  kernel: Kernel,
  network: Prefix,
  leases: readonly Prefix[],
): string | undefined {
  const [first] = localConflicts(kernel, network, leases);
  return first && `Cannot use the network: ${describeConflict(network, first)}`;
}

/** One conflict in words. */
function describeConflict(network: Prefix, { kind, prefix, link }: Conflict): string {
  const where = link === undefined ? "" : ` on ${link}`;
  return kind === "underlay"
    ? `${network} overlaps the underlay ${prefix} of this node${where}; choose another Network, or give that link another address`
    : `${network} overlaps the route ${prefix}${where} of this node; choose another Network or remove the route`;
}

function snapshot(kernel: Kernel): ActualState {
  return kernel.snapshot({ routeProtocol: OURS.routeProtocol, sysctls: [] });
}
