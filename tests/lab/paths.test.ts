/**
 * Paths between whole agents: round trips and loss, silent peers, and MTUs on the way, with and
 * without the ICMP that many networks drop.
 *
 * A narrow path is the switch made into a router: each host's way to the other leads through it,
 * and its routes carry less than the links do.
 *
 * @module
 */
import { describe, expect } from "bun:test";
import { enterNetwork } from "../../src/host/sys/namespace.ts";
import {
  addContainers,
  formCluster,
  mustPutConfig,
  NETWORK_CONFIG,
  waitReaches,
} from "./cluster.ts";
import type { Container, Host } from "./host.ts";
import type { Lab } from "./lab.ts";
import { labTest } from "./requirements.ts";
import { sendIntact } from "./transfer.ts";
import { waitFor } from "./wait.ts";

/** A search with a second of silence in between, on a machine that does much else. */
const SEARCH_MS = 40_000;
const DATAGRAM_HEADERS = 28;
const BIG = 1000;

interface PathStatus {
  readonly peers: readonly {
    readonly name: string;
    readonly rttMs: number | null;
    readonly lossPercent: number | null;
    readonly mtu: number | null;
    readonly pathMtu: number | null;
    readonly pathMtuBack: number | null;
    readonly inUse: boolean;
  }[];
  readonly dataplane: {
    readonly mtu: number;
    readonly counters: Readonly<Record<string, number>>;
  };
  readonly warnings: readonly string[];
}

interface Pair {
  readonly lab: Lab;
  readonly a: Host;
  readonly b: Host;
  readonly fromA: Container;
  readonly fromB: Container;
}

/** No usual size: only the router's word, or halving, leads there. */
const TOLD_MTU = 1437;

function pathTest(name: string, body: (pair: Pair) => Promise<void>): void {
  labTest(name, { hosts: 2, wire: "real" }, async (lab) => {
    const [a, b] = [lab.host(0), lab.host(1)];
    await formCluster(lab);
    await mustPutConfig(a, NETWORK_CONFIG);
    const [fromA, fromB] = await addContainers(lab);
    await waitReaches(fromA!, fromB!);
    await body({ lab, a, b, fromA: fromA!, fromB: fromB! });
  });
}

async function status(host: Host): Promise<PathStatus> {
  return (await host.api("/status")).json<PathStatus>();
}

/** Waits until `host`'s only peer is as `wanted` says, and gives it. */
async function waitPeer(
  host: Host,
  describe: string,
  wanted: (peer: PathStatus["peers"][number]) => boolean,
) {
  let last = "";
  return await waitFor(
    async () => {
      const peer = (await status(host)).peers[0];
      last = JSON.stringify(peer);
      return peer !== undefined && wanted(peer) && peer;
    },
    { timeoutMs: SEARCH_MS, describe: `${host.name}: ${describe}`, details: () => last },
  );
}

async function waitMtu(host: Host, pathMtu: number) {
  return await waitPeer(host, `a path MTU of ${pathMtu}`, (peer) => peer.pathMtu === pathMtu);
}

/** The way from `from` to `to` leads through the switch, which carries `mtu` bytes there. */
async function route({ lab }: Pair, from: Host, to: Host, mtu: number): Promise<void> {
  await lab.switch.sysctl("net.ipv4.ip_forward", 1);
  for (const name of ["all", "br0"]) {
    await lab.switch.sysctl(`net.ipv4.conf.${name}.send_redirects`, 0);
  }
  const way = ["ip", "route", "replace", `${to.address}/32`];
  await from.mustRun([...way, "via", "192.168.77.1"]);
  await lab.switch.mustRun([...way, "dev", "br0", "mtu", "lock", String(mtu)]);
}

async function routeBoth(pair: Pair, mtu: number): Promise<void> {
  await route(pair, pair.a, pair.b, mtu);
  await route(pair, pair.b, pair.a, mtu);
}

/** The router says nothing of what it drops, and passes no fragments either. */
async function makeBlackHole({ lab }: Pair, mtu: number): Promise<void> {
  const rules = [
    "table ip paths {",
    "  chain out { type filter hook output priority 0; icmp type destination-unreachable drop; }",
    "  chain over { type filter hook forward priority 0;",
    `    ip length > ${mtu} drop; }`,
    "}",
  ].join("\n");
  await lab.switch.mustRun(["nft", "-f", "-"], {
    stdin: `table ip paths\ndelete table ip paths\n${rules}`,
  });
}

/** A socket in the namespace of `container`. */
async function openUdp(container: Container, onData: (bytes: Buffer) => void) {
  const stay = enterNetwork(`/run/netns/${container.id}`);
  try {
    const data = (_: unknown, bytes: Buffer) => onData(bytes);
    // "Message too long", as ICMP tells the sender, is what the next one is cut for.
    const error = () => undefined;
    return await Bun.udpSocket({ hostname: container.address, socket: { data, error } });
  } finally {
    stay.leave();
  }
}

/**
 * Sends datagrams of `payload` bytes from a container to another until one arrives whole: the first
 * may be what tells the sending kernel to cut the next ones.
 */
async function expectUdp(from: Container, to: Container, payload: number): Promise<void> {
  const sizes: number[] = [];
  const receiver = await openUdp(to, (bytes) => void sizes.push(bytes.length));
  const sender = await openUdp(from, () => undefined);
  try {
    const bytes = crypto.getRandomValues(new Uint8Array(payload));
    const isThere = () => {
      sender.send(bytes, receiver.port, to.address);
      return sizes.length > 0;
    };
    await waitFor(isThere, { describe: `a datagram of ${payload} bytes` });
    expect(sizes[0]).toBe(payload);
  } finally {
    sender.close();
    receiver.close();
  }
}

describe("probes", () => {
  pathTest("round trip, loss and MTU: in status, in /metrics, by ping", async (pair) => {
    const { lab, a, b, fromA, fromB } = pair;
    const quiet = await waitMtu(a, 1500);
    expect(quiet).toMatchObject({ mtu: 1472, lossPercent: 0 });
    expect(quiet.rttMs!).toBeGreaterThan(0);
    expect(quiet.rttMs!).toBeLessThan(1000);
    await waitPeer(a, "the way back", (peer) => peer.pathMtuBack === 1500);
    const { text } = await a.api("/metrics");
    expect(text).toMatch(/overlay_peer_rtt_seconds\{peer="[0-9a-f]{14}"\} 0\.\d+/);
    expect(text).toMatch(/overlay_peer_path_mtu_bytes\{peer="[0-9a-f]{14}"\} 1500/);
    expect(await a.mustCli(["status"])).toContain(" 1472 ");

    const pinged = JSON.parse(await a.mustCli(["ping", "h2", "-c", "2", "-i", "10", "--json"]));
    expect(pinged.results).toMatchObject([{ name: "h2", sent: 2, received: 2, pathMtu: 1500 }]);
    for (const target of ["all", b.address, fromB.address]) {
      expect(await a.mustCli(["ping", target, "-c", "1"])).toContain("h2 (");
    }
    const through = await a.mustCli(["ping", "h2", "-c", "1", "--overlay"]);
    expect(through).toMatch(/h2 \(10\.0\.\d+\.0\): answered in \d+\.\d\d ms/);
    expect((await a.cli(["ping", "nobody", "-c", "1"])).code).toBe(1);

    const traffic = fromA.startPing(fromB.address);
    await waitPeer(a, "traffic", (peer) => peer.inUse);
    await lab.loss([a, b], 40);
    await waitPeer(a, "loss", (peer) => peer.lossPercent! >= 20);
    await lab.heal(a, b);
    await traffic.stop();
  });

  pathTest(
    "a peer in use falls silent: a warning with its cause, and none when it is back",
    async (pair) => {
      const { lab, a, fromA, fromB } = pair;
      await waitMtu(a, 1500);
      const traffic = fromA.startPing(fromB.address);
      await waitPeer(a, "traffic", (peer) => peer.inUse);
      // Only packets: the cluster's connections stay.
      const rule = ["udp", "dport", "8285", "drop"];
      await lab.switch.mustRun(["nft", "add", "table", "bridge", "paths"]);
      const hook = "{ type filter hook forward priority 0; }";
      await lab.switch.mustRun(["nft", "add", "chain", "bridge", "paths", "over", hook]);
      await lab.switch.mustRun(["nft", "add", "rule", "bridge", "paths", "over", ...rule]);
      const warning = await waitFor(
        async () => (await status(a)).warnings.find((line) => line.startsWith("Peer h2 (")),
        { timeoutMs: SEARCH_MS, describe: "a warning" },
      );
      expect(warning).toContain("does not answer (since ");
      expect(warning).toContain("UDP port 8285");
      expect((await a.cli(["ping", "h2", "-c", "1", "-W", "100"])).code).toBe(1);
      await lab.switch.mustRun(["nft", "delete", "table", "bridge", "paths"]);
      await waitFor(
        async () => !(await status(a)).warnings.some((line) => line.startsWith("Peer h2 (")),
        { timeoutMs: SEARCH_MS, describe: "the warning to end" },
      );
      await traffic.stop();
    },
  );

  pathTest("a stranger's flood: no answer, counted, and nothing else", async (pair) => {
    const { lab, a } = pair;
    await waitMtu(a, 1500);
    const away = enterNetwork(`/run/netns/${lab.switch.id}`);
    const answers: number[] = [];
    const socket = await Bun.udpSocket({
      hostname: "192.168.77.1",
      socket: { data: (_, bytes) => void answers.push(bytes.length) },
    });
    away.leave();
    const question = new Uint8Array(40);
    question.set([0x21, 1, 0, 40]);
    const dropped = async () => (await status(a)).dataplane.counters["drop_rx_probe_stranger"] ?? 0;
    await waitFor(
      async () => {
        for (let i = 0; i < BIG; i++) socket.send(question, 8285, a.address);
        return (await dropped()) > BIG;
      },
      { describe: "drops", timeoutMs: SEARCH_MS },
    );
    socket.close();
    expect(answers).toEqual([]);
    await a.mustCli(["ping", "h2", "-c", "1"]);
  });
});

describe("a path that carries less than its ends' links", () => {
  pathTest("a router that tells: found in both directions, TCP and UDP fit", async (pair) => {
    const { a, b, fromA, fromB } = pair;
    await routeBoth(pair, TOLD_MTU);
    await a.mustCli(["ping", "h2", "-c", "1", "--raise-mtu"]);
    await waitMtu(a, TOLD_MTU);
    await waitMtu(b, TOLD_MTU);
    await waitPeer(a, "the way back", (peer) => peer.pathMtuBack === TOLD_MTU);
    await sendIntact(fromA, fromB, { address: fromB.address, bytes: 2_000_000 });
    await sendIntact(fromB, fromA, { address: fromA.address, bytes: 2_000_000 });
    // Small enough for the overlay link, too big for this path: refused with its MTU, as soon
    // as what carries lone packets in the kernel has heard of it.
    const big = { count: 2, sizeBytes: 1472 - DATAGRAM_HEADERS, dontFragment: true };
    await waitFor(
      async () => {
        const { received, text } = await fromA.ping(fromB.address, big);
        return received === 0 && /mtu ?= ?1409/.test(text);
      },
      { describe: "fragmentation needed, 1409" },
    );
    await expectUdp(fromA, fromB, 1444);
    // Nothing that leaves needs the router's help.
    const stats = await pair.lab.switch.mustRun(["nstat", "-asz", "IpFragCreates"]);
    const before = Number(/IpFragCreates\s+(\d+)/.exec(stats)?.[1]);
    await sendIntact(fromA, fromB, { address: fromB.address, bytes: 500_000 });
    const after = await pair.lab.switch.mustRun(["nstat", "-asz", "IpFragCreates"]);
    expect(Number(/IpFragCreates\s+(\d+)/.exec(after)?.[1])).toBe(before);
  });

  pathTest("each direction by itself", async (pair) => {
    const { a, b } = pair;
    await route(pair, pair.a, pair.b, 1400);
    await route(pair, pair.b, pair.a, 1460);
    for (const [from, to] of [
      [a, "h2"],
      [b, "h1"],
    ] as const) {
      await from.mustCli(["ping", to, "-c", "1", "--raise-mtu"]);
    }
    await waitMtu(a, 1400);
    await waitMtu(b, 1460);
    await waitPeer(a, "the way back", (peer) => peer.pathMtuBack === 1460);
    await sendIntact(pair.fromA, pair.fromB, { address: pair.fromB.address, bytes: 500_000 });
  });

  pathTest(
    "a silent black hole under a running connection: found, and the bytes arrive",
    async (pair) => {
      const { a, b, fromA, fromB } = pair;
      await waitMtu(a, 1500);
      await routeBoth(pair, 1500);
      await expectUdp(fromA, fromB, 1444);
      const traffic = fromA.startPing(fromB.address);
      await waitPeer(a, "traffic", (peer) => peer.inUse);
      await makeBlackHole(pair, 1350);
      const sending = sendIntact(fromA, fromB, { address: fromB.address, bytes: 3_000_000 });
      await waitMtu(a, 1350);
      await waitMtu(b, 1350);
      await sending;
      await sendIntact(fromB, fromA, { address: fromA.address, bytes: 1_000_000 });
      expect((await a.api("/metrics")).text).toMatch(/overlay_peer_black_holes\{.*\} [1-9]/);

      // And larger again, as soon as somebody asks.
      await pair.lab.switch.mustRun(["nft", "delete", "table", "ip", "paths"]);
      await a.mustCli(["ping", "h2", "-c", "1", "--raise-mtu"]);
      await waitMtu(a, 1500);
      await traffic.stop();
    },
  );

  pathTest("sealed: the same, with the room that sealing takes", async (pair) => {
    const { a, b, fromA, fromB } = pair;
    await waitMtu(a, 1500);
    const sealed = { ...NETWORK_CONFIG, Backend: { Type: "udp", Encryption: "aes-256-gcm" } };
    await mustPutConfig(a, sealed);
    const wide = await waitPeer(a, "less room", ({ mtu }) => mtu !== null && mtu < 1472);
    await routeBoth(pair, 1400);
    for (const [from, to] of [
      [a, "h2"],
      [b, "h1"],
    ] as const) {
      await from.mustCli(["ping", to, "-c", "1", "--raise-mtu"]);
      expect((await waitMtu(from, 1400)).mtu).toBe(wide.mtu! - 100);
    }
    await sendIntact(fromA, fromB, { address: fromB.address, bytes: 1_000_000 });
    await sendIntact(fromB, fromA, { address: fromA.address, bytes: 1_000_000 });
    await expectUdp(fromA, fromB, 1444);
    const { counters } = (await status(b)).dataplane;
    expect(counters["drop_rx_control"] ?? 0).toBe(0);
  });

  pathTest("the underlay link's own MTU goes down and up: everything follows", async (pair) => {
    const { a, b, fromA, fromB } = pair;
    await waitMtu(a, 1500);
    await a.mustRun(["ip", "link", "set", "eth0", "mtu", "1400"]);
    await waitMtu(a, 1400);
    const linkMtu = async () => await a.mustRun(["ip", "-o", "link", "show", "overlay0"]);
    await waitFor(async () => (await linkMtu()).includes("mtu 1372 "), { describe: "the link" });
    await waitFor(() => a.subnetEnv()?.mtu === 1372, { describe: "subnet.env" });
    await sendIntact(fromA, fromB, { address: fromB.address, bytes: 500_000 });
    await sendIntact(fromB, fromA, { address: fromA.address, bytes: 500_000 });
    await a.mustRun(["ip", "link", "set", "eth0", "mtu", "1500"]);
    await waitMtu(a, 1500);
    await waitFor(async () => (await linkMtu()).includes("mtu 1472 "), { describe: "the link" });
    expect((await status(a)).warnings).toEqual([]);
    expect((await status(b)).warnings).toEqual([]);
  });
});
