import { expect, test } from "bun:test";
import type { JsonRecord } from "../../base/json-record.ts";
import { parseSubnetEnv } from "../flannel/subnet-env.ts";
import { parseCall } from "./call.ts";
import { makeDelegateConfig, nodeSubnet, withGateways } from "./delegate-config.ts";

const SUBNET_ENV =
  "FLANNEL_NETWORK=10.77.0.0/16\nFLANNEL_SUBNET=10.77.53.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";
const ENV = { CNI_COMMAND: "ADD", CNI_CONTAINERID: "a", CNI_NETNS: "/n", CNI_IFNAME: "eth0" };

function made(config: JsonRecord, subnetEnv = SUBNET_ENV): JsonRecord {
  const call = parseCall(ENV, JSON.stringify({ cniVersion: "0.3.1", name: "cbr0", ...config }));
  const node = nodeSubnet(parseSubnetEnv(subnetEnv));
  if (!call.ok || call.value.command !== "ADD" || node === undefined) throw new Error("no call");
  return makeDelegateConfig(call.value.config, node);
}

test("makeDelegateConfig: what flannel's plugin v1.1.2 hands to bridge", () => {
  const delegate = { hairpinMode: true, isDefaultGateway: true };
  expect(made({ delegate, ipam: { dataDir: "/var/lib/cni" } })).toEqual({
    cniVersion: "0.3.1",
    hairpinMode: true,
    ipMasq: false,
    ipam: {
      dataDir: "/var/lib/cni",
      ranges: [[{ subnet: "10.77.53.0/24" }]],
      routes: [{ dst: "10.77.0.0/16" }],
      type: "host-local",
    },
    isDefaultGateway: true,
    isGateway: true,
    mtu: 1450,
    name: "cbr0",
    type: "bridge",
  });
});

test("makeDelegateConfig: what the user set is left alone, ranges never", () => {
  const delegate = { type: "ptp", mtu: 1200, ipMasq: true };
  const ipam = { type: "dhcp", ranges: [], routes: [{ dst: "192.0.2.0/24" }] };
  const runtimeConfig = { mac: "02:00:00:00:00:01" };
  expect(made({ delegate, ipam, runtimeConfig })).toEqual({
    ...{ cniVersion: "0.3.1", name: "cbr0", type: "ptp", mtu: 1200, ipMasq: true, runtimeConfig },
    ipam: {
      type: "dhcp",
      ranges: [[{ subnet: "10.77.53.0/24" }]],
      routes: [{ dst: "192.0.2.0/24" }, { dst: "10.77.0.0/16" }],
    },
  });
});

test("makeDelegateConfig: both families, several networks", () => {
  const dual = SUBNET_ENV.replace("/16", "/16,10.88.0.0/16").concat(
    "FLANNEL_IPV6_NETWORK=fd00::/48\nFLANNEL_IPV6_SUBNET=fd00:0:0:5::1/64\n",
  );
  expect(made({}, dual)["ipam"]).toEqual({
    type: "host-local",
    ranges: [[{ subnet: "10.77.53.0/24" }], [{ subnet: "fd00:0:0:5::/64" }]],
    routes: [{ dst: "10.77.0.0/16" }, { dst: "10.88.0.0/16" }, { dst: "fd00::/48" }],
  });
});

test("nodeSubnet: all of it or nothing", () => {
  for (const key of ["NETWORK", "SUBNET", "MTU", "IPMASQ"]) {
    const lines = SUBNET_ENV.split("\n").filter((line) => !line.startsWith(`FLANNEL_${key}=`));
    expect(nodeSubnet(parseSubnetEnv(lines.join("\n")))).toBeUndefined();
  }
});

test("withGateways: routes get the gateway of their family's address", () => {
  const ips = [{ gateway: "10.77.53.1" }, { gateway: "fd00::1" }, { address: "10.1.1.1/24" }];
  const routes = [
    { dst: "10.77.0.0/16" },
    { dst: "fd00::/48" },
    { dst: "0.0.0.0/0", gw: "10.77.53.9" },
  ];
  expect(withGateways({ ips, routes })["routes"]).toEqual([
    { dst: "10.77.0.0/16", gw: "10.77.53.1" },
    { dst: "fd00::/48", gw: "fd00::1" },
    { dst: "0.0.0.0/0", gw: "10.77.53.9" },
  ]);
  for (const odd of [{}, { ips: 7, routes: [] }, { ips: [], routes: [{ dst: "10.0.0.0/8" }, 7] }]) {
    expect(withGateways(odd)).toEqual(odd);
  }
});
