/**
 * Packets at speed: the wire itself, kernel VXLAN and our data plane, side by side: as it is by
 * default, in user mode alone, and sealed.
 *
 *     scripts/bench packets [--wire real|virtual|both] [--rounds 3] [--seconds 2] [--json FILE]
 *
 * Two namespaces on one veth pair, everything on this machine's cores. The subjects take turns in
 * each round, and each figure is the best of the rounds: other load on the machine only ever takes
 * away. Ratios to VXLAN carry over to other machines; absolute figures do not. Needs root, iperf3,
 * ethtool, ping. A subject is one entry in `SUBJECTS`.
 *
 * @module
 */
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import type { PacketNodeConfig } from "../../tests/lab/packet-node.ts";
import {
  openPacketPair,
  type PacketNode,
  type PacketPair,
  type PairOptions,
} from "../../tests/lab/packet-pair.ts";

const UDP_PAYLOAD_SIZE = 64;
const PING_COUNT = 100;
const PING_INTERVAL_SECONDS = 0.01;
const IDLE_SECONDS = 2;
/** Until a node has taken another table. */
const SWITCH_MS = 200;
const IPERF_PORT = 5201;
const VXLAN_PORT = 4789;
const VXLAN_MTU = 1450;

/** Something that carries packets between the namespaces. */
interface Subject {
  readonly name: string;
  /** Address of the far side through it. */
  readonly target: (pair: PacketPair) => string;
  /** Whether the nodes' fast path is open meanwhile; it makes no difference when absent. */
  readonly fastPath?: boolean;
}

const SUBJECTS: readonly Subject[] = [
  { name: "veth itself", target: (pair) => pair.b.underlay },
  { name: "kernel VXLAN", target: () => "10.77.0.2" },
  { name: "overlay", target: (pair) => pair.b.overlay, fastPath: true },
  { name: "overlay, user mode", target: (pair) => pair.b.overlay, fastPath: false },
  { name: "overlay, sealed", target: () => "10.89.2.0" },
];
const BASELINE = "kernel VXLAN";

/** Figures of one subject on one wire; absent until measured. */
interface Figures {
  readonly wire: string;
  readonly subject: string;
  tcp1Gbps: number;
  tcp4Gbps: number;
  udpDeliveredKpps: number;
  udpOfferedKpps: number;
  pingMedianMs: number;
  pingP99Ms: number;
}

interface NodeFigures {
  readonly wire: string;
  readonly idleCpuPercent: number;
  readonly idleResidentMegabytes: number;
  readonly busyResidentMegabytes: number;
  readonly cpuSecondsPerGigabyte: number;
}

async function addVxlan(pair: PacketPair): Promise<void> {
  for (const [side, other] of [
    [pair.a, pair.b],
    [pair.b, pair.a],
  ] as const) {
    const { namespace } = side;
    const number = side === pair.a ? 1 : 2;
    const remote = ["remote", other.underlay, "local", side.underlay, "dev", "eth0"];
    const kind = ["type", "vxlan", "id", "42", "dstport", String(VXLAN_PORT)];
    await namespace.mustRun(["ip", "link", "add", "vx0", ...kind, ...remote]);
    await namespace.mustRun(["ip", "address", "add", `10.77.0.${number}/24`, "dev", "vx0"]);
    await namespace.mustRun(["ip", "link", "set", "vx0", "mtu", String(VXLAN_MTU), "up"]);
  }
}

/** Bits per second that the receiver got, and datagrams, from one run of iperf3. */
async function iperf(pair: PacketPair, target: string, args: readonly string[]) {
  const server = pair.b.namespace.start(["iperf3", "-s", "-1", "-p", String(IPERF_PORT)]);
  await server.waitListening(IPERF_PORT);
  const command = ["iperf3", "-c", target, "-p", String(IPERF_PORT), "-J", ...args];
  const { stdout } = await pair.a.namespace.run(command);
  await server.waitExit();
  const { end, error } = JSON.parse(stdout);
  if (error !== undefined) throw new Error(`iperf3: ${error}`);
  return end;
}

async function measureTcp(pair: PacketPair, target: string, flows: number, seconds: number) {
  const end = await iperf(pair, target, ["-t", String(seconds), "-P", String(flows)]);
  return end.sum_received.bits_per_second / 1e9;
}

async function measureUdp(pair: PacketPair, target: string, seconds: number) {
  const size = ["-l", String(UDP_PAYLOAD_SIZE)];
  const { sum } = await iperf(pair, target, ["-u", "-b", "0", ...size, "-t", String(seconds)]);
  const offered = sum.packets / sum.seconds / 1000;
  return { offered, delivered: offered * (1 - sum.lost_percent / 100) };
}

async function measurePing(pair: PacketPair, target: string) {
  const options = { count: PING_COUNT, intervalSeconds: PING_INTERVAL_SECONDS };
  const { roundTripsMs } = await pair.a.namespace.ping(target, options);
  const sorted = [...roundTripsMs].sort((x, y) => x - y);
  const at = (part: number) => sorted[Math.floor((sorted.length - 1) * part)] ?? Number.NaN;
  return { median: at(0.5), p99: at(0.99) };
}

async function measureRound(pair: PacketPair, figures: Figures, subject: Subject, seconds: number) {
  const target = subject.target(pair);
  const best = Math.max;
  figures.tcp1Gbps = best(figures.tcp1Gbps, await measureTcp(pair, target, 1, seconds));
  figures.tcp4Gbps = best(figures.tcp4Gbps, await measureTcp(pair, target, 4, seconds));
  const udp = await measureUdp(pair, target, seconds);
  figures.udpDeliveredKpps = best(figures.udpDeliveredKpps, udp.delivered);
  figures.udpOfferedKpps = best(figures.udpOfferedKpps, udp.offered);
  const ping = await measurePing(pair, target);
  figures.pingMedianMs = Math.min(figures.pingMedianMs, ping.median);
  figures.pingP99Ms = Math.min(figures.pingP99Ms, ping.p99);
}

/** Processor time and memory of the receiving node, idle and over one transfer. */
async function measureNode(pair: PacketPair, node: PacketNode, wire: string, seconds: number) {
  // At its start a node compiles its own code, which is neither idle nor busy.
  await measureTcp(pair, pair.b.overlay, 1, seconds);
  const before = await node.report();
  await Bun.sleep(IDLE_SECONDS * 1000);
  const idle = await node.report();
  await measureTcp(pair, pair.b.overlay, 1, seconds);
  const busy = await node.report();
  const bytes = (busy.totals["rxBytes"] ?? 0) - (idle.totals["rxBytes"] ?? 0);
  return {
    wire,
    idleCpuPercent: (idle.cpuMicros - before.cpuMicros) / IDLE_SECONDS / 10_000,
    idleResidentMegabytes: before.residentBytes / 1e6,
    busyResidentMegabytes: busy.residentBytes / 1e6,
    cpuSecondsPerGigabyte: (busy.cpuMicros - idle.cpuMicros) / 1e6 / (bytes / 1e9),
  } satisfies NodeFigures;
}

/** A node with a fast path, open or shut: peers that answer no probes are left to user mode. */
function nodeConfig(pair: PacketPair, side: PacketPair["a"], isOpen = true): PacketNodeConfig {
  return pair.config(side, { engine: "auto", silent: !isOpen });
}

async function measureWire(wire: PairOptions["wire"], rounds: number, seconds: number) {
  await using pair = await openPacketPair({ wire });
  await addVxlan(pair);
  const other = await pair.startNode(pair.a, nodeConfig(pair, pair.a));
  const node = await pair.startNode(pair.b, nodeConfig(pair, pair.b));
  for (const side of [pair.a, pair.b]) await pair.startNode(side, pair.sealedConfig(side));
  const nodeFigures = await measureNode(pair, node, wire, seconds);
  const all = SUBJECTS.map(({ name }): Figures => {
    const nothing = { tcp1Gbps: 0, tcp4Gbps: 0, udpDeliveredKpps: 0, udpOfferedKpps: 0 };
    return { wire, subject: name, ...nothing, pingMedianMs: Infinity, pingP99Ms: Infinity };
  });
  for (let round = 0; round < rounds; round++) {
    for (const [position, subject] of SUBJECTS.entries()) {
      if (subject.fastPath !== undefined) {
        other.publish(nodeConfig(pair, pair.a, subject.fastPath));
        node.publish(nodeConfig(pair, pair.b, subject.fastPath));
        await Bun.sleep(SWITCH_MS);
      }
      await measureRound(pair, all[position]!, subject, seconds);
    }
  }
  return { figures: all, node: nodeFigures, offloadsOff: (await node.report()).off };
}

function printTable(figures: readonly Figures[]): void {
  const head = [
    "",
    "TCP 1",
    "TCP 4 Gbit/s",
    "UDP 64 B kpps",
    "ping ms",
    "p99 ms",
    "TCP 1",
    "TCP 4",
  ];
  const baseline = figures.find((one) => one.subject === BASELINE);
  console.log(`\n${figures[0]?.wire} wire\n${row(head)}  × VXLAN`);
  for (const one of figures) {
    const cells = [
      one.subject,
      one.tcp1Gbps.toFixed(2),
      one.tcp4Gbps.toFixed(2),
      `${one.udpDeliveredKpps.toFixed(0)} of ${one.udpOfferedKpps.toFixed(0)}`,
      one.pingMedianMs.toFixed(3),
      one.pingP99Ms.toFixed(3),
      (one.tcp1Gbps / (baseline?.tcp1Gbps ?? 1)).toFixed(2),
      (one.tcp4Gbps / (baseline?.tcp4Gbps ?? 1)).toFixed(2),
    ];
    console.log(row(cells));
  }
}

function row(cells: readonly string[]): string {
  return cells.map((cell, i) => (i === 0 ? cell.padEnd(20) : cell.padStart(15))).join("");
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      wire: { type: "string", default: "both" },
      rounds: { type: "string", default: "3" },
      seconds: { type: "string", default: "2" },
      json: { type: "string" },
    },
  });
  const wires = (["real", "virtual"] as const).filter(
    (wire) => values.wire === wire || values.wire === "both",
  );
  const results: Awaited<ReturnType<typeof measureWire>>[] = [];
  for (const wire of wires) {
    const result = await measureWire(wire, Number(values.rounds), Number(values.seconds));
    results.push(result);
    printTable(result.figures);
    const { idleCpuPercent, idleResidentMegabytes, busyResidentMegabytes, cpuSecondsPerGigabyte } =
      result.node;
    console.log(
      `receiving node: idle ${idleCpuPercent.toFixed(2)} % of a core, ` +
        `${idleResidentMegabytes.toFixed(0)} MB resident, ${busyResidentMegabytes.toFixed(0)} MB ` +
        `busy, ${cpuSecondsPerGigabyte.toFixed(2)} CPU seconds a gigabyte`,
    );
  }
  if (values.json !== undefined) writeFileSync(values.json, JSON.stringify(results, undefined, 2));
}

await main();
