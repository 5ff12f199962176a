/**
 * This node's data plane as one thing: packet engine, kernel state and `subnet.env`, kept equal
 * to what the control plane last said.
 *
 * It outlives the cluster's connections: without quorum, or while this node moves to another
 * cluster, packets go on as last told. Closing it leaves links, routes and files in place, and the
 * descriptors with whoever holds them for the next process; only `remove` takes them away.
 *
 * @module
 */
import { rm } from "node:fs/promises";
import { type IpAddress, type Prefix, prefixAddress } from "../base/address.ts";
import { HostError } from "../base/host-error.ts";
import type { NodeId } from "../base/ids.ts";
import type { Log } from "../base/log.ts";
import { type BackendConfig, DEFAULT_BACKEND } from "../control/network/backend-config.ts";
import type { BackendHost, BackendPeer } from "../dataplane/backends/backend.ts";
import type { DesiredState } from "../dataplane/backends/desired-state.ts";
import { backendOf, enginePort, needsEngine, planNode } from "../dataplane/backends/node-plan.ts";
import { OVERLAY_LINK } from "../dataplane/backends/ownership.ts";
import { udp } from "../dataplane/backends/udp.ts";
import type { FibRow, FibTable } from "../dataplane/fib/row.ts";
import { writeFileAtomic } from "../host/files/atomic-file.ts";
import type { Kernel } from "../host/kernel-ports.ts";
import type { Clock, Random } from "../host/ports.ts";
import { kernelPathMtu } from "../host/udp/kernel-mtu.ts";
import { formatSubnetEnv } from "../integrations/flannel/subnet-env.ts";
import { CHECKSUM_PORTS, ChecksumKeeper, testedLink } from "./checksum-keeper.ts";
import type { ExtensionKeeper } from "./extension-keeper.ts";
import { FastPath, type FastPathState, removeFastPath } from "./fast-path.ts";
import { addKernelCounters } from "./fast-path-counters.ts";
import type { Kept } from "./kept.ts";
import { LingeringBackends } from "./lingering-backends.ts";
import type { OffloadName } from "./offload-names.ts";
import { openPacketEngine, type PacketCounters, type PacketEngine } from "./packet-engine.ts";
import { PeerProber } from "./peer-prober.ts";
import type { Reconciler } from "./reconciler.ts";
import type { PlacedSubnet, RenumberingPlan } from "./renumbering.ts";
import type { SealPlan } from "./seal-keeper.ts";
import { WayKeeper } from "./way-keeper.ts";
import { waysInForce } from "./ways-in-force.ts";

const SUBNET_ENV_MODE = 0o644;

/** What the control plane says about this node and its peers. */
export interface Assignment {
  readonly network: Prefix;
  readonly subnet: Prefix;
  /** How this node is reached. */
  readonly backend: BackendConfig;
  /** How the others are: the same list as long as nothing about them changes. */
  readonly peers: readonly BackendPeer[];
  /** Of the packet engine. */
  readonly port: number;
  /** The peers: the same list as long as nothing about them changes. */
  readonly rows: readonly FibRow[];
  /** Whether programs on this machine may take the subnet into use: it is in the files. */
  readonly announced: boolean;
  /** This node: the name under which it probes its peers. */
  readonly self: NodeId;
  /** Absent: all packets are plain. */
  readonly seal?: SealPlan;
  /** Absent: no subnet of an earlier network is in use. */
  readonly renumbering?: RenumberingPlan;
}

export interface DataPlaneOptions {
  readonly reconciler: Reconciler;
  readonly underlay: {
    readonly name: string;
    readonly address: IpAddress;
    /** That peers send to. */
    readonly publicAddress: IpAddress;
    readonly mtu: number;
    readonly segments: readonly Prefix[];
  };
  /** Files in flannel's format to keep; may be empty. */
  readonly subnetFiles: readonly string[];
  readonly ipMasq: boolean;
  /** Offloads that are not to be used. */
  readonly offloadsOff: readonly OffloadName[];
  /** Whether the kernel may carry packets where it can, or user mode carries all. */
  readonly engine: "auto" | "user";
  readonly kernel: Kernel;
  /** Of the backend "extension"; closed with the data plane. */
  readonly extension: ExtensionKeeper;
  /** What outlives this process; absent: nothing does. */
  readonly kept?: Kept;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Called when `assign` is to be called again: the packet engine lost its link, or may end. */
  readonly onStale: () => void;
}

/** What the packet loop and its helpers were told last. */
interface Published {
  readonly engine: PacketEngine;
  readonly rows: readonly FibRow[];
  readonly self: NodeId;
  readonly mtu: number;
  readonly isSealed: boolean;
  /** Own subnets. */
  readonly local: string;
}

/** The data plane of one agent process. Calls of `assign` must not overlap. */
export class DataPlane {
  readonly #options: DataPlaneOptions;
  #engine: PacketEngine | undefined;
  #assigned: Assignment | undefined;
  #prober: PeerProber | undefined;
  #fastPath: FastPath | undefined;
  #underlayMtu: number;
  #sealOverhead = 0;
  #published: Published | undefined;
  readonly #lingering: LingeringBackends;
  /** Of the backend "auto". */
  readonly ways: WayKeeper;
  /** Of VXLAN links. */
  readonly checksums: ChecksumKeeper;
  readonly #stopListening: () => void;
  /** Whether nothing is left of the engine, nor of an earlier process's. */
  #isEngineGone = false;

  constructor(options: DataPlaneOptions) {
    this.#options = options;
    this.#underlayMtu = options.underlay.mtu;
    this.#lingering = new LingeringBackends(options.clock, options.onStale);
    const { clock, log, random } = options;
    this.ways = new WayKeeper({
      ...{ clock, log, random },
      prober: () => this.#prober,
      inForce: () => waysInForce(options.kernel, options.underlay.name),
      onMove: () => this.#replan(),
    });
    this.checksums = new ChecksumKeeper(clock, log, CHECKSUM_PORTS);
    this.#stopListening = options.kernel.onChange(({ kind }) => {
      if (kind === "link" || kind === "overrun") this.checksums.look();
    });
  }

  /** What watches the peers while the engine runs. */
  get prober(): PeerProber | undefined {
    return this.#prober;
  }

  /** Of the backend "extension". */
  get extension(): ExtensionKeeper {
    return this.#options.extension;
  }

  get engine(): PacketEngine | undefined {
    return this.#engine;
  }

  /** Whether the kernel carries packets beside the engine; if not, why. */
  get fastPath(): FastPathState {
    return this.#fastPath?.state ?? { kind: "off", reason: "the agent runs with --engine user" };
  }

  /** Packets of the engine and of the kernel together; undefined while no engine runs. */
  counters(): PacketCounters | undefined {
    const user = this.#engine?.counters();
    if (user === undefined || this.#fastPath === undefined) return user;
    return addKernelCounters(user, this.#fastPath.counters());
  }

  get assigned(): Assignment | undefined {
    return this.#assigned;
  }

  /** This node's own subnets, those that drain too; before there are any, the `last` one. */
  subnets(last: Prefix | undefined): readonly Prefix[] {
    if (this.#assigned === undefined) return last === undefined ? [] : [last];
    const { subnet, renumbering } = this.#assigned;
    return [subnet, ...(renumbering?.draining ?? [])];
  }

  /** `subnets`, and the network that programs of the operator make routes in. */
  withFamiliar(subnets: readonly Prefix[]): readonly Prefix[] {
    const { network } = this.#options.extension;
    return network === undefined ? subnets : [...subnets, network];
  }

  /** Largest packet in bytes that containers of this node should send. */
  get mtu(): number {
    const config = this.#assigned?.backend;
    if (config === undefined) return this.#engineMtu;
    return backendOf(config).mtu({ config, host: this.#host });
  }

  /** The same for what the packet engine carries. */
  get #engineMtu(): number {
    return udp.mtu({ config: DEFAULT_BACKEND, host: this.#host });
  }

  get #host(): BackendHost {
    const { name: link, address: underlayAddress, segments } = this.#options.underlay;
    const [underlayMtu, sealOverhead] = [this.#underlayMtu, this.#sealOverhead];
    return { link, underlayAddress, segments, underlayMtu, sealOverhead };
  }

  /** MTU of the underlay link. */
  get underlayMtu(): number {
    return this.#underlayMtu;
  }

  /** The underlay link has another MTU. Paths follow at once, the overlay link at `assign`. */
  setUnderlayMtu(mtu: number): void {
    this.#options.log.info("underlay MTU changed", { from: this.#underlayMtu, to: mtu });
    this.#underlayMtu = mtu;
    this.#engine?.setOverlayMtu(this.#engineMtu);
    this.#prober?.setOverlay(this.#engineMtu, this.#sealOverhead);
    this.#prober?.setLinkMtu(mtu);
  }

  /**
   * Makes packets flow as `assignment` says. Resolves when kernel and files are as wanted or what
   * is missing is listed by the reconciler. Throws `HostError` when the engine cannot start, or a
   * program of the extension backend fails.
   */
  async assign(assignment: Assignment): Promise<void> {
    const { backend: config, network, peers, seal, subnet } = assignment;
    const { extension, underlay } = this.#options;
    const place = { network, subnet, address: underlay.publicAddress };
    if (!(await extension.prepare(config, place))) {
      this.#options.onStale();
      return;
    }
    this.#sealOverhead = seal?.overhead ?? 0;
    this.#lingering.follow(config);
    extension.follow({ config, peers, lingering: this.#lingering.configs });
    this.#followWays(assignment);
    const { choices } = this.ways;
    let desired = this.#plan(assignment);
    if (needsEngine({ config, peers, lingering: this.#lingering.configs })) {
      const refused = await this.#openEngine(assignment);
      // Also a node that cannot have its new port has to learn of those of others.
      this.#publish(assignment, desired.fib);
      if (refused !== undefined) {
        if (this.#assigned !== undefined) this.#lingering.stay(this.#assigned.backend);
        throw refused;
      }
    } else {
      // Before the reconciler deletes the link: the engine must not find it gone. What an earlier
      // process left for this one to go on with goes, too.
      await this.#endEngine({ removeTun: true });
    }
    if (this.ways.choices !== choices) desired = this.#plan(assignment);
    this.#options.reconciler.setDesired(desired);
    this.#assigned = assignment;
    await this.#options.reconciler.settled();
    this.checksums.follow(testedLink(config, subnet, peers));
    const { announced = assignment } = assignment.renumbering ?? {};
    if (assignment.announced) await this.#writeSubnetFiles(announced);
    else await this.#removeSubnetFiles();
  }

  /** Another way leads to some peer: only the kernel's routes depend on that. */
  #replan(): void {
    if (this.#assigned !== undefined) {
      this.#options.reconciler.setDesired(this.#plan(this.#assigned));
    }
  }

  #followWays({ backend: config, peers, renumbering, self, subnet }: Assignment): void {
    if (config.kind !== "auto") {
      this.ways.stop();
      return;
    }
    const subnets = [subnet, ...(renumbering?.draining ?? [])];
    const mtu = backendOf(config).mtu({ config, host: this.#host });
    this.ways.follow({ self, subnets, config, peers, host: this.#host, mtu });
  }

  /** Tells everybody who carries packets, unless they know: most assignments change no table. */
  #publish({ rows, self, seal }: Assignment, table: FibTable): void {
    const [engine, mtu, before] = [this.#engine, this.#engineMtu, this.#published];
    if (engine === undefined) return;
    // What sealing says is too much to compare; the engine does.
    const local = table.local.join(" ");
    const isKnown = before?.engine === engine && before.rows === rows && before.self === self;
    if (
      isKnown &&
      before.local === local &&
      before.mtu === mtu &&
      !before.isSealed &&
      !mentionsKeys(seal)
    )
      return;
    this.#published = { engine, rows, self, mtu, isSealed: mentionsKeys(seal), local };
    engine.setOverlayMtu(mtu);
    if (seal !== undefined) engine.setSeal(seal.setting);
    // The engine first: it must know whatever the kernel leaves to it.
    engine.publish(table, self);
    this.#fastPath?.publish(table);
    this.#prober?.setOverlay(mtu, this.#sealOverhead);
    this.#prober?.follow();
  }

  /** Takes back all that this node made: links, routes, files. */
  async remove(): Promise<void> {
    // The engine first: it must not find its link gone, nor open it again.
    await this.#endEngine({ removeTun: true });
    this.#assigned = undefined;
    this.#lingering.clear();
    this.ways.stop();
    this.checksums.close();
    await this.#options.extension.remove();
    await this.#options.reconciler.remove();
    await this.#removeSubnetFiles();
  }

  /** Stops the packet loop and leaves everything in place for the next start. */
  async close(): Promise<void> {
    this.#lingering.clear();
    this.ways.stop();
    this.#stopListening();
    this.checksums.close();
    await this.#options.extension.close();
    await this.#stopEngine({ removeTun: false });
  }

  async #stopEngine(options: { readonly removeTun: boolean }): Promise<void> {
    const engine = this.#engine;
    if (options.removeTun) this.#removeFastPath();
    this.#closeHelpers();
    await engine?.stop(options);
    this.#engine = undefined;
  }

  /** The same for good: nobody goes on with what the engine had open. */
  async #endEngine(options: { readonly removeTun: boolean }): Promise<void> {
    if (this.#isEngineGone) return;
    await this.#stopEngine(options);
    this.#isEngineGone = options.removeTun;
    this.#options.kept?.drop();
  }

  #closeHelpers(): void {
    this.#prober?.close();
    this.#prober = undefined;
    this.#fastPath?.close();
    this.#fastPath = undefined;
  }

  #plan(assignment: Assignment): DesiredState {
    const { self, network, subnet, backend: config, peers, rows, renumbering } = assignment;
    return planNode({
      ...{ self, network, config, peers, rows, lingering: this.#lingering.configs },
      formerNetworks: renumbering?.formerNetworks ?? [],
      subnets: [subnet, ...(renumbering?.draining ?? [])],
      host: this.#host,
      ipMasq: this.#options.ipMasq,
      choices: this.ways.choices,
    });
  }

  /** Opens the engine, or has it follow. Why it stays at its former port, if it has to. */
  async #openEngine({ subnet, backend, port: wanted }: Assignment): Promise<HostError | undefined> {
    // Who still sends the old way sends to the old port.
    const ports = this.#lingering.configs.map((config) => enginePort(config) ?? []);
    const formers = ports.flat().reverse();
    const port = enginePort(backend) === undefined ? (formers[0] ?? wanted) : wanted;
    if (this.#engine !== undefined) {
      this.#engine.setTunAddress(prefixAddress(subnet));
      return this.#listen(this.#engine, port, formers);
    }
    const { kept } = this.#options;
    this.#isEngineGone = false;
    this.#engine = await openPacketEngine({
      ...(kept === undefined ? {} : { kept }),
      tunName: OVERLAY_LINK,
      tunAddress: prefixAddress(subnet),
      overlayMtu: this.#engineMtu,
      offloadsOff: this.#options.offloadsOff,
      address: this.#options.underlay.address,
      port,
      log: this.#options.log,
      onLost: (error) => this.#lose(error),
    });
    kept?.hold(this.#engine);
    this.#fastPath = this.#openFastPath(this.#engine);
    const { clock, random } = this.#options;
    const link = this.#engine.probes;
    this.#prober = new PeerProber({
      ...{ link, linkMtu: this.#underlayMtu, clock, random },
      hintMtu: kernelPathMtu,
    });
    return undefined;
  }

  #listen(engine: PacketEngine, port: number, formers: readonly number[]): HostError | undefined {
    try {
      if (!engine.listen(port, formers)) return undefined;
    } catch (error) {
      if (!(error instanceof HostError)) throw error;
      return error;
    }
    this.#options.kept?.hold(engine);
    this.#published = undefined;
    return undefined;
  }

  #openFastPath(engine: PacketEngine): FastPath | undefined {
    const { clock, kernel, log, underlay } = this.#options;
    if (this.#options.engine === "auto") {
      const fastPath = new FastPath({
        ...{ kernel, clock, log, overlayLink: OVERLAY_LINK, address: underlay.address },
        port: () => engine.port,
        overlayMtu: () => this.#engineMtu,
        ways: () => this.#prober,
      });
      engine.probes.trafficElsewhere = (peer) => fastPath.recentPackets(peer);
      return fastPath;
    }
    // What an agent with other flags left here would go on.
    this.#removeFastPath();
    return undefined;
  }

  /** Also that of an earlier process, which this one never opened. */
  #removeFastPath(): void {
    this.#fastPath?.close();
    this.#fastPath = undefined;
    try {
      removeFastPath(this.#options.kernel);
    } catch (error) {
      if (!(error instanceof HostError)) throw error;
      this.#options.log.warn("cannot remove the fast path", { reason: error.message });
    }
  }

  /** Somebody removed the link under the engine. */
  #lose(error: HostError): void {
    const engine = this.#engine;
    this.#engine = undefined;
    this.#closeHelpers();
    this.#options.log.warn("packet engine lost its link; opening it again", {
      reason: error.message,
    });
    void engine?.stop({ removeTun: false }).then(() => {
      this.#options.kept?.drop();
      this.#options.onStale();
    });
  }

  async #removeSubnetFiles(): Promise<void> {
    for (const path of this.#options.subnetFiles) await removeFile(path);
  }

  async #writeSubnetFiles({ network, subnet }: PlacedSubnet): Promise<void> {
    const text = formatSubnetEnv({ network, subnet, mtu: this.mtu, ipMasq: this.#options.ipMasq });
    for (const path of this.#options.subnetFiles) {
      const wrote = await writeFileAtomic(path, text, { mode: SUBNET_ENV_MODE });
      if (wrote) this.#options.log.info("wrote subnet file", { path, subnet });
    }
  }
}

/** Whether the plan has anything to say: not in a network that was never sealed. */
function mentionsKeys(seal: SealPlan | undefined): boolean {
  return seal !== undefined && (seal.setting.own.length > 0 || seal.peers.size > 0);
}

async function removeFile(path: string): Promise<void> {
  try {
    await rm(path, { force: true });
  } catch (cause) {
    throw new HostError({ operation: "remove", object: path, reason: String(cause), cause });
  }
}
