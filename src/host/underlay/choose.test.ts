import { describe, expect, test } from "bun:test";
import { networkTest, sh } from "../../../tests/support/network-test.ts";
import { type IpAddress, parseAddress, parsePrefix } from "../../base/address.ts";
import { decodeLinkIndex } from "../../base/ids.ts";
import { createSilentLog } from "../../base/log.ts";
import { openSystemClock } from "../clock/system-clock.ts";
import type { ActualAddress, ActualLink, ActualRoute } from "../kernel-ports.ts";
import { openKernel } from "../netlink/kernel.ts";
import {
  chooseUnderlay,
  describeUnderlayFailure,
  type UnderlayFacts,
  type UnderlayWish,
} from "./choose.ts";

const address = (text: string) => parseAddress(text)!;

const NO_WISH: UnderlayWish = {
  iface: [],
  ifaceRegex: [],
  ifaceCanReach: undefined,
  publicIp: undefined,
  publicIpv6: undefined,
};

interface LinkSpec {
  readonly name: string;
  readonly addresses?: readonly string[];
  readonly kind?: string;
  readonly down?: boolean;
  readonly mtu?: number;
}

interface Machine {
  readonly links: readonly LinkSpec[];
  /** "0.0.0.0/0 eth0 100": destination, link, metric. */
  readonly routes?: readonly string[];
  /** Link and source for whatever `wayTo` is asked. */
  readonly way?: readonly [name: string, source: string];
  readonly lease?: string;
}

function facts({ lease, links, routes = [], way }: Machine): UnderlayFacts {
  const index = (name: string) => decodeLinkIndex(links.findIndex((it) => it.name === name) + 1);
  return {
    links: links.map(
      ({ down = false, kind, mtu = 1500, name }): ActualLink => ({
        index: index(name),
        name,
        kind,
        up: !down,
        loopback: name === "lo",
        mtu,
        txQueueLength: 1000,
        gsoMaxSize: 65_536,
        mac: undefined,
      }),
    ),
    addresses: links.flatMap(({ addresses = [], name }) =>
      addresses.map((text) => toAddress(text, index(name))),
    ),
    routes: routes.map((text) => {
      const [destination, link, metric] = text.split(" ");
      return toRoute(destination!, index(link!), Number(metric));
    }),
    wayTo: () =>
      way && { link: index(way[0]), gateway: undefined, source: address(way[1]) as IpAddress },
    overlayLinks: new Set(["overlay0"]),
    lease: lease === undefined ? undefined : parsePrefix(lease)!,
  };
}

/** "192.168.1.5/24", with "?" for secondary at its end. */
function toAddress(text: string, link: ActualAddress["link"]): ActualAddress {
  const [host, length] = text.replace("?", "").split("/");
  const local = host!.startsWith("169.254.") || host!.startsWith("fe80:");
  const loopback = host!.startsWith("127.") || host === "::1";
  return {
    link,
    address: address(host!),
    prefixLength: Number(length),
    scope: loopback ? "host" : local ? "link" : "global",
    secondary: text.endsWith("?"),
  };
}

function toRoute(destination: string, link: ActualRoute["link"], metric: number): ActualRoute {
  return {
    destination: parsePrefix(destination)!,
    table: 254,
    protocol: 3,
    metric,
    unicast: true,
    link,
    gateway: undefined,
    onlink: false,
  };
}

const LO = { name: "lo", addresses: ["127.0.0.1/8", "::1/128"] };
const ETH0 = { name: "eth0", addresses: ["192.168.1.5/24", "2001:db8::5/64", "fe80::5/64"] };
const ETH1 = { name: "eth1", addresses: ["172.16.0.5/16", "172.16.0.6/16?"], mtu: 9000 };
const OVERLAY0 = { name: "overlay0", addresses: ["10.0.53.0/32"], kind: "tun" };
const DOCKER0 = { name: "docker0", addresses: ["10.0.53.1/24"], kind: "bridge" };
const ALL: Machine = {
  links: [LO, ETH0, ETH1, OVERLAY0],
  routes: ["0.0.0.0/0 eth0 100", "192.168.1.0/24 eth0 0"],
};

interface Row {
  readonly why: string;
  readonly wish?: Partial<UnderlayWish>;
  readonly machine?: Machine;
  /** Link and address chosen. */
  readonly chosen?: readonly [name: string, address: string];
  readonly publicAddress?: string;
  readonly fails?: string;
}

const BY_OPTION: readonly Row[] = [
  { why: "--iface by name", wish: { iface: ["eth1"] }, chosen: ["eth1", "172.16.0.5"] },
  {
    why: "--iface by address, a secondary one too",
    wish: { iface: ["172.16.0.6"] },
    chosen: ["eth1", "172.16.0.6"],
  },
  {
    why: "--iface: the first that is there",
    wish: { iface: ["eth7", "10.9.9.9", "eth1", "eth0"] },
    chosen: ["eth1", "172.16.0.5"],
  },
  {
    why: "--iface-regex looks at addresses before names",
    wish: { ifaceRegex: ["eth0|172\\.16\\."] },
    chosen: ["eth1", "172.16.0.5"],
  },
  {
    why: "--iface-regex by name",
    wish: { ifaceRegex: ["^nothing", "^eth.*1$"] },
    chosen: ["eth1", "172.16.0.5"],
  },
  {
    why: "--iface comes before --iface-regex, which is taken when it fails",
    wish: { iface: ["eth7"], ifaceRegex: ["eth1"] },
    chosen: ["eth1", "172.16.0.5"],
  },
  {
    why: "--iface-can-reach: the kernel's link and source address",
    wish: { ifaceCanReach: address("198.51.100.1") },
    machine: { ...ALL, way: ["eth1", "172.16.0.6"] },
    chosen: ["eth1", "172.16.0.6"],
  },
  {
    why: "an option that nothing matches is an error, not the default",
    wish: { iface: ["eth7"], ifaceCanReach: address("198.51.100.1") },
    fails:
      "nothing matches --iface eth7, --iface-can-reach 198.51.100.1; there are " +
      "eth0 (192.168.1.5), eth0 (2001:db8::5), eth1 (172.16.0.5), eth1 (172.16.0.6)",
  },
  {
    why: "the overlay's own link is no underlay",
    wish: { iface: ["overlay0"] },
    fails: "nothing matches --iface overlay0",
  },
  {
    why: "a broken regular expression",
    wish: { ifaceRegex: ["eth("] },
    fails: '"eth(" is not a regular expression',
  },
];

const BY_DEFAULT: readonly Row[] = [
  { why: "the link of the default route", chosen: ["eth0", "192.168.1.5"] },
  {
    why: "of several default routes, the one with the least metric",
    machine: { ...ALL, routes: ["0.0.0.0/0 eth0 100", "0.0.0.0/0 eth1 50"] },
    chosen: ["eth1", "172.16.0.5"],
  },
  {
    why: "an IPv4 default route before an IPv6 one",
    machine: { ...ALL, routes: ["::/0 eth0 1", "0.0.0.0/0 eth1 50"] },
    chosen: ["eth1", "172.16.0.5"],
  },
  {
    why: "only an IPv6 default route: its link's IPv6 address",
    machine: { ...ALL, routes: ["::/0 eth0 1024"] },
    chosen: ["eth0", "2001:db8::5"],
  },
  {
    why: "--public-ip of this machine: its owner",
    wish: { publicIp: address("172.16.0.5") },
    chosen: ["eth1", "172.16.0.5"],
    publicAddress: "172.16.0.5",
  },
  {
    why: "--public-ip of a router in front: the default route's link, known by that address",
    wish: { publicIp: address("203.0.113.9") },
    chosen: ["eth0", "192.168.1.5"],
    publicAddress: "203.0.113.9",
  },
  {
    why: "--public-ipv6 does not name an IPv4 underlay",
    wish: { publicIpv6: address("2001:db8::9") },
    chosen: ["eth0", "192.168.1.5"],
    publicAddress: "192.168.1.5",
  },
  {
    why: "a default route over a link without an address of its family is passed over",
    machine: {
      links: [LO, { name: "ppp0" }, ETH1],
      routes: ["0.0.0.0/0 ppp0 0", "0.0.0.0/0 eth1 9"],
    },
    chosen: ["eth1", "172.16.0.5"],
  },
  {
    why: "a global address before one that the machine gave itself",
    machine: {
      links: [{ name: "eth0", addresses: ["169.254.7.7/16", "192.168.1.5/24"] }],
      routes: ["0.0.0.0/0 eth0 0"],
    },
    chosen: ["eth0", "192.168.1.5"],
  },
  {
    why: "no default route, one link with an address",
    machine: { links: [LO, ETH1, OVERLAY0] },
    chosen: ["eth1", "172.16.0.5"],
  },
  {
    why: "no default route: bridges count only where there is nothing else",
    machine: { links: [LO, ETH1, { ...DOCKER0, addresses: ["172.17.0.1/16"] }] },
    chosen: ["eth1", "172.16.0.5"],
  },
  {
    why: "no default route: a bridge that is all there is",
    machine: { links: [LO, { name: "br0", addresses: ["172.17.0.1/16"], kind: "bridge" }] },
    chosen: ["br0", "172.17.0.1"],
  },
  {
    why: "no default route: a link that is down does not count",
    machine: { links: [LO, { ...ETH0, down: true }, ETH1] },
    chosen: ["eth1", "172.16.0.5"],
  },
  {
    why: "no default route and several links: the operator must say",
    machine: { links: [LO, ETH0, ETH1] },
    fails:
      "there is no default route; name one with --iface: " +
      "eth0 (192.168.1.5), eth0 (2001:db8::5), eth1 (172.16.0.5), eth1 (172.16.0.6)",
  },
  {
    why: "no address at all",
    machine: { links: [LO, { name: "eth0", addresses: ["fe80::5/64"] }] },
    fails: "no link has an address",
  },
];

for (const [title, rows] of [
  ["chooseUnderlay by option", BY_OPTION],
  ["chooseUnderlay by default", BY_DEFAULT],
] as const) {
  describe(title, () => {
    for (const { chosen, fails, machine = ALL, publicAddress, why, wish } of rows) {
      test(why, () => {
        const choice = chooseUnderlay({ ...NO_WISH, ...wish }, facts(machine));
        if (!choice.ok) {
          const words = describeUnderlayFailure(choice.error);
          expect(words).toStartWith("Cannot choose the underlay link: ");
          expect(words).toContain(fails ?? "no failure expected");
          return;
        }
        expect(fails).toBeUndefined();
        expect([choice.value.name, String(choice.value.address)]).toEqual([...chosen!]);
        if (publicAddress !== undefined) {
          expect(String(choice.value.publicAddress)).toBe(publicAddress);
        }
      });
    }
  });
}

test("chooseUnderlay: MTU of the link, and the prefixes that a network must not overlap", () => {
  const machine = { ...ALL, links: [...ALL.links, DOCKER0], lease: "10.0.53.0/24" };
  const choice = chooseUnderlay({ ...NO_WISH, iface: ["eth1"] }, facts(machine));
  expect(choice).toMatchObject({
    ok: true,
    value: {
      mtu: 9000,
      prefixes: ["192.168.1.0/24", "2001:db8::/64", "172.16.0.0/16"].map((it) => parsePrefix(it)),
    },
  });
});

networkTest("chooseUnderlay on a real kernel: default route, then what reaches an address", () => {
  sh(`ip link add ovt0 type bridge; ip link add ovt1 type bridge; ip link set ovt1 mtu 1400
      ip link set lo up; ip link set ovt0 up; ip link set ovt1 up
      ip addr add 192.168.9.2/24 dev ovt0; ip addr add 192.168.8.2/24 dev ovt1
      ip route add default via 192.168.9.1`);
  const kernel = openKernel({ clock: openSystemClock(), log: createSilentLog() });
  try {
    const { addresses, links } = kernel.snapshot({ routeProtocol: 85, sysctls: [] });
    const real: UnderlayFacts = {
      links,
      addresses,
      routes: [...kernel.mainRoutes(4), ...kernel.mainRoutes(6)],
      wayTo: (target) => kernel.wayTo(target),
      overlayLinks: new Set(["overlay0"]),
      lease: undefined,
    };
    const byDefault = chooseUnderlay(NO_WISH, real);
    expect(byDefault).toMatchObject({ ok: true, value: { name: "ovt0", mtu: 1500 } });
    const wish = { ...NO_WISH, ifaceCanReach: address("192.168.8.77") };
    const reaching = chooseUnderlay(wish, real);
    expect(reaching).toMatchObject({ ok: true, value: { name: "ovt1", mtu: 1400 } });
    const nowhere = chooseUnderlay({ ...NO_WISH, iface: ["ovt9"] }, real);
    expect(nowhere.ok).toBe(false);
  } finally {
    kernel.close();
  }
});
