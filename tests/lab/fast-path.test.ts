/**
 * The fast path on a real kernel: two packet nodes whose lone packets the kernel carries.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import { enterNetwork } from "../../src/host/sys/namespace.ts";
import type { PacketNodeConfig } from "./packet-node.ts";
import {
  openPacketPair,
  type PacketNode,
  type PacketPair,
  type PairOptions,
} from "./packet-pair.ts";
import { whichProgram } from "./run.ts";
import { waitFor } from "./wait.ts";

const PROGRAMS = ["ip", "nsenter", "ethtool", "ping", "iperf3", "tc", "setpriv"];
const TEST_TIMEOUT_MS = 60_000;
const ATTEMPTS_MAX = 4;
const MANY = { count: 50, intervalSeconds: 0.01 };

function obstacle(): string {
  if (process.platform !== "linux") return "needs Linux";
  if (process.getuid?.() !== 0) return "needs root";
  const missing = PROGRAMS.filter((program) => whichProgram(program) === undefined);
  return missing.length === 0 ? "" : `needs ${missing.join(", ")}`;
}

const skipReason = obstacle();

function labTest(
  name: string,
  body: (pair: PacketPair) => Promise<void>,
  wire: PairOptions["wire"] = "real",
): void {
  const suffix = skipReason === "" ? "" : ` [skipped: ${skipReason}]`;
  test.skipIf(skipReason !== "")(
    `${name}${suffix}`,
    async () => {
      await using pair = await openPacketPair({ wire });
      await body(pair);
    },
    TEST_TIMEOUT_MS,
  );
}

type Engines = readonly [PacketNodeConfig["engine"], PacketNodeConfig["engine"]];

async function startBoth(
  pair: PacketPair,
  [a, b]: Engines = ["auto", "auto"],
): Promise<[PacketNode, PacketNode]> {
  const config = (side: typeof pair.a, engine: PacketNodeConfig["engine"]) =>
    pair.config(side, engine === undefined ? {} : { engine });
  return [
    await pair.startNode(pair.a, config(pair.a, a)),
    await pair.startNode(pair.b, config(pair.b, b)),
  ];
}

async function total(node: PacketNode, name: string): Promise<number> {
  return (await node.report()).totals[name] ?? 0;
}

/** What stands at the ingress of a's underlay link. */
async function underlayFilters(pair: PacketPair): Promise<string> {
  return await pair.a.namespace.mustRun(["tc", "filter", "show", "dev", "eth0", "ingress"]);
}

/** TCP segments that came before one that was sent earlier, at both ends so far. */
async function disordered(pair: PacketPair): Promise<number> {
  let count = 0;
  for (const { namespace } of [pair.a, pair.b]) {
    const text = await namespace.mustRun(["cat", "/proc/net/netstat"]);
    const [names, values] = text.split("\n").filter((line) => line.startsWith("TcpExt:"));
    count += Number(values?.split(" ")[names?.split(" ").indexOf("TCPOFOQueue") ?? -1]);
  }
  return count;
}

/**
 * Sends one datagram of each of `sizes` from a to b, which sends it back; how many came back whole.
 * The kernels check each one's UDP checksum on both ways.
 */
async function echo(pair: PacketPair, sizes: readonly number[]): Promise<number> {
  const there = enterNetwork(`/run/netns/${pair.b.namespace.id}`);
  const server = await Bun.udpSocket({
    hostname: pair.b.overlay,
    socket: { data: (socket, data, port, address) => void socket.send(data, port, address) },
  });
  there.leave();
  const seen = new Set<number>();
  const isWhole = (data: Buffer) => data.every((byte, at) => byte === ((at + data.length) & 255));
  const here = enterNetwork(`/run/netns/${pair.a.namespace.id}`);
  const client = await Bun.udpSocket({
    hostname: pair.a.overlay,
    socket: { data: (_, data) => void (isWhole(data) && seen.add(data.length)) },
  });
  here.leave();
  const missing = () => sizes.filter((size) => !seen.has(size));
  for (let attempt = 0; attempt < ATTEMPTS_MAX && missing().length > 0; attempt++) {
    for (const size of missing()) {
      const data = Uint8Array.from({ length: size }, (_, at) => at + size);
      client.send(data, server.port, pair.b.overlay);
      const wait = { describe: "an echo", timeoutMs: 500 };
      await waitFor(() => seen.has(size), wait).catch(() => undefined);
    }
  }
  client.close();
  server.close();
  return seen.size;
}

const SIZES = [1, 2, 3, 11, 12, 13, 15, 16, 64, 483, 484, 512, 999, 1000, 1001, 1024, 1443, 1444];

describe("both ends with the fast path", () => {
  for (const wire of ["real", "virtual"] as const) {
    labTest(
      `${wire} wire: pings and datagrams of any length go by the kernel, both ways`,
      async (pair) => {
        const [a, b] = await startBoth(pair);
        expect((await a.report()).fastPath).toBe("on");
        expect((await pair.a.namespace.ping(pair.b.overlay, MANY)).lost).toEqual([]);
        expect((await pair.b.namespace.ping(pair.a.overlay, MANY)).lost).toEqual([]);
        expect(await echo(pair, SIZES)).toBe(SIZES.length);
        const least = 2 * MANY.count + SIZES.length;
        for (const node of [a, b]) {
          const { totals, peers } = await node.report();
          expect(totals["kernelTxPackets"]).toBeGreaterThanOrEqual(least);
          expect(totals["kernelRxPackets"]).toBeGreaterThanOrEqual(least);
          expect([totals["rxMessages"], totals["txMessages"]]).toEqual([0, 0]);
          expect(peers[0]?.rxPackets).toBe(totals["rxPackets"]);
          expect(peers[0]?.lastSeenAgoMs).toBeLessThan(10_000);
        }
      },
      wire,
    );
  }

  labTest("real wire: super-packets stay in user mode, and nothing is overtaken", async (pair) => {
    const [a, b] = await startBoth(pair);
    // A busy machine may drop something anywhere; what overtakes would show every time.
    let least = Infinity;
    for (let attempt = 0; attempt < ATTEMPTS_MAX && least > 0; attempt++) {
      const before = await disordered(pair);
      await pair.transfer(100, ["-P", "2"]);
      await pair.transfer(100, ["-R"]);
      least = Math.min(least, (await disordered(pair)) - before);
    }
    expect(least).toBe(0);
    for (const node of [a, b]) {
      const { totals } = await node.report();
      expect(totals["userTxSuperPacket"]).toBeGreaterThan(100);
      expect(totals["userTxFailed"]).toBe(0);
      // The other end's acknowledgements, in the other direction's transfer.
      expect(totals["kernelTxPackets"]).toBeGreaterThan(100);
    }
  });

  labTest(
    "virtual wire: super-packets cross it whole, in the kernel",
    async (pair) => {
      const [a] = await startBoth(pair);
      await pair.transfer(200);
      const { totals } = await a.report();
      // As many as without super-packets, at 1,420 bytes of payload each.
      expect(totals["kernelTxPackets"]).toBeGreaterThan(200e6 / 1420);
      expect(totals["kernelTxPackets"]).toBeLessThan((1.2 * 200 * 2 ** 20) / 1420);
      expect(totals["userTxSuperPacket"]).toBeLessThan(100);
    },
    "virtual",
  );

  labTest(
    "virtual wire: super-packets to a peer's containers are left to user mode",
    async (pair) => {
      const [a] = await startBoth(pair);
      const container = "10.88.2.9";
      await pair.b.namespace.mustRun(["ip", "address", "add", `${container}/32`, "dev", "lo"]);
      await pair.transfer(100, ["-c", container]);
      const { totals } = await a.report();
      expect(totals["userTxSuperPacket"]).toBeGreaterThan(1000);
      expect(totals["kernelTxPackets"]).toBeLessThan(10_000);
    },
    "virtual",
  );

  labTest("a wire that becomes another is noticed", async (pair) => {
    const [a] = await startBoth(pair);
    await pair.transfer(20);
    expect(await total(a, "userTxSuperPacket")).toBeGreaterThan(10);
    await pair.setWire("virtual");
    const isWhole = async () => {
      const before = await total(a, "userTxSuperPacket");
      await pair.transfer(20);
      return (await total(a, "userTxSuperPacket")) - before < 10;
    };
    await waitFor(isWhole, { describe: "super-packets to go whole", timeoutMs: 30_000 });
  });

  labTest("what user mode must see goes there: large, cut, and to nobody", async (pair) => {
    const [a] = await startBoth(pair);
    const { namespace } = pair.a;
    expect((await namespace.ping(pair.b.overlay, { sizeBytes: 4000 })).received).toBe(3);
    const whole = { sizeBytes: 1445, dontFragment: true };
    expect((await namespace.ping(pair.b.overlay, whole)).text).toMatch(/too long|Frag needed/);
    expect((await namespace.ping("10.88.9.1")).text).toContain("Unreachable");
    const { totals } = await a.report();
    expect(totals["userTxNotTaken"]).toBeGreaterThan(0);
    expect(totals["userTxNoRoute"]).toBeGreaterThan(0);
  });
});

describe("one end without it", () => {
  for (const wire of ["real", "virtual"] as const) {
    for (const engines of [
      ["auto", "user"],
      ["user", "auto"],
    ] as const) {
      labTest(
        `${wire} wire, ${engines.join(" to ")}: everything arrives as it was sent`,
        async (pair) => {
          await startBoth(pair, engines);
          expect((await pair.a.namespace.ping(pair.b.overlay, MANY)).lost).toEqual([]);
          expect(await echo(pair, SIZES)).toBe(SIZES.length);
          await pair.transfer(20);
          await pair.transfer(20, ["-R"]);
        },
        wire,
      );
    }
  }

  labTest("peers that do not answer probes are left to user mode, until they do", async (pair) => {
    const silent = pair.config(pair.a, { engine: "auto", silent: true });
    const a = await pair.startNode(pair.a, silent);
    await pair.startNode(pair.b, pair.config(pair.b, { engine: "auto" }));
    expect((await pair.a.namespace.ping(pair.b.overlay, MANY)).lost).toEqual([]);
    expect(await total(a, "kernelTxPackets")).toBe(0);
    a.publish({ ...silent, silent: false });
    const isCarried = async () => {
      await pair.a.namespace.ping(pair.b.overlay, { count: 1 });
      return (await total(a, "kernelTxPackets")) > 0;
    };
    await waitFor(isCarried, { describe: "the kernel to carry packets" });
  });

  labTest(
    "peers fall silent and answer again: the programs stay, nothing is lost",
    async (pair) => {
      const [a] = await startBoth(pair);
      const config = pair.config(pair.a, { engine: "auto" });
      const ping = pair.a.namespace.startPing(pair.b.overlay, { intervalSeconds: 0.01 });
      const counted = async (name: string) => {
        const before = await total(a, name);
        await waitFor(async () => (await total(a, name)) > before, { describe: name });
      };
      for (const silent of [true, false, true, false]) {
        a.publish({ ...config, silent });
        await counted(silent ? "userTxNoRoute" : "kernelTxPackets");
        expect(await underlayFilters(pair)).toContain("overlay-rx");
      }
      expect((await ping.stop()).lost).toEqual([]);
    },
  );

  labTest("without the right to load programs, user mode carries on and says so", async (pair) => {
    const drop = "-bpf,-sys_admin";
    const wrap = ["setpriv", "--bounding-set", drop, "--inh-caps", drop, "--"];
    const a = await pair.startNode(pair.a, pair.config(pair.a, { engine: "auto" }), wrap);
    await pair.startNode(pair.b);
    expect((await a.report()).fastPath).toMatch(
      /^Cannot make BPF map .*may not use BPF \(EPERM\); /,
    );
    expect((await pair.a.namespace.ping(pair.b.overlay, MANY)).lost).toEqual([]);
  });
});

describe("tables and lives", () => {
  labTest("tables change under traffic: nothing is lost", async (pair) => {
    const [a] = await startBoth(pair);
    const config = pair.config(pair.a, { engine: "auto" });
    const ping = pair.a.namespace.startPing(pair.b.overlay, { intervalSeconds: 0.01 });
    await waitFor(() => ping.received() > 5, { describe: "answers" });
    for (let round = 1; round <= 10; round++) {
      const others = Array.from({ length: round * 20 }, (_, at) => ({
        node: 100 + at,
        prefix: `10.88.${100 + (at % 100)}.0/24`,
        address: `10.99.0.${100 + round}`,
        partialChecksum: true,
      }));
      const seen = ping.received();
      a.publish({ ...config, peers: [...others.slice(0, 100), ...config.peers] });
      await waitFor(() => ping.received() > seen + 5, { describe: "answers" });
    }
    const { lost } = await ping.stop();
    expect(lost).toEqual([]);
    expect((await a.report()).fastPath).toBe("on");
    expect(await total(a, "kernelTxPackets")).toBeGreaterThan(50);
  });

  labTest("a peer that is gone from the table gets nothing, and may send nothing", async (pair) => {
    const [a] = await startBoth(pair);
    const config = pair.config(pair.a, { engine: "auto" });
    expect((await pair.a.namespace.ping(pair.b.overlay)).received).toBe(3);
    const carried = () => total(a, "kernelTxPackets");
    const before = await carried();
    expect(before).toBeGreaterThanOrEqual(3);
    a.publish({ ...config, peers: [] });
    await waitFor(async () => (await a.report()).peers.length === 0, { describe: "no peers" });
    expect((await a.report()).fastPath).toBe("on");
    // What was counted stays counted.
    expect(await carried()).toBeGreaterThanOrEqual(before);
    expect((await pair.a.namespace.ping(pair.b.overlay)).received).toBe(0);
    expect((await pair.b.namespace.ping(pair.a.overlay)).received).toBe(0);
    a.publish(config);
    const answers = async () => (await pair.a.namespace.ping(pair.b.overlay)).received === 3;
    await waitFor(answers, { describe: "answers again" });
    expect(await carried()).toBeGreaterThan(before);
  });

  labTest("the process is killed and another started: the ping goes on", async (pair) => {
    const [a] = await startBoth(pair);
    const ping = pair.b.namespace.startPing(pair.a.overlay, { intervalSeconds: 0.01 });
    await waitFor(() => ping.received() > 20, { describe: "answers" });
    await a.process.kill();
    const atDeath = ping.received();
    await waitFor(() => ping.received() > atDeath + 50, { describe: "answers without a process" });
    const next = await pair.startNode(pair.a, pair.config(pair.a, { engine: "auto" }));
    const atStart = ping.received();
    await waitFor(() => ping.received() > atStart + 50, { describe: "answers of the next one" });
    const { lost } = await ping.stop();
    expect(lost.length).toBeLessThanOrEqual(1);
    expect(await total(next, "kernelTxPackets")).toBeGreaterThan(0);
  });

  labTest("a node that leaves takes its programs along and leaves others' alone", async (pair) => {
    const filters = async () => (await underlayFilters(pair)).includes("overlay-rx");
    const qdiscs = () => pair.a.namespace.mustRun(["tc", "qdisc", "show", "dev", "eth0"]);
    const config = pair.config(pair.a, { engine: "auto" });
    const first = await pair.startNode(pair.a, config);
    expect(await filters()).toBe(true);
    first.process.signal("SIGINT");
    await first.process.waitExit();
    expect(await qdiscs()).not.toContain("clsact");

    await pair.a.namespace.mustRun(["tc", "qdisc", "add", "dev", "eth0", "clsact"]);
    const theirs = ["tc", "filter", "add", "dev", "eth0", "ingress", "pref", "7", "protocol", "ip"];
    const match = ["u32", "match", "u32", "0", "0", "flowid", "1:1"];
    await pair.a.namespace.mustRun([...theirs, ...match]);
    const second = await pair.startNode(pair.a, config);
    expect(await filters()).toBe(true);
    second.process.signal("SIGINT");
    await second.process.waitExit();
    expect(await filters()).toBe(false);
    expect(await underlayFilters(pair)).toContain("pref 7 u32");
  });

  labTest(
    "somebody takes the programs away: user mode, and then the programs again",
    async (pair) => {
      const [a] = await startBoth(pair);
      await pair.a.namespace.mustRun(["tc", "qdisc", "del", "dev", "eth0", "clsact"]);
      await pair.a.namespace.mustRun(["tc", "qdisc", "del", "dev", "overlay0", "clsact"]);
      // The kernel stops a link's queue for a moment when it gets a clsact qdisc.
      const { received } = await pair.a.namespace.ping(pair.b.overlay, MANY);
      expect(received).toBeGreaterThanOrEqual(MANY.count - 4);
      const before = await total(a, "kernelTxPackets");
      const isBack = async () => {
        await pair.a.namespace.ping(pair.b.overlay, { count: 1 });
        return (await total(a, "kernelTxPackets")) > before;
      };
      await waitFor(isBack, { describe: "the kernel to carry packets", timeoutMs: 30_000 });
    },
  );

  labTest("a node that was told to keep to user mode", async (pair) => {
    const a = await pair.startNode(pair.a, pair.config(pair.a, { engine: "user" }));
    expect((await a.report()).fastPath).toBe("not asked for");
    const shown = await pair.a.namespace.mustRun(["tc", "qdisc", "show", "dev", "eth0"]);
    expect(shown).not.toContain("clsact");
  });
});
