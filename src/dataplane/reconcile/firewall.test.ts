import { describe, expect, test } from "bun:test";
import { parsePrefix } from "../../base/address.ts";
import type { ActualChain, ActualFirewall, ActualRule } from "../../host/kernel-ports.ts";
import { planFirewall } from "../backends/firewall.ts";
import { OURS } from "../backends/ownership.ts";
import { concernsFirewall, diffFirewall, firewallQuery } from "./firewall.ts";

const network = parsePrefix("10.0.0.0/16")!;
const subnet = parsePrefix("10.0.53.0/24")!;
const desired = planFirewall({ networks: [network], subnets: [subnet], masquerade: true });
const nothing = { table: undefined, guests: [] };
const [forward, forward6] = OURS.guestChains;

let handle = 1;
const found = (comment: string | undefined): ActualRule => ({ handle: handle++, comment });
const theirs = found("not ours");
const own: ActualChain = {
  chain: { table: OURS.firewallTable, name: "postrouting" },
  hook: desired.table!.chains[0]!.hook,
  rules: desired.table!.chains[0]!.rules.map(({ comment }) => found(comment)),
};
const guest: ActualChain = {
  chain: forward!,
  hook: { type: "filter", hook: "forward", priority: 0 },
  rules: [theirs, ...desired.guests[0]!.rules.map(({ comment }) => found(comment))],
};
const right: ActualFirewall = { tables: [OURS.firewallTable], chains: [own, guest] };
const [from, to] = desired.guests[0]!.rules;

function withOwn(change: Partial<ActualChain>): ActualFirewall {
  return { ...right, chains: [{ ...own, ...change }, guest] };
}

function withGuest(rules: readonly ActualRule[]): ActualFirewall {
  return { ...right, chains: [own, { ...guest, rules }] };
}

describe("diffFirewall", () => {
  test("right as it is", () => {
    expect(diffFirewall(desired, right, OURS)).toEqual({ wanted: [], stale: [] });
  });

  const replace = [{ kind: "replace_table" as const, table: desired.table! }];
  const damaged: Readonly<Record<string, ActualFirewall>> = {
    "no table": { ...right, tables: [], chains: [guest] },
    "no chain": { ...right, chains: [guest] },
    "a rule is gone": withOwn({ rules: own.rules.slice(1) }),
    "a rule is added": withOwn({ rules: [...own.rules, found("overlay: more")] }),
    "the order is another": withOwn({ rules: own.rules.toReversed() }),
    "a rule without a comment": withOwn({ rules: own.rules.with(0, found(undefined)) }),
    "hung in nowhere": withOwn({ hook: undefined }),
    "another priority": withOwn({ hook: { ...own.hook!, priority: 0 } }),
  };
  for (const [why, actual] of Object.entries(damaged)) {
    test(`our table is made anew: ${why}`, () => {
      expect(diffFirewall(desired, actual, OURS)).toEqual({ wanted: replace, stale: [] });
    });
  }

  test("a chain of others that is not there is not made", () => {
    const actual = { ...right, chains: [own] };
    expect(diffFirewall(desired, actual, OURS)).toEqual({ wanted: [], stale: [] });
  });

  test("rules of ours that are missing in a chain of others are added", () => {
    expect(diffFirewall(desired, withGuest([theirs]), OURS)).toEqual({
      wanted: [
        { kind: "append_rule", chain: forward!, rule: from! },
        { kind: "append_rule", chain: forward!, rule: to! },
      ],
      stale: [],
    });
  });

  test("rules of ours that are stale or double go, theirs stay", () => {
    const old = found("overlay: from 10.9.0.0/16: accept");
    const double = found(from!.comment);
    const actual = withGuest([...guest.rules, old, double, found(undefined)]);
    expect(diffFirewall(desired, actual, OURS)).toEqual({
      wanted: [],
      stale: [
        { kind: "delete_rule", chain: forward!, rule: old },
        { kind: "delete_rule", chain: forward!, rule: double },
      ],
    });
  });

  test("after leaving, all of ours goes", () => {
    const { stale, wanted } = diffFirewall(nothing, right, OURS);
    expect(wanted).toEqual([]);
    expect(stale.map(({ kind }) => kind)).toEqual(["delete_table", "delete_rule", "delete_rule"]);
    expect(diffFirewall(nothing, { tables: [], chains: [] }, OURS).stale).toEqual([]);
  });
});

test("firewallQuery: our table always, its chains when wanted, chains of others always", () => {
  expect(firewallQuery(nothing, OURS)).toEqual({
    tables: [OURS.firewallTable],
    chains: [forward!, forward6!],
  });
  expect(firewallQuery(desired, OURS).chains).toEqual([own.chain, forward!, forward6!]);
});

test("concernsFirewall: our table, the chains that we are guests of, their tables", () => {
  const docker = { family: "ip", name: "nat" } as const;
  expect(concernsFirewall({ table: OURS.firewallTable, chain: "x" }, OURS)).toBe(true);
  expect(concernsFirewall({ table: forward!.table, chain: "FORWARD" }, OURS)).toBe(true);
  expect(concernsFirewall({ table: forward!.table, chain: undefined }, OURS)).toBe(true);
  expect(concernsFirewall({ table: forward!.table, chain: "DOCKER" }, OURS)).toBe(false);
  expect(concernsFirewall({ table: docker, chain: "POSTROUTING" }, OURS)).toBe(false);
});
