import { describe, expect, test } from "bun:test";
import { parsePrefix } from "../../base/address.ts";
import { planFirewall } from "./firewall.ts";

const V4 = { networks: [parsePrefix("10.0.0.0/16")!], subnets: [parsePrefix("10.0.53.0/24")!] };
const V6 = { networks: [parsePrefix("fd00::/48")!], subnets: [parsePrefix("fd00:0:0:35::/64")!] };

const words = (plan: ReturnType<typeof planFirewall>) => ({
  own: plan.table?.chains.flatMap(({ rules }) => rules.map(({ comment }) => comment)),
  guests: plan.guests.flatMap(({ chain, rules }) =>
    rules.map(({ comment }) => `${chain.table.family} ${chain.name} ${comment}`),
  ),
});

describe("planFirewall", () => {
  test("flannel's rules, in its order, the two to our own containers as one", () => {
    expect(words(planFirewall({ ...V4, masquerade: true }))).toEqual({
      own: [
        "overlay: mark 0x4000: return",
        "overlay: from 10.0.53.0/24 to 10.0.0.0/16: return",
        "overlay: to 10.0.53.0/24: return",
        "overlay: from 10.0.0.0/16 not to 224.0.0.0/4: masquerade",
        "overlay: not from 10.0.0.0/16 to 10.0.0.0/16: masquerade",
      ],
      guests: [
        "ip FORWARD overlay: from 10.0.0.0/16: accept",
        "ip FORWARD overlay: to 10.0.0.0/16: accept",
      ],
    });
  });

  test("while leases drain, packets between the networks keep their addresses", () => {
    const networks = [...V4.networks, parsePrefix("10.9.0.0/16")!];
    const subnets = [...V4.subnets, parsePrefix("10.9.5.0/24")!];
    expect(words(planFirewall({ networks, subnets, masquerade: true }))).toEqual({
      own: [
        "overlay: mark 0x4000: return",
        "overlay: from 10.0.53.0/24 to 10.0.0.0/16: return",
        "overlay: from 10.0.53.0/24 to 10.9.0.0/16: return",
        "overlay: to 10.0.53.0/24: return",
        "overlay: from 10.9.5.0/24 to 10.0.0.0/16: return",
        "overlay: from 10.9.5.0/24 to 10.9.0.0/16: return",
        "overlay: to 10.9.5.0/24: return",
        "overlay: from 10.0.0.0/16 to 10.9.0.0/16: return",
        "overlay: from 10.9.0.0/16 to 10.0.0.0/16: return",
        "overlay: from 10.0.0.0/16 not to 224.0.0.0/4: masquerade",
        "overlay: not from 10.0.0.0/16 to 10.0.0.0/16: masquerade",
        "overlay: from 10.9.0.0/16 not to 224.0.0.0/4: masquerade",
        "overlay: not from 10.9.0.0/16 to 10.9.0.0/16: masquerade",
      ],
      guests: [
        "ip FORWARD overlay: from 10.0.0.0/16: accept",
        "ip FORWARD overlay: to 10.0.0.0/16: accept",
        "ip FORWARD overlay: from 10.9.0.0/16: accept",
        "ip FORWARD overlay: to 10.9.0.0/16: accept",
      ],
    });
  });

  test("without masquerading there is no table of ours, and forwarding stays accepted", () => {
    const plan = planFirewall({ ...V4, masquerade: false });
    expect(plan.table).toBeUndefined();
    expect(plan.guests.length).toBe(1);
  });

  test("IPv6 differs in values only", () => {
    expect(words(planFirewall({ ...V6, masquerade: true }))).toEqual({
      own: [
        "overlay: mark 0x4000: return",
        "overlay: from fd00:0:0:35::/64 to fd00::/48: return",
        "overlay: to fd00:0:0:35::/64: return",
        "overlay: from fd00::/48 not to ff00::/8: masquerade",
        "overlay: not from fd00::/48 to fd00::/48: masquerade",
      ],
      guests: [
        "ip6 FORWARD overlay: from fd00::/48: accept",
        "ip6 FORWARD overlay: to fd00::/48: accept",
      ],
    });
  });

  test("the longest prefixes fit the comment that nft can show", () => {
    const text = "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128";
    const longest = parsePrefix(text)!;
    const plan = planFirewall({ networks: [longest], subnets: [longest], masquerade: true });
    for (const comment of words(plan).own ?? []) expect(comment.length).toBeLessThan(128);
  });
});
