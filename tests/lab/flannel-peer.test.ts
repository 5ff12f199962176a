/**
 * Plain mode beside programs that are not ours: what tcpdump reads of the datagrams' payload, and a
 * peer that speaks as flannel's udp backend does.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Capture } from "./capture.ts";
import { openPacketPair, type PacketPair } from "./packet-pair.ts";
import { mustRun, whichProgram } from "./run.ts";
import { waitFor } from "./wait.ts";

const PROGRAMS = ["ip", "nsenter", "ethtool", "ping", "tcpdump"];
const PEER_PROGRAM = join(import.meta.dir, "flannel-peer-program.ts");
const TEST_TIMEOUT_MS = 60_000;
const LINKTYPE_RAW = 101;
const SNAP_SIZE = 65_535;

function obstacle(): string {
  if (process.platform !== "linux") return "needs Linux";
  if (process.getuid?.() !== 0) return "needs root";
  const missing = PROGRAMS.filter((program) => whichProgram(program) === undefined);
  return missing.length === 0 ? "" : `needs ${missing.join(", ")}`;
}

const skipReason = obstacle();

function labTest(name: string, body: (pair: PacketPair) => Promise<void>): void {
  const suffix = skipReason === "" ? "" : ` [skipped: ${skipReason}]`;
  test.skipIf(skipReason !== "")(
    `${name}${suffix}`,
    async () => {
      await using pair = await openPacketPair({ wire: "real", label: "f" });
      await body(pair);
    },
    TEST_TIMEOUT_MS,
  );
}

/** A capture file of IP packets without a link (draft-ietf-opsawg-pcap). */
function rawCapture(packets: readonly Uint8Array[]): Uint8Array {
  const head = new DataView(new ArrayBuffer(24));
  head.setUint32(0, 0xa1b2c3d4);
  head.setUint32(4, 0x0002_0004);
  head.setUint32(16, SNAP_SIZE);
  head.setUint32(20, LINKTYPE_RAW);
  const parts = packets.flatMap((packet) => {
    const record = new DataView(new ArrayBuffer(16));
    record.setUint32(8, packet.length);
    record.setUint32(12, packet.length);
    return [new Uint8Array(record.buffer), packet];
  });
  return Buffer.concat([new Uint8Array(head.buffer), ...parts]);
}

describe("plain mode and programs that are not ours", () => {
  labTest("tcpdump reads each payload as the bare inner packet", async (pair) => {
    await pair.startNode(pair.a);
    await pair.startNode(pair.b);
    const { namespace } = pair.a;
    await waitFor(async () => (await namespace.ping(pair.b.overlay, { count: 1 })).received === 1, {
      describe: "an answer",
    });
    const filter = "udp port 8285 and udp[8] & 0x70 = 0x40";
    const capture = await Capture.open(namespace, { filter, count: 4 });
    const ping = await namespace.ping(pair.b.overlay, { count: 2, sizeBytes: 1000 });
    expect(ping.received).toBe(2);
    const outer = await capture.waitPackets();
    expect(await capture.text()).toContain(`${pair.a.underlay}.8285 > ${pair.b.underlay}.8285`);
    const inner = outer.flatMap(({ payload }) => (payload.kind === "udp" ? [payload.data] : []));
    const path = join(namespace.folder, "inner.pcap");
    writeFileSync(path, rawCapture(inner));
    const text = await mustRun(["tcpdump", "-n", "-v", "-r", path]);
    const [from, to] = [pair.a.overlay, pair.b.overlay];
    expect(text.match(new RegExp(`${from} > ${to}: ICMP echo request`, "g"))?.length).toBe(2);
    expect(text.match(new RegExp(`${to} > ${from}: ICMP echo reply`, "g"))?.length).toBe(2);
    expect(text.match(/proto ICMP \(1\), length 1028\)/g)?.length).toBe(4);
    expect(text).not.toMatch(/bad|wrong|truncated|invalid/);
  });

  labTest(
    "a peer with flannel's udp backend: pings cross, its TTL is as it sent it",
    async (pair) => {
      const config = pair.config(pair.a);
      const peers = config.peers.map((peer) => ({ ...peer, partialChecksum: false }));
      const node = await pair.startNode(pair.a, { ...config, peers });
      const peer = pair.b.namespace.start([process.execPath, PEER_PROGRAM], { name: "flannel" });
      await waitFor(() => peer.output().includes("listening"), { describe: "the peer" });
      const ping = await pair.a.namespace.ping(pair.b.overlay, {
        ...{ count: 20, intervalSeconds: 0.02, sizeBytes: 1444, dontFragment: true },
      });
      expect([ping.received, ping.lost]).toEqual([20, []]);
      expect(ping.text.match(/ttl=63 /g)?.length).toBe(20);
      const { drops, totals } = await node.report();
      expect(
        Object.entries(drops).filter(([name, count]) => name.startsWith("rx") && count > 0),
      ).toEqual([]);
      expect(totals["rxPackets"]).toBe(20);
    },
  );
});
