import { describe, expect, test } from "bun:test";
import { parseAddress, parsePrefix } from "../base/address.ts";
import { decodeNodeId, decodeRevision } from "../base/ids.ts";
import type { Lease } from "../control/network/lease.ts";
import type { FibRow } from "../dataplane/fib/row.ts";
import { peerRows } from "./peer-rows.ts";

const SELF = decodeNodeId(1);
const REVISION = decodeRevision(1);

function lease(
  node: number,
  change: { address?: string; port?: number; revision?: number } = {},
): Lease {
  const { address = `192.0.2.${node}`, port = 8285, revision = 1 } = change;
  return {
    subnet: parsePrefix(`10.0.${node}.0/24`)!,
    node: decodeNodeId(node),
    state: "held",
    attributes: {
      publicIp: parseAddress(address)!,
      publicIpv6: null,
      backend: { kind: "udp", port, partialChecksum: true },
    },
    epoch: REVISION,
    grantRevision: REVISION,
    ttlSeconds: 60,
    modRevision: decodeRevision(revision),
  };
}

function rowsOf(before: readonly FibRow[], leases: readonly Lease[], sealed: number[] = []) {
  return peerRows(before, {
    leases: new Map(leases.map((one) => [one.subnet, one])),
    self: SELF,
    port: 8285,
    seals: new Map(sealed.map((node) => [decodeNodeId(node), { seals: true, refusesPlain: true }])),
  });
}

describe("peerRows", () => {
  const before = rowsOf([], [lease(1), lease(2), lease(3), lease(5)]);

  test("every other node's lease is a row", () => {
    expect(before.map(({ peer }) => Number(peer))).toEqual([2, 3, 5]);
    expect(before[0]).toEqual({
      prefix: parsePrefix("10.0.2.0/24")!,
      peer: decodeNodeId(2),
      endpoint: { address: parseAddress("192.0.2.2")!, port: 8285 },
      partialChecksum: true,
      seals: false,
      refusesPlain: false,
    });
  });

  test("renewals, and whatever happens to the own lease, leave the list as it is", () => {
    const renewed = [lease(2), lease(3, { revision: 9 }), lease(5, { revision: 10 })];
    expect(rowsOf(before, [lease(1, { address: "192.0.2.77" }), ...renewed])).toBe(before);
    expect(rowsOf(before, renewed)).toBe(before);
  });

  /** Peers of the leases, and whether each row is the one of before. */
  const cases: readonly (readonly [string, readonly Lease[], readonly boolean[]])[] = [
    ["one more", [lease(2), lease(3), lease(4), lease(5)], [true, true, false, true]],
    ["one more at the end", [lease(2), lease(3), lease(5), lease(6)], [true, true, true, false]],
    ["another port", [lease(2), lease(3, { port: 9000 }), lease(5)], [true, false, true]],
    ["one less", [lease(2), lease(5)], [true, true]],
    ["one less at the end", [lease(2), lease(3)], [true, true]],
    ["one moved", [lease(2), lease(3, { address: "192.0.2.9" }), lease(5)], [true, false, true]],
    ["nobody", [], []],
  ];
  for (const [name, leases, kept] of cases) {
    test(`${name}: a new list, and new rows only where something differs`, () => {
      const rows = rowsOf(before, leases);
      expect(rows).not.toBe(before);
      expect(rows.map((row) => before.includes(row))).toEqual([...kept]);
      expect(rows).toEqual(rowsOf([], leases));
    });
  }

  test("a peer is reached at the port of its lease, or at ours where that has none", () => {
    const other = lease(3);
    const vxlan = { kind: "other", type: "vxlan", data: null } as const;
    const leases = [
      lease(2, { port: 9000 }),
      { ...other, attributes: { ...other.attributes, backend: vxlan } },
    ];
    expect(rowsOf([], leases).map(({ endpoint }) => endpoint.port)).toEqual([9000, 8285]);
  });

  test("a peer that is sealed to from now on gets a new row", () => {
    const rows = rowsOf(before, [lease(2), lease(3), lease(5)], [3]);
    expect(rows.map((row) => before.includes(row))).toEqual([true, false, true]);
    expect(rows[1]).toMatchObject({ seals: true, refusesPlain: true });
  });
});
