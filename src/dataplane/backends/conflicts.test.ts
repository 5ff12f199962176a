import { describe, expect, test } from "bun:test";
import { parseAddress, parsePrefix } from "../../base/address.ts";
import { decodeLinkIndex } from "../../base/ids.ts";
import type { ActualAddress, ActualLink, ActualRoute } from "../../host/kernel-ports.ts";
import { type Conflict, planConflicts } from "./conflicts.ts";
import { OURS } from "./ownership.ts";

const NAMES = ["lo", "eth0", "docker0", "overlay0"];

const links = NAMES.map(
  (name, position): ActualLink => ({
    index: decodeLinkIndex(position + 1),
    name,
    kind: name === "overlay0" ? "tun" : undefined,
    up: true,
    loopback: name === "lo",
    mtu: 1500,
    txQueueLength: 0,
    gsoMaxSize: undefined,
    mac: undefined,
  }),
);

function on(name: string) {
  return decodeLinkIndex(NAMES.indexOf(name) + 1);
}

function addressOn(name: string, text: string): ActualAddress {
  const [address, length] = text.split("/");
  return {
    link: on(name),
    address: parseAddress(address!)!,
    prefixLength: Number(length),
    scope: "global",
    secondary: false,
  };
}

function routeOn(name: string | undefined, text: string, protocol = 3): ActualRoute {
  return {
    destination: parsePrefix(text)!,
    table: 254,
    protocol,
    metric: 0,
    unicast: name !== undefined,
    link: name === undefined ? undefined : on(name),
    gateway: undefined,
    onlink: false,
  };
}

function conflict(kind: Conflict["kind"], prefix: string, link: string | undefined): Conflict {
  return { kind, prefix: parsePrefix(prefix)!, link };
}

interface Row {
  readonly why: string;
  readonly network?: string;
  readonly lease?: string;
  readonly addresses?: readonly ActualAddress[];
  readonly routes?: readonly ActualRoute[];
  readonly conflicts: readonly Conflict[];
}

const TABLE: readonly Row[] = [
  {
    why: "nothing in common",
    addresses: [addressOn("eth0", "192.168.1.5/24"), addressOn("docker0", "172.17.0.1/16")],
    routes: [routeOn("eth0", "192.168.1.0/24", 2)],
    conflicts: [],
  },
  {
    why: "the underlay inside the network",
    addresses: [addressOn("eth0", "10.0.9.5/24")],
    conflicts: [conflict("underlay", "10.0.9.0/24", "eth0")],
  },
  {
    why: "the network inside the underlay",
    addresses: [addressOn("eth0", "10.200.0.5/8")],
    conflicts: [conflict("underlay", "10.0.0.0/8", "eth0")],
  },
  {
    why: "an address and the route that the kernel made for it are one conflict",
    addresses: [addressOn("eth0", "10.0.9.5/24")],
    routes: [routeOn("eth0", "10.0.9.0/24", 2)],
    conflicts: [conflict("underlay", "10.0.9.0/24", "eth0")],
  },
  {
    why: "a route to somewhere inside the network",
    routes: [routeOn("eth0", "10.0.128.0/17")],
    conflicts: [conflict("route", "10.0.128.0/17", "eth0")],
  },
  {
    why: "a blackhole has no link but takes packets all the same",
    routes: [routeOn(undefined, "10.0.128.0/17")],
    conflicts: [conflict("route", "10.0.128.0/17", undefined)],
  },
  {
    why: "the default route holds every network",
    routes: [routeOn("eth0", "0.0.0.0/0")],
    conflicts: [],
  },
  {
    why: "our own routes and what is on our own link",
    addresses: [addressOn("overlay0", "10.0.53.0/32")],
    routes: [
      routeOn("overlay0", "10.0.0.0/16", OURS.routeProtocol),
      routeOn("overlay0", "10.0.7.0/24"),
    ],
    conflicts: [],
  },
  {
    why: "the bridge of our containers lies in our lease",
    lease: "10.0.53.0/24",
    addresses: [addressOn("docker0", "10.0.53.1/24")],
    routes: [routeOn("docker0", "10.0.53.0/24", 2)],
    conflicts: [],
  },
  {
    why: "a bridge in the network but outside our lease",
    lease: "10.0.53.0/24",
    addresses: [addressOn("docker0", "10.0.54.1/24")],
    conflicts: [conflict("underlay", "10.0.54.0/24", "docker0")],
  },
  {
    why: "the loopback's prefix",
    network: "127.0.0.0/16",
    addresses: [addressOn("lo", "127.0.0.1/8")],
    conflicts: [conflict("underlay", "127.0.0.0/8", "lo")],
  },
  {
    why: "the other family never overlaps",
    network: "fd00::/48",
    addresses: [addressOn("eth0", "10.0.9.5/24")],
    conflicts: [],
  },
  {
    why: "an IPv6 underlay inside an IPv6 network",
    network: "fd00::/48",
    addresses: [addressOn("eth0", "fd00:0:0:9::5/64")],
    conflicts: [conflict("underlay", "fd00:0:0:9::/64", "eth0")],
  },
];

describe("planConflicts", () => {
  for (const { addresses = [], conflicts, lease, network, routes = [], why } of TABLE) {
    test(why, () => {
      const found = planConflicts({
        network: parsePrefix(network ?? "10.0.0.0/16")!,
        leases: lease === undefined ? [] : [parsePrefix(lease)!],
        links,
        addresses,
        routes,
        ownership: OURS,
      });
      expect(found).toEqual(conflicts);
    });
  }
});
