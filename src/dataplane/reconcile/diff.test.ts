import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { MemoryKernel, NOTHING } from "../../../tests/sim/memory-kernel.ts";
import { planUdp } from "../../../tests/support/udp-plan.ts";
import { parseAddress, parsePrefix } from "../../base/address.ts";
import { decodeLinkIndex } from "../../base/ids.ts";
import type {
  ActualAddress,
  ActualChain,
  ActualLink,
  ActualRoute,
  ActualState,
  Operation,
} from "../../host/kernel-ports.ts";
import { type DesiredState, EMPTY_STATE } from "../backends/desired-state.ts";
import { OURS } from "../backends/ownership.ts";
import { diff } from "./diff.ts";

const prefix = (text: string) => parsePrefix(text)!;
const address = (text: string) => parseAddress(text)!;

const ETH0 = { index: decodeLinkIndex(2), name: "eth0" };
const OVERLAY0 = { index: decodeLinkIndex(7), name: "overlay0" };
const NETWORK = prefix("10.0.0.0/16");

const desired = planUdp({
  lease: { subnet: prefix("10.0.53.0/24") },
  network: NETWORK,
  rows: [],
  host: { underlayAddress: address("192.168.1.5"), underlayMtu: 1500 },
});

const eth0: ActualLink = {
  ...ETH0,
  kind: undefined,
  up: true,
  loopback: false,
  mtu: 1500,
  txQueueLength: 1000,
  gsoMaxSize: 65_536,
  mac: undefined,
};
const fresh: ActualLink = {
  ...{ ...eth0, ...OVERLAY0, kind: "tun", up: false, txQueueLength: 500 },
  // As earlier versions set it.
  gsoMaxSize: 62_000,
};
const ready: ActualLink = {
  ...fresh,
  up: true,
  mtu: 1472,
  txQueueLength: 1000,
  gsoMaxSize: 65_536,
};

function at(link: { index: ActualAddress["link"] }, text: string): ActualAddress {
  return {
    link: link.index,
    address: address(text),
    prefixLength: 32,
    scope: "global",
    secondary: false,
  };
}

function route(change: Partial<ActualRoute> = {}): ActualRoute {
  return {
    destination: NETWORK,
    table: 254,
    protocol: OURS.routeProtocol,
    metric: 0,
    unicast: true,
    link: OVERLAY0.index,
    gateway: undefined,
    onlink: false,
    ...change,
  };
}

const ACCEPT_LOCAL = "net/ipv4/conf/overlay0/accept_local";

/** Everything as wanted; tests change one thing. */
const right: ActualState = {
  links: [eth0, ready],
  addresses: [at(ETH0, "192.168.1.5"), at(OVERLAY0, "10.0.53.0")],
  routes: [route()],
  neighbours: [],
  fdb: [],
  sysctls: new Map([
    ["net/ipv4/ip_forward", "1"],
    [ACCEPT_LOCAL, "1"],
  ]),
  firewall: NOTHING.firewall,
};

const wantedRoute = {
  destination: NETWORK,
  link: OVERLAY0,
  gateway: undefined,
  onlink: false,
  table: 254,
  metric: 0,
  protocol: OURS.routeProtocol,
};
const setAddress = (text: string) => ({
  kind: "replace_address" as const,
  address: { link: OVERLAY0, address: address(text), prefixLength: 32 },
});
const deleteAddress = (text: string) => ({
  kind: "delete_address" as const,
  address: { link: OVERLAY0, address: address(text), prefixLength: 32 },
});
const deleteRoute = (change: Partial<ActualRoute> = {}): Operation => {
  const { onlink: _, unicast: __, ...key } = route(change);
  return { kind: "delete_route", route: key };
};

const FORWARD: ActualChain = { chain: OURS.guestChains[0]!, hook: undefined, rules: [] };

interface Row {
  readonly why: string;
  readonly desired?: DesiredState;
  readonly actual: ActualState;
  readonly operations: readonly Operation[];
  readonly obstacles?: readonly string[];
}

const TABLE: readonly Row[] = [
  { why: "nothing to do when everything is right", actual: right, operations: [] },
  {
    why: "from a fresh link to everything, in order",
    actual: { ...NOTHING, links: [eth0, fresh] },
    operations: [
      {
        kind: "set_link",
        link: OVERLAY0,
        changes: { up: true, mtu: 1472, txQueueLength: 1000, gsoMaxSize: 65_536 },
      },
      setAddress("10.0.53.0"),
      { kind: "write_sysctl", path: "net/ipv4/ip_forward", value: "1" },
      { kind: "write_sysctl", path: ACCEPT_LOCAL, value: "1" },
      { kind: "add_route", route: wantedRoute },
    ],
  },
  {
    why: "only what differs of a link is set",
    actual: { ...right, links: [eth0, { ...ready, mtu: 1400 }] },
    operations: [{ kind: "set_link", link: OVERLAY0, changes: { mtu: 1472 } }],
  },
  {
    why: "a kernel that does not tell the largest super-packet is not asked to change it",
    actual: { ...right, links: [eth0, { ...ready, gsoMaxSize: undefined }] },
    operations: [],
  },
  {
    why: "a link that is set down has lost its routes with it",
    actual: { ...right, links: [eth0, { ...ready, up: false }], routes: [] },
    operations: [
      { kind: "set_link", link: OVERLAY0, changes: { up: true } },
      { kind: "add_route", route: wantedRoute },
    ],
  },
  {
    why: "the link is not there yet: the packet engine makes it, and the rest waits",
    actual: { ...right, links: [eth0], addresses: [], routes: [] },
    operations: [],
    obstacles: ["overlay0: there is no such link yet", "10.0.0.0/16: there is no link overlay0"],
  },
  {
    why: "a link of our name and another kind is somebody else's, its addresses too",
    actual: {
      ...right,
      links: [eth0, { ...ready, kind: "bridge" }],
      addresses: [at(OVERLAY0, "10.99.0.1")],
    },
    operations: [],
    obstacles: ["overlay0: it is a bridge link of somebody else's, not a tun"],
  },
  {
    why: "another lease: the new address comes before the old one goes",
    actual: { ...right, addresses: [at(OVERLAY0, "10.0.9.0")] },
    operations: [setAddress("10.0.53.0"), deleteAddress("10.0.9.0")],
  },
  {
    why: "the same address with another length is another address",
    actual: { ...right, addresses: [{ ...at(OVERLAY0, "10.0.53.0"), prefixLength: 24 }] },
    operations: [
      setAddress("10.0.53.0"),
      {
        kind: "delete_address",
        address: { link: OVERLAY0, address: address("10.0.53.0"), prefixLength: 24 },
      },
    ],
  },
  {
    why: "a link-local address that the kernel gave stays",
    actual: {
      ...right,
      addresses: [...right.addresses, { ...at(OVERLAY0, "fe80::1"), scope: "link" }],
    },
    operations: [],
  },
  {
    why: "another network: the new route comes before the old one goes",
    actual: { ...right, routes: [route({ destination: prefix("10.1.0.0/16") })] },
    operations: [
      { kind: "add_route", route: wantedRoute },
      deleteRoute({ destination: prefix("10.1.0.0/16") }),
    ],
  },
  {
    why: "our route through another link or gateway is replaced, not doubled",
    actual: { ...right, routes: [route({ link: ETH0.index, gateway: address("192.168.1.1") })] },
    operations: [{ kind: "replace_route", route: wantedRoute }],
  },
  {
    why: "stale routes of ours go from any link, metric and table, also after a crash",
    actual: {
      ...right,
      routes: [
        route(),
        route({ metric: 5 }),
        route({ table: 77 }),
        route({ destination: prefix("10.0.7.0/24"), link: ETH0.index }),
      ],
    },
    operations: [
      deleteRoute({ metric: 5 }),
      deleteRoute({ table: 77 }),
      deleteRoute({ destination: prefix("10.0.7.0/24"), link: ETH0.index }),
    ],
  },
  {
    why: "what was appended to our route goes, the right one stays",
    actual: { ...right, routes: [route({ gateway: address("10.9.9.9") }), route()] },
    operations: [deleteRoute({ gateway: address("10.9.9.9") })],
  },
  {
    why: "of several wrong ones the kernel replaces the first, and the others go",
    actual: {
      ...right,
      routes: [route({ gateway: address("10.9.9.9") }), route({ gateway: address("10.8.8.8") })],
    },
    operations: [
      { kind: "replace_route", route: wantedRoute },
      deleteRoute({ gateway: address("10.8.8.8") }),
    ],
  },
  {
    why: "a route of another protocol is never touched, even on our link",
    actual: { ...right, routes: [route(), route({ protocol: 3, metric: 9 })] },
    operations: [],
  },
  {
    why: "a setting that somebody turned off is turned on",
    actual: {
      ...right,
      sysctls: new Map([
        ["net/ipv4/ip_forward", "0"],
        [ACCEPT_LOCAL, "1"],
      ]),
    },
    operations: [{ kind: "write_sysctl", path: "net/ipv4/ip_forward", value: "1" }],
  },
  {
    why: "firewall rules come before the route that brings packets, and go after it",
    actual: {
      ...right,
      routes: [],
      firewall: { tables: [OURS.firewallTable], chains: [FORWARD] },
    },
    operations: [
      ...desired.firewall.guests[0]!.rules.map((rule): Operation => {
        return { kind: "append_rule", chain: FORWARD.chain, rule };
      }),
      { kind: "add_route", route: wantedRoute },
      { kind: "delete_table", table: OURS.firewallTable },
    ],
  },
  {
    why: "after leaving: routes, addresses and the link go; settings stay",
    desired: EMPTY_STATE,
    actual: right,
    operations: [
      deleteRoute(),
      deleteAddress("10.0.53.0"),
      { kind: "delete_link", link: OVERLAY0 },
    ],
  },
  {
    why: "after leaving: a foreign link of our name stays",
    desired: EMPTY_STATE,
    actual: { ...right, links: [eth0, { ...ready, kind: undefined }], routes: [] },
    operations: [],
  },
];

describe("diff", () => {
  for (const { actual, desired: wanted = desired, obstacles = [], operations, why } of TABLE) {
    test(why, () => {
      const difference = diff(wanted, actual, OURS);
      expect(difference.operations).toEqual(operations);
      const words = difference.obstacles.map(({ object, reason }) => `${object}: ${reason}`);
      expect(words).toEqual([...obstacles]);
    });
  }
});

/** States of any kind: ours half done, others' things beside it. */
const anyState = fc.record({
  link: fc.option(fc.record({ up: fc.boolean(), mtu: fc.constantFrom(1400, 1472, 1500) }), {
    nil: undefined,
  }),
  addresses: fc.subarray(["10.0.53.0", "10.0.9.0", "10.0.8.0"]),
  routes: fc.subarray([
    route(),
    route({ gateway: address("192.168.1.1"), link: ETH0.index }),
    route({ metric: 5 }),
    route({ destination: prefix("10.1.0.0/16") }),
    route({ protocol: 3, metric: 9, link: ETH0.index }),
    route({ protocol: 2, destination: prefix("192.168.1.0/24"), link: ETH0.index }),
  ]),
  forward: fc.constantFrom("0", "1"),
});

test("diff: from any state, its operations lead to where it finds nothing to do", () => {
  fc.assert(
    fc.property(anyState, fc.boolean(), (start, leaving) => {
      const kernel = new MemoryKernel({
        ...NOTHING,
        links: [eth0, ...(start.link ? [{ ...ready, ...start.link }] : [])],
        addresses: start.link ? start.addresses.map((text) => at(OVERLAY0, text)) : [],
        routes: start.routes,
        sysctls: new Map([["net/ipv4/ip_forward", start.forward]]),
      });
      const foreign = kernel.foreignRoutes(OURS.routeProtocol);
      const wanted = leaving ? EMPTY_STATE : desired;
      for (const operation of diff(wanted, kernel.state, OURS).operations) kernel.apply(operation);
      expect(diff(wanted, kernel.state, OURS).operations).toEqual([]);
      expect(kernel.foreignRoutes(OURS.routeProtocol)).toEqual(foreign);
    }),
  );
});
