import { describe, expect, test } from "bun:test";
import { parseAddress, parsePrefix } from "../../base/address.ts";
import { decodeNodeId } from "../../base/ids.ts";
import type { FibRow, FibTable } from "../fib/row.ts";
import { diffRoutes, type KernelRoutes, planRoutes, type RoutePlanInput } from "./routes.ts";

function row(prefix: string, peer: number, address: string): FibRow {
  return {
    prefix: parsePrefix(prefix)!,
    peer: decodeNodeId(peer),
    endpoint: { address: parseAddress(address)!, port: 8285 },
    partialChecksum: true,
  };
}

const LOCAL = parsePrefix("10.0.1.0/24")!;
const TABLE: FibTable = {
  local: [LOCAL, parsePrefix("fd00:1::/64")!],
  rows: [row("10.0.2.0/24", 9, "192.0.2.9"), row("fd00:2::/64", 9, "192.0.2.9")],
};
const INPUT: RoutePlanInput = {
  mtuOf: () => 1472,
  overlayMtu: 1472,
  wayTo: () => ({ link: 7, whole: false }),
  slotOf: (peer) => peer + 100,
  isPlain: () => true,
};

const elementsOf = (routes: KernelRoutes) =>
  [...routes.prefixes()].map((prefix) => routes.get(prefix)!);

const hexOf = (table: FibTable, input: Partial<RoutePlanInput> = {}) =>
  elementsOf(planRoutes(table, { ...INPUT, ...input })).map(
    ({ key, value }) => `${Buffer.from(key).toString("hex")} ${Buffer.from(value).toString("hex")}`,
  );

const PEER_KEY = "180000000a000200";
const NOTHING = "0".repeat(56);

describe("planRoutes", () => {
  test("IPv4 prefixes only: the peer with its endpoint, our own lease", () => {
    expect(hexOf(TABLE)).toEqual([
      `${PEER_KEY} c0000209205dc00502000000070000006d0000000000000000000000`,
      `180000000a000100 ${NOTHING.slice(0, 16)}01${NOTHING.slice(18)}`,
    ]);
  });

  test("a wire that carries super-packets whole: to the peer itself, not to its containers", () => {
    const [peer] = hexOf(TABLE, { wayTo: () => ({ link: 7, whole: true }) });
    expect(peer).toBe(`${PEER_KEY} c0000209205dc00502000000070000006d000000000000000a000200`);
  });

  test("but nothing goes whole where the path carries less than the overlay", () => {
    const input = { wayTo: () => ({ link: 7, whole: true }), mtuOf: () => 1372 };
    expect(hexOf(TABLE, input)[0]).toBe(
      `${PEER_KEY} c0000209205d5c0502000000070000006d0000000000000000000000`,
    );
  });

  const blocked: readonly (readonly [string, FibTable, Partial<RoutePlanInput>])[] = [
    ["no way", TABLE, { wayTo: () => undefined }],
    ["sealed", TABLE, { isPlain: () => false }],
    ["IPv6 endpoint", { ...TABLE, rows: [row("10.0.2.0/24", 9, "2001:db8::9")] }, {}],
  ];
  for (const [why, table, input] of blocked) {
    test(`${why}: an element without rights, so that no shorter prefix takes its packets`, () => {
      expect(hexOf(table, input)[0]).toBe(`${PEER_KEY} ${NOTHING}`);
    });
  }

  test("our own lease comes before a peer that claims it", () => {
    const claimed = { ...TABLE, rows: [row("10.0.1.0/24", 9, "192.0.2.9")] };
    expect(hexOf(claimed)).toHaveLength(1);
    expect(hexOf(claimed)[0]?.slice(17)).toBe(`${NOTHING.slice(0, 16)}01${NOTHING.slice(18)}`);
  });
});

describe("diffRoutes", () => {
  test("nothing for the same table; only what changed; what is gone", () => {
    const before = planRoutes(TABLE, INPUT);
    expect(diffRoutes(before, planRoutes(TABLE, INPUT))).toEqual({ set: [], gone: [] });
    const rows = [row("10.0.2.0/24", 9, "192.0.2.10"), row("10.0.3.0/24", 8, "192.0.2.8")];
    const after = planRoutes({ ...TABLE, rows }, INPUT);
    const { set, gone } = diffRoutes(before, after);
    expect([set.length, gone.length]).toEqual([2, 0]);
    expect(diffRoutes(after, before).gone).toEqual([after.get(rows[1]!.prefix)!.key]);
  });

  test("applied to a map, it makes the map equal, from any table to any other", () => {
    const tables = [0, 1, 2, 3, 4, 5, 6, 7].map((bits) => ({
      local: [LOCAL],
      rows: [1, 2, 4].flatMap((bit) =>
        bits & bit ? [row(`10.0.${bit + 10}.0/24`, bit, `192.0.2.${bits}`)] : [],
      ),
    }));
    const asText = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
    for (const from of tables) {
      for (const to of tables) {
        const [before, after] = [planRoutes(from, INPUT), planRoutes(to, INPUT)];
        const map = new Map(elementsOf(before).map((r) => [asText(r.key), asText(r.value)]));
        const { set, gone } = diffRoutes(before, after);
        for (const { key, value } of set) map.set(asText(key), asText(value));
        for (const key of gone) expect(map.delete(asText(key))).toBe(true);
        const wanted = elementsOf(after).map((r): [string, string] => [
          asText(r.key),
          asText(r.value),
        ]);
        expect([...map].sort()).toEqual(wanted.sort());
      }
    }
  });
});
