/**
 * Which link carries the packets between nodes, and under which address others reach us.
 *
 * flannel's order of choice, then one rule of our own:
 *
 *     --iface (names and addresses, first that fits)
 *     --iface-regex (each first against addresses, then against names)
 *     --iface-can-reach
 *     only if none of these was given:
 *       the owner of --public-ip, else the link of the default route,
 *       else the only link with a global address (ours: a lab or a closed network has no router)
 *
 * Pure: facts in, choice or a reason out.
 *
 * @module
 */
import {
  addressFamily,
  type Family,
  type IpAddress,
  type Prefix,
  parseAddress,
  prefixCovers,
  prefixLength,
  prefixOf,
} from "../../base/address.ts";
import { unreachable } from "../../base/assert.ts";
import type { LinkIndex } from "../../base/ids.ts";
import { err, ok, type Result } from "../../base/result.ts";
import type { ActualAddress, ActualLink, ActualRoute, Way } from "../kernel-ports.ts";

/** What the operator asked for; empty lists and undefined are "not given". */
export interface UnderlayWish {
  /** Names or addresses of links. */
  readonly iface: readonly string[];
  readonly ifaceRegex: readonly string[];
  readonly ifaceCanReach: IpAddress | undefined;
  /** Address to be reached at, when it is not the link's own (behind NAT). */
  readonly publicIp: IpAddress | undefined;
  readonly publicIpv6: IpAddress | undefined;
}

/** What there is on this machine. */
export interface UnderlayFacts {
  readonly links: readonly ActualLink[];
  readonly addresses: readonly ActualAddress[];
  /** Of the main table, both families; only the default routes matter. */
  readonly routes: readonly ActualRoute[];
  readonly wayTo: (target: IpAddress) => Way | undefined;
  /** Links that belong to an overlay: never a choice. */
  readonly overlayLinks: ReadonlySet<string>;
  /** Our lease, if there is one: a bridge for containers lies in it and is not underlay. */
  readonly lease: Prefix | undefined;
}

/** The link that carries packets between nodes. */
export interface UnderlayChoice {
  readonly name: string;
  readonly index: LinkIndex;
  /** The link's own address: what the data plane binds to. */
  readonly address: IpAddress;
  /** Where other nodes reach us: `address`, unless the operator said another. */
  readonly publicAddress: IpAddress;
  readonly mtu: number;
  /** Prefixes of the link's own addresses: who is in one of them needs no router. */
  readonly segments: readonly Prefix[];
  /** Every prefix that this machine is on without the overlay; a network must overlap none. */
  readonly prefixes: readonly Prefix[];
}

/** Why there is no choice; `candidates` are the links that could be named instead. */
export type UnderlayFailure =
  | {
      readonly kind: "no_match";
      /** The options as given, such as `--iface eth7`. */
      readonly tried: readonly string[];
      readonly candidates: readonly string[];
    }
  | {
      readonly kind: "bad_regex";
      readonly pattern: string;
      readonly reason: string;
    }
  | { readonly kind: "no_default_route"; readonly candidates: readonly string[] }
  | { readonly kind: "no_address" };

interface Candidate {
  readonly link: ActualLink;
  readonly address: IpAddress;
}

/** The underlay link that `wish` means on a machine with `facts`. */
export function chooseUnderlay(
  wish: UnderlayWish,
  facts: UnderlayFacts,
): Result<UnderlayChoice, UnderlayFailure> {
  const patterns = compilePatterns(wish.ifaceRegex);
  if (!patterns.ok) return patterns;
  const candidates = listCandidates(facts);
  const explicit = describeWish(wish);
  const chosen =
    explicit.length > 0
      ? chooseExplicit(wish, patterns.value, { facts, candidates })
      : chooseByDefault(wish, { facts, candidates });
  if (chosen !== undefined) return ok(complete(chosen, wish, facts));
  const names = candidates.map(({ address, link }) => `${link.name} (${address})`);
  if (names.length === 0) return err({ kind: "no_address" });
  return explicit.length > 0
    ? err({ kind: "no_match", tried: explicit, candidates: names })
    : err({ kind: "no_default_route", candidates: names });
}

/** `failure` as one line for the operator. */
export function describeUnderlayFailure(failure: UnderlayFailure): string {
  return `Cannot choose the underlay link: ${explain(failure)}`;
}

function explain(failure: UnderlayFailure): string {
  switch (failure.kind) {
    case "no_match": {
      const { candidates, tried } = failure;
      return `nothing matches ${tried.join(", ")}; there are ${candidates.join(", ")}`;
    }
    case "bad_regex":
      return `"${failure.pattern}" is not a regular expression (${failure.reason}); correct it`;
    case "no_default_route":
      return `there is no default route; name one with --iface: ${failure.candidates.join(", ")}`;
    case "no_address":
      return "no link has an address; set up the network of this machine first";
    default:
      return unreachable(failure);
  }
}

interface Machine {
  readonly facts: UnderlayFacts;
  readonly candidates: readonly Candidate[];
}

function chooseExplicit(
  wish: UnderlayWish,
  patterns: readonly RegExp[],
  { facts, candidates }: Machine,
): Candidate | undefined {
  for (const text of wish.iface) {
    const address = parseAddress(text);
    const found =
      address === undefined
        ? candidates.find(({ link }) => link.name === text)
        : candidates.find((it) => it.address === address);
    if (found !== undefined) return found;
  }
  for (const pattern of patterns) {
    const found =
      candidates.find(({ address }) => pattern.test(address)) ??
      candidates.find(({ link }) => pattern.test(link.name));
    if (found !== undefined) return found;
  }
  if (wish.ifaceCanReach === undefined) return undefined;
  const way = facts.wayTo(wish.ifaceCanReach);
  if (way === undefined) return undefined;
  const onLink = candidates.filter(({ link }) => link.index === way.link);
  return onLink.find(({ address }) => address === way.source) ?? onLink[0];
}

function chooseByDefault(
  wish: UnderlayWish,
  { facts, candidates }: Machine,
): Candidate | undefined {
  const owner = candidates.find(
    ({ address }) => address === wish.publicIp || address === wish.publicIpv6,
  );
  if (owner !== undefined) return owner;
  for (const { destination, link } of defaultRoutes(facts.routes)) {
    const family = addressFamily(destination);
    const found = candidates.find(
      (it) => it.link.index === link && addressFamily(it.address) === family,
    );
    if (found !== undefined) return found;
  }
  return chooseOnly(candidates);
}

/** Bridges are mostly of containers: they only count where there is nothing else. */
function chooseOnly(candidates: readonly Candidate[]): Candidate | undefined {
  const outward = candidates.filter(({ link }) => !link.loopback && link.up);
  const plain = outward.filter(({ link }) => link.kind !== "bridge");
  const best = plain.length > 0 ? plain : outward;
  const links = new Set(best.map(({ link }) => link.index));
  return links.size === 1 ? best[0] : undefined;
}

/** IPv4 before IPv6, then by metric. */
function defaultRoutes(routes: readonly ActualRoute[]): ActualRoute[] {
  return routes
    .filter(({ destination, unicast }) => unicast && prefixLength(destination) === 0)
    .sort(
      (a, b) => addressFamily(a.destination) - addressFamily(b.destination) || a.metric - b.metric,
    );
}

/**
 * Every address that a link could be known by, the best of each link first: IPv4 before IPv6,
 * global before link-local, first before secondary.
 */
function listCandidates({ addresses, lease, links, overlayLinks }: UnderlayFacts): Candidate[] {
  return links.flatMap((link) =>
    overlayLinks.has(link.name)
      ? []
      : addresses
          .filter((it) => it.link === link.index && it.scope !== "host")
          .filter((it) => lease === undefined || !prefixCovers(lease, addressPrefix(it)))
          .filter((it) => !(addressFamily(it.address) === 6 && it.scope === "link"))
          .sort((a, b) => rank(a) - rank(b))
          .map(({ address }) => ({ link, address })),
  );
}

function rank({ address, scope, secondary }: ActualAddress): number {
  const familyRank: Readonly<Record<Family, number>> = { 4: 0, 6: 4 };
  return familyRank[addressFamily(address)] + (scope === "link" ? 2 : 0) + (secondary ? 1 : 0);
}

function complete(
  { address, link }: Candidate,
  wish: UnderlayWish,
  facts: UnderlayFacts,
): UnderlayChoice {
  const given = addressFamily(address) === 4 ? wish.publicIp : wish.publicIpv6;
  const outside = new Set(
    facts.links
      .filter(({ loopback, name }) => !loopback && !facts.overlayLinks.has(name))
      .map(({ index }) => index),
  );
  const prefixes = facts.addresses
    .filter((it) => outside.has(it.link) && it.scope === "global")
    .map(addressPrefix)
    .filter((prefix) => facts.lease === undefined || !prefixCovers(facts.lease, prefix));
  const segments = facts.addresses
    .filter((it) => it.link === link.index && it.scope === "global")
    .map(addressPrefix);
  return {
    name: link.name,
    index: link.index,
    address,
    publicAddress: given ?? address,
    mtu: link.mtu,
    segments: [...new Set(segments)],
    prefixes: [...new Set(prefixes)],
  };
}

function addressPrefix({ address, prefixLength: length }: ActualAddress): Prefix {
  return prefixOf(address, length);
}

function describeWish({ iface, ifaceCanReach, ifaceRegex }: UnderlayWish): string[] {
  return [
    ...iface.map((text) => `--iface ${text}`),
    ...ifaceRegex.map((text) => `--iface-regex ${text}`),
    ...(ifaceCanReach === undefined ? [] : [`--iface-can-reach ${ifaceCanReach}`]),
  ];
}

function compilePatterns(texts: readonly string[]): Result<readonly RegExp[], UnderlayFailure> {
  const patterns: RegExp[] = [];
  for (const pattern of texts) {
    try {
      patterns.push(new RegExp(pattern));
    } catch (error) {
      const reason = error instanceof Error ? error.message : "refused";
      return err({ kind: "bad_regex", pattern, reason });
    }
  }
  return ok(patterns);
}
