import { describe, expect, test } from "bun:test";
import { hexWords, staleBuffer } from "../../../../tests/support/hex.ts";
import { parsePrefix } from "../../../base/address.ts";
import type { FirewallMatch, FirewallRule, TableRef } from "../../kernel-ports.ts";
import { putExpressions } from "./expression.ts";

const IP: TableRef = { family: "ip", name: "filter" };
const INET: TableRef = { family: "inet", name: "overlay" };

function match(kind: "source" | "target", prefix: string, negate = false): FirewallMatch {
  return { kind, prefix: parsePrefix(prefix)!, negate };
}

function bytesOf(table: TableRef, rule: Omit<FirewallRule, "comment">): string {
  const out = staleBuffer();
  return hexWords(out, putExpressions(out, 0, { table, rule: { ...rule, comment: "" } }));
}

const COUNTER = "14000180 0c000100 636f756e 74657200 04000280";
const immediate = (code: string) =>
  "30000180 0e000100 696d6d65 64696174 65000000 1c000280 08000100 00000000 " +
  `10000280 0c000280 08000100 ${code}`;
const meta = (key: string) =>
  `24000180 09000100 6d657461 00000000 14000280 08000200 ${key} 08000100 00000001`;
const payload = (offset: string, length: string) =>
  "34000180 0c000100 7061796c 6f616400 24000280 08000100 00000001 08000200 00000001 " +
  `08000300 ${offset} 08000400 ${length}`;
/** One word, `length` bytes of it counted, against register 1. */
const compare = (op: string, length: string, value: string) =>
  "2c000180 08000100 636d7000 20000280 08000100 00000001 " +
  `08000200 ${op} 0c000380 ${length}000100 ${value}`;
const mask = (value: string) =>
  "44000180 0c000100 62697477 69736500 34000280 08000100 00000001 08000200 00000001 " +
  `08000300 00000004 0c000480 08000100 ${value} 0c000580 08000100 00000000`;
const [EQUAL, DIFFERENT] = ["00000000", "00000001"];

const TABLE: readonly {
  readonly why: string;
  readonly table: TableRef;
  readonly rule: Omit<FirewallRule, "comment">;
  readonly parts: readonly string[];
}[] = [
  {
    why: "a prefix of whole bytes is compared as it stands in the packet",
    table: IP,
    rule: { matches: [match("source", "10.0.0.0/16")], verdict: "accept" },
    parts: [
      payload("0000000c", "00000002"),
      compare(EQUAL, "06", "0a000000"),
      COUNTER,
      immediate("00000001"),
    ],
  },
  {
    why: "a prefix that ends inside a byte is compared under a mask; a table of both families asks",
    table: INET,
    rule: { matches: [match("target", "224.0.0.0/4", true)], verdict: "masquerade" },
    parts: [
      meta("0000000f"),
      compare(EQUAL, "05", "02000000"),
      payload("00000010", "00000004"),
      mask("f0000000"),
      compare(DIFFERENT, "08", "e0000000"),
      COUNTER,
      "1c000180 09000100 6d617371 00000000 0c000280 08000100 00000010",
    ],
  },
  {
    why: "a mark is in host order, its bits masked; it is of no family",
    table: INET,
    rule: { matches: [{ kind: "mark", bits: 0x4000 }], verdict: "return" },
    parts: [
      meta("00000003"),
      mask("00400000"),
      compare(EQUAL, "08", "00400000"),
      COUNTER,
      immediate("fffffffb"),
    ],
  },
  {
    why: "IPv6 has its target address at 24",
    table: { family: "ip6", name: "filter" },
    rule: { matches: [match("target", "fd00::/8")], verdict: "accept" },
    parts: [
      payload("00000018", "00000001"),
      compare(EQUAL, "05", "fd000000"),
      COUNTER,
      immediate("00000001"),
    ],
  },
  {
    why: "every address of a family: only the family is asked for",
    table: INET,
    rule: { matches: [match("source", "::/0")], verdict: "accept" },
    parts: [meta("0000000f"), compare(EQUAL, "05", "0a000000"), COUNTER, immediate("00000001")],
  },
];

describe("putExpressions: golden bytes, accepted by Linux 6.18 and shown by nft 1.0.6", () => {
  for (const { parts, rule, table, why } of TABLE) {
    test(why, () => expect(bytesOf(table, rule)).toBe(parts.join(" ")));
  }
});
