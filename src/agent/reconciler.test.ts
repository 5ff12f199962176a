import { describe, expect, test } from "bun:test";
import { readlinkSync } from "node:fs";
import { MemoryKernel, NOTHING } from "../../tests/sim/memory-kernel.ts";
import { ManualClock } from "../../tests/support/manual-clock.ts";
import { networkTest, sh } from "../../tests/support/network-test.ts";
import { planUdp } from "../../tests/support/udp-plan.ts";
import { parseAddress, parsePrefix } from "../base/address.ts";
import { decodeLinkIndex } from "../base/ids.ts";
import { createLog, createSilentLog } from "../base/log.ts";
import type { DesiredState } from "../dataplane/backends/desired-state.ts";
import { OURS } from "../dataplane/backends/ownership.ts";
import { openSystemClock } from "../host/clock/system-clock.ts";
import type { ActualLink, KernelChange } from "../host/kernel-ports.ts";
import { openKernel } from "../host/netlink/kernel.ts";
import { openReconciler, type Reconciler } from "./reconciler.ts";

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;

const TUN: ActualLink = {
  index: decodeLinkIndex(7),
  name: "overlay0",
  kind: "tun",
  up: false,
  loopback: false,
  mtu: 1500,
  txQueueLength: 500,
  gsoMaxSize: 65_536,
  mac: undefined,
};
const LINK_EVENT: KernelChange = { kind: "link", link: { index: TUN.index, name: TUN.name } };

function desiredFor(subnet: string, network = "10.0.0.0/16"): DesiredState {
  return planUdp({
    lease: { subnet: parsePrefix(subnet)! },
    network: parsePrefix(network)!,
    rows: [],
    host: { underlayAddress: parseAddress("192.168.1.5")!, underlayMtu: 1500 },
    ipMasq: true,
  });
}

const DESIRED = desiredFor("10.0.53.0/24");

function setUp(links: readonly ActualLink[] = [TUN]) {
  const kernel = new MemoryKernel({ ...NOTHING, links });
  const clock = new ManualClock();
  const lines: string[] = [];
  const log = createLog({
    level: "info",
    format: "text",
    wallMs: () => 0,
    write: (line) => lines.push(line),
  });
  const reconciler = openReconciler({ kernel, clock, log });
  /** The operations since the last call. */
  const operations = () => kernel.operations.splice(0).map(({ kind }) => kind);
  return { kernel, clock, lines, reconciler, operations };
}

async function settle(clock: ManualClock, reconciler: Reconciler): Promise<void> {
  let done = false;
  const settled = reconciler.settled().then(() => {
    done = true;
  });
  await clock.advance(SECOND_MS);
  expect(done).toBe(true);
  await settled;
}

describe("setDesired", () => {
  test("brings the kernel in line, and a second pass on its own events finds nothing", async () => {
    const { clock, kernel, operations, reconciler } = setUp();
    reconciler.setDesired(DESIRED);
    await settle(clock, reconciler);
    expect(operations()).toEqual([
      "set_link",
      "replace_address",
      "write_sysctl",
      "write_sysctl",
      "replace_table",
      "add_route",
    ]);
    expect(kernel.snapshotCount).toBe(2);
    expect(reconciler.unmet()).toEqual([]);
  });

  test("a thousand states that follow each other closely are one pass", async () => {
    const { clock, kernel, operations, reconciler } = setUp();
    for (let i = 0; i < 1000; i++) reconciler.setDesired(desiredFor(`10.0.${i & 255}.0/24`));
    reconciler.setDesired(DESIRED);
    await clock.advance(10);
    expect(kernel.snapshotCount).toBe(1);
    expect(operations().length).toBe(6);
    expect(kernel.state.addresses.map(({ address }) => String(address))).toEqual(["10.0.53.0"]);
  });

  test("a route more or less needs no look first, and is looked at afterwards", async () => {
    const { clock, kernel, operations, reconciler } = setUp();
    reconciler.setDesired(DESIRED);
    await settle(clock, reconciler);
    operations();
    const before = kernel.snapshotCount;
    const more = { ...DESIRED.routes[0]!, destination: parsePrefix("172.16.0.0/16")! };
    reconciler.setDesired({ ...DESIRED, routes: [...DESIRED.routes, more] });
    await clock.advance(10);
    expect(operations()).toEqual(["add_route"]);
    expect(kernel.snapshotCount).toBe(before);
    await clock.advance(100);
    expect(kernel.snapshotCount).toBe(before + 1);
    reconciler.setDesired(DESIRED);
    await clock.advance(10);
    expect(operations()).toEqual(["delete_route"]);
    expect(kernel.snapshotCount).toBe(before + 1);
  });

  test("a route that cannot be made without a look is found out by one", async () => {
    const { clock, kernel, operations, reconciler } = setUp();
    reconciler.setDesired(DESIRED);
    await settle(clock, reconciler);
    operations();
    const more = { ...DESIRED.routes[0]!, destination: parsePrefix("172.16.0.0/16")! };
    kernel.fail = ({ kind }) => (kind === "add_route" ? "no room" : undefined);
    reconciler.setDesired({ ...DESIRED, routes: [...DESIRED.routes, more] });
    await settle(clock, reconciler);
    expect(reconciler.unmet().length).toBe(1);
    kernel.fail = () => undefined;
    await clock.advance(MINUTE_MS);
    expect(reconciler.unmet()).toEqual([]);
    expect(kernel.state.routes.length).toBe(2);
  });

  test("undefined: nothing is touched, whatever happens", async () => {
    const { clock, kernel, operations, reconciler } = setUp();
    reconciler.setDesired(undefined);
    kernel.change(LINK_EVENT, (state) => state);
    await clock.advance(2 * MINUTE_MS);
    expect([kernel.snapshotCount, operations().length]).toEqual([0, 0]);
    await reconciler.settled();
  });

  test("a new state in the middle of a long pass ends it, and is applied", async () => {
    const { clock, kernel, reconciler } = setUp();
    const routes = Array.from({ length: 600 }, (_, i) => ({
      ...DESIRED.routes[0]!,
      destination: parsePrefix(`172.16.${i >> 8}.${i & 255}/32`)!,
    }));
    reconciler.setDesired({ ...DESIRED, routes });
    kernel.fail = (operation) => {
      if (operation.kind === "add_route") reconciler.setDesired(DESIRED);
      return undefined;
    };
    await settle(clock, reconciler);
    const ours = kernel.state.routes.map(({ destination }) => String(destination));
    expect(ours).toEqual(["10.0.0.0/16"]);
    expect(kernel.operations.filter(({ kind }) => kind === "add_route").length).toBeLessThan(300);
  });
});

describe("on events", () => {
  test("what somebody undid is done again within 100 ms", async () => {
    const { clock, kernel, operations, reconciler } = setUp();
    reconciler.setDesired(DESIRED);
    await settle(clock, reconciler);
    operations();
    kernel.change({ kind: "address", link: TUN.index }, (state) => ({ ...state, addresses: [] }));
    await clock.advance(100);
    expect(operations()).toEqual(["replace_address"]);
    kernel.change(LINK_EVENT, (state) => ({
      ...state,
      links: [{ ...state.links[0]!, up: false, mtu: 1280 }],
      routes: [],
    }));
    await clock.advance(100);
    expect(operations()).toEqual(["set_link", "add_route"]);
  });

  test("what does not concern us starts no pass", async () => {
    const { clock, kernel, reconciler } = setUp();
    reconciler.setDesired(DESIRED);
    await settle(clock, reconciler);
    const before = kernel.snapshotCount;
    const elsewhere = decodeLinkIndex(99);
    for (let i = 0; i < 100; i++) {
      kernel.change({ kind: "neighbour", link: elsewhere }, (state) => state);
      kernel.change({ kind: "address", link: elsewhere }, (state) => state);
      await clock.advance(10);
    }
    expect(kernel.snapshotCount).toBe(before);
  });

  test("a link that comes into being later is set up at once", async () => {
    const { clock, kernel, operations, reconciler } = setUp([]);
    reconciler.setDesired(DESIRED);
    await clock.advance(20 * SECOND_MS);
    expect(reconciler.unmet()[0]).toEqual({
      operation: "set up link",
      object: "overlay0",
      reason: "there is no such link yet",
    });
    operations();
    kernel.addLink(TUN);
    await clock.advance(100);
    expect(operations()).toEqual(["set_link", "replace_address", "write_sysctl", "add_route"]);
    expect(reconciler.unmet()).toEqual([]);
  });

  test("lost events mean a full pass", async () => {
    const { clock, kernel, operations, reconciler } = setUp();
    reconciler.setDesired(DESIRED);
    await settle(clock, reconciler);
    operations();
    kernel.change({ kind: "overrun" }, (state) => ({ ...state, routes: [] }));
    await clock.advance(100);
    expect(operations()).toEqual(["add_route"]);
  });

  test("a change without an event is found by the slow pass", async () => {
    const { clock, kernel, operations, reconciler } = setUp();
    reconciler.setDesired(DESIRED);
    await settle(clock, reconciler);
    operations();
    kernel.state = { ...kernel.state, routes: [] };
    await clock.advance(MINUTE_MS);
    expect(operations()).toEqual(["add_route"]);
  });

  test("against a program that undoes each change at once, passes slow down", async () => {
    const { clock, kernel, reconciler } = setUp();
    reconciler.setDesired(DESIRED);
    await settle(clock, reconciler);
    const before = kernel.snapshotCount;
    kernel.onChange((change) => {
      const undo = change.kind === "route" && kernel.state.routes.length > 0;
      if (undo) kernel.change(change, (state) => ({ ...state, routes: [] }));
    });
    const { destination } = DESIRED.routes[0]!;
    const event = { kind: "route" as const, destination, link: TUN.index, protocol: 85 };
    kernel.change(event, (state) => ({ ...state, routes: [] }));
    await clock.advance(10 * MINUTE_MS);
    const passes = kernel.snapshotCount - before;
    expect(passes).toBeGreaterThan(60);
    expect(passes).toBeLessThan(200);
  });
});

describe("unmet", () => {
  test("the kernel's words are listed, the rest is done, and it is tried until it works", async () => {
    const { clock, kernel, lines, operations, reconciler } = setUp();
    kernel.fail = (operation) =>
      operation.kind === "add_route" ? "Nexthop has invalid gateway" : undefined;
    reconciler.setDesired(DESIRED);
    await settle(clock, reconciler);
    expect(reconciler.unmet()).toEqual([
      {
        operation: "add_route",
        object: "memory",
        reason: "Cannot add_route memory: Nexthop has invalid gateway",
      },
    ]);
    expect(kernel.state.addresses.length).toBe(1);
    expect(operations().filter((kind) => kind === "write_sysctl").length).toBe(2);

    kernel.fail = () => undefined;
    await clock.advance(MINUTE_MS);
    expect(reconciler.unmet()).toEqual([]);
    expect(kernel.state.routes.length).toBe(1);
    const about = lines.filter((line) => line.includes("kernel"));
    expect(about.some((line) => line.includes("kernel is in line again"))).toBe(true);
  });

  test("trying again gets rarer, and a failure is logged once", async () => {
    const { clock, kernel, lines, reconciler } = setUp();
    kernel.fail = (operation) => (operation.kind === "add_route" ? "no" : undefined);
    reconciler.setDesired(DESIRED);
    await clock.advance(10 * MINUTE_MS);
    const tries = kernel.operations.filter(({ kind }) => kind === "add_route").length;
    expect(tries).toBeGreaterThan(10);
    expect(tries).toBeLessThan(40);
    expect(lines.filter((line) => line.includes("cannot be brought in line")).length).toBe(1);
  });

  test("a kernel that cannot be read is unmet, not a crash", async () => {
    const { clock, kernel, reconciler } = setUp();
    kernel.failSnapshot = "no answer within 5 s";
    reconciler.setDesired(DESIRED);
    await settle(clock, reconciler);
    expect(reconciler.unmet().map(({ reason }) => reason)).toEqual([
      "Cannot list links: no answer within 5 s",
    ]);
    kernel.failSnapshot = undefined;
    await clock.advance(MINUTE_MS);
    expect(reconciler.unmet()).toEqual([]);
    expect(kernel.state.routes.length).toBe(1);
  });
});

/** A namespace at the other end of a cable from the current one; ends with `using`. */
function startNeighbour(name: string, here: string, there: string) {
  const child = Bun.spawn(["unshare", "--net", "sleep", "60"]);
  const inside = `nsenter --net=/proc/${child.pid}/ns/net`;
  const own = readlinkSync("/proc/thread-self/ns/net");
  // The child is in its namespace only some time after it was started.
  while (readlinkSync(`/proc/${child.pid}/ns/net`) === own) sh("true");
  sh(`ip link add ovt${name} type veth peer name eth0 netns ${child.pid}
      ip addr add ${here} dev ovt${name}; ip link set ovt${name} up
      ${inside} ip addr add ${there} dev eth0; ${inside} ip link set eth0 up`);
  return {
    gateway: here.slice(0, here.indexOf("/")),
    sh: (line: string) => sh(`${inside} ${line}`),
    tryPing: (target: string) => sh(`${inside} ping -c 1 -W 1 ${target} || true`),
    [Symbol.dispose]: () => child.kill("SIGKILL"),
  };
}

describe("remove and close", () => {
  test("remove: what is ours goes, and what comes later is left alone", async () => {
    const { clock, kernel, operations, reconciler } = setUp();
    reconciler.setDesired(DESIRED);
    await settle(clock, reconciler);
    operations();
    let removed = false;
    const removal = reconciler.remove().then(() => {
      removed = true;
    });
    await clock.advance(100);
    expect(removed).toBe(true);
    await removal;
    expect(operations()).toEqual(["delete_route", "delete_table", "delete_address", "delete_link"]);
    expect(kernel.state.links).toEqual([]);
    expect(kernel.state.sysctls.get("net/ipv4/ip_forward")).toBe("1");

    kernel.addLink(TUN);
    await clock.advance(2 * MINUTE_MS);
    expect(kernel.state.links).toEqual([TUN]);
  });

  test("close: what exists stays, waiting ends, events and time do nothing", async () => {
    const { clock, kernel, operations, reconciler } = setUp();
    reconciler.setDesired(DESIRED);
    await settle(clock, reconciler);
    operations();
    reconciler.setDesired(desiredFor("10.0.9.0/24"));
    const settled = reconciler.settled();
    reconciler.close();
    await settled;
    kernel.deleteLink(TUN);
    await clock.advance(5 * MINUTE_MS);
    expect(operations()).toEqual([]);
  });
});

describe("with the real kernel", () => {
  networkTest("--ip-masq: containers reach the outside under the node's address, each other under their own", async () => {
    using pod = startNeighbour("pod", "10.0.53.1/24", "10.0.53.2/24");
    using far = startNeighbour("far", "10.0.7.1/24", "10.0.7.2/24");
    using _ = startNeighbour("out", "192.0.2.1/24", "192.0.2.2/24");
    // The outside knows no way to the containers: it can only answer the node.
    for (const inside of [pod, far]) inside.sh(`ip route add default via ${inside.gateway}`);
    sh("ip link set lo up; ip tuntap add overlay0 mode tun; sysctl -qw net.ipv4.ip_forward=1");
    const kernel = openKernel({ clock: openSystemClock(), log: createSilentLog() });
    const reconciler = openReconciler({
      kernel,
      clock: openSystemClock(),
      log: createSilentLog(),
    });
    const answered = (ping: string) => ping.includes(" 0% packet loss");
    try {
      expect(answered(pod.tryPing("192.0.2.2"))).toBe(false);
      reconciler.setDesired(DESIRED);
      await reconciler.settled();
      expect(reconciler.unmet()).toEqual([]);
      expect(answered(pod.tryPing("192.0.2.2"))).toBe(true);
      expect(answered(pod.tryPing("10.0.7.2"))).toBe(true);
      const rules = sh("nft list chain inet overlay postrouting");
      expect(rules).toMatch(/saddr 10\.0\.53\.0\/24 .*packets 1 .* return/);
      expect(rules).toMatch(/daddr != 224\.0\.0\.0\/4 counter packets 1 .* masquerade/);
    } finally {
      reconciler.close();
      kernel.close();
    }
  }, ["ip", "nft", "ping", "nsenter", "unshare"]);

  const story = "set up, damaged by `ip` and `nft`, put right, moved, removed";
  networkTest(story, async () => {
    sh("ip link set lo up; ip tuntap add overlay0 mode tun");
    const kernel = openKernel({ clock: openSystemClock(), log: createSilentLog() });
    const clock = openSystemClock();
    const reconciler = openReconciler({ kernel, clock, log: createSilentLog() });
    /** Waits until the kernel shows `wanted`; the events of the kernel drive the reconciler. */
    const shows = async (line: string, wanted: string) => {
      const limitMs = clock.nowMs() + 20 * SECOND_MS;
      while (!sh(line).includes(wanted)) {
        if (clock.nowMs() > limitMs) throw new Error(`"${line}" never showed "${wanted}"`);
        await new Promise((resolve) => setImmediate(resolve));
      }
    };
    try {
      reconciler.setDesired(DESIRED);
      await reconciler.settled();
      expect(reconciler.unmet()).toEqual([]);
      expect(sh("ip addr show overlay0")).toContain("inet 10.0.53.0/32");
      expect(sh("ip route")).toContain("10.0.0.0/16 dev overlay0 proto 85 scope link");

      sh("ip link set overlay0 down mtu 1300");
      await shows("ip route", "10.0.0.0/16 dev overlay0");
      await shows("ip link show overlay0", "mtu 1472");
      sh("ip addr flush dev overlay0; ip addr add 10.99.0.1/24 dev overlay0");
      await shows("ip -o addr show overlay0 | wc -l", "1");
      await shows("ip addr show overlay0", "inet 10.0.53.0/32");
      sh("nft flush ruleset");
      await shows("nft list ruleset", "masquerade fully-random");
      sh(`nft add table ip filter
          nft 'add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }'`);
      await shows("nft list ruleset", "ip daddr 10.0.0.0/16 counter packets 0 bytes 0 accept");
      sh("sysctl -qw net.ipv4.ip_forward=0");
      await shows("sysctl -n net.ipv4.ip_forward", "1");
      sh("ip link del overlay0; ip tuntap add overlay0 mode tun");
      await shows("ip route", "10.0.0.0/16 dev overlay0");

      sh("ip route add 192.0.2.0/24 dev overlay0; ip route add 198.51.100.0/24 dev lo");
      reconciler.setDesired(desiredFor("10.1.9.0/24", "10.1.0.0/16"));
      await reconciler.settled();
      expect(sh("ip route")).toBe(
        "10.1.0.0/16 dev overlay0 proto 85 scope link linkdown \n" +
          "192.0.2.0/24 dev overlay0 scope link linkdown \n" +
          "198.51.100.0/24 dev lo scope link \n",
      );

      await reconciler.remove();
      expect(sh("ip -o link | wc -l").trim()).toBe("1");
      expect(sh("ip route")).toBe("198.51.100.0/24 dev lo scope link \n");
      expect(sh("nft list ruleset")).not.toContain("overlay");
      expect(kernel.snapshot({ routeProtocol: OURS.routeProtocol, sysctls: [] }).routes).toEqual(
        [],
      );
    } finally {
      reconciler.close();
      kernel.close();
    }
  }, ["ip", "nft"]);
});
