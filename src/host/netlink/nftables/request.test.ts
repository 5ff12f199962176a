import { describe, expect, test } from "bun:test";
import { hexWords, staleBuffer } from "../../../../tests/support/hex.ts";
import type { FirewallRule, TableRef } from "../../kernel-ports.ts";
import {
  encodeChainGet,
  encodeRuleAppend,
  encodeRuleDelete,
  encodeRuleDump,
  encodeTableDelete,
  encodeTableGet,
  encodeTableReplace,
} from "./request.ts";

const OVERLAY: TableRef = { family: "inet", name: "overlay" };
const FORWARD = { table: { family: "ip", name: "filter" } as const, name: "FORWARD" };
const RULE: FirewallRule = { matches: [], verdict: "accept", comment: "overlay: x" };

const BEGIN = "14000000 10000100 05000000 00000000 0000000a";
const END = "14000000 11000100 05000000 00000000 0000000a";
const NAME = "0c000100 6f766572 6c617900";
const NEW_TABLE = `20000000 000a0504 05000000 00000000 01000000 ${NAME}`;
const DELETE_TABLE = `20000000 020a0500 05000000 00000000 01000000 ${NAME}`;
const FILTER = "0b000100 66696c74 65720000";
const RULE_CHAIN = `${FILTER} 0c000200 464f5257 41524400`;

describe("golden bytes, accepted by Linux 6.18", () => {
  test("replace a table: make, delete, make, fill, in one transaction", () => {
    const out = staleBuffer();
    const hook = { type: "nat", hook: "postrouting", priority: 100 } as const;
    const chain = { name: "postrouting", hook, rules: [] };
    const transaction = encodeTableReplace(out, { ...OVERLAY, chains: [chain] }, 5);
    expect(transaction.acknowledgements).toBe(4);
    expect(hexWords(out, transaction.length)).toBe(
      `${BEGIN} ${NEW_TABLE} ${DELETE_TABLE} ${NEW_TABLE} ` +
        `54000000 030a0504 05000000 00000000 01000000 ${NAME} ` + // NEWCHAIN, CREATE | ACK
        "10000300 706f7374 726f7574 696e6700 " + // "postrouting"
        "14000480 08000100 00000004 08000200 00000064 " + // NF_INET_POST_ROUTING, 100
        `08000500 00000001 08000700 6e617400 ${END}`, // accept, "nat"
    );
  });

  test("a hook's priority may be negative", () => {
    const out = staleBuffer();
    const hook = { type: "filter", hook: "forward", priority: -1 } as const;
    const table = { ...OVERLAY, chains: [{ name: "c", hook, rules: [] }] };
    const { length } = encodeTableReplace(out, table, 5);
    expect(hexWords(out, length)).toContain("14000480 08000100 00000002 08000200 ffffffff");
  });

  test("delete a table, which need not be there", () => {
    const out = staleBuffer();
    const transaction = encodeTableDelete(out, OVERLAY, 5);
    expect(transaction.acknowledgements).toBe(2);
    expect(hexWords(out, transaction.length)).toBe(`${BEGIN} ${NEW_TABLE} ${DELETE_TABLE} ${END}`);
  });

  test("append a rule, its comment as user data", () => {
    const out = staleBuffer();
    const transaction = encodeRuleAppend(out, { chain: FORWARD, rule: RULE }, 5);
    expect(transaction.acknowledgements).toBe(1);
    expect(hexWords(out, transaction.length)).toBe(
      `${BEGIN} 88000000 060a050c 05000000 00000000 02000000 ${RULE_CHAIN} ` +
        "48000480 14000180 0c000100 636f756e 74657200 04000280 " +
        "30000180 0e000100 696d6d65 64696174 65000000 1c000280 08000100 00000000 " +
        "10000280 0c000280 08000100 00000001 " +
        `11000700 000b6f76 65726c61 793a2078 00000000 ${END}`,
    );
  });

  test("delete a rule by a number of more than 32 bits", () => {
    const out = staleBuffer();
    const { length } = encodeRuleDelete(out, { chain: FORWARD, handle: 2 ** 32 + 2 }, 5);
    expect(hexWords(out, length)).toBe(
      `${BEGIN} 38000000 080a0500 05000000 00000000 02000000 ${RULE_CHAIN} ` +
        `0c000300 00000001 00000002 ${END}`,
    );
  });

  test("ask for a table, a chain, the rules of a chain", () => {
    const out = staleBuffer();
    expect(hexWords(out, encodeTableGet(out, OVERLAY, 5))).toBe(
      `20000000 010a0100 05000000 00000000 01000000 ${NAME}`,
    );
    expect(hexWords(out, encodeChainGet(out, FORWARD, 5))).toBe(
      `2c000000 040a0100 05000000 00000000 02000000 ${FILTER} 0c000300 464f5257 41524400`,
    );
    expect(hexWords(out, encodeRuleDump(out, FORWARD, 5))).toBe(
      `2c000000 070a0103 05000000 00000000 02000000 ${RULE_CHAIN}`,
    );
  });
});

test("a comment that nft would refuse to show is our bug", () => {
  const rule = { ...RULE, comment: "x".repeat(128) };
  const append = () => encodeRuleAppend(staleBuffer(), { chain: FORWARD, rule }, 5);
  expect(append).toThrow("too long");
});
