import { describe, expect, test } from "bun:test";
import { planUdp, type UdpPlanInput } from "../../../tests/support/udp-plan.ts";
import { parseAddress, parsePrefix } from "../../base/address.ts";
import { decodeNodeId } from "../../base/ids.ts";
import { planFirewall } from "./firewall.ts";

const prefix = (text: string) => parsePrefix(text)!;
const address = (text: string) => parseAddress(text)!;

const INPUT: UdpPlanInput = {
  lease: { subnet: prefix("10.0.53.0/24") },
  network: prefix("10.0.0.0/16"),
  rows: [],
  host: { underlayAddress: address("192.168.1.5"), underlayMtu: 1500 },
};

test("planUdp: a node alone has its link, its address, the network's route and forwarding", () => {
  const { subnet } = INPUT.lease;
  expect(planUdp(INPUT)).toEqual({
    links: [{ kind: "tun", name: "overlay0", mtu: 1472, txQueueLength: 1000, gsoMaxSize: 65_536 }],
    addresses: [{ link: "overlay0", address: address("10.0.53.0"), prefixLength: 32 }],
    routes: [
      {
        destination: prefix("10.0.0.0/16"),
        link: "overlay0",
        gateway: undefined,
        onlink: false,
        table: 254,
        metric: 0,
      },
    ],
    neighbours: [],
    fdb: [],
    sysctls: [
      { path: "net/ipv4/ip_forward", value: "1" },
      { path: "net/ipv4/conf/overlay0/accept_local", value: "1", link: "overlay0" },
    ],
    firewall: planFirewall({
      ...{ networks: [INPUT.network], subnets: [subnet], masquerade: false },
    }),
    fib: { local: [prefix("10.0.53.0/24")], rows: [] },
  });
});

test("planUdp: peers are rows of the FIB and nothing in the kernel", () => {
  const row = {
    prefix: prefix("10.0.7.0/24"),
    peer: decodeNodeId(1),
    endpoint: { address: address("192.168.1.6"), port: 9000 },
    partialChecksum: true,
  };
  const rows = [row, { ...row, prefix: prefix("10.0.8.0/24"), seals: true }];
  const { fib, ...kernel } = planUdp({ ...INPUT, rows });
  expect(fib.rows).toBe(rows);
  const { fib: _, ...alone } = planUdp(INPUT);
  expect(kernel).toEqual(alone);
});

test("planUdp: --ip-masq adds a table of our own, and nothing else", () => {
  const { firewall, ...rest } = planUdp({ ...INPUT, ipMasq: true });
  expect(String(firewall.table?.name)).toBe("overlay");
  const { firewall: _, ...alone } = planUdp(INPUT);
  expect(rest).toEqual(alone);
});

describe("planUdp: overlay MTU", () => {
  const v4 = "192.168.1.5";
  const v6 = "2001:db8::5";
  const table = [
    { underlay: v4, underlayMtu: 1500, mtu: 1472, why: "Ethernet: IPv4 20 + UDP 8" },
    { underlay: v6, underlayMtu: 1500, mtu: 1452, why: "IPv6 40 + UDP 8" },
    { underlay: v4, underlayMtu: 9001, mtu: 8973, why: "jumbo frames" },
    { underlay: v4, underlayMtu: 65_536, mtu: 65_507, why: "loopback: largest UDP payload" },
    { underlay: v4, underlayMtu: 1500, sealOverhead: 32, mtu: 1440, why: "sealed: 32 more" },
    { underlay: v6, underlayMtu: 1500, sealOverhead: 32, mtu: 1420, why: "sealed over IPv6" },
    { underlay: v4, underlayMtu: 70, mtu: 68, why: "the least that IPv4 allows" },
  ];
  for (const { mtu, underlay, underlayMtu, sealOverhead = 0, why } of table) {
    test(why, () => {
      const host = { underlayAddress: address(underlay), underlayMtu, sealOverhead };
      expect(planUdp({ ...INPUT, host }).links[0]?.mtu).toBe(mtu);
    });
  }
});

test("planUdp: an IPv6 network differs in values only", () => {
  const plan = planUdp({
    ...INPUT,
    lease: { subnet: prefix("fd00:0:0:35::/64") },
    network: prefix("fd00::/48"),
  });
  expect(plan.addresses).toEqual([
    { link: "overlay0", address: address("fd00:0:0:35::"), prefixLength: 128 },
  ]);
  expect(plan.routes[0]).toMatchObject({ destination: prefix("fd00::/48"), metric: 1024 });
  expect(plan.sysctls).toEqual([{ path: "net/ipv6/conf/all/forwarding", value: "1" }]);
});

test("planUdp: a lease of another family than the network is our bug", () => {
  const lease = { subnet: prefix("fd00:0:0:35::/64") };
  expect(() => planUdp({ ...INPUT, lease })).toThrow("one family");
});
