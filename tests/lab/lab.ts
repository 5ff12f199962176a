/**
 * Hosts in network namespaces of this machine, joined by a switch that can be told to fail.
 *
 *   switch  br0 192.168.77.1/24 ── port h1 ═ veth ═ eth0 192.168.77.11  host h1
 *                               ├─ port h2 ═ veth ═ eth0 192.168.77.12  host h2 ─ docker0 ─ h2c2
 *                               └─ …
 *
 * Every namespace is named `ovl<id>-…` with an id of its own for each lab, so that labs do not
 * meet. Disposing of a lab leaves nothing: processes, namespaces, links, files; so does a signal
 * that ends this process, and what a crash left is removed when the next lab opens (janitor.ts).
 *
 * Needs root and the programs of requirements.ts. No traffic leaves the namespaces.
 *
 * @module
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FaultTable } from "./faults.ts";
import { Host } from "./host.ts";
import {
  createRecord,
  type LabRecord,
  NAMESPACE_PREFIX,
  removeLab,
  removeStaleLabs,
  saveRecord,
} from "./janitor.ts";
import { Namespace } from "./namespace.ts";
import { LabProcess } from "./process.ts";

export interface LabOptions {
  /** How many hosts; at most 200. */
  readonly hosts: number;
  /** Give each host an empty bridge docker0; true when absent. */
  readonly docker?: boolean;
  /**
   * "virtual": veth pairs as they are, which carry super-packets whole. "real": offloads off, so
   * that every frame that crosses has at most the link's MTU. "virtual" when absent.
   */
  readonly wire?: "real" | "virtual";
  /** MTU of the underlay; 1500 when absent. */
  readonly underlayMtu?: number;
}

const HOST_COUNT_MAX = 200;
const UNDERLAY_MTU_DEFAULT = 1500;
const UNDERLAY = "192.168.77";
const HOST_FIRST = 11;
const BUILD_TIMEOUT_MS = 60_000;
const BUILD_SETTLE_MS = 50;
/** What a real card does not do for a virtual one: carry a super-packet to the other end. */
const REAL_WIRE =
  "tso off gso off tx-udp-segmentation off tx-udp_tnl-segmentation off " +
  "tx-udp_tnl-csum-segmentation off gro on";

/** Makes the hosts and the wires between them. Use with `await using`. */
export async function openLab(options: LabOptions): Promise<Lab> {
  if (options.hosts < 1 || options.hosts > HOST_COUNT_MAX) {
    throw new RangeError(`A lab has 1 to ${HOST_COUNT_MAX} hosts, not ${options.hosts}`);
  }
  removeStaleLabs();
  const lab = new Lab(options);
  try {
    await lab.build(options);
  } catch (error) {
    lab.disposeNow();
    throw error;
  }
  return lab;
}

export class Lab implements AsyncDisposable {
  readonly id: string;
  readonly folder: string;
  readonly hosts: readonly Host[];
  /** Where the ports of all hosts are; its own address is the hosts' default route. */
  readonly switch: Namespace;
  readonly #faults = new FaultTable();
  readonly #processes: LabProcess[] = [];
  #record: LabRecord;
  #open = true;
  #building = false;

  /** Declares everything and makes nothing yet; use `openLab`. */
  constructor(options: LabOptions) {
    this.id = Math.floor(Math.random() * 36 ** 5)
      .toString(36)
      .padStart(5, "0");
    this.folder = join(tmpdir(), `overlay-lab-${this.id}`);
    this.#record = createRecord(this.id, this.folder);
    mkdirSync(this.folder, { recursive: true, mode: 0o755 });
    const onStart = (child: LabProcess) => this.#processes.push(child);
    this.switch = new Namespace({
      name: "switch",
      id: this.#declare("switch"),
      folder: this.folder,
      onStart,
    });
    this.hosts = Array.from({ length: options.hosts }, (_, index) => {
      const name = `h${index + 1}`;
      return new Host({
        name,
        id: this.#declare(name),
        folder: join(this.folder, name),
        address: `${UNDERLAY}.${HOST_FIRST + index}`,
        docker: options.docker ?? true,
        lab: {
          declare: (suffix) => this.#declare(suffix),
          runLines: (lines) => this.#runLines(lines),
        },
        onStart,
      });
    });
    process.on("exit", this.#onExit);
    process.on("SIGINT", this.#onInterrupt);
    process.on("SIGTERM", this.#onInterrupt);
  }

  /** The host with number `index`, from 0. */
  host(index: number): Host {
    const host = this.hosts[index];
    if (host === undefined) throw new RangeError(`This lab has no host ${index}`);
    return host;
  }

  /** Creates what the constructor declared. Called once, by `openLab`. */
  async build(options: LabOptions): Promise<void> {
    const mtu = options.underlayMtu ?? UNDERLAY_MTU_DEFAULT;
    await this.#runLines([
      `ip netns add ${this.switch.id}`,
      `ip -n ${this.switch.id} link add name br0 mtu ${mtu} type bridge`,
      `ip -n ${this.switch.id} address add ${UNDERLAY}.1/24 dev br0`,
      `ip -n ${this.switch.id} link set dev lo up`,
      `ip -n ${this.switch.id} link set dev br0 up`,
      ...this.hosts.flatMap((host) => this.#hostLines(host, mtu, options)),
    ]);
    await this.#applyFaults();
  }

  /** Cuts the wire between two hosts; with `oneWay` only what `a` sends to `b` is lost. */
  async cut(a: Host, b: Host, options: { readonly oneWay?: boolean } = {}): Promise<void> {
    this.#faults.cut(a.name, b.name);
    if (options.oneWay !== true) this.#faults.cut(b.name, a.name);
    await this.#applyFaults();
  }

  /** Cuts `host` off from all others. */
  async isolate(host: Host): Promise<void> {
    for (const other of this.#othersOf(host)) {
      this.#faults.cut(host.name, other.name);
      this.#faults.cut(other.name, host.name);
    }
    await this.#applyFaults();
  }

  /** Undoes cuts and losses: between two hosts, of one host, or all there are. */
  async heal(a?: Host, b?: Host): Promise<void> {
    if (a === undefined) this.#faults.healAll();
    else {
      for (const other of b === undefined ? this.#othersOf(a) : [b]) {
        this.#faults.heal(a.name, other.name);
        this.#faults.heal(other.name, a.name);
      }
    }
    await this.#applyFaults();
  }

  /** Loses `percent` of the frames between two hosts, or between one and all others. */
  async loss(between: Host | readonly [Host, Host], percent: number): Promise<void> {
    const pairs =
      between instanceof Host
        ? this.#othersOf(between).map((other) => [between, other] as const)
        : [between];
    for (const [a, b] of pairs) {
      this.#faults.lose(a.name, b.name, percent);
      this.#faults.lose(b.name, a.name, percent);
    }
    await this.#applyFaults();
  }

  /** Limits what a host sends and what it receives, each; undefined lifts the limit. */
  async rate(host: Host, megabitsPerSecond: number | undefined): Promise<void> {
    const ends = [
      { namespace: this.switch, link: host.name },
      { namespace: host, link: "eth0" },
    ];
    for (const { namespace, link } of ends) {
      const tc = ["tc", "qdisc"];
      if (megabitsPerSecond === undefined) await namespace.run([...tc, "del", "dev", link, "root"]);
      else {
        await namespace.mustRun([
          ...[...tc, "replace", "dev", link, "root", "tbf", "rate", `${megabitsPerSecond}mbit`],
          ...["burst", "64kb", "latency", "50ms"],
        ]);
      }
    }
  }

  /** The end of the log of every process that was started, for a failed test to show. */
  logTails(lines = 25): string {
    const names = new Map(this.#processes.map((child) => [child.logPath, child]));
    return [...names.values()]
      .filter((child) => child.output() !== "")
      .map((child) => `--- ${child.name} (${child.logPath})\n${child.tail(lines)}`)
      .join("\n");
  }

  /** Removes everything, at once and without letting anything else happen: for signals. */
  disposeNow(): void {
    if (!this.#open) return;
    this.#open = false;
    for (const child of this.#processes) child.killGroup();
    // An `ip netns add` that is being killed may still finish; let it, and remove what it made.
    if (this.#building) Bun.sleepSync(BUILD_SETTLE_MS);
    removeLab(this.#record);
    // Last, since a second signal during the clean-up must not end this process.
    process.off("exit", this.#onExit);
    process.off("SIGINT", this.#onInterrupt);
    process.off("SIGTERM", this.#onInterrupt);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.disposeNow();
    await Promise.all(this.#processes.map((child) => child.exited));
  }

  readonly #onExit = (): void => this.disposeNow();

  readonly #onInterrupt = (signal: NodeJS.Signals): void => {
    this.disposeNow();
    // What the signal would have done without this handler, with the code that shells expect.
    process.exit(signal === "SIGINT" ? 130 : 143);
  };

  #hostLines(host: Host, mtu: number, options: LabOptions): string[] {
    const inHost = (line: string) => `ip -n ${host.id} ${line}`;
    const enter = (id: string) => `nsenter --net=/run/netns/${id} --`;
    return [
      `ip netns add ${host.id}`,
      `ip link add name ${host.name} mtu ${mtu} netns ${this.switch.id} type veth ` +
        `peer name eth0 mtu ${mtu} netns ${host.id}`,
      `ip -n ${this.switch.id} link set dev ${host.name} master br0 up`,
      inHost("link set dev lo up"),
      inHost(`address add ${host.address}/24 dev eth0`),
      inHost("link set dev eth0 up"),
      inHost(`route add default via ${UNDERLAY}.1`),
      // A new namespace takes this over from the machine; a fresh host forwards nothing.
      `${enter(host.id)} sysctl -q -w net.ipv4.ip_forward=0`,
      ...(options.docker === false ? [] : [inHost("link add name docker0 type bridge")]),
      ...(options.wire === "real"
        ? [
            `${enter(host.id)} ethtool -K eth0 ${REAL_WIRE}`,
            `${enter(this.switch.id)} ethtool -K ${host.name} ${REAL_WIRE}`,
          ]
        : []),
    ];
  }

  /** Writes the namespace into the record before it exists: no crash can leave it behind. */
  #declare(suffix: string): string {
    const namespace = `${NAMESPACE_PREFIX}${this.id}-${suffix}`;
    this.#record = { ...this.#record, namespaces: [...this.#record.namespaces, namespace] };
    saveRecord(this.#record);
    return namespace;
  }

  async #runLines(lines: readonly string[]): Promise<void> {
    if (!this.#open) throw new Error("This lab has been disposed of");
    this.#building = true;
    const setup = LabProcess.start({
      name: "setup",
      command: ["sh", "-e", "-c", lines.join("\n")],
      logPath: join(this.folder, "setup.log"),
    });
    this.#processes.push(setup);
    const code = await setup.waitExit(BUILD_TIMEOUT_MS);
    if (code !== 0) throw new Error(`Cannot build the lab, code ${code}: ${setup.tail(5)}`);
    this.#building = false;
  }

  async #applyFaults(): Promise<void> {
    const path = join(this.folder, "faults.nft");
    writeFileSync(path, this.#faults.render());
    await this.switch.mustRun(["nft", "-f", path]);
  }

  #othersOf(host: Host): Host[] {
    return this.hosts.filter((other) => other !== host);
  }
}
