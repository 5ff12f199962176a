import { describe, expect } from "bun:test";
import { networkTest, sh } from "../../../../tests/support/network-test.ts";
import { parsePrefix } from "../../../base/address.ts";
import type { ChainRef, FirewallMatch, FirewallRule, FirewallTable } from "../../kernel-ports.ts";
import { Firewall } from "./firewall.ts";

const TABLE = { family: "inet", name: "overlay" } as const;
const OWN: ChainRef = { table: TABLE, name: "postrouting" };
const FORWARD: ChainRef = { table: { family: "ip", name: "filter" }, name: "FORWARD" };
const QUERY = { tables: [TABLE], chains: [OWN, FORWARD] };
const HOOK = { type: "nat", hook: "postrouting", priority: 100 } as const;
const THEIRS = `nft -f - <<'RULES'
  table ip filter {
    chain FORWARD { type filter hook forward priority 0; policy drop; ip saddr 192.0.2.1 drop; }
  }
RULES`;

function to(prefix: string, negate = false): FirewallMatch {
  return { kind: "target", prefix: parsePrefix(prefix)!, negate };
}

function from(prefix: string, negate = false): FirewallMatch {
  return { kind: "source", prefix: parsePrefix(prefix)!, negate };
}

function rule(
  verdict: FirewallRule["verdict"],
  matches: readonly FirewallMatch[],
  comment = "overlay: test",
): FirewallRule {
  return { verdict, matches, comment };
}

function table(...rules: readonly FirewallRule[]): FirewallTable {
  return { ...TABLE, chains: [{ name: "postrouting", hook: HOOK, rules }] };
}

/** What `nft` shows of a chain, one rule a line, without counters and comments. */
function shown(chain: string): string[] {
  return sh(`nft list chain ${chain}`)
    .split("\n")
    .filter((line) => line.includes("counter"))
    .map((line) => line.replace(/counter packets \d+ bytes \d+ /, "").replace(/ comment .*/, ""))
    .map((line) => line.trim());
}

function firewallTest(name: string, body: (firewall: Firewall) => void): void {
  const run = () => {
    const firewall = new Firewall();
    try {
      body(firewall);
    } finally {
      firewall.close();
    }
  };
  networkTest(name, run, ["nft"]);
}

describe("Firewall on a real kernel", () => {
  firewallTest("nothing there: nothing found", (firewall) => {
    expect(firewall.read(QUERY)).toEqual({ tables: [], chains: [] });
  });

  firewallTest("rules mean to `nft` what they are meant to", (firewall) => {
    const rules = [
      rule("return", [{ kind: "mark", bits: 0x4000 }]),
      rule("return", [from("10.0.53.0/24"), to("10.0.0.0/15")]),
      rule("masquerade", [from("10.0.0.0/16"), to("224.0.0.0/4", true)]),
      rule("masquerade", [from("10.0.0.0/16", true), to("10.0.0.1/32")]),
      rule("return", [from("fd00::/47", true), to("fd00:0:0:35::/64")]),
      rule("accept", [to("ff00::/8")]),
      rule("accept", [to("0.0.0.0/0")]),
    ];
    firewall.apply({ kind: "replace_table", table: table(...rules) });
    expect(shown("inet overlay postrouting")).toEqual([
      "meta mark & 0x00004000 == 0x00004000 return",
      "ip saddr 10.0.53.0/24 ip daddr 10.0.0.0/15 return",
      "ip saddr 10.0.0.0/16 ip daddr != 224.0.0.0/4 masquerade fully-random",
      "ip saddr != 10.0.0.0/16 ip daddr 10.0.0.1 masquerade fully-random",
      "ip6 saddr != fd00::/47 ip6 daddr fd00:0:0:35::/64 return",
      "ip6 daddr ff00::/8 accept",
      "meta nfproto ipv4 accept",
    ]);
    const chain = sh("nft list chain inet overlay postrouting");
    expect(chain).toContain("type nat hook postrouting priority srcnat; policy accept;");
    expect(chain).toContain('comment "overlay: test"');
  });

  firewallTest(
    "a table comes back as hook and comments in order; replaced, it is new",
    (firewall) => {
      const [a, b] = [rule("return", [], "overlay: a"), rule("return", [], "overlay: b")];
      const comments = () =>
        firewall.read(QUERY).chains.map(({ hook, rules }) => [hook, rules.map((it) => it.comment)]);
      firewall.apply({ kind: "replace_table", table: table(a, b) });
      expect(firewall.read(QUERY).tables).toEqual([TABLE]);
      expect(comments()).toEqual([[HOOK, ["overlay: a", "overlay: b"]]]);
      firewall.apply({ kind: "replace_table", table: table(b) });
      expect(comments()).toEqual([[HOOK, ["overlay: b"]]]);
      for (let i = 0; i < 2; i++) firewall.apply({ kind: "delete_table", table: TABLE });
      expect(sh("nft list ruleset")).toBe("");
    },
  );

  firewallTest(
    "a rule of ours in a chain of others: appended, deleted, theirs untouched",
    (firewall) => {
      sh(THEIRS);
      const before = sh("nft list ruleset");
      const ours = rule("accept", [from("10.0.0.0/16")], "overlay: from 10.0.0.0/16: accept");
      firewall.apply({ kind: "append_rule", chain: FORWARD, rule: ours });
      const rules = firewall.read(QUERY).chains[0]?.rules ?? [];
      expect(rules.map(({ comment }) => comment)).toEqual([undefined, ours.comment]);
      expect(shown("ip filter FORWARD")).toEqual(["ip saddr 10.0.0.0/16 accept"]);
      for (let i = 0; i < 2; i++) {
        firewall.apply({ kind: "delete_rule", chain: FORWARD, rule: rules[1]! });
      }
      expect(sh("nft list ruleset")).toBe(before);
    },
  );

  firewallTest("what cannot be done says so, and nothing of it is done", (firewall) => {
    sh(THEIRS);
    const chain = { table: FORWARD.table, name: "NOWHERE" };
    const append = () => firewall.apply({ kind: "append_rule", chain, rule: rule("accept", []) });
    expect(append).toThrow(
      "Cannot add firewall rule to ip filter NOWHERE: no such file or directory (ENOENT)",
    );
    const hook = { type: "nat", hook: "forward", priority: 0 } as const;
    const broken = { ...TABLE, chains: [{ name: "x", hook, rules: [] }] };
    const replace = () => firewall.apply({ kind: "replace_table", table: broken });
    expect(replace).toThrow("Cannot set up firewall table inet overlay");
    expect(firewall.read(QUERY).tables).toEqual([]);
    // Answers to what had failed are not taken for answers to what follows.
    firewall.apply({ kind: "replace_table", table: table() });
    expect(firewall.read(QUERY).tables).toEqual([TABLE]);
  });
});
