/**
 * Two network namespaces on one wire, and a packet node in each: the smallest real data plane.
 *
 * `a` is 10.99.0.1 with the lease 10.88.1.0/24, `b` the same with 2. For tests and benchmarks of
 * packets alone; whole agents have openLab.
 *
 * @module
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { GSO_MAX_SIZE_BYTES, TX_QUEUE_LENGTH_PACKETS } from "../../src/dataplane/backends/udp.ts";
import { Namespace } from "./namespace.ts";
import type { PacketNodeConfig, PacketNodeReport } from "./packet-node.ts";
import { SEALED_MTU, sealedPairConfig } from "./packet-seal.ts";
import type { LabProcess } from "./process.ts";
import { mustRun, run } from "./run.ts";
import { waitFor } from "./wait.ts";

export const PAIR_PORT = 8285;
const NODE_PROGRAM = join(import.meta.dir, "packet-node.ts");
const UNDERLAY_MTU = 1500;
const OVERLAY_MTU = 1472;
const IPERF_PORT = 5201;
const WAIT_MS = 15_000;
/** Every offload that would let a frame above the MTU cross the veth. */
const WIRE_OFFLOADS = [
  "tso",
  "gso",
  "tx-udp-segmentation",
  "tx-udp_tnl-segmentation",
  "tx-udp_tnl-csum-segmentation",
];

export interface PairSide {
  readonly namespace: Namespace;
  readonly underlay: string;
  /** The node's own address in the overlay. */
  readonly overlay: string;
  readonly prefix: string;
}

export interface PairOptions {
  /** "real": every frame on the wire is at most 1500 bytes, as on a network card. */
  readonly wire: "real" | "virtual";
  /** Tells the namespaces of several pairs of one process apart; letters and digits. */
  readonly label?: string;
}

/** Opens the two namespaces. Needs root. Everything goes with the pair. */
export async function openPacketPair(options: PairOptions): Promise<PacketPair> {
  const folder = mkdtempSync(join(tmpdir(), "ovt-packets-"));
  const pair = new PacketPair(folder, options.label);
  try {
    await pair.build(options.wire);
  } catch (error) {
    await pair[Symbol.asyncDispose]();
    throw error;
  }
  return pair;
}

export class PacketPair implements AsyncDisposable {
  readonly a: PairSide;
  readonly b: PairSide;
  readonly #folder: string;
  readonly #processes: LabProcess[] = [];

  constructor(folder: string, label = "") {
    this.#folder = folder;
    this.a = this.#side("a", 1, label);
    this.b = this.#side("b", 2, label);
  }

  #side(name: string, number: number, label: string): PairSide {
    const id = `ovtp${process.pid}${label}${name}`;
    const onStart = (child: LabProcess) => this.#processes.push(child);
    return {
      namespace: new Namespace({ name, id, folder: this.#folder, onStart }),
      underlay: `10.99.0.${number}`,
      overlay: `10.88.${number}.0`,
      prefix: `10.88.${number}.0/24`,
    };
  }

  /** Has iperf3 move `megabytes` from a to b, with `args` of its own; the end of its report. */
  async transfer(megabytes: number, args: readonly string[] = []) {
    const server = this.b.namespace.start(["iperf3", "-s", "-1"]);
    await server.waitListening(IPERF_PORT);
    const amount = ["-n", `${megabytes}M`];
    const command = ["iperf3", "-c", this.b.overlay, "-J", ...amount, ...args];
    const { stdout } = await this.a.namespace.run(command);
    await server.waitExit();
    const { end, error } = JSON.parse(stdout);
    if (error !== undefined) throw new Error(error);
    return end;
  }

  /** Makes the namespaces and the wire. */
  async build(wire: PairOptions["wire"]): Promise<void> {
    const [a, b] = [this.a.namespace, this.b.namespace];
    await mustRun(["ip", "netns", "add", a.id]);
    await mustRun(["ip", "netns", "add", b.id]);
    const peer = ["type", "veth", "peer", "name", "eth0", "netns", b.id];
    await a.mustRun(["ip", "link", "add", "eth0", "mtu", String(UNDERLAY_MTU), ...peer]);
    for (const { namespace, underlay } of [this.a, this.b]) {
      await namespace.mustRun(["ip", "address", "add", `${underlay}/24`, "dev", "eth0"]);
      await namespace.mustRun(["ip", "link", "set", "eth0", "up"]);
      await namespace.mustRun(["ip", "link", "set", "lo", "up"]);
    }
    await this.setWire(wire);
    // Until the kernel has noticed the carrier, it drops what is sent, and on a busy machine that
    // takes a while.
    for (const { namespace } of [this.a, this.b]) {
      const isUp = async () =>
        (await namespace.mustRun(["ip", "-o", "link", "show", "dev", "eth0"])).includes("state UP");
      await waitFor(isUp, { describe: `the wire of ${namespace.id} to be up` });
    }
  }

  /** Makes the wire behave like a network card's, or lets super-packets cross it whole. */
  async setWire(wire: PairOptions["wire"]): Promise<void> {
    const state = wire === "real" ? "off" : "on";
    const features = WIRE_OFFLOADS.flatMap((feature) => [feature, state]);
    for (const { namespace } of [this.a, this.b]) {
      await namespace.mustRun(["ethtool", "-K", "eth0", ...features, "gro", "on"]);
    }
  }

  /** What the node of `side` is started with, its peer in the table. */
  config(side: PairSide, change: Partial<PacketNodeConfig> = {}): PacketNodeConfig {
    const other = side === this.a ? this.b : this.a;
    return {
      tunName: "overlay0",
      address: side.underlay,
      port: PAIR_PORT,
      overlayMtu: OVERLAY_MTU,
      local: side.prefix,
      peers: [
        {
          node: other === this.a ? 1 : 2,
          prefix: other.prefix,
          address: other.underlay,
          partialChecksum: true,
        },
      ],
      ...change,
    };
  }

  /** The same for a second node of `side` beside the first, which seals everything. */
  sealedConfig(side: PairSide): PacketNodeConfig {
    const number = side === this.a ? 1 : 2;
    const plain = this.config(side);
    const local = (one: number) => `10.89.${one}.0/24`;
    return {
      ...plain,
      tunName: "overlay1",
      port: PAIR_PORT + 100,
      overlayMtu: SEALED_MTU,
      local: local(number),
      peers: plain.peers.map((peer) => ({ ...peer, prefix: local(3 - number) })),
      seal: sealedPairConfig(number),
    };
  }

  /**
   * Starts a node and waits until it forwards; `wrap` goes in front of its command. Rejects with
   * what it printed when it does not start.
   */
  async startNode(
    side: PairSide,
    config = this.config(side),
    wrap: readonly string[] = [],
  ): Promise<PacketNode> {
    const path = join(this.#folder, `${side.namespace.name}-${config.tunName}.json`);
    writeFileSync(path, JSON.stringify(config));
    const child = side.namespace.start([...wrap, process.execPath, NODE_PROGRAM, path]);
    const node = new PacketNode(child, path);
    await waitFor(() => node.lines().includes("ready") || !child.running, {
      describe: `${child.name} to be ready`,
      timeoutMs: WAIT_MS,
    });
    if (!child.running) throw new Error(node.lines().join("\n"));
    await raiseTun(side.namespace, config);
    return node;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#processes.reverse()) if (child.running) await child.kill();
    for (const { namespace } of [this.a, this.b])
      await run(["ip", "netns", "delete", namespace.id]);
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** One running packet node. */
export class PacketNode {
  readonly process: LabProcess;
  readonly #path: string;

  constructor(child: LabProcess, path: string) {
    this.process = child;
    this.#path = path;
  }

  /** What it printed so far. */
  lines(): string[] {
    return readFileSync(this.process.logPath, "utf8")
      .split("\n")
      .filter((line) => line !== "");
  }

  /** Its counters and state now. */
  async report(): Promise<PacketNodeReport> {
    const before = this.lines().length;
    this.process.signal("SIGUSR1");
    await waitFor(() => this.lines().length > before, { describe: "a report", timeoutMs: WAIT_MS });
    return JSON.parse(this.lines()[before]!);
  }

  /** Gives it another table. */
  publish(config: PacketNodeConfig): void {
    writeFileSync(this.#path, JSON.stringify(config));
    this.process.signal("SIGHUP");
  }
}

/** What netlink does for an agent: address, MTU, up, route. */
async function raiseTun(namespace: Namespace, config: PacketNodeConfig): Promise<void> {
  const { tunName, overlayMtu, local } = config;
  const address = `${local.split("/")[0]}/32`;
  await namespace.run(["ip", "address", "replace", address, "dev", tunName]);
  const sizes = {
    mtu: overlayMtu,
    gso_max_size: GSO_MAX_SIZE_BYTES,
    txqueuelen: TX_QUEUE_LENGTH_PACKETS,
  };
  const words = Object.entries(sizes).flatMap(([name, value]) => [name, String(value)]);
  await namespace.mustRun(["ip", "link", "set", tunName, ...words, "up"]);
  await namespace.mustRun(["ip", "route", "replace", networkOf(local), "dev", tunName]);
  // ICMP errors come back with the host's own address as their source.
  await namespace.sysctl(`net.ipv4.conf.${tunName}.accept_local`, 1);
}

/** The network that both leases are of: "10.88.0.0/16" of "10.88.1.0/24". */
function networkOf(prefix: string): string {
  return `${prefix.split(".").slice(0, 2).join(".")}.0.0/16`;
}
