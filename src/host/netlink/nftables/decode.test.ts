import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { fromHex } from "../../../../tests/support/hex.ts";
import type { KernelChange } from "../../kernel-ports.ts";
import { decodeChainHook, decodeFirewallChange, decodeRule } from "./decode.ts";

describe("decodeChainHook", () => {
  const NAT = "08000700 6e617400";

  test("type, hook and signed priority", () => {
    const body = `01000000 ${NAT} 14000480 08000100 00000004 08000200 ffffff9c`;
    expect(decodeChainHook(fromHex(body))).toEqual({
      hook: { type: "nat", hook: "postrouting", priority: -100 },
    });
  });

  test("a chain that is not hung in, or elsewhere, or of another type", () => {
    const bodies = [
      "01000000",
      `01000000 ${NAT} 14000480 08000100 00000001 08000200 00000000`,
      "01000000 0a000700 726f7574 65000000 14000480 08000100 00000004 08000200 00000000",
      `01000000 ${NAT} 0c000480 08000100 00000004`,
    ];
    for (const body of bodies) expect(decodeChainHook(fromHex(body))).toEqual({ hook: undefined });
  });

  test("a body that makes no sense", () => {
    expect(decodeChainHook(fromHex("0100"))).toBeUndefined();
    expect(decodeChainHook(fromHex("01000000 ffff0100"))).toBeUndefined();
  });
});

describe("decodeRule", () => {
  const HANDLE = "0c000300 00000000 00000007";
  const table: readonly { body: string; comment: string | undefined; why: string }[] = [
    { body: "", comment: undefined, why: "no user data" },
    { body: "0a000700 000468692e00 0000", comment: "hi.", why: "a comment" },
    { body: "0d000700 01017f 0004 68692e00 000000", comment: "hi.", why: "after other data" },
    { body: "08000700 01017f00", comment: undefined, why: "only other data" },
    { body: "08000700 00096869", comment: undefined, why: "a comment longer than the data" },
  ];
  for (const { body, comment, why } of table) {
    test(`comment: ${why}`, () => {
      expect(decodeRule(fromHex(`02000000 ${HANDLE} ${body}`))).toEqual({ handle: 7, comment });
    });
  }

  test("without a number, or with one that cannot be, it is no rule", () => {
    expect(decodeRule(fromHex("02000000"))).toBeUndefined();
    expect(decodeRule(fromHex("02000000 08000300 00000007"))).toBeUndefined();
    expect(decodeRule(fromHex("02000000 0c000300 ffffffff ffffffff"))).toBeUndefined();
  });
});

describe("decodeFirewallChange", () => {
  const TABLE = "0c000100 6f766572 6c617900";
  const change = (type: number, body: string) =>
    decodeFirewallChange({ type: 0x0a00 | type, flags: 0, sequence: 0, body: fromHex(body) });
  const of = (chain: string | undefined): KernelChange => ({
    kind: "firewall",
    table: { family: "inet", name: "overlay" },
    chain,
  });

  test("tables, chains and rules, made and deleted", () => {
    for (const type of [0, 2]) expect(change(type, `01000000 ${TABLE}`)).toEqual(of(undefined));
    for (const type of [3, 5]) {
      expect(change(type, `01000000 ${TABLE} 06000300 63000000`)).toEqual(of("c"));
    }
    for (const type of [6, 8]) {
      expect(change(type, `01000000 ${TABLE} 06000200 63000000`)).toEqual(of("c"));
    }
  });

  test("sets, generations, other families and other subsystems do not concern us", () => {
    expect(change(9, `01000000 ${TABLE}`)).toBeUndefined();
    expect(change(15, "00000000 08000100 00000009")).toBeUndefined();
    expect(change(0, `07000000 ${TABLE}`)).toBeUndefined();
    const body = fromHex(`01000000 ${TABLE}`);
    expect(decodeFirewallChange({ type: 0x0100, flags: 0, sequence: 0, body })).toBeUndefined();
  });

  test("any bytes: never an exception", () => {
    fc.assert(
      fc.property(fc.nat(20), fc.uint8Array({ maxLength: 80 }), (type, body) => {
        decodeFirewallChange({ type: 0x0a00 | type, flags: 0, sequence: 0, body });
        decodeChainHook(body);
        decodeRule(body);
      }),
    );
  });
});
