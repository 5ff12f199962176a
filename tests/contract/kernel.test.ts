/**
 * What every `Kernel` must do, run on the real one and on the one in memory.
 *
 * The machine of each run has two TUN links, "ovt0" (up) and "ovt1" (down), and nothing else.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import { parseAddress, parseMac, parsePrefix } from "../../src/base/address.ts";
import { HostError } from "../../src/base/host-error.ts";
import { decodeLinkIndex } from "../../src/base/ids.ts";
import { createSilentLog } from "../../src/base/log.ts";
import { openSystemClock } from "../../src/host/clock/system-clock.ts";
import type { ActualLink, Kernel, KernelChange, LinkRef } from "../../src/host/kernel-ports.ts";
import { openKernel } from "../../src/host/netlink/kernel.ts";
import { MemoryKernel } from "../sim/memory-kernel.ts";
import { networkTest, sh } from "../support/network-test.ts";

const PROTOCOL = 85;
const FORWARD = "net/ipv4/ip_forward";
const QUERY = { routeProtocol: PROTOCOL, sysctls: [FORWARD] };
const TURNS_MAX = 10_000;

type ContractTest = (kernel: Kernel) => Promise<void> | void;

function linkOf(kernel: Kernel, name: string): ActualLink {
  const found = kernel.snapshot(QUERY).links.find((link) => link.name === name);
  if (found === undefined) throw new Error(`no link ${name}`);
  return found;
}

function addressesOf(kernel: Kernel, link: LinkRef): string[] {
  return kernel
    .snapshot(QUERY)
    .addresses.filter((it) => it.link === link.index && it.scope === "global")
    .map(({ address, prefixLength }) => `${address}/${prefixLength}`);
}

function routeTo(destination: string, link: LinkRef) {
  return {
    destination: parsePrefix(destination)!,
    link,
    gateway: undefined,
    onlink: false,
    table: 254,
    metric: 0,
    protocol: PROTOCOL,
  };
}

const MAC_A = parseMac("02:00:00:00:00:0a")!;
const MAC_B = parseMac("02:00:00:00:00:0b")!;
const VXLAN = {
  kind: "vxlan",
  name: "ovtx.1",
  mac: MAC_A,
  mtu: 1450,
  vxlan: {
    vni: 77,
    port: 8472,
    underlay: undefined,
    local: parseAddress("192.0.2.1")!,
    learning: false,
    gbp: true,
  },
} as const;

function addVxlan(kernel: Kernel): ActualLink {
  kernel.apply({ kind: "add_link", link: VXLAN });
  return linkOf(kernel, VXLAN.name);
}

const CONTRACT: Readonly<Record<string, ContractTest>> = {
  "set_link changes what it names and nothing else"(kernel) {
    const before = linkOf(kernel, "ovt1");
    kernel.apply({ kind: "set_link", link: before, changes: { up: true, mtu: 1400 } });
    expect(linkOf(kernel, "ovt1")).toEqual({ ...before, up: true, mtu: 1400 });
  },

  "set_link on a link that is gone fails as the environment's error"(kernel) {
    const link = { index: decodeLinkIndex(999_999), name: "ovt9" };
    const set = () => kernel.apply({ kind: "set_link", link, changes: { mtu: 1400 } });
    expect(set).toThrow(HostError);
  },

  "delete_link takes addresses and routes along; again, it is no error"(kernel) {
    const link = linkOf(kernel, "ovt0");
    const address = { link, address: parseAddress("10.0.5.0")!, prefixLength: 32 };
    kernel.apply({ kind: "replace_address", address });
    kernel.apply({ kind: "add_route", route: routeTo("10.0.0.0/16", link) });
    kernel.apply({ kind: "delete_link", link });
    const { addresses, links, routes } = kernel.snapshot(QUERY);
    expect(links.map(({ name }) => name)).not.toContain("ovt0");
    expect(addresses.filter((it) => it.link === link.index)).toEqual([]);
    expect(routes).toEqual([]);
    kernel.apply({ kind: "delete_link", link });
  },

  "replace_address and delete_address may be repeated"(kernel) {
    const link = linkOf(kernel, "ovt0");
    const address = { link, address: parseAddress("10.0.5.0")!, prefixLength: 32 };
    for (let i = 0; i < 2; i++) kernel.apply({ kind: "replace_address", address });
    expect(addressesOf(kernel, link)).toEqual(["10.0.5.0/32"]);
    for (let i = 0; i < 2; i++) kernel.apply({ kind: "delete_address", address });
    expect(addressesOf(kernel, link)).toEqual([]);
  },

  "add_route fails where a route with its key is, whoever's"(kernel) {
    const link = linkOf(kernel, "ovt0");
    const route = routeTo("10.0.0.0/16", link);
    kernel.apply({ kind: "add_route", route: { ...route, protocol: 4 } });
    expect(() => kernel.apply({ kind: "add_route", route })).toThrow("file already exists");
    expect(kernel.snapshot(QUERY).routes).toEqual([]);
    expect(kernel.mainRoutes(4).map(({ protocol }) => protocol)).toEqual([4]);
  },

  "delete_route leaves another protocol's route, and what differs in anything"(kernel) {
    const link = linkOf(kernel, "ovt0");
    const theirs = { ...routeTo("10.0.0.0/16", link), protocol: 4 };
    const ours = routeTo("10.1.0.0/16", link);
    kernel.apply({ kind: "add_route", route: theirs });
    kernel.apply({ kind: "add_route", route: ours });
    const key = { ...ours, link: link.index };
    kernel.apply({ kind: "delete_route", route: { ...key, destination: theirs.destination } });
    kernel.apply({ kind: "delete_route", route: { ...key, metric: 7 } });
    expect(kernel.mainRoutes(4).length).toBe(2);
    kernel.apply({ kind: "delete_route", route: key });
    expect(kernel.mainRoutes(4).map(({ protocol }) => protocol)).toEqual([4]);
  },

  "replace_route puts one route in the place of another"(kernel) {
    const link = linkOf(kernel, "ovt0");
    const other = linkOf(kernel, "ovt1");
    kernel.apply({ kind: "set_link", link: other, changes: { up: true } });
    kernel.apply({ kind: "add_route", route: routeTo("10.0.0.0/16", link) });
    kernel.apply({ kind: "replace_route", route: routeTo("10.0.0.0/16", other) });
    const found = kernel.snapshot(QUERY).routes.map((route) => route.link);
    expect(found).toEqual([other.index]);
  },

  "add_link makes a VXLAN link, set_link changes its MAC and alias, and a second one fails"(
    kernel,
  ) {
    const link = addVxlan(kernel);
    expect(link).toMatchObject({ ...VXLAN, up: false });
    kernel.apply({ kind: "set_link", link, changes: { alias: "ovt", mac: MAC_B, up: true } });
    expect(linkOf(kernel, VXLAN.name)).toMatchObject({ alias: "ovt", mac: MAC_B, up: true });
    expect(() => addVxlan(kernel)).toThrow("file already exists");
    const twin = { ...VXLAN, name: "ovtx.2" };
    expect(() => kernel.apply({ kind: "add_link", link: twin })).toThrow(/exists/);
  },

  "neighbours and FDB entries: set, replaced, deleted twice; read for the links asked for"(kernel) {
    const link = addVxlan(kernel);
    kernel.apply({ kind: "set_link", link, changes: { up: true } });
    const look = (neighbourLinks: readonly string[] = [VXLAN.name]) => {
      const { fdb, neighbours } = kernel.snapshot({ ...QUERY, neighbourLinks });
      return [
        ...neighbours.map((it) => `${it.address} ${it.mac}`),
        ...fdb.map((it) => `${it.mac} ${it.endpoint}`),
      ];
    };
    const address = parseAddress("10.0.7.0")!;
    const endpoint = parseAddress("192.0.2.7")!;
    for (const mac of [MAC_A, MAC_B]) {
      kernel.apply({ kind: "replace_neighbour", neighbour: { link, address, mac } });
    }
    for (const to of [parseAddress("192.0.2.8")!, endpoint]) {
      kernel.apply({ kind: "replace_fdb", entry: { link, mac: MAC_B, endpoint: to } });
    }
    expect(look()).toEqual([`10.0.7.0 ${MAC_B}`, `${MAC_B} 192.0.2.7`]);
    expect(look([])).toEqual([]);
    for (let i = 0; i < 2; i++) {
      kernel.apply({ kind: "delete_neighbour", neighbour: { link, address } });
      kernel.apply({ kind: "delete_fdb", entry: { link, mac: MAC_B } });
    }
    expect(look()).toEqual([]);
  },

  "write_sysctl is seen by the next look, and only what was asked for is told"(kernel) {
    kernel.apply({ kind: "write_sysctl", path: FORWARD, value: "1" });
    expect([...kernel.snapshot(QUERY).sysctls]).toEqual([[FORWARD, "1"]]);
    expect(kernel.snapshot({ ...QUERY, sysctls: [] }).sysctls.size).toBe(0);
  },

  "replace_table, append_rule, delete_rule, delete_table: what the next look finds"(kernel) {
    const table = { family: "inet", name: "ovt" } as const;
    const chain = { table, name: "forward" };
    const hook = { type: "filter", hook: "forward", priority: 5 } as const;
    const rule = (comment: string) => ({ matches: [], verdict: "accept" as const, comment });
    const query = { ...QUERY, firewall: { tables: [table], chains: [chain] } };
    const look = () => kernel.snapshot(query).firewall;
    const comments = () => look().chains[0]?.rules.map(({ comment }) => comment);
    expect(look()).toEqual({ tables: [], chains: [] });

    const chains = [{ name: chain.name, hook, rules: [rule("a"), rule("b")] }];
    for (let i = 0; i < 2; i++)
      kernel.apply({ kind: "replace_table", table: { ...table, chains } });
    expect(look()).toMatchObject({ tables: [table], chains: [{ chain, hook }] });
    expect(comments()).toEqual(["a", "b"]);
    expect(kernel.snapshot(QUERY).firewall).toEqual({ tables: [], chains: [] });

    kernel.apply({ kind: "append_rule", chain, rule: rule("c") });
    const [first] = look().chains[0]?.rules ?? [];
    for (let i = 0; i < 2; i++) kernel.apply({ kind: "delete_rule", chain, rule: first! });
    expect(comments()).toEqual(["b", "c"]);
    for (let i = 0; i < 2; i++) kernel.apply({ kind: "delete_table", table });
    expect(look()).toEqual({ tables: [], chains: [] });
  },

  async "every change of ours is told"(kernel) {
    const link = linkOf(kernel, "ovt0");
    const address = { link, address: parseAddress("10.0.5.0")!, prefixLength: 32 };
    const route = routeTo("10.0.0.0/16", link);
    const told: KernelChange[] = [];
    kernel.onChange((change) => told.push(change));
    kernel.apply({ kind: "set_link", link, changes: { mtu: 1300 } });
    kernel.apply({ kind: "replace_address", address });
    kernel.apply({ kind: "add_route", route });
    kernel.apply({ kind: "write_sysctl", path: FORWARD, value: "1" });
    const table = { family: "inet", name: "ovt" } as const;
    kernel.apply({ kind: "replace_table", table: { ...table, chains: [] } });
    const kinds = () => new Set(told.map(({ kind }) => kind));
    for (let turn = 0; turn < TURNS_MAX && kinds().size < 5; turn++) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    for (const kind of ["link", "address", "route", "settings", "firewall"] as const) {
      expect(kinds()).toContain(kind);
    }
    expect(told).toContainEqual({
      kind: "route",
      destination: route.destination,
      link: link.index,
      protocol: PROTOCOL,
    });
  },
};

describe("Kernel contract: netlink", () => {
  for (const [name, body] of Object.entries(CONTRACT)) {
    networkTest(name, async () => {
      sh("ip tuntap add ovt0 mode tun; ip tuntap add ovt1 mode tun; ip link set ovt0 up");
      const kernel = openKernel({ clock: openSystemClock(), log: createSilentLog() });
      try {
        await body(kernel);
      } finally {
        kernel.close();
      }
    });
  }
});

describe("Kernel contract: in memory", () => {
  const link = (index: number, up: boolean): ActualLink => ({
    index: decodeLinkIndex(index),
    name: `ovt${index - 2}`,
    kind: "tun",
    up,
    loopback: false,
    mtu: 1500,
    txQueueLength: 500,
    gsoMaxSize: 65_536,
    mac: undefined,
  });
  for (const [name, body] of Object.entries(CONTRACT)) {
    test(name, () =>
      body(
        new MemoryKernel({
          links: [link(2, true), link(3, false)],
          addresses: [],
          routes: [],
          neighbours: [],
          fdb: [],
          sysctls: new Map([[FORWARD, "0"]]),
          firewall: { tables: [], chains: [] },
        }),
      ),
    );
  }
});
