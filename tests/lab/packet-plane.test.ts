/**
 * The data plane on a real kernel: the contract on real ports, and real programs across two nodes.
 *
 * Everything happens in network namespaces of its own. Skipped, with the reason in the name, where
 * that is not allowed.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import { enterNetwork } from "../../src/host/sys/namespace.ts";
import { runPacketPlaneContract } from "../contract/packet-plane.ts";
import { openPacketPair, type PacketNode, type PacketPair } from "./packet-pair.ts";
import { openRealPlane } from "./real-plane.ts";
import { whichProgram } from "./run.ts";
import { waitFor } from "./wait.ts";

const PROGRAMS = ["ip", "nsenter", "ethtool", "ping", "iperf3", "tcpdump", "unshare", "setpriv"];
const TEST_TIMEOUT_MS = 60_000;

function obstacle(): string {
  if (process.platform !== "linux") return "needs Linux";
  if (process.getuid?.() !== 0) return "needs root";
  const missing = PROGRAMS.filter((program) => whichProgram(program) === undefined);
  return missing.length === 0 ? "" : `needs ${missing.join(", ")}`;
}

const skipReason = obstacle();

runPacketPlaneContract({ name: "real kernel", skipReason, open: openRealPlane });

function labTest(name: string, body: (pair: PacketPair) => Promise<void>): void {
  const suffix = skipReason === "" ? "" : ` (skipped: ${skipReason})`;
  test.skipIf(skipReason !== "")(
    `${name}${suffix}`,
    async () => {
      await using pair = await openPacketPair({ wire: "real" });
      await body(pair);
    },
    TEST_TIMEOUT_MS,
  );
}

async function startBoth(pair: PacketPair): Promise<[PacketNode, PacketNode]> {
  return [await pair.startNode(pair.a), await pair.startNode(pair.b)];
}

/** Whether a ping from a to b is answered. */
async function answers(pair: PacketPair): Promise<boolean> {
  const { received } = await pair.a.namespace.ping(pair.b.overlay, { count: 1 });
  return received === 1;
}

/** Sends random bytes from a to b over TCP and compares: nothing else looks at joined payloads. */
async function expectIntact(pair: PacketPair, byteCount: number): Promise<void> {
  const sent = crypto.getRandomValues(new Uint8Array(65_536));
  const hashes = [new Bun.CryptoHasher("sha256"), new Bun.CryptoHasher("sha256")] as const;
  let received = 0;
  const data = (_: unknown, chunk: Uint8Array) => {
    hashes[1].update(chunk);
    received += chunk.length;
  };
  // A socket belongs to the namespace in which its thread is when it is made.
  const away = enterNetwork(`/run/netns/${pair.b.namespace.id}`);
  const listener = Bun.listen({ hostname: pair.b.overlay, port: 0, socket: { data } });
  away.leave();
  const { promise: done, resolve } = Promise.withResolvers<void>();
  let left = byteCount;
  const fill = (socket: Bun.Socket) => {
    while (left > 0) {
      const count = socket.write(sent, 0, Math.min(left, sent.length));
      if (count <= 0) return;
      hashes[0].update(sent.subarray(0, count));
      left -= count;
      sent.set([left & 255, (left >>> 8) & 255, (left >>> 16) & 255]);
    }
    socket.end();
    resolve();
  };
  const there = enterNetwork(`/run/netns/${pair.a.namespace.id}`);
  const { hostname, port } = listener;
  const connecting = Bun.connect({ hostname, port, socket: { open: fill, drain: fill, data } });
  there.leave();
  await connecting;
  await done;
  await waitFor(() => received === byteCount, { describe: `${byteCount} bytes` });
  listener.stop(true);
  expect(hashes[1].digest("hex")).toBe(hashes[0].digest("hex"));
}

function badDrops(drops: Readonly<Record<string, number>>): Record<string, number> {
  // The kernel's own multicast and router solicitations have no route, rightly.
  return Object.fromEntries(
    Object.entries(drops).filter(([name, count]) => count > 0 && name !== "tx_no_route"),
  );
}

describe("two packet nodes", () => {
  labTest("ping and TCP both ways; super-packets stay whole; nothing is dropped", async (pair) => {
    const [a, b] = await startBoth(pair);
    const ping = await pair.a.namespace.ping(pair.b.overlay, { count: 20, intervalSeconds: 0.01 });
    expect(ping.received).toBe(20);
    await pair.transfer(50);
    await pair.transfer(50, ["-R"]);
    await expectIntact(pair, 20e6);
    const [atA, atB] = [await a.report(), await b.report()];
    expect([badDrops(atA.drops), badDrops(atB.drops)]).toEqual([{}, {}]);
    expect(atA.totals["txPackets"]! / atA.totals["txMessages"]!).toBeGreaterThan(2);
    expect(atB.totals["rxPackets"]! / atB.totals["rxWrites"]!).toBeGreaterThan(2);
    expect(atB.peers[0]?.rxPackets).toBe(atB.totals["rxPackets"]!);
    expect([atA.off, atB.off]).toEqual([[], []]);
  });

  labTest("the datagram on the wire is the bare inner packet", async (pair) => {
    await startBoth(pair);
    const filter = ["udp", "port", "8285", "and", "udp[8]", "=", "0x45"];
    const command = ["tcpdump", "-i", "eth0", "-c", "1", "-n", "-x", "-l", ...filter];
    const capture = pair.b.namespace.start(command);
    await waitFor(() => capture.output().includes("listening on"), { describe: "tcpdump" });
    await waitFor(() => answers(pair), { describe: "an answer" });
    await capture.waitExit();
    const hex = capture
      .output()
      .replaceAll(/^.*0x\w+: /gm, "")
      .replaceAll(/\s/g, "");
    // Outer UDP header with both ports 8285, then an inner ICMP echo between the two leases.
    expect(hex).toMatch(/205d205d.{8}4500.{14}01.{4}0a5801000a5802000800/);
  });

  labTest("a peer that finishes no checksums: TCP and UDP arrive all the same", async (pair) => {
    const bare = (side: PacketPair["a"]) => {
      const config = pair.config(side);
      return { ...config, peers: config.peers.map((p) => ({ ...p, partialChecksum: false })) };
    };
    await pair.startNode(pair.a, bare(pair.a));
    const b = await pair.startNode(pair.b, bare(pair.b));
    await expectIntact(pair, 20e6);
    const udp = await pair.transfer(1, ["-u", "-b", "20M"]);
    expect(udp.sum.lost_packets).toBe(0);
    const report = await b.report();
    expect(badDrops(report.drops)).toEqual({});
    expect(report.totals["rxPackets"]! / report.totals["rxWrites"]!).toBeGreaterThan(2);
  });

  labTest("without GRO and GSO of the wire: slower, and right", async (pair) => {
    for (const { namespace } of [pair.a, pair.b]) {
      await namespace.mustRun(["ethtool", "-K", "eth0", "gro", "off", "gso", "off"]);
    }
    const [a, b] = await startBoth(pair);
    await expectIntact(pair, 10e6);
    expect([badDrops((await a.report()).drops), badDrops((await b.report()).drops)]).toEqual([
      {},
      {},
    ]);
  });

  labTest("kill -9 leaves link and route; the next start attaches to them", async (pair) => {
    const [a] = await startBoth(pair);
    const link = () => pair.a.namespace.mustRun(["ip", "-o", "link", "show", "overlay0"]);
    const index = (await link()).split(":")[0];
    await a.process.kill();
    expect(await answers(pair)).toBe(false);
    expect((await link()).split(":")[0]).toBe(index!);
    const route = await pair.a.namespace.mustRun(["ip", "route", "show", "10.88.0.0/16"]);
    expect(route).toContain("dev overlay0");
    await pair.startNode(pair.a);
    expect((await link()).split(":")[0]).toBe(index!);
    await waitFor(() => answers(pair), { describe: "an answer" });
  });

  labTest("stop: SIGTERM keeps the TUN, removeTun takes it away", async (pair) => {
    const links = () => pair.a.namespace.mustRun(["ip", "-o", "link"]);
    const first = await pair.startNode(pair.a);
    expect(await first.process.terminate()).toBe(0);
    expect(await links()).toContain("overlay0");
    const second = await pair.startNode(pair.a);
    second.process.signal("SIGINT");
    expect(await second.process.waitExit()).toBe(0);
    expect(await links()).not.toContain("overlay0");
  });

  labTest("a new table: the way goes and comes back, counters stay with the peer", async (pair) => {
    const [a] = await startBoth(pair);
    await waitFor(() => answers(pair), { describe: "an answer" });
    const before = (await a.report()).peers[0]!;
    a.publish({ ...pair.config(pair.a), peers: [] });
    await waitFor(async () => (await a.report()).peers.length === 0, { describe: "the new table" });
    const lost = await pair.a.namespace.ping(pair.b.overlay, { count: 1 });
    expect(lost.text).toContain("Destination Net Unreachable");
    a.publish(pair.config(pair.a));
    await waitFor(() => answers(pair), { describe: "an answer" });
    const other = { node: 7, prefix: "10.88.7.0/24", address: "10.99.0.7", partialChecksum: true };
    const config = pair.config(pair.a);
    const one = (await a.report()).peers.find((peer) => peer.peer === 2)!;
    a.publish({ ...config, peers: [other, ...config.peers] });
    await waitFor(async () => (await a.report()).peers.length === 2, { describe: "two peers" });
    await waitFor(() => answers(pair), { describe: "an answer" });
    const two = (await a.report()).peers.find((peer) => peer.peer === 2)!;
    expect(before.txPackets).toBeGreaterThan(0);
    expect(one.txPackets).toBeGreaterThan(0);
    expect(two.txPackets).toBeGreaterThan(one.txPackets);
    expect(two.lastSeenAgoMs).toBeLessThan(TEST_TIMEOUT_MS);
  });

  labTest("more peers than the counters had room for", async (pair) => {
    const [a] = await startBoth(pair);
    const config = pair.config(pair.a);
    const many = Array.from({ length: 200 }, (_, i) => ({
      node: 1000 + i,
      prefix: `10.89.${i}.0/24`,
      address: "10.99.0.77",
      partialChecksum: true,
    }));
    await waitFor(() => answers(pair), { describe: "an answer" });
    const before = (await a.report()).peers[0]!.txPackets;
    a.publish({ ...config, peers: [...many, ...config.peers] });
    await waitFor(async () => (await a.report()).peers.length === 201, { describe: "201 peers" });
    await waitFor(() => answers(pair), { describe: "an answer" });
    const after = (await a.report()).peers.find((peer) => peer.peer === 2)!;
    expect(after.txPackets).toBeGreaterThan(before);
  });

  labTest("somebody removes the link: the node says so and does not spin", async (pair) => {
    const a = await pair.startNode(pair.a);
    await pair.a.namespace.mustRun(["ip", "link", "delete", "overlay0"]);
    const lost = async () => (await a.report()).state.startsWith("lost");
    await waitFor(lost, { describe: "the loss to be told" });
    const { state } = await a.report();
    expect(state).toContain('Cannot read TUN "overlay0": the link was removed (EBADFD)');
    expect(await a.process.terminate()).toBe(0);
  });

  labTest("the link goes down and up: packets go on", async (pair) => {
    const [a] = await startBoth(pair);
    await waitFor(() => answers(pair), { describe: "an answer" });
    await pair.a.namespace.mustRun(["ip", "link", "set", "overlay0", "down"]);
    expect(await answers(pair)).toBe(false);
    await pair.a.namespace.mustRun(["ip", "link", "set", "overlay0", "up"]);
    const { prefix } = pair.b;
    await pair.a.namespace.mustRun(["ip", "route", "replace", prefix, "dev", "overlay0"]);
    await waitFor(() => answers(pair), { describe: "an answer" });
    expect((await a.report()).state).toBe("running");
  });

  labTest("idle: no processor time to speak of, memory within bounds", async (pair) => {
    const [a] = await startBoth(pair);
    await waitFor(() => answers(pair), { describe: "an answer" });
    // Right after its start it compiles its own code. A loop that spins never has such a second.
    const second = { count: 11, intervalSeconds: 0.1 };
    const rests = async () => {
      const before = await a.report();
      await pair.b.namespace.ping(pair.b.underlay, second);
      return (await a.report()).cpuMicros - before.cpuMicros < 100_000;
    };
    await waitFor(rests, { describe: "a second at rest", timeoutMs: 20_000 });
    const after = await a.report();
    expect(after.residentBytes).toBeLessThan(80e6);
  });
});

describe("surroundings that do not allow it", () => {
  const failure = async (start: Promise<unknown>): Promise<string> => {
    try {
      await start;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
    return "started";
  };

  labTest("a second node on the same port", async (pair) => {
    await pair.startNode(pair.a);
    const config = pair.config(pair.a, { tunName: "other0" });
    expect(await failure(pair.startNode(pair.a, config))).toBe(
      "Cannot open UDP 10.99.0.1:8285: port 8285 is taken (EADDRINUSE); " +
        "stop the other agent, or the program that uses this port",
    );
    const links = await pair.a.namespace.mustRun(["ip", "-o", "link"]);
    expect(links).not.toContain("other0");
  });

  labTest("a TUN that another process holds", async (pair) => {
    await pair.startNode(pair.a);
    const config = pair.config(pair.a, { port: 8299 });
    expect(await failure(pair.startNode(pair.a, config))).toBe(
      'Cannot open TUN "overlay0": another process holds it (EBUSY); ' +
        "stop the other agent, or the program that made this link",
    );
  });

  labTest("a link of that name that is no TUN", async (pair) => {
    await pair.a.namespace.mustRun(["ip", "link", "add", "overlay0", "type", "bridge"]);
    expect(await failure(pair.startNode(pair.a))).toStartWith(
      'Cannot open TUN "overlay0": a link of this name exists and is not a TUN of this agent (EINVAL)',
    );
  });

  labTest("an underlay address of another host", async (pair) => {
    const config = pair.config(pair.a, { address: "10.99.0.9" });
    expect(await failure(pair.startNode(pair.a, config))).toStartWith(
      "Cannot open UDP 10.99.0.9:8285: no link of this host has the address (EADDRNOTAVAIL)",
    );
  });

  labTest("without CAP_NET_ADMIN", async (pair) => {
    const wrap = ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin", "--"];
    expect(await failure(pair.startNode(pair.a, pair.config(pair.a), wrap))).toBe(
      'Cannot open TUN "overlay0": CAP_NET_ADMIN is missing (EPERM); ' +
        "run the agent as root or give it CAP_NET_ADMIN",
    );
  });

  labTest("without /dev/net/tun", async (pair) => {
    const hide = 'mount -t tmpfs none /dev/net && exec "$@"';
    const wrap = ["unshare", "-m", "sh", "-c", hide, "hide"];
    expect(await failure(pair.startNode(pair.a, pair.config(pair.a), wrap))).toBe(
      'Cannot open TUN "overlay0": /dev/net/tun is missing (ENOENT); ' +
        "load the tun module or pass the device into the container",
    );
  });
});
