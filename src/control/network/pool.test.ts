import { expect, test } from "bun:test";
import { parseAddress, parsePrefix } from "../../base/address.ts";
import { type Pool, poolCapacity, poolHas, poolSubnet } from "./pool.ts";

function pool(network: string, subnetLength: number, min: string, max: string): Pool {
  return {
    network: parsePrefix(network)!,
    subnetLength,
    min: parseAddress(min)!,
    max: parseAddress(max)!,
  };
}

const POOLS: readonly (readonly [Pool, number, string, string])[] = [
  [pool("10.0.0.0/16", 24, "10.0.1.0", "10.0.255.0"), 255, "10.0.1.0/24", "10.0.255.0/24"],
  [pool("10.0.0.0/28", 30, "10.0.0.4", "10.0.0.12"), 3, "10.0.0.4/30", "10.0.0.12/30"],
  [pool("10.0.0.0/16", 24, "10.0.7.0", "10.0.7.0"), 1, "10.0.7.0/24", "10.0.7.0/24"],
  [
    pool("fd00::/48", 64, "fd00:0:0:1::", "fd00:0:0:ffff::"),
    65_535,
    "fd00:0:0:1::/64",
    "fd00:0:0:ffff::/64",
  ],
];

test("pool: capacity, first and last subnet", () => {
  for (const [some, capacity, first, last] of POOLS) {
    expect(poolCapacity(some)).toBe(capacity);
    expect<string>(poolSubnet(some, 0)).toBe(first);
    expect<string>(poolSubnet(some, capacity - 1)).toBe(last);
    expect(() => poolSubnet(some, capacity)).toThrow();
  }
});

test("poolHas: exactly the subnets that positions give", () => {
  for (const [some, capacity] of POOLS) {
    for (let position = 0; position < Math.min(capacity, 300); position++) {
      expect(poolHas(some, poolSubnet(some, position))).toBe(true);
    }
  }
  const [some] = POOLS[0]!;
  for (const [text, why] of [
    ["10.0.0.0/24", "the first subnet is skipped"],
    ["10.1.0.0/24", "outside the network"],
    ["10.0.5.0/25", "another length"],
    ["10.0.4.0/23", "another length"],
    ["fd00::/24", "another family"],
  ] as const) {
    expect([why, poolHas(some, parsePrefix(text)!)]).toEqual([why, false]);
  }
});

test("pool: a pool larger than what is handed out", () => {
  const huge = pool("fd00::/16", 126, "fd00::4", "fd00:ffff:ffff:ffff:ffff:ffff:ffff:fffc");
  expect(poolCapacity(huge)).toBe(2 ** 32);
  expect(poolHas(huge, poolSubnet(huge, 2 ** 32 - 1))).toBe(true);
  expect(poolHas(huge, parsePrefix("fd00:8000::/126")!)).toBe(false);
});
