import { describe, expect, test } from "bun:test";
import { readdirSync, readlinkSync } from "node:fs";
import { networkTest, sh } from "../../../tests/support/network-test.ts";
import { parseAddress, parsePrefix } from "../../base/address.ts";
import { HostError } from "../../base/host-error.ts";
import { decodeLinkIndex } from "../../base/ids.ts";
import { createSilentLog } from "../../base/log.ts";
import { openSystemClock } from "../clock/system-clock.ts";
import type { ActualState, Kernel, KernelChange, LinkRef } from "../kernel-ports.ts";
import { openKernel } from "./kernel.ts";

const QUERY = { routeProtocol: 85, sysctls: ["net/ipv4/ip_forward", "net/ipv4/no_such"] };
const NETWORK = parsePrefix("10.0.0.0/16")!;
const MAKE_TUN = "ip tuntap add overlay0 mode tun";
const EVENTS_MAX_MS = 20_000;

function open(): Kernel {
  return openKernel({ clock: openSystemClock(), log: createSilentLog() });
}

/** Runs `body` with a kernel, which it closes. */
async function withKernel(body: (kernel: Kernel) => Promise<void> | void): Promise<void> {
  const kernel = open();
  try {
    await body(kernel);
  } finally {
    kernel.close();
  }
}

function linkOf(state: ActualState, name: string): LinkRef {
  const link = state.links.find((it) => it.name === name);
  if (link === undefined) throw new Error(`no link ${name}`);
  return { index: link.index, name };
}

function routeInto(link: LinkRef) {
  return {
    destination: NETWORK,
    link,
    gateway: undefined,
    onlink: false,
    table: 254,
    metric: 0,
    protocol: 85,
  };
}

function linkIn(change: KernelChange) {
  if (change.kind === "overrun" || change.kind === "firewall") return undefined;
  return change.kind === "link" ? change.link.index : change.link;
}

function countSockets(): number {
  const links = readdirSync("/proc/self/fd").map((fd) => readLink(`/proc/self/fd/${fd}`));
  return links.filter((target) => target.startsWith("socket:")).length;
}

/** The descriptor that listed the directory is gone by now. */
function readLink(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}

/** Resolves with the first change that `wanted` takes. */
function nextChange(kernel: Kernel, wanted: (change: KernelChange) => boolean) {
  const { promise, reject, resolve } = Promise.withResolvers<KernelChange>();
  const giveUp = setTimeout(() => reject(new Error("no such event")), EVENTS_MAX_MS);
  const stop = kernel.onChange((change) => {
    if (!wanted(change)) return;
    clearTimeout(giveUp);
    stop();
    resolve(change);
  });
  return promise;
}

describe("snapshot", () => {
  networkTest("an empty namespace: a loopback, no addresses, no routes", () =>
    withKernel((kernel) => {
      const state = kernel.snapshot(QUERY);
      expect(state.links.map(({ name, up }) => [name, up])).toEqual([["lo", false]]);
      expect([state.addresses, state.routes]).toEqual([[], []]);
      expect([...state.sysctls]).toEqual([["net/ipv4/ip_forward", "0"]]);
      expect(kernel.mainRoutes(4)).toEqual([]);
    }),
  );

  networkTest("only routes of the queried protocol, of every table", () =>
    withKernel((kernel) => {
      sh(`${MAKE_TUN}; ip link set overlay0 up; ip route add 10.1.0.0/16 dev overlay0
          ip route add 10.2.0.0/16 dev overlay0 proto 85 table 77
          ip -6 route add fd02::/48 dev overlay0 proto 85 metric 7`);
      const found = kernel
        .snapshot(QUERY)
        .routes.map((it) => [it.destination, it.table, it.metric]);
      expect(found).toEqual([
        [parsePrefix("10.2.0.0/16")!, 77, 0],
        [parsePrefix("fd02::/48")!, 254, 7],
      ]);
      const main = kernel.mainRoutes(4).map(({ destination }) => String(destination));
      expect(main).toEqual(["10.1.0.0/16"]);
    }),
  );

  networkTest("thousands of routes arrive whole, over many datagrams", () =>
    withKernel((kernel) => {
      sh(`${MAKE_TUN}; ip link set overlay0 up`);
      const link = linkOf(kernel.snapshot(QUERY), "overlay0");
      for (let i = 0; i < 5000; i++) {
        const destination = parsePrefix(`10.${i >> 8}.${i & 255}.0/24`)!;
        kernel.apply({ kind: "add_route", route: { ...routeInto(link), destination } });
      }
      const { routes } = kernel.snapshot(QUERY);
      expect(new Set(routes.map(({ destination }) => destination)).size).toBe(5000);
    }),
  );
});

describe("apply: what `ip` then shows", () => {
  networkTest("links: up, MTU, queue length, largest super-packet; delete", () =>
    withKernel((kernel) => {
      sh(MAKE_TUN);
      const link = linkOf(kernel.snapshot(QUERY), "overlay0");
      const changes = { up: true, mtu: 1472, txQueueLength: 1000, gsoMaxSize: 62_000 };
      kernel.apply({ kind: "set_link", link, changes });
      const shown = sh("ip -d link show overlay0");
      for (const part of [",UP>", "mtu 1472", "qlen 1000", "gso_max_size 62000"]) {
        expect(shown).toContain(part);
      }
      const read = kernel.snapshot(QUERY).links.find(({ name }) => name === "overlay0");
      expect(read).toMatchObject({ kind: "tun", ...changes });

      kernel.apply({ kind: "delete_link", link });
      expect(sh("ip -o link")).not.toContain("overlay0");
      kernel.apply({ kind: "delete_link", link });
    }),
  );

  networkTest("addresses of both families: set twice, delete twice", () =>
    withKernel((kernel) => {
      sh(`${MAKE_TUN}; ip link set overlay0 up`);
      const link = linkOf(kernel.snapshot(QUERY), "overlay0");
      const v4 = { link, address: parseAddress("10.0.53.0")!, prefixLength: 32 };
      const v6 = { link, address: parseAddress("fd00::35")!, prefixLength: 128 };
      for (const address of [v4, v6, v4, v6]) kernel.apply({ kind: "replace_address", address });
      const shown = sh("ip -o addr show overlay0");
      expect(shown).toContain("inet 10.0.53.0/32 scope global");
      expect(shown).toContain("inet6 fd00::35/128 scope global nodad");
      const read = kernel.snapshot(QUERY).addresses.filter((it) => it.scope === "global");
      expect(read.map((it) => String(it.address))).toEqual(["10.0.53.0", "fd00::35"]);
      for (const address of [v4, v6, v4, v6]) kernel.apply({ kind: "delete_address", address });
      expect(kernel.snapshot(QUERY).addresses.filter((it) => it.scope === "global")).toEqual([]);
    }),
  );

  networkTest("routes: into a link, onlink through a gateway, IPv6; replace; delete", () =>
    withKernel((kernel) => {
      // An onlink gateway is checked against the table of local addresses, which lo brings.
      sh(`${MAKE_TUN}; ip link set lo up; ip link set overlay0 up`);
      const link = linkOf(kernel.snapshot(QUERY), "overlay0");
      const plain = routeInto(link);
      const gateway = parseAddress("172.16.0.1")!;
      const onlink = { ...plain, gateway, onlink: true };
      const v6 = { ...plain, destination: parsePrefix("fd00::/48")!, metric: 1024 };
      kernel.apply({ kind: "add_route", route: plain });
      kernel.apply({ kind: "add_route", route: v6 });
      expect(sh("ip route")).toMatch(/^10\.0\.0\.0\/16 dev overlay0 proto 85 scope link/m);
      expect(sh("ip -6 route")).toMatch(/^fd00::\/48 dev overlay0 proto 85 metric 1024/m);

      kernel.apply({ kind: "replace_route", route: onlink });
      const shown = sh("ip route");
      expect(shown).toMatch(/^10\.0\.0\.0\/16 via 172\.16\.0\.1 dev overlay0 proto 85 onlink/m);
      expect(shown.trim().split("\n").length).toBe(1);
      expect(kernel.snapshot(QUERY).routes[0]).toMatchObject({ gateway, onlink: true });

      const { index } = link;
      for (const spec of [onlink, v6, onlink]) {
        kernel.apply({ kind: "delete_route", route: { ...spec, link: index } });
      }
      expect(kernel.snapshot(QUERY).routes).toEqual([]);
    }),
  );

  networkTest("a route of another program is neither overwritten nor deleted", () =>
    withKernel((kernel) => {
      sh(`${MAKE_TUN}; ip link set overlay0 up
          ip link set lo up; ip route add 10.0.0.0/16 dev lo`);
      const link = linkOf(kernel.snapshot(QUERY), "overlay0");
      const route = routeInto(link);
      const add = () => kernel.apply({ kind: "add_route", route });
      expect(add).toThrow("Cannot add route 10.0.0.0/16 on overlay0: file already exists (EEXIST)");
      kernel.apply({ kind: "delete_route", route: { ...route, link: undefined } });
      expect(sh("ip route")).toContain("10.0.0.0/16 dev lo");
    }),
  );

  networkTest("of two routes with one key, the one that is named is deleted", () =>
    withKernel((kernel) => {
      sh(`${MAKE_TUN}; ip link set lo up; ip link set overlay0 up
          ip route append 10.0.0.0/16 dev overlay0 proto 85
          ip route append 10.0.0.0/16 via 172.16.0.1 dev overlay0 onlink proto 85`);
      const [plain, onlink] = kernel.snapshot(QUERY).routes;
      kernel.apply({ kind: "delete_route", route: onlink! });
      expect(kernel.snapshot(QUERY).routes).toEqual([plain!]);
    }),
  );

  networkTest("forwarding is switched on; what the kernel lacks is an error", () =>
    withKernel((kernel) => {
      kernel.apply({ kind: "write_sysctl", path: "net/ipv4/ip_forward", value: "1" });
      expect(sh("cat /proc/sys/net/ipv4/ip_forward").trim()).toBe("1");
      expect(kernel.snapshot(QUERY).sysctls.get("net/ipv4/ip_forward")).toBe("1");
      const path = "net/ipv4/no_such";
      const write = () => kernel.apply({ kind: "write_sysctl", path, value: "1" });
      expect(write).toThrow("Cannot set /proc/sys/net/ipv4/no_such to 1");
    }),
  );

  networkTest("refusals carry the kernel's own words and its error name", () =>
    withKernel((kernel) => {
      sh(MAKE_TUN);
      const link = linkOf(kernel.snapshot(QUERY), "overlay0");
      const small = () => kernel.apply({ kind: "set_link", link, changes: { mtu: 5 } });
      expect(small).toThrow("Cannot set up link overlay0: mtu less than device minimum (EINVAL)");
      const absent = { index: decodeLinkIndex(9999), name: "ovtnone" };
      try {
        kernel.apply({ kind: "set_link", link: absent, changes: { mtu: 1400 } });
        expect.unreachable();
      } catch (error) {
        expect(error).toBeInstanceOf(HostError);
        expect(error).toMatchObject({ errno: "ENODEV", object: "ovtnone" });
      }
    }),
  );
});

describe("wayTo", () => {
  networkTest("through a gateway, on the segment, nowhere, blackholed, here", () =>
    withKernel((kernel) => {
      const way = (text: string) => kernel.wayTo(parseAddress(text)!);
      expect(way("192.0.2.1")).toBeUndefined();
      sh(`ip link set lo up; ip link add ovt0 type bridge; ip link set ovt0 up
          ip addr add 192.168.9.2/24 dev ovt0; ip route add default via 192.168.9.1
          ip route add blackhole 198.51.100.0/24; ip route add unreachable 203.0.113.0/24`);
      const { index } = linkOf(kernel.snapshot(QUERY), "ovt0");
      const source = parseAddress("192.168.9.2")!;
      expect(way("192.0.2.1")).toEqual({
        link: index,
        gateway: parseAddress("192.168.9.1")!,
        source,
      });
      expect(way("192.168.9.7")).toEqual({ link: index, gateway: undefined, source });
      expect(way("198.51.100.1")).toBeUndefined();
      expect(way("203.0.113.1")).toBeUndefined();
      expect(way("192.168.9.2")).toBeUndefined();
      expect(way("2001:db8::1")).toBeUndefined();
    }),
  );
});

describe("onChange", () => {
  networkTest("tells of links, addresses, routes, neighbours and forwarding", () =>
    withKernel(async (kernel) => {
      const seen = async (line: string, wanted: (change: KernelChange) => boolean) => {
        const change = nextChange(kernel, wanted);
        sh(line);
        return await change;
      };
      await seen(MAKE_TUN, (it) => it.kind === "link" && it.link.name === "overlay0");
      const { index } = linkOf(kernel.snapshot(QUERY), "overlay0");
      const here = (kind: KernelChange["kind"]) => (it: KernelChange) =>
        it.kind === kind && linkIn(it) === index;
      await seen("ip link set overlay0 up", here("link"));
      await seen("ip addr add 10.0.5.0/32 dev overlay0", here("address"));
      await seen("ip route add 10.0.0.0/16 dev overlay0 proto 85", here("route"));
      const gone = await seen("ip route del 10.0.0.0/16", here("route"));
      expect(gone).toEqual({ kind: "route", destination: NETWORK, link: index, protocol: 85 });
      await seen("sysctl -qw net.ipv4.ip_forward=1", (it) => it.kind === "settings");
      await seen("ip link del overlay0", (it) => it.kind === "link" && it.link.index === index);
    }),
  );

  networkTest("after an overrun it says so and goes on telling", () =>
    withKernel(async (kernel) => {
      sh(`${MAKE_TUN}; ip link set overlay0 up`);
      const link = linkOf(kernel.snapshot(QUERY), "overlay0");
      const overrun = nextChange(kernel, (it) => it.kind === "overrun");
      // Synchronous, so the event loop cannot read meanwhile: more than the socket's buffer holds.
      for (let i = 0; i < 20_000; i++) {
        const destination = parsePrefix(`10.${(i >> 8) & 255}.${i & 255}.0/24`)!;
        const route = { ...routeInto(link), destination };
        kernel.apply({ kind: "replace_route", route });
      }
      await overrun;
      const change = nextChange(kernel, (it) => it.kind === "address");
      sh("ip addr add 10.0.5.0/32 dev overlay0");
      await change;
    }),
  );

  networkTest("a listener that was taken off hears nothing", () =>
    withKernel(async (kernel) => {
      let heard = 0;
      kernel.onChange(() => heard++)();
      const change = nextChange(kernel, (it) => it.kind === "link");
      sh(MAKE_TUN);
      await change;
      expect(heard).toBe(0);
    }),
  );
});

test("openKernel, close: no socket is left behind", async () => {
  const turn = () => new Promise((resolve) => setImmediate(resolve));
  const before = countSockets();
  for (let i = 0; i < 20; i++) open().close();
  // Bun closes a descriptor that it watches on its next turns.
  for (let i = 0; i < 100 && countSockets() > before; i++) await turn();
  expect(countSockets()).toBeLessThanOrEqual(before);
});
