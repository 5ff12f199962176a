import { describe, expect, test } from "bun:test";
import { parseAddress, parseMac, parsePrefix } from "../../base/address.ts";
import { decodeNodeId } from "../../base/ids.ts";
import type { BackendConfig } from "../../control/network/backend-config.ts";
import type { LeaseBackend } from "../../control/network/lease.ts";
import type { BackendPeer, NodePlanInput } from "./backend.ts";
import { backendOf, needsEngine, planNode } from "./node-plan.ts";
import { vtepMac } from "./vxlan.ts";

const prefix = (text: string) => parsePrefix(text)!;
const address = (text: string) => parseAddress(text)!;

const VXLAN: BackendConfig = {
  kind: "vxlan",
  vni: 1,
  port: 8472,
  gbp: false,
  learning: false,
  directRouting: false,
  underlayMtu: undefined,
};
const UDP: BackendConfig = { kind: "udp", port: 8285, encryption: "none" };
const UDP_LEASE: LeaseBackend = { kind: "udp", port: 8285, partialChecksum: true };
const HOST_GW_LEASE: LeaseBackend = { kind: "other", type: "host-gw", data: null };
const MAC = "02:00:00:00:00:07";

const vxlanLease = (change: object = {}): LeaseBackend => ({
  kind: "other",
  type: "vxlan",
  data: { VNI: 1, VtepMAC: MAC, ...change },
});

function peer(number: number, backend: LeaseBackend, change: Partial<BackendPeer> = {}) {
  return {
    node: decodeNodeId(number),
    subnet: prefix(`10.0.${number}.0/24`),
    address: address(`192.168.1.${number}`),
    backend,
    ...change,
  };
}

const INPUT: NodePlanInput = {
  self: decodeNodeId(0x0012_3456_789a),
  network: prefix("10.0.0.0/16"),
  formerNetworks: [],
  subnets: [prefix("10.0.53.0/24")],
  config: VXLAN,
  peers: [],
  host: {
    link: "eth0",
    underlayAddress: address("192.168.1.5"),
    underlayMtu: 1500,
    segments: [prefix("192.168.1.0/24")],
  },
  rows: [],
  lingering: [],
  ipMasq: false,
};

const plan = (change: Partial<NodePlanInput> = {}) => planNode({ ...INPUT, ...change });

/** What a plan holds, as `ip` and `bridge` would write it. */
function words(change: Partial<NodePlanInput>) {
  const { addresses, fdb, links, neighbours, routes } = plan(change);
  return {
    links: links.map(({ kind, mtu, name }) => `${name} ${kind} ${mtu}`),
    addresses: addresses.map((it) => `${it.address}/${it.prefixLength} ${it.link}`),
    routes: routes.map(
      ({ destination, gateway, link, onlink }) =>
        `${destination}${gateway ? ` via ${gateway}` : ""} ${link}${onlink ? " onlink" : ""}`,
    ),
    neighbours: neighbours.map((it) => `${it.address} ${it.mac} ${it.link}`),
    fdb: fdb.map((it) => `${it.mac} ${it.endpoint} ${it.link}`),
  };
}

const NONE = { links: [], addresses: [], routes: [], neighbours: [], fdb: [] };
const OVERLAY_1 = { links: ["overlay.1 vxlan 1450"], addresses: ["10.0.53.0/32 overlay.1"] };
const VIA_7 = "10.0.7.0/24 via 10.0.7.0 overlay.1 onlink";
const TO_7 = { neighbours: [`10.0.7.0 ${MAC} overlay.1`], fdb: [`${MAC} 192.168.1.7 overlay.1`] };
const TUN = { links: ["overlay0 tun 1472"], addresses: ["10.0.53.0/32 overlay0"] };

interface Row {
  readonly why: string;
  readonly change: Partial<NodePlanInput>;
  readonly is: Partial<ReturnType<typeof words>>;
}

const TABLE: readonly Row[] = [
  { why: "vxlan, alone: the link and its address", change: {}, is: OVERLAY_1 },
  {
    why: "vxlan, one peer: onlink route, neighbour, FDB entry",
    change: { peers: [peer(7, vxlanLease())] },
    is: { ...OVERLAY_1, routes: [VIA_7], ...TO_7 },
  },
  {
    why: "vxlan, two subnets of ours and two of one peer behind its one MAC",
    change: {
      subnets: [prefix("10.0.53.0/24"), prefix("10.0.54.0/24")],
      peers: [7, 8].map((it) =>
        peer(it, vxlanLease(), { node: decodeNodeId(7), address: address("192.168.1.7") }),
      ),
    },
    is: {
      links: OVERLAY_1.links,
      addresses: ["10.0.53.0/32 overlay.1", "10.0.54.0/32 overlay.1"],
      routes: [VIA_7, "10.0.8.0/24 via 10.0.8.0 overlay.1 onlink"],
      neighbours: [...TO_7.neighbours, `10.0.8.0 ${MAC} overlay.1`],
      fdb: TO_7.fdb,
    },
  },
  {
    why: "vxlan with DirectRouting: a plain route on the segment, a tunnel beyond it",
    change: {
      config: { ...VXLAN, directRouting: true },
      peers: [
        peer(6, vxlanLease({ VtepMAC: "02:00:00:00:00:06" })),
        peer(7, vxlanLease(), { address: address("172.16.0.7") }),
      ],
    },
    is: {
      ...OVERLAY_1,
      routes: ["10.0.6.0/24 via 192.168.1.6 eth0", VIA_7],
      neighbours: TO_7.neighbours,
      fdb: [`${MAC} 172.16.0.7 overlay.1`],
    },
  },
  {
    why: "vxlan: what a peer's lease says that makes no sense leaves only that peer out",
    change: {
      peers: [
        peer(1, vxlanLease({ VtepMAC: "ff:ff:ff:ff:ff:ff" })),
        peer(2, vxlanLease({ VtepMAC: "00:00:00:00:00:00" })),
        peer(3, vxlanLease({ VNI: 0 })),
        peer(4, vxlanLease({ VNI: 2 ** 24 })),
        peer(5, vxlanLease({ Port: "x" })),
        peer(6, { kind: "other", type: "vxlan", data: null }),
        peer(7, vxlanLease()),
      ],
    },
    is: { ...OVERLAY_1, routes: [VIA_7], ...TO_7 },
  },
  {
    why: "vxlan, while the VNI changes: a second link for who has the other",
    change: { config: { ...VXLAN, vni: 2 }, peers: [peer(7, vxlanLease())] },
    is: {
      links: ["overlay.2 vxlan 1450", "overlay.1 vxlan 1450"],
      addresses: ["10.0.53.0/32 overlay.2", "10.0.53.0/32 overlay.1"],
      routes: [VIA_7],
      ...TO_7,
    },
  },
  {
    why: "host-gw: one route through the peer, whoever it is reached by then",
    change: { config: { kind: "host-gw" }, peers: [peer(7, HOST_GW_LEASE)] },
    is: { routes: ["10.0.7.0/24 via 192.168.1.7 eth0"] },
  },
  {
    why: "alloc: nothing, and nothing towards a peer that has it",
    change: {
      config: { kind: "alloc" },
      peers: [peer(7, { kind: "other", type: "alloc", data: null })],
    },
    is: {},
  },
  {
    why: "a peer of a kind that this version does not know: no way to it",
    change: { peers: [peer(7, { kind: "other", type: "carrier-pigeon", data: null })] },
    is: OVERLAY_1,
  },
  {
    why: "from udp to vxlan: whose lease says udp is reached by it, the others by their routes",
    change: { peers: [peer(6, UDP_LEASE), peer(7, vxlanLease()), peer(8, HOST_GW_LEASE)] },
    is: {
      links: [...TUN.links, ...OVERLAY_1.links],
      addresses: [...TUN.addresses, ...OVERLAY_1.addresses],
      routes: ["10.0.0.0/16 overlay0", VIA_7, "10.0.8.0/24 via 192.168.1.8 eth0"],
      ...TO_7,
    },
  },
  {
    why: "a node behind on udp reaches who is ahead on vxlan by a link of its own",
    change: { config: UDP, peers: [peer(7, vxlanLease())] },
    is: {
      links: [...TUN.links, ...OVERLAY_1.links],
      addresses: [...TUN.addresses, ...OVERLAY_1.addresses],
      routes: ["10.0.0.0/16 overlay0", VIA_7],
      ...TO_7,
    },
  },
  {
    why: "what the packet engine needs stays for a while",
    change: { config: { kind: "host-gw" }, lingering: [UDP] },
    is: { ...TUN, routes: ["10.0.0.0/16 overlay0"] },
  },
  {
    why: "another port of VXLAN: one link for each, to whom each peer's lease says",
    change: {
      config: { ...VXLAN, port: 4789, underlayMtu: 1400 },
      lingering: [VXLAN],
      peers: [peer(7, vxlanLease()), peer(8, vxlanLease({ Port: 4789 }))],
    },
    is: {
      links: ["overlay.1-4789 vxlan 1350", "overlay.1 vxlan 1450"],
      addresses: ["10.0.53.0/32 overlay.1-4789", "10.0.53.0/32 overlay.1"],
      routes: [VIA_7, "10.0.8.0/24 via 10.0.8.0 overlay.1-4789 onlink"],
      neighbours: [...TO_7.neighbours, `10.0.8.0 ${MAC} overlay.1-4789`],
      fdb: [...TO_7.fdb, `${MAC} 192.168.1.8 overlay.1-4789`],
    },
  },
  {
    why: "so does a VXLAN link, as it was: who has not heard yet sends to it",
    change: {
      config: { kind: "host-gw" },
      lingering: [VXLAN],
      peers: [peer(8, HOST_GW_LEASE)],
    },
    is: { ...OVERLAY_1, routes: ["10.0.8.0/24 via 192.168.1.8 eth0"] },
  },
];

describe("planNode", () => {
  for (const { change, is, why } of TABLE) {
    test(why, () => expect(words(change)).toEqual({ ...NONE, ...is }));
  }

  test("firewall and forwarding are the same for every backend", () => {
    const firewalls = [UDP, VXLAN, { kind: "host-gw" } as const].map((config) => {
      const { firewall, sysctls } = plan({ config, ipMasq: true });
      expect(sysctls[0]).toEqual({ path: "net/ipv4/ip_forward", value: "1" });
      return firewall;
    });
    expect(new Set(firewalls.map((it) => JSON.stringify(it))).size).toBe(1);
  });

  test("an IPv6 network over an IPv6 underlay: 70 bytes, metric 1024", () => {
    const { links, routes } = plan({
      network: prefix("fd00::/48"),
      subnets: [prefix("fd00:0:0:35::/64")],
      host: { ...INPUT.host, underlayAddress: address("2001:db8::5") },
      peers: [
        peer(7, vxlanLease(), {
          subnet: prefix("fd00:0:0:7::/64"),
          address: address("2001:db8::7"),
        }),
      ],
    });
    expect(links[0]?.mtu).toBe(1430);
    expect(routes[0]).toMatchObject({ gateway: address("fd00:0:0:7::"), metric: 1024 });
  });
});

describe("what a node publishes", () => {
  const publish = (config: BackendConfig) => backendOf(config).publish(INPUT.self, config);

  test("flannel's form, and the port only where it is another than the kernel's", () => {
    const mac = "02:12:34:56:78:9a";
    const data = { VNI: 1, VtepMAC: mac };
    expect(publish(VXLAN)).toEqual({ kind: "other", type: "vxlan", data: { ...data } });
    const other = { ...VXLAN, vni: 9, port: 4789 };
    expect(publish(other)).toMatchObject({ data: { VNI: 9, VtepMAC: mac, Port: 4789 } });
    expect(publish({ kind: "host-gw" })).toEqual(HOST_GW_LEASE);
    expect(publish(UDP)).toEqual(UDP_LEASE);
  });

  test("what is published is what peers plan with", () => {
    const config = { ...VXLAN, vni: 3, port: 4789 };
    const backend = backendOf(config).publish(INPUT.self, config);
    const { fdb, links } = plan({ config: { kind: "host-gw" }, peers: [peer(7, backend)] });
    expect(links).toMatchObject([{ name: "overlay.3-4789", vni: 3, port: 4789 }]);
    expect(fdb[0]?.mac).toBe(vtepMac(INPUT.self));
  });

  test("the MAC of every node is a locally administered one of its own", () => {
    const macs = [1, 255, 2 ** 53 - 1].map((it) => vtepMac(decodeNodeId(it)));
    expect(macs).toEqual(
      ["02:00:00:00:00:01", "02:00:00:00:00:ff", "02:ff:ff:ff:ff:ff"].map((it) => parseMac(it)!),
    );
  });
});

test("the MTU of each backend: the underlay's less what is put around a packet", () => {
  const { host } = INPUT;
  const mtu = (config: BackendConfig) => backendOf(config).mtu({ config, host });
  expect([UDP, VXLAN, { kind: "host-gw" as const }].map(mtu)).toEqual([1472, 1450, 1500]);
  expect(mtu({ ...VXLAN, underlayMtu: 9000 })).toBe(8950);
});

test("needsEngine: who is reached by udp, or reaches somebody by it", () => {
  const needs = (config: BackendConfig, ...leases: LeaseBackend[]) =>
    needsEngine({ config, lingering: [], peers: leases.map((backend) => ({ backend })) });
  expect(needs(UDP)).toBe(true);
  expect(needs(VXLAN, HOST_GW_LEASE, vxlanLease())).toBe(false);
  expect(needs(VXLAN, vxlanLease(), UDP_LEASE)).toBe(true);
  expect(needsEngine({ config: VXLAN, lingering: [UDP], peers: [] })).toBe(true);
});
