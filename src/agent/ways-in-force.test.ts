import { expect, test } from "bun:test";
import { parsePrefix } from "../base/address.ts";
import { HostError } from "../base/host-error.ts";
import { decodeLinkIndex } from "../base/ids.ts";
import type { ActualLink, ActualRoute, ActualState } from "../host/kernel-ports.ts";
import { waysInForce } from "./ways-in-force.ts";

const [TUN, VXLAN, ETH, OTHER] = [1, 2, 3, 4].map(decodeLinkIndex);
const prefix = (number: number) => parsePrefix(`10.0.${number}.0/24`)!;

function link(index: ActualLink["index"], name: string, kind: string | undefined): ActualLink {
  const plain = { up: true, loopback: false, mtu: 1500, txQueueLength: 1000 };
  return { ...plain, index, name, kind, gsoMaxSize: undefined, mac: undefined };
}

function route(number: number, by: ActualRoute["link"], change: Partial<ActualRoute> = {}) {
  const usual = { table: 254, protocol: 85, metric: 0, unicast: true, onlink: false };
  return { ...usual, destination: prefix(number), link: by, gateway: undefined, ...change };
}

test("the first route to each destination says the way", () => {
  const state: ActualState = {
    links: [
      link(TUN!, "overlay0", "tun"),
      link(VXLAN!, "overlay.1", "vxlan"),
      link(ETH!, "eth0", undefined),
      link(OTHER!, "eth1", undefined),
    ],
    routes: [
      route(1, TUN),
      route(2, VXLAN),
      route(2, ETH, { metric: 1 }),
      route(3, ETH),
      route(4, OTHER),
      route(5, undefined),
      route(6, ETH, { table: 100 }),
      route(7, ETH, { unicast: false }),
    ],
    ...{ addresses: [], neighbours: [], fdb: [], sysctls: new Map() },
    firewall: { tables: [], chains: [] },
  };
  expect([...waysInForce({ snapshot: () => state }, "eth0")]).toEqual([
    [prefix(1), "udp"],
    [prefix(2), "vxlan"],
    [prefix(3), "direct"],
  ]);
});

test("a kernel that does not say leaves nothing to go on with", () => {
  const snapshot = (): ActualState => {
    throw new HostError({ operation: "list", object: "routes", reason: "busy" });
  };
  expect(waysInForce({ snapshot }, "eth0").size).toBe(0);
});
