import { describe, expect, test } from "bun:test";
import { parseAddress, parsePrefix } from "../base/address.ts";
import { decodeNodeId } from "../base/ids.ts";
import type { BackendConfig } from "../control/network/backend-config.ts";
import type { Assignment } from "./data-plane.ts";
import type { WayView } from "./way-keeper.ts";
import { blockedWayWarnings, pathReason, wayMetrics } from "./way-status.ts";

const SUBNET = parsePrefix("10.0.7.0/24")!;
const AUTO: BackendConfig = { kind: "auto", port: 8285, vni: 1, vxlanPort: 4789 };

function assigned(backend: BackendConfig, count = 1): Assignment {
  const peers = Array.from({ length: count }, (_, at) => ({
    node: decodeNodeId(at + 1),
    subnet: SUBNET,
    address: parseAddress("192.0.2.7")!,
    backend: { kind: "udp", port: 8285, partialChecksum: true } as const,
  }));
  const own = { network: parsePrefix("10.0.0.0/16")!, subnet: parsePrefix("10.0.53.0/24")! };
  const self = decodeNodeId(99);
  return { ...own, backend, peers, port: 8285, rows: [], announced: true, self };
}

function data(view: WayView | undefined, backend = AUTO, count = 1) {
  const moves = { direct: 0, vxlan: 1, udp: 2 };
  return { assigned: assigned(backend, count), ways: { view: () => view, moves } };
}

const FAR = { way: "direct", obstacle: { kind: "absent" } } as const;
const silent = (forMs: number, hasAnswered = true) =>
  ({ way: "vxlan", obstacle: { kind: "silent", forMs, hasAnswered } }) as const;

const reasonOf = (given: ReturnType<typeof data>) => pathReason(given, given.assigned.peers[0]);

describe("pathReason", () => {
  const rows: { view: WayView | undefined; is: string }[] = [
    { view: { way: "direct", obstacles: [] }, is: "the best way" },
    { view: undefined, is: "its lease names no other way" },
    { view: { way: "vxlan", obstacles: [FAR] }, is: "not on a segment of this node" },
    {
      view: { way: "udp", obstacles: [FAR, silent(12_345)] },
      is: "vxlan (UDP 4789) has not answered for 12 s; not on a segment of this node",
    },
    {
      view: { way: "udp", obstacles: [silent(5, false)] },
      is: "vxlan (UDP 4789) has never answered",
    },
    {
      view: {
        way: "udp",
        obstacles: [
          { way: "direct", obstacle: { kind: "unproven" } },
          { way: "vxlan", obstacle: { kind: "held", forMs: 8100 } },
        ],
      },
      is: "vxlan (UDP 4789) broke lately, tried again in 9 s; a plain route is being tried",
    },
    {
      view: { way: "udp", obstacles: [{ way: "vxlan", obstacle: { kind: "absent" } }] },
      is: "it has no such VXLAN link",
    },
  ];
  for (const { view, is } of rows) {
    test(is, () => expect(reasonOf(data(view))).toBe(is));
  }

  test("a peer that names other ways, which this node does not take part in", () => {
    const given = data(undefined, { ...AUTO, ways: [] });
    const ways = { direct: true, vxlan: null };
    const peers = given.assigned.peers.map((peer) => ({
      ...peer,
      backend: { kind: "udp", port: 8285, partialChecksum: true, ways } as const,
    }));
    const reason = (backend: BackendConfig) =>
      reasonOf({ ...given, assigned: { ...given.assigned, backend, peers } });
    expect(reason({ ...AUTO, ways: [] })).toBe("this node takes part in no other way");
    expect(reason(AUTO)).toBe("no other way leads there");
  });

  test("why there is no plain route: who takes none, or the IP version", () => {
    const view: WayView = { way: "vxlan", obstacles: [FAR] };
    const lease = { kind: "udp", port: 8285, partialChecksum: true } as const;
    const { assigned: own, ways } = data(view);
    const given = (backend: BackendConfig) => ({ assigned: { ...own, backend }, ways });
    const [peer] = own.peers;
    const [far, none] = [parseAddress("2001:db8::7")!, { direct: false, vxlan: null }];
    expect(pathReason(given(AUTO), { ...peer!, address: far })).toContain("another IP version");
    expect(pathReason(given(AUTO), { ...peer!, backend: { ...lease, ways: none } })).toBe(
      "it takes no plain routes",
    );
    expect(pathReason(given({ ...AUTO, ways: ["vxlan"] }), peer)).toBe(
      "this node takes no plain routes",
    );
    const udp: WayView = { way: "udp", obstacles: [{ way: "vxlan", obstacle: FAR.obstacle }] };
    expect(reasonOf(data(udp, { ...AUTO, ways: ["direct"] }))).toBe(
      "this node takes no part in vxlan",
    );
  });

  test("nothing is said where nobody chooses", () => {
    expect(reasonOf(data(undefined, { kind: "alloc" }))).toBeNull();
    expect(pathReason({ ...data(undefined), assigned: undefined }, undefined)).toBeNull();
  });
});

describe("blockedWayWarnings", () => {
  const nameOf = (node: number) => `h${node}`;
  const warnings = (view: WayView, count = 1) =>
    blockedWayWarnings(data(view, AUTO, count), nameOf);

  test("peers that only udp gets through to, and what may drop the rest", () => {
    const view: WayView = { way: "udp", obstacles: [FAR, silent(10_000)] };
    expect(warnings(view, 7)).toEqual([
      "Packets for h1, h2, h3, h4, h5 and 2 more go by udp, since vxlan does not get through: " +
        "look for a firewall or a hypervisor that drops UDP port 4789 on the way",
    ]);
  });

  test("not yet, not where packets go by vxlan, and not for a plain route", () => {
    expect(warnings({ way: "udp", obstacles: [silent(9999)] })).toEqual([]);
    expect(warnings({ way: "vxlan", obstacles: [{ ...silent(60_000), way: "direct" }] })).toEqual(
      [],
    );
    expect(blockedWayWarnings(data(undefined, { kind: "alloc" }), nameOf)).toEqual([]);
  });
});

test("wayMetrics counts moves by the way that was taken", () => {
  const [metric] = wayMetrics(data(undefined).ways);
  expect(metric?.samples.map(({ labels, value }) => [labels["way"], value])).toEqual([
    ["direct", 0],
    ["vxlan", 1],
    ["udp", 2],
  ]);
});
