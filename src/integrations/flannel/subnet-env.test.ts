import { expect, test } from "bun:test";
import fc from "fast-check";
import { parsePrefix } from "../../base/address.ts";
import { formatSubnetEnv, parseSubnetEnv } from "./subnet-env.ts";

const network = parsePrefix("10.0.0.0/16")!;
const subnet = parsePrefix("10.0.53.0/24")!;
const NOTHING = {
  ...{ network: undefined, subnet: undefined, networks: [], ipv6Subnet: undefined },
  ...{ mtu: undefined, ipMasq: undefined },
};

test("formatSubnetEnv: flannel's four lines, the subnet as the bridge's address", () => {
  expect(formatSubnetEnv({ network, subnet, mtu: 1472, ipMasq: true })).toBe(
    "FLANNEL_NETWORK=10.0.0.0/16\nFLANNEL_SUBNET=10.0.53.1/24\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=true\n",
  );
});

test("formatSubnetEnv: the IPv6 half comes after the IPv4 one", () => {
  const ipv6 = { network: parsePrefix("fd00::/48")!, subnet: parsePrefix("fd00:0:0:5::/64")! };
  expect(formatSubnetEnv({ network, subnet, ipv6, mtu: 1450, ipMasq: false })).toBe(
    "FLANNEL_NETWORK=10.0.0.0/16\nFLANNEL_SUBNET=10.0.53.1/24\n" +
      "FLANNEL_IPV6_NETWORK=fd00::/48\nFLANNEL_IPV6_SUBNET=fd00:0:0:5::1/64\n" +
      "FLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n",
  );
});

test("parseSubnetEnv: reads what formatSubnetEnv writes", () => {
  const text = formatSubnetEnv({ network, subnet, mtu: 1472, ipMasq: false });
  const found = { ...NOTHING, network, subnet, networks: [network], mtu: 1472, ipMasq: false };
  expect(parseSubnetEnv(text)).toEqual(found);
});

test("parseSubnetEnv: both families", () => {
  const ipv6 = { network: parsePrefix("fd00::/48")!, subnet: parsePrefix("fd00:0:0:5::/64")! };
  const text = formatSubnetEnv({ network, subnet, ipv6, mtu: 1450, ipMasq: true });
  const { networks, ipv6Subnet } = parseSubnetEnv(text);
  expect({ networks, ipv6Subnet }).toEqual({
    networks: [network, ipv6.network],
    ipv6Subnet: ipv6.subnet,
  });
});

const rows: { text: string; found: object; why: string }[] = [
  { text: "", found: NOTHING, why: "an empty file" },
  {
    text: "FLANNEL_SUBNET=10.0.53.1/24",
    found: { ...NOTHING, subnet },
    why: "no end of line, nothing else",
  },
  {
    text: "FLANNEL_SUBNET=\"10.0.53.1/24\"\r\nexport FLANNEL_MTU='1472'\r\n",
    found: { ...NOTHING, subnet, mtu: 1472 },
    why: "quotes, export, line ends of another system",
  },
  {
    text: "FLANNEL_NETWORK=10.0.0.0/16,10.1.0.0/16\n",
    found: { ...NOTHING, network, networks: [network, parsePrefix("10.1.0.0/16")!] },
    why: "a list of networks, as the CNI plugin allows",
  },
  {
    text: "FLANNEL_SUBNET=10.9.9.1/24\nFLANNEL_SUBNET=10.0.53.1/24\n",
    found: { ...NOTHING, subnet },
    why: "the last one counts, as in a shell",
  },
  {
    text: "FLANNEL_SUBNET=10.0.53.1/33\nFLANNEL_MTU=-1\nFLANNEL_IPMASQ=maybe\n",
    found: NOTHING,
    why: "nothing valid",
  },
  { text: "FLANNEL_SUBNET=fd00::1/64\n", found: NOTHING, why: "another family" },
  { text: "FLANNEL_SUBNET=$(reboot)\n", found: NOTHING, why: "nothing is run" },
  { text: "\u0000".repeat(1_000_000), found: NOTHING, why: "a file full of nothing" },
];
for (const { text, found, why } of rows) {
  test(`parseSubnetEnv: ${why}`, () => {
    expect(parseSubnetEnv(text)).toEqual(found as ReturnType<typeof parseSubnetEnv>);
  });
}

test("parseSubnetEnv: never throws", () => {
  const line = fc.tuple(fc.constantFrom("FLANNEL_SUBNET", "FLANNEL_MTU", "X"), fc.string());
  const text = fc.array(line).map((lines) => lines.map(([k, v]) => `${k}=${v}`).join("\n"));
  fc.assert(
    fc.property(fc.oneof(fc.string(), text), (some) => {
      parseSubnetEnv(some);
    }),
    { seed: 6, numRuns: 500 },
  );
});
