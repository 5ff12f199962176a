/**
 * The agent: opens everything in order, hands it to each other, and closes it in the opposite
 * order. No logic of its own beyond that order and the moves between clusters.
 *
 *     lock ─► kernel ─► underlay ─► what was kept ─► data plane ─► identity ─► session ─► admin API
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { AdminServer } from "../admin/server.ts";
import { openAdminServer } from "../admin/server.ts";
import type {
  JoinRequest,
  JoinView,
  LeaveView,
  RecoveredView,
  RecoveryFailure,
} from "../admin/service.ts";
import type { Prefix } from "../base/address.ts";
import { HostError } from "../base/host-error.ts";
import { formatNodeId } from "../base/ids.ts";
import { createLog, type Log } from "../base/log.ts";
import { err, ok, type Result } from "../base/result.ts";
import { VERSION } from "../base/version.ts";
import { requestJoin } from "../control/cluster/join/join.ts";
import {
  CLUSTER_PORT,
  formatHostPort,
  parseHostPort,
} from "../control/cluster/transport/host-port.ts";
import {
  type Applicant,
  createApplicant,
  type Identity,
  IdentityStore,
} from "../control/cluster/trust/identity.ts";
import type { HostPort, JoinFailure, LeaveFailure, MemberInfo } from "../control/cluster/types.ts";
import { releaseLease } from "../control/network/commands.ts";
import { heldSubnets } from "../control/network/view.ts";
import { openSystemClock } from "../host/clock/system-clock.ts";
import { readFileIfAny } from "../host/files/atomic-file.ts";
import { type DirectoryLock, lockDirectory } from "../host/files/lock-file.ts";
import type { Kernel } from "../host/kernel-ports.ts";
import { openKernel } from "../host/netlink/kernel.ts";
import type { Clock, Random } from "../host/ports.ts";
import { openSystemRandom } from "../host/random/system-random.ts";
import { releaseFilePages } from "../host/sys/resident.ts";
import type { UnderlayChoice } from "../host/underlay/choose.ts";
import { parseSubnetEnv } from "../integrations/flannel/subnet-env.ts";
import { createAdminService } from "./admin-service.ts";
import { keepAdminToken } from "./admin-token.ts";
import { type AgentConfig, type Environment, readEnvironment } from "./config.ts";
import { DataPlane } from "./data-plane.ts";
import { openExtension } from "./extension-keeper.ts";
import { openIdentityFiles } from "./identity-files.ts";
import { joinRefusal } from "./join-refusal.ts";
import { type Kept, openKept } from "./kept.ts";
import { openReconciler, type Reconciler } from "./reconciler.ts";
import { recoveredView, recoveryRefusal } from "./recovery.ts";
import { recoverNode } from "./refound.ts";
import { openServiceNotice, type ServiceNotice } from "./service-notice.ts";
import { serviceState } from "./service-state.ts";
import { openSession, type Session } from "./session.ts";
import {
  findUnderlay,
  firstConflict,
  followLinkMtu,
  networkConflicts,
  userOf,
} from "./underlay.ts";

/** When the work of starting is over. */
const MEMORY_TRIM_FIRST_MS = 3_000;
/** A pass costs some 20 ms: a full collection, and page faults later on. */
const MEMORY_TRIM_INTERVAL_MS = 60_000;
const RUN_DIRECTORY_MODE = 0o755;

/** Runs the agent until it is told to stop. Resolves to the exit code. */
export async function startAgent(
  config: AgentConfig,
  env: Environment = readEnvironment(),
): Promise<number> {
  const clock = openSystemClock();
  const log = createLog({
    level: config.logLevel,
    format: config.logFormat,
    wallMs: () => clock.wallMs(),
  });
  const ended = Promise.withResolvers<number>();
  let isForGood = false;
  const onFatal = (error: HostError) => {
    log.error("the agent must end", { reason: error.message });
    ended.resolve(1);
  };
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.once(signal, () => {
      log.info("stopping", { signal });
      // Somebody at a terminal: no other process is about to go on.
      if (signal === "SIGINT") isForGood = true;
      ended.resolve(0);
    });
  }
  const agent = new Agent({ config, env, clock, random: openSystemRandom(), log, onFatal });
  try {
    await agent.start();
  } catch (error) {
    if (!(error instanceof HostError)) throw error;
    log.error("cannot start the agent", { reason: error.message });
    await agent.stop();
    return 1;
  }
  const code = await ended.promise;
  await agent.stop({ isForGood });
  return code;
}

interface AgentOptions {
  readonly config: AgentConfig;
  readonly env: Environment;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly onFatal: (error: HostError) => void;
}

class Agent {
  readonly #options: AgentOptions;
  #lock: DirectoryLock | undefined;
  #kernel: Kernel | undefined;
  #reconciler: Reconciler | undefined;
  #dataPlane: DataPlane | undefined;
  #kept: Kept | undefined;
  #underlay: UnderlayChoice | undefined;
  #identityStore: IdentityStore | undefined;
  #session: Session | undefined;
  /** The subnet that this node had last: containers may still have addresses in it. */
  #lastSubnet: Prefix | undefined;
  #admin: AdminServer | undefined;
  #notice: ServiceNotice | undefined;
  #cancelTrim: () => void = () => undefined;
  /** Raised when the agent stops: what only waits for others ends at once. */
  readonly #stopping = new AbortController();
  /** Joins and leaves, one after the other. */
  #moving: Promise<unknown> = Promise.resolve();

  constructor(options: AgentOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    const { config, clock, log } = this.#options;
    this.#lock = await lockDirectory(config.dataDir);
    await makeRunDirectory(config.runDir);
    const kernel = openKernel({ clock, log });
    this.#kernel = kernel;
    this.#lastSubnet = await this.#rememberedSubnet();
    const underlay = findUnderlay(kernel, config.choice, this.#lastSubnet);
    this.#underlay = underlay;
    this.#reconciler = openReconciler({ kernel, clock, log });
    this.#kept = openKept({ runDir: config.runDir, env: this.#options.env, log });
    this.#dataPlane = new DataPlane({
      reconciler: this.#reconciler,
      underlay,
      subnetFiles: this.#subnetFiles(),
      ipMasq: config.ipMasq,
      offloadsOff: config.offloadsOff,
      engine: config.engine,
      extension: await openExtension({ config, clock, log }),
      kept: this.#kept,
      ...{ kernel, clock, random: this.#options.random, log },
      onStale: () => this.#session?.network.refresh(),
    });
    followLinkMtu(kernel, underlay, (mtu) => {
      this.#dataPlane?.setUnderlayMtu(mtu);
      this.#session?.network.refresh();
    });
    const store = new IdentityStore(openIdentityFiles(config.dataDir));
    this.#identityStore = store;
    const identity = await this.#loadIdentity(store);
    this.#session = await this.#openSession(identity);
    this.#admin = await this.#openAdmin();
    log.info("agent started", {
      version: VERSION,
      node: formatNodeId(identity.nodeId),
      name: config.nodeName,
      underlay: underlay.address,
      link: underlay.name,
    });
    const { env } = this.#options;
    const read = () => serviceState(this.#session!);
    this.#notice = openServiceNotice({ env, clock, log, read });
    const first = clock.after(MEMORY_TRIM_FIRST_MS, trimMemory);
    const later = clock.every(MEMORY_TRIM_INTERVAL_MS, trimMemory);
    this.#cancelTrim = () => {
      first();
      later();
    };
  }

  /**
   * Closes what was opened, last first. Links, routes and files stay for the next start; so do the
   * packets that come until then, unless it is `isForGood`.
   */
  async stop({ isForGood }: { readonly isForGood: boolean } = { isForGood: false }): Promise<void> {
    this.#cancelTrim();
    this.#notice?.stop();
    this.#stopping.abort();
    await this.#admin?.close();
    await this.#moving;
    await this.#session?.close();
    this.#reconciler?.close();
    await this.#dataPlane?.close();
    if (isForGood) this.#kept?.drop();
    this.#kernel?.close();
    this.#lock?.release();
  }

  async #loadIdentity(store: IdentityStore): Promise<Identity> {
    const { config, clock, random, log } = this.#options;
    const loaded = await store.load();
    if (!loaded.ok) {
      const next = "restore it from a backup, or remove the data directory and join again";
      throw new HostError({
        operation: "load",
        object: "the identity of this node",
        reason: loaded.error.detail,
        next,
      });
    }
    if (loaded.value) return loaded.value;
    const identity = await store.create({ name: config.nodeName, clock, random });
    log.info("made a new node in a cluster of one", { node: formatNodeId(identity.nodeId) });
    return identity;
  }

  async #openSession(identity: Identity): Promise<Session> {
    const { config, clock, random, log, onFatal } = this.#options;
    const kernel = this.#kernel!;
    return openSession({
      identity,
      identityStore: this.#identityStore!,
      dataDir: config.dataDir,
      listen: clusterListen(config),
      self: this.#self(),
      publicIp: this.#underlay!.publicAddress,
      dataPlane: this.#dataPlane!,
      ways: config.ways,
      keptSeal: this.#kept!.seal,
      wantedSubnet: this.#lastSubnet,
      usedBy: (subnet) => userOf(kernel, subnet),
      findConflict: (network, leases) =>
        firstConflict(kernel, network, this.#dataPlane!.withFamiliar(leases)),
      clock,
      random,
      log,
      onFatal,
    });
  }

  async #openAdmin(): Promise<AdminServer> {
    const { config, clock, log } = this.#options;
    const service = createAdminService({
      session: () => this.#session!,
      dataPlane: this.#dataPlane!,
      reconciler: this.#reconciler!,
      kernelRoutes: () => readFileSync("/proc/net/route", "utf8"),
      clock,
      findConflicts: (network) =>
        networkConflicts(this.#kernel!, {
          network,
          leases: this.#dataPlane!.withFamiliar(this.#dataPlane!.subnets(this.#lastSubnet)),
          members: this.#session!.cluster.members(),
        }),
      join: (request) => this.#move(() => this.#join(request)),
      leave: () => this.#move(() => this.#leave()),
      recover: (clusterId) => this.#move(() => this.#recover(clusterId)),
      advertisedAddress: () => shortest(this.#clusterAddress()),
    });
    return openAdminServer({
      service,
      socketPath: config.socketPath,
      listen: config.adminListen,
      adminToken: await keepAdminToken(this.#options.config.dataDir, this.#options.random),
      log,
    });
  }

  /** Moves between clusters follow each other; the second of two finds the first one done. */
  #move<T>(task: () => Promise<T>): Promise<T> {
    const moved = this.#moving.then(task);
    this.#moving = moved.catch(() => undefined);
    return moved;
  }

  async #join(request: JoinRequest): Promise<Result<JoinView, JoinFailure>> {
    const { clock, random, log } = this.#options;
    const { cluster, network, identity: old } = this.#session!;
    const own = { otherCount: this.#otherCount(), network: network.view(), store: cluster.reader };
    // A member that the others do not know any more by its certificate asks for a new one.
    const isReturning = !request.reset && cluster.trust().isOver;
    const refusal = request.reset || isReturning ? undefined : joinRefusal(own);
    if (refusal !== undefined) return err({ kind: "already_member", detail: refusal });
    const peer = parseHostPort(request.peer, CLUSTER_PORT);
    if (peer === undefined) {
      const detail = `Cannot join "${request.peer}": not a host or host:port`;
      return err({ kind: "peer_unreachable", detail });
    }
    const shared = { peer, token: request.token, self: this.#self(), clock };
    const only = isReturning ? { only: old.clusterId } : {};
    const { signal } = this.#stopping;
    const ask = (applicant: Applicant) => requestJoin({ ...shared, ...applicant, ...only, signal });
    let joined = await ask({ nodeId: old.nodeId, key: old.keys.key });
    // Its id is used up there: it comes as a node that nobody has heard of.
    const isUsedUp = request.reset && !joined.ok && joined.error.kind === "already_member";
    if (isUsedUp) joined = await ask(await createApplicant(random));
    if (!joined.ok) return joined;
    const { grant, key } = joined.value;
    // Its log, its id and its subnet stay: a voter must not forget what it has promised.
    if (isReturning) {
      await cluster.readmit(grant);
      const nodeId = formatNodeId(old.nodeId);
      return ok({ clusterId: old.clusterId, nodeId, peer: request.peer });
    }
    const identity = await this.#identityStore!.adopt(grant, { name: old.name, key });
    // Only with --reset: the old cluster's network must not linger beside the new one's.
    await this.#replaceSession(identity, { keepNetwork: !this.#dataPlane!.assigned });
    log.info("joined", { cluster: identity.clusterId, peer: request.peer });
    return ok({
      clusterId: identity.clusterId,
      nodeId: formatNodeId(identity.nodeId),
      peer: request.peer,
    });
  }

  /** Members beside this node. */
  #otherCount(): number {
    const { cluster, identity } = this.#session!;
    const members = cluster.members();
    // Just joined: the table of members has not arrived yet, but the grant named some.
    return members.some((member) => member.self) ? members.length - 1 : identity.peers.length;
  }

  async #leave(): Promise<Result<LeaveView, LeaveFailure>> {
    const { log } = this.#options;
    const { identity, cluster, network } = this.#session!;
    const isOut = cluster.status().refusal !== undefined;
    const others = this.#otherCount();
    const isListed = () => cluster.members().some((member) => member.self);
    if (others > 0 && !isOut && !isListed()) {
      await cluster.readBarrier();
      if (!isListed()) return err(NOT_IN_YET);
    }
    const subnets = heldSubnets(network.view(), identity.nodeId);
    await network.close();
    if (others > 0 && !isOut) {
      const left = await this.#leaveCluster(subnets);
      if (!left.ok) {
        // Still a member: take up the network again.
        await this.#replaceSession(identity);
        return left;
      }
    }
    await this.#replaceSession(await this.#becomeNew(identity));
    log.info("left the cluster", { cluster: identity.clusterId });
    return ok({ nodeId: formatNodeId(identity.nodeId), clusterId: identity.clusterId });
  }

  /** Goes on alone with what this node has, in a new cluster. */
  async #recover(clusterId: string): Promise<Result<RecoveredView, RecoveryFailure>> {
    const { config, clock, random, log } = this.#options;
    const refusal = recoveryRefusal(this.#session!, clusterId);
    if (refusal !== undefined) return err(refusal);
    const { identity } = this.#session!;
    const home = { dataDir: config.dataDir, clock, random };
    const recovered = await this.#changeSession(() =>
      recoverNode(home, this.#identityStore!, identity),
    );
    log.warn("recovered", { former: clusterId, cluster: recovered.identity.clusterId });
    return ok(recoveredView(recovered));
  }

  /** Takes back what this node made and makes a new one; where that fails, the old one goes on. */
  async #becomeNew(old: Identity): Promise<Identity> {
    const { config, clock, random } = this.#options;
    try {
      await this.#removeDataPlane();
      return await this.#identityStore!.create({ name: config.nodeName, clock, random });
    } catch (error) {
      if (error instanceof HostError) await this.#replaceSession(old);
      throw error;
    }
  }

  async #leaveCluster(subnets: readonly Prefix[]): Promise<Result<void, LeaveFailure>> {
    const { identity, cluster } = this.#session!;
    for (const subnet of subnets) {
      const released = await cluster.execute(releaseLease({ subnet, node: identity.nodeId }));
      if (!released.ok) return released;
    }
    return cluster.leave();
  }

  async #removeDataPlane(): Promise<void> {
    this.#lastSubnet = this.#dataPlane!.assigned?.subnet ?? this.#lastSubnet;
    await this.#dataPlane!.remove();
  }

  async #replaceSession(identity: Identity, { keepNetwork } = { keepNetwork: true }) {
    await this.#changeSession(async () => {
      // Not before: an open session lays its network out again at the next change.
      if (!keepNetwork) await this.#removeDataPlane();
      return { identity };
    });
  }

  /** The next session is of the identity that `between` makes while there is none. */
  async #changeSession<Next extends { readonly identity: Identity }>(
    between: () => Promise<Next>,
  ): Promise<Next> {
    try {
      await this.#session!.close();
      const next = await between();
      this.#session = await this.#openSession(next.identity);
      await this.#identityStore!.removeFormer();
      return next;
    } catch (error) {
      // Half a node is worse than none: the supervisor starts it again from what is on the disk.
      if (error instanceof HostError) this.#options.onFatal(error);
      throw error;
    }
  }

  #clusterAddress(): HostPort {
    const { port: wanted } = clusterListen(this.#options.config);
    const port = this.#session?.cluster.port ?? wanted;
    return { host: this.#underlay!.publicAddress, port };
  }

  #self(): MemberInfo {
    return {
      name: this.#options.config.nodeName,
      address: this.#clusterAddress(),
      publicIp: this.#underlay!.publicAddress,
      underlayPrefixes: this.#underlay!.prefixes,
      zone: this.#options.config.zone,
    };
  }

  #subnetFiles(): readonly string[] {
    const { runDir, subnetFile } = this.#options.config;
    const own = join(runDir, "subnet.env");
    return subnetFile === undefined || subnetFile === own ? [own] : [own, subnetFile];
  }

  /** The subnet in the files of an earlier life, ours or flannel's. */
  async #rememberedSubnet(): Promise<Prefix | undefined> {
    for (const path of this.#subnetFiles()) {
      const bytes = await readFileIfAny(path);
      const parsed = bytes && parseSubnetEnv(Buffer.from(bytes).toString("utf8"));
      if (parsed) return parsed.subnet;
    }
    return undefined;
  }
}

const NOT_IN_YET: LeaveFailure = {
  kind: "no_leader",
  detail:
    "Cannot leave the cluster: this node has just joined it and has yet to hear from it; " +
    "try again, or join another cluster with --reset",
};

/** What starting, a join or a burst of requests needed and idling does not. */
function trimMemory(): void {
  Bun.gc(true);
  releaseFilePages();
}

/** Readable by everybody: `subnet.env` is in it. Who may use the socket, its own mode says. */
async function makeRunDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: RUN_DIRECTORY_MODE });
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const next = "check --run-dir and its permissions";
    throw new HostError({ operation: "create directory", object: path, reason, next, cause });
  }
}

/** One socket serves both families: "::" also takes IPv4, and falls back where IPv6 is off. */
function clusterListen({ clusterListen: addresses }: AgentConfig): HostPort {
  return addresses.find(({ host }) => host === "::") ?? addresses[0]!;
}

/** Without the port where it is the one that `join` takes for granted. */
function shortest(address: HostPort): string {
  return address.port === CLUSTER_PORT ? address.host : formatHostPort(address);
}
