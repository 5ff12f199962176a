/**
 * Packets and links, as the kernel and a capture see them.
 *
 * @module
 */
import { describe, expect } from "bun:test";
import { join } from "node:path";
import { DROP_NAMES } from "../../src/dataplane/forward/counters.ts";
import {
  addContainers,
  formCluster,
  mustPutConfig,
  NETWORK_CONFIG,
  statusOf,
  waitReaches,
} from "../lab/cluster.ts";
import type { Container, Host } from "../lab/host.ts";
import type { Lab } from "../lab/lab.ts";
import { decodeIpv4 } from "../lab/packet.ts";
import { labGroup, labTest } from "../lab/requirements.ts";
import { waitFor } from "../lab/wait.ts";
import { withMounts } from "../lab/wrap.ts";

const ROOT = join(import.meta.dir, "../..");
const PACKET_PORT = 8285;
const BARE_IPV4 = "udp[8] & 0xf0 = 0x40";

/** Two nodes with a container each that reach each other. */
async function openPair(lab: Lab): Promise<void> {
  await formCluster(lab);
  await mustPutConfig(lab.host(0), NETWORK_CONFIG);
  const [a, b] = (await addContainers(lab)) as [Container, Container];
  await waitReaches(a, b);
}

/** Sends one UDP datagram from `source`, as whoever wants to get something in. */
async function sendDatagram(source: Host, target: string, bytes: Uint8Array): Promise<void> {
  const program =
    `const socket = require("node:dgram").createSocket("udp4");` +
    `socket.bind(${PACKET_PORT + 1000}, () => socket.send(Buffer.from(process.argv[1], "hex"), ` +
    `${PACKET_PORT}, "${target}", () => socket.close()));`;
  await source.mustRun([process.execPath, "-e", program, Buffer.from(bytes).toString("hex")]);
}

/** Drops counted by a host for any reason. */
async function dropsOf(host: Host): Promise<Record<string, number>> {
  const counters = (await statusOf(host)).dataplane?.counters ?? {};
  return Object.fromEntries(Object.entries(counters).filter(([name]) => name.startsWith("drop")));
}

function sum(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((total, count) => total + count, 0);
}

/** An echo request from `source` to `target`, with right checksums. */
function echoRequest(source: string, target: string): Uint8Array {
  const bytes = new Uint8Array(28);
  const view = new DataView(bytes.buffer);
  bytes.set([0x45, 0, 0, 28, 0, 1, 0, 0, 64, 1]);
  bytes.set(source.split(".").map(Number), 12);
  bytes.set(target.split(".").map(Number), 16);
  bytes.set([8, 0, 0, 0, 0x12, 0x34, 0, 1], 20);
  view.setUint16(10, checksum(bytes.subarray(0, 20)));
  view.setUint16(22, checksum(bytes.subarray(20)));
  return bytes;
}

function checksum(bytes: Uint8Array): number {
  let total = 0;
  for (let at = 0; at < bytes.length; at += 2) {
    total += ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
  }
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
  return ~total & 0xffff;
}

labGroup("between two nodes", { hosts: 3, prepare: openPair }, (test) => {
  test("a datagram's payload is the bare inner packet", async (lab) => {
    const [a, b] = [lab.host(0), lab.host(1)];
    const [source, target] = [a.containers[0]!, b.containers[0]!];
    const filter = `udp dst port ${PACKET_PORT} and src host ${a.address} and ${BARE_IPV4}`;
    const capture = await b.capture({ filter, count: 1 });
    await source.ping(target.address, { count: 1, sizeBytes: 100 });
    const [outer] = await capture.waitPackets();
    if (outer?.payload.kind !== "udp") throw new Error("no UDP datagram");
    expect([outer.source, outer.target]).toEqual([a.address, b.address]);
    expect([outer.payload.sourcePort, outer.payload.targetPort]).toEqual([
      PACKET_PORT,
      PACKET_PORT,
    ]);
    const inner = decodeIpv4(outer.payload.data);
    expect(inner).toMatchObject({ source: source.address, target: target.address, ttl: 63 });
    expect(inner?.totalLength).toBe(outer.payload.data.length);
    expect(inner?.payload).toMatchObject({ kind: "icmp", type: 8, sequence: 1 });
    expect(await capture.text()).toContain(`${a.address}.8285 > ${b.address}.8285: UDP`);
  });

  test("packets of the full overlay MTU pass whole, larger ones are told so", async (lab) => {
    const [source, target] = [lab.host(0).containers[0]!, lab.host(1).containers[0]!];
    const whole = { count: 3, sizeBytes: 1472 - 28, dontFragment: true };
    expect((await source.ping(target.address, whole)).received).toBe(3);
    const fragmented = { count: 10, sizeBytes: 4000, intervalSeconds: 0.02 };
    expect((await source.ping(target.address, fragmented)).lost).toEqual([]);
  });

  test("the link: TUN with the first address, route to the network, MTU", async (lab) => {
    const host = lab.host(0);
    const env = host.subnetEnv()!;
    expect(env).toMatchObject({ network: "10.0.0.0/16", mtu: 1472 });
    const [link] = JSON.parse(
      await host.mustRun(["ip", "-j", "-d", "address", "show", "overlay0"]),
    );
    expect(link.mtu).toBe(1472);
    expect(link.linkinfo.info_kind).toBe("tun");
    const addresses = link.addr_info.filter((each: { family: string }) => each.family === "inet");
    expect(addresses.map((each: { local: string; prefixlen: number }) => each)).toMatchObject([
      { local: env.gateway.replace(/\.1$/, ".0"), prefixlen: 32 },
    ]);
    const [route] = JSON.parse(await host.mustRun(["ip", "-j", "route", "show", "10.0.0.0/16"]));
    expect(route).toMatchObject({ dst: "10.0.0.0/16", dev: "overlay0" });
    const forward = await host.mustRun(["sysctl", "-n", "net.ipv4.ip_forward"]);
    expect(forward.trim()).toBe("1");
  });

  test("both subnet.env files are the same", async (lab) => {
    const host = lab.host(0);
    const own = await Bun.file(`${host.runDir}/subnet.env`).text();
    expect(own).toBe(await Bun.file(host.subnetFile).text());
    expect(own).toContain("FLANNEL_IPMASQ=true\n");
    expect(own.split("\n").map((line) => line.split("=")[0])).toEqual([
      "FLANNEL_NETWORK",
      "FLANNEL_SUBNET",
      "FLANNEL_MTU",
      "FLANNEL_IPMASQ",
      "",
    ]);
  });

  test("no node for an address: ICMP 3/0 to the sender from the TUN", async (lab) => {
    const [host, source] = [lab.host(0), lab.host(0).containers[0]!];
    const leases = (await host.api("/leases")).json<readonly { subnet: string }[]>();
    const taken = new Set(leases.map(({ subnet }) => Number(subnet.split(".")[2])));
    const free = [200, 201, 202, 203].find((number) => !taken.has(number))!;
    const report = await source.ping(`10.0.${free}.9`, { count: 2, waitSeconds: 0.5 });
    expect(report.received).toBe(0);
    expect(report.text).toContain("Destination Net Unreachable");
    const tun = host.subnetEnv()!.gateway.replace(/\.1$/, ".0");
    expect(report.text).toContain(`From ${tun} `);
  });

  test("a stranger's datagram is dropped and counted, and answers nothing", async (lab) => {
    const [victim, friend, stranger] = [lab.host(0), lab.host(1), lab.host(2)];
    const target = victim.containers[0]!;
    const before = sum(await dropsOf(victim));
    const seen = await target.start(["tcpdump", "-i", "eth0", "-n", "-l", "icmp"]);
    await waitFor(() => seen.output().includes("listening on"), { describe: "the capture" });
    // The address of a container of another node, but sent from elsewhere.
    const forged = echoRequest(friend.containers[0]!.address, target.address);
    await sendDatagram(stranger, victim.address, forged);
    await sendDatagram(friend, victim.address, forged); // The right host, from a wrong port.
    await sendDatagram(stranger, victim.address, Uint8Array.of(0x45));
    await sendDatagram(stranger, victim.address, crypto.getRandomValues(new Uint8Array(600)));
    await waitFor(async () => sum(await dropsOf(victim)) >= before + 3, {
      describe: "the drops to be counted",
    });
    expect(seen.output()).not.toContain("echo request");
    await seen.kill();
    await waitReaches(friend.containers[0]!, target);
  });

  test("metrics: text that Prometheus reads, with the drops by reason", async (lab) => {
    const answer = await lab.host(0).api("/metrics");
    expect(answer.headers.get("content-type")).toStartWith("text/plain");
    const lines = answer.text.trimEnd().split("\n");
    const sample = /^overlay_[a-z_]+(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})? -?[\d.e+-]+$/;
    const comment = /^# (HELP|TYPE) overlay_[a-z_]+ ./;
    expect(lines.filter((line) => !sample.test(line) && !comment.test(line))).toEqual([]);
    const told = [...answer.text.matchAll(/^overlay_drops_total\{reason="(\w+)"\} \d+$/gm)];
    expect(told.map(([, reason]) => reason).sort()).toEqual([...DROP_NAMES].sort());
    const { dataplane } = await statusOf(lab.host(0));
    for (const [line, reason] of told) {
      const count = Number(line.split(" ")[1]);
      if (count > 0) expect(dataplane?.counters[`drop_${reason}`]).toBeGreaterThanOrEqual(count);
    }
  });
});

describe("the machine", () => {
  labTest(
    "no program of the system is called: it works with none on the path",
    {
      hosts: 2,
    },
    async (lab) => {
      const wrap = ["env", "PATH=/nonexistent"];
      for (const host of lab.hosts) await host.startHealthyAgent({ wrap });
      const { joinCommand } = JSON.parse(
        await lab.host(0).mustCli(["token", "create", "--json"]),
      ) as { joinCommand: string };
      // The line is made to be pasted: run it as it is, with the program in place of its name.
      const words = joinCommand.split(" ").slice(1);
      expect(joinCommand).toStartWith("overlay join ");
      await lab.host(1).mustCli(words);
      await mustPutConfig(lab.host(1), NETWORK_CONFIG);
      const [a, b] = (await addContainers(lab)) as [Container, Container];
      await waitReaches(a, b);
    },
  );

  labTest(
    "the executable stands alone: it works without the source tree",
    {
      hosts: 1,
    },
    async (lab) => {
      const hidden = ["src", "node_modules", "scripts"].map((name) => join(ROOT, name));
      const script = hidden.map((path) => `mount -t tmpfs tmpfs ${path}`).join("\n");
      const host = lab.host(0);
      await host.startHealthyAgent({ wrap: withMounts(script) });
      await mustPutConfig(host, NETWORK_CONFIG);
      await host.waitLease();
      const container = await host.addContainer();
      expect((await container.ping(host.containers[0]!.address)).received).toBe(3);
    },
  );

  labTest("what is taken away by hand comes back", { hosts: 2, timeoutMs: 90_000 }, async (lab) => {
    await openPair(lab);
    const host = lab.host(0);
    const [a, b] = [lab.host(0).containers[0]!, lab.host(1).containers[0]!];
    await host.mustRun(["ip", "route", "del", "10.0.0.0/16"]);
    await waitReaches(a, b);
    await host.sysctl("net.ipv4.ip_forward", 0);
    await waitReaches(a, b);
    await host.mustRun(["ip", "link", "set", "dev", "overlay0", "down"]);
    await waitReaches(a, b);
  });
});
