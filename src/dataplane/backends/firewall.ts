/**
 * Firewall rules of an overlay node: what is masqueraded, and what is let through.
 *
 * flannel's rules (reference: its traffic manager), in nf_tables. In a table of our own:
 *
 *     what another program has marked for itself (Kubernetes: 0x4000)  -> leave alone
 *     from our containers to the network                               -> leave alone
 *     to our containers, from anywhere                                 -> leave alone
 *     from the network to the outside, but not multicast               -> masquerade
 *     from the outside into the network                                -> masquerade
 *
 * With more than one network (draining leases): the same for each, and packets from one to another
 * are left alone.
 *
 * The last one gives packets of the node itself an overlay address: peers drop any other, since
 * nobody may send from a prefix that is not its own.
 *
 * And, as guests, in the chain that iptables hangs into forwarding, where it exists: accept what
 * comes from the network or goes to it. There and nowhere else, since a chain that drops (Docker
 * sets that policy) is not overruled by another chain that accepts.
 *
 * Pure.
 *
 * @module
 */
import { addressFamily, type Family, type Prefix, parsePrefix } from "../../base/address.ts";
import { assert, unreachable } from "../../base/assert.ts";
import type { FirewallMatch, FirewallRule, FirewallTable } from "../../host/kernel-ports.ts";
import type { DesiredFirewall } from "./desired-state.ts";
import { OURS, RULE_MARK } from "./ownership.ts";

/** Where source addresses are rewritten (NF_IP_PRI_NAT_SRC). */
const PRIORITY_SOURCE_NAT = 100;
/** Kubernetes' "masquerade this" mark: its own rules see to such packets. */
const MARK_KUBERNETES_MASQUERADE = 0x4000;

/** RFC 5771 and RFC 4291 §2.7. */
const MULTICAST: Readonly<Record<Family, string>> = { 4: "224.0.0.0/4", 6: "ff00::/8" };

/** What the rules of one node depend on. */
export interface FirewallPlanInput {
  /** The network, and those before it that are still in use; of one family, never empty. */
  readonly networks: readonly Prefix[];
  /** Our own leases. */
  readonly subnets: readonly Prefix[];
  /** `--ip-masq`. */
  readonly masquerade: boolean;
}

/** The rules that a node with the leases `subnets` in `networks` needs. */
export function planFirewall(input: FirewallPlanInput): DesiredFirewall {
  const { masquerade, networks } = input;
  const [network] = networks;
  assert(network !== undefined, "rules need a network");
  const family = addressFamily(network);
  return {
    table: masquerade ? masqueradeTable(input, family) : undefined,
    guests: OURS.guestChains
      .filter(({ table }) => table.family === (family === 4 ? "ip" : "ip6"))
      .map((chain) => ({
        chain,
        rules: networks.flatMap((each) => [
          makeRule([from(each)], "accept"),
          makeRule([to(each)], "accept"),
        ]),
      })),
  };
}

function masqueradeTable({ networks, subnets }: FirewallPlanInput, family: Family): FirewallTable {
  const multicast = parsePrefix(MULTICAST[family]);
  assert(multicast !== undefined, "multicast prefixes must parse");
  return {
    ...OURS.firewallTable,
    chains: [
      {
        name: "postrouting",
        hook: { type: "nat", hook: "postrouting", priority: PRIORITY_SOURCE_NAT },
        rules: [
          makeRule([{ kind: "mark", bits: MARK_KUBERNETES_MASQUERADE }], "return"),
          ...subnets.flatMap((subnet) => [
            ...networks.map((network) => makeRule([from(subnet), to(network)], "return")),
            makeRule([to(subnet)], "return"),
          ]),
          ...networks.flatMap((network) => {
            const others = networks.filter((other) => other !== network);
            return others.map((other) => makeRule([from(network), to(other)], "return"));
          }),
          ...networks.flatMap((network) => [
            makeRule([from(network), not(to(multicast))], "masquerade"),
            makeRule([not(from(network)), to(network)], "masquerade"),
          ]),
        ],
      },
    ],
  };
}

type AddressMatch = Extract<FirewallMatch, { prefix: Prefix }>;

function from(prefix: Prefix): AddressMatch {
  return { kind: "source", prefix, negate: false };
}

function to(prefix: Prefix): AddressMatch {
  return { kind: "target", prefix, negate: false };
}

function not(match: AddressMatch): AddressMatch {
  return { ...match, negate: !match.negate };
}

/** The comment says all that the rule does, so that it tells whether a rule found is this one. */
function makeRule(
  matches: readonly FirewallMatch[],
  verdict: FirewallRule["verdict"],
): FirewallRule {
  const words = matches.map(describeMatch).join(" ");
  return { matches, verdict, comment: `${RULE_MARK}${words}: ${verdict}` };
}

function describeMatch(match: FirewallMatch): string {
  switch (match.kind) {
    case "source":
      return `${match.negate ? "not " : ""}from ${match.prefix}`;
    case "target":
      return `${match.negate ? "not " : ""}to ${match.prefix}`;
    case "mark":
      return `mark 0x${match.bits.toString(16)}`;
    default:
      return unreachable(match);
  }
}
