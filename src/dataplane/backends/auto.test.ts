import { describe, expect, test } from "bun:test";
import { parseAddress, parseMac, parsePrefix } from "../../base/address.ts";
import { decodeNodeId } from "../../base/ids.ts";
import type { AutoBackendConfig } from "../../control/network/backend-config.ts";
import type { LeaseBackend } from "../../control/network/lease.ts";
import { parseWays, WAYS, type Way } from "../ways/way.ts";
import { kernelWays, ownBackend } from "./auto.ts";
import type { BackendPeer, NodePlanInput } from "./backend.ts";
import { backendOf, needsEngine, planNode } from "./node-plan.ts";

const prefix = (text: string) => parsePrefix(text)!;
const address = (text: string) => parseAddress(text)!;

const AUTO: AutoBackendConfig = { kind: "auto", port: 8285, vni: 1, vxlanPort: 8472 };
const MAC = parseMac("02:00:00:00:00:07")!;
const VTEP = { vni: 1, mac: MAC, port: 8472 };
const PLAIN: LeaseBackend = { kind: "udp", port: 8285, partialChecksum: true };
const ANY: LeaseBackend = { ...PLAIN, ways: { direct: true, vxlan: VTEP } };

const NEAR = peer(ANY, {});
const FAR = peer(ANY, { address: address("172.16.0.7") });

function peer(backend: LeaseBackend, change: Partial<BackendPeer>): BackendPeer {
  return {
    node: decodeNodeId(7),
    subnet: prefix("10.0.7.0/24"),
    address: address("192.168.1.7"),
    backend,
    ...change,
  };
}

const INPUT: NodePlanInput = {
  self: decodeNodeId(0x0012_3456_789a),
  network: prefix("10.0.0.0/16"),
  formerNetworks: [],
  subnets: [prefix("10.0.53.0/24")],
  config: AUTO,
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

const plan = (change: Partial<NodePlanInput>) => planNode({ ...INPUT, ...change });

/** The routes to the peer, as `ip route` would write them, beside the network's own. */
function routesTo(one: BackendPeer, way: Way | undefined, change: Partial<NodePlanInput> = {}) {
  const choices = new Map(way === undefined ? [] : [[one.subnet, way] as const]);
  return plan({ peers: [one], choices, ...change })
    .routes.filter(({ destination }) => destination === one.subnet)
    .map(({ gateway, link, metric, onlink }) =>
      [gateway ?? "-", link, metric, ...(onlink ? ["onlink"] : [])].join(" "),
    );
}

const DIRECT = "192.168.1.7 eth0";
const TUNNEL = (metric: number) => `10.0.7.0 overlay.1 ${metric} onlink`;

describe("routes to a peer that is reached by several ways", () => {
  const rows: { one: BackendPeer; way?: Way; is: string[]; why: string }[] = [
    {
      ...{ one: NEAR, why: "nothing tried yet: by udp, and what probes take beside it" },
      is: ["- overlay0 0", TUNNEL(2), `${DIRECT} 1`],
    },
    { one: NEAR, way: "vxlan", is: [TUNNEL(0), `${DIRECT} 1`], why: "by vxlan" },
    { one: NEAR, way: "direct", is: [TUNNEL(2), `${DIRECT} 0`], why: "direct" },
    { one: FAR, is: ["- overlay0 0", TUNNEL(2)], why: "beyond a router: two ways" },
    { one: FAR, way: "vxlan", is: [TUNNEL(0)], why: "beyond a router, by vxlan" },
    {
      ...{ one: FAR, way: "direct", why: "what was chosen is no way any more: the last resort" },
      is: ["- overlay0 0", TUNNEL(2)],
    },
    {
      one: peer(PLAIN, {}),
      way: "vxlan",
      is: [],
      why: "a plain lease of udp: no route of its own",
    },
    {
      one: peer({ kind: "other", type: "host-gw", data: null }, {}),
      is: [`${DIRECT} 0`],
      why: "a lease of one backend is believed",
    },
  ];
  for (const { one, way, is, why } of rows) {
    test(why, () => expect(routesTo(one, way)).toEqual(is));
  }

  test("who does not choose sends by udp", () => {
    const config = { kind: "udp", port: 8285, encryption: "none" } as const;
    expect(routesTo(NEAR, "vxlan", { config })).toEqual([]);
    expect(needsEngine({ config: { kind: "alloc" }, lingering: [], peers: [NEAR] })).toBe(true);
  });

  test("the first one changes alone: whoever compares finds the others as they were", () => {
    const before = plan({ peers: [NEAR], choices: new Map([[NEAR.subnet, "udp"]]) });
    const after = plan({ peers: [NEAR], choices: new Map([[NEAR.subnet, "vxlan"]]) });
    const metrics = ({ routes }: typeof before) =>
      routes.filter((it) => it.destination === NEAR.subnet).map((it) => it.metric);
    expect([metrics(before).includes(0), metrics(after).includes(0)]).toEqual([true, true]);
    expect(before.fdb).toEqual(after.fdb);
    expect(before.neighbours).toEqual(after.neighbours);
  });

  test("IPv6 in a tunnel over IPv4: no plain route, and metrics from 1024 on", () => {
    const network = prefix("fd00::/48");
    const one = peer(ANY, { subnet: prefix("fd00:0:0:7::/64") });
    const change = { network, subnets: [prefix("fd00:0:0:35::/64")] };
    expect(kernelWays(one, INPUT)).toEqual(["vxlan"]);
    expect(routesTo(one, undefined, change)).toEqual([
      "- overlay0 1024",
      "fd00:0:0:7:: overlay.1 1026 onlink",
    ]);
  });
});

describe("the auto backend", () => {
  test("is reached by its packet engine and its VXLAN link, with loose reverse paths", () => {
    const { addresses, links, routes, sysctls } = plan({});
    expect(links.map(({ name, mtu }) => [name, mtu])).toEqual([
      ["overlay0", 1472],
      ["overlay.1", 1450],
    ]);
    expect(addresses.map(({ address: it, link }) => `${it} ${link}`)).toEqual([
      "10.0.53.0 overlay0",
      "10.0.53.0 overlay.1",
    ]);
    expect(routes).toMatchObject([{ destination: "10.0.0.0/16", link: "overlay0" }]);
    const paths = sysctls.filter(({ value }) => value === "2").map(({ path }) => path);
    expect(paths).toEqual([
      "net/ipv4/conf/overlay0/rp_filter",
      "net/ipv4/conf/overlay.1/rp_filter",
    ]);
    expect(needsEngine({ config: AUTO, lingering: [], peers: [] })).toBe(true);
  });

  test("has the MTU of its narrowest way", () => {
    const { host } = INPUT;
    expect(backendOf(AUTO).mtu({ config: AUTO, host })).toBe(1450);
  });

  test("says in a lease of udp which other ways there are, as peers read it", () => {
    const config: AutoBackendConfig = { kind: "auto", port: 9, vni: 7, vxlanPort: 4789 };
    const backend = backendOf(config).publish(INPUT.self, config);
    const mac = parseMac("02:12:34:56:78:9a")!;
    expect(backend).toEqual({
      ...{ kind: "udp", port: 9, partialChecksum: true },
      ways: { direct: true, vxlan: { vni: 7, mac, port: 4789 } },
    });
    expect(kernelWays(peer(backend, {}), { ...INPUT, config })).toEqual(["direct", "vxlan"]);
    expect(kernelWays(peer(backend, {}), INPUT)).toEqual(["direct"]);
  });

  test("takes part in no more ways than a node is told to", () => {
    const config = ownBackend({ backend: AUTO }, ["direct", "udp"]);
    expect(ownBackend({ backend: { kind: "alloc" } }, ["udp"])).toEqual({ kind: "alloc" });
    const { links, sysctls } = plan({ config });
    expect(links.map(({ name }) => name)).toEqual(["overlay0"]);
    expect(sysctls.some(({ path }) => path.includes("overlay.1"))).toBe(false);
    expect(kernelWays(NEAR, { ...INPUT, config })).toEqual(["direct"]);
    expect(backendOf(config).mtu({ config, host: INPUT.host })).toBe(1472);
    const lease = backendOf(config).publish(INPUT.self, config);
    expect(lease).toMatchObject({ ways: { direct: true, vxlan: null } });
    expect(kernelWays(peer(lease, {}), INPUT)).toEqual(["direct"]);
    const none = ownBackend({ backend: AUTO }, ["udp"]);
    expect(backendOf(none).publish(INPUT.self, none)).toEqual(PLAIN);
    expect(kernelWays(NEAR, { ...INPUT, config: none })).toEqual([]);
  });

  test("lingers with all its parts", () => {
    const { links } = plan({ config: { kind: "host-gw" }, lingering: [AUTO] });
    expect(links.map(({ name }) => name)).toEqual(["overlay0", "overlay.1"]);
  });

  test("ways are in the order in which they are preferred", () => {
    expect(WAYS).toEqual(["direct", "vxlan", "udp"]);
    expect(parseWays("udp, direct")).toEqual(["direct", "udp"]);
    expect(parseWays("")).toBeUndefined();
    expect(parseWays("udp,tunnel")).toBeUndefined();
  });
});
