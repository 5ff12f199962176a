/**
 * One node's part of the cluster, put together: consensus driver, peer connections, membership,
 * join. Composition and the small methods of `Cluster`; the logic is in the files beside this one.
 *
 * @module
 */
import type { TLSSocket } from "node:tls";
import type { HostError } from "../../base/host-error.ts";
import { formatNodeId, type NodeId } from "../../base/ids.ts";
import type { Log } from "../../base/log.ts";
import { err, ok, type Result } from "../../base/result.ts";
import type { Clock, LogStore, Random, SnapshotStaging } from "../../host/ports.ts";
import type { Command, KvReader, StateMachine } from "../kv/types.ts";
import { Driver } from "./driver.ts";
import { Doorkeeper } from "./join/doorkeeper.ts";
import { type HandOut, HandOutServer } from "./join/hand-out.ts";
import { isMember, otherVoters, voterIds } from "./members/conf-state.ts";
import { handOver, leaveCluster } from "./members/departure.ts";
import { Greeting } from "./members/greeting.ts";
import { formatKeptLife, type KeptLife } from "./members/life.ts";
import { MemberOrders } from "./members/member-orders.ts";
import { listMembers } from "./members/member-table.ts";
import { RoleKeeper, roleIn } from "./members/role-keeper.ts";
import { listWishes, voterTargetOf } from "./members/role-wishes.ts";
import { SelfKeeper } from "./members/self-keeper.ts";
import type { Recovered } from "./recovery.ts";
import { formerOf } from "./refound/former.ts";
import { beginLife, recoverNode } from "./startup.ts";
import { type Listener, openListener } from "./transport/listener.ts";
import { createPeerCounters, type PeerCounters } from "./transport/peer-counters.ts";
import { PeerDirectory } from "./transport/peer-directory.ts";
import { PeerTransport } from "./transport/transport.ts";
import { pinOf } from "./trust/certificate.ts";
import { Credentials } from "./trust/credentials.ts";
import type { Identity, IdentityStore, JoinGrant } from "./trust/identity.ts";
import type { RotationFailure } from "./trust/rotation.ts";
import { createToken, formatToken } from "./trust/token.ts";
import { findToken, listTokens, newToken, publicToken, replaceToken } from "./trust/token-table.ts";
import { TrustKeeper, type TrustStatus } from "./trust/trust-keeper.ts";
import type {
  Cluster,
  ClusterCounters,
  ClusterFailure,
  ClusterStatus,
  CreatedToken,
  CreateTokenOptions,
  ExecuteOptions,
  HostPort,
  Leaderless,
  LeaveFailure,
  Member,
  MemberFailure,
  MemberInfo,
  MemberRecord,
  MemberVerb,
  RevokeTokenFailure,
  RoleChange,
  TokenInfo,
} from "./types.ts";
import { VersionKeeper } from "./upgrade/version-keeper.ts";

/** Two people revoke at once, or a join counts a use meanwhile: look again so often. */
const TOKEN_ATTEMPTS_MAX = 5;
/** How long closing waits for connections that do not end. */
const CLOSE_TIMEOUT_MS = 1_000;

export interface ClusterOptions {
  readonly identity: Identity;
  readonly identityStore: IdentityStore;
  /** Opened at `clusterPaths(identity.clusterId)`; closed by `Cluster.close`. */
  readonly logStore: LogStore;
  /** Where snapshots on their way in are kept. */
  readonly staging: SnapshotStaging;
  /** Empty; it is filled from snapshot and log. */
  readonly machine: StateMachine;
  readonly clock: Clock;
  readonly random: Random;
  /** Where the cluster port listens; "::" for both families. Port 0: any free one. */
  readonly listen: HostPort;
  /** What the members table is to say about this node. Port 0: the one listened on. */
  readonly self: MemberInfo;
  /** For machines that are to become nodes; absent: nothing is handed out. */
  readonly handOut?: HandOut | undefined;
  readonly log: Log;
  /** The machine failed in a way that cannot be mended: the agent must end the process. */
  readonly onFatal: (error: HostError) => void;
}

/**
 * Starts this node's part of the cluster: recovers the state, listens, connects to its peers.
 * Resolves when the recovered state is applied; there may be no leader yet. Throws `HostError`
 * when the port is taken or the stored state is not usable; the log store is then the caller's.
 */
export async function openCluster(options: ClusterOptions): Promise<Cluster> {
  const { identity, listen, clock } = options;
  const recovered = await recoverNode(options);
  const life = await beginLife(options);
  const counters = createPeerCounters();
  const credentials = new Credentials(identity.keys, clock);
  let cluster: RunningCluster | undefined;
  const handOuts = new HandOutServer({ clock, handOut: options.handOut });
  const listener = await openListener({
    listen,
    credentials,
    counters,
    onPeer: (socket) => (cluster === undefined ? socket.destroy() : cluster.acceptPeer(socket)),
    onJoin: (socket) => (cluster === undefined ? socket.destroy() : cluster.acceptJoin(socket)),
    onHttp: (socket) => handOuts.accept(socket),
  });
  cluster = new RunningCluster(options, {
    ...{ recovered, life, counters, credentials, listener, handOuts },
  });
  return cluster;
}

class RunningCluster implements Cluster {
  readonly reader: KvReader;
  readonly #options: ClusterOptions;
  readonly #listener: Listener;
  readonly #handOuts: HandOutServer;
  readonly #counters: PeerCounters;
  readonly #directory: PeerDirectory;
  readonly #greeting: Greeting;
  readonly #transport: PeerTransport;
  readonly #driver: Driver;
  readonly #credentials: Credentials;
  readonly #trust: TrustKeeper;
  readonly #door: Doorkeeper;
  readonly #roles: RoleKeeper;
  readonly #orders: MemberOrders;
  readonly #versions: VersionKeeper;
  readonly #self: SelfKeeper;
  /** As last logged. */
  #leader: NodeId | undefined;
  /** Who has told that it goes on in another cluster, begun with the state of this one. */
  #supersededBy: NodeId | undefined;
  #isClosing = false;

  constructor(
    options: ClusterOptions,
    parts: {
      readonly recovered: Recovered;
      readonly life: KeptLife;
      readonly counters: PeerCounters;
      readonly credentials: Credentials;
      readonly listener: Listener;
      readonly handOuts: HandOutServer;
    },
  ) {
    const { identity, identityStore, machine, clock, random, log } = options;
    const { nodeId, clusterId, generation, keys } = identity;
    const { recovered, life, counters, credentials } = parts;
    const cluster = { clusterId, generation };
    this.#options = options;
    this.#listener = parts.listener;
    this.#handOuts = parts.handOuts;
    this.#counters = counters;
    this.#credentials = credentials;
    this.reader = machine.reader;
    // The driver does not exist yet when the directory is first asked.
    let confState = recovered.confState;
    this.#directory = new PeerDirectory({
      nodeId,
      reader: machine.reader,
      known: identity.peers,
      clock,
      log,
      confState: () => confState,
      leader: () => this.#leader,
      save: (peers) => identityStore.savePeers(clusterId, peers),
    });
    this.#greeting = new Greeting({
      ...{ nodeId, life, reader: machine.reader, clock, random, log },
      address: () => this.#self.info.address,
      heardFrom: (node, address) => this.#directory.heardFrom(node, address),
      shut: (reason) => this.#driver.group.shut(reason),
    });
    this.#transport = new PeerTransport({
      ...{ nodeId, cluster, credentials, clock, random, log, counters },
      greeting: this.#greeting,
      addressOf: (node) => this.#directory.addressOf(node),
      standing: (node) => this.#directory.standing(node),
      former: () => formerOf(machine.reader),
      superseded: (by) => {
        this.#supersededBy = by;
      },
      keptOpen: () => (this.#driver.group.refusal ? [] : otherVoters(confState, nodeId)),
    });
    this.#driver = new Driver({
      ...{ nodeId, cluster, recovered, machine, clock, random, log },
      logStore: options.logStore,
      staging: options.staging,
      transport: this.#transport,
      knownPeers: identity.peers.map((peer) => peer.id),
      located: (node, address) => this.#directory.located(node, address),
      answer: (from, method, body) => this.#door.answer(from, method, body),
      onFatal: options.onFatal,
    });
    const driver = this.#driver;
    const transport = this.#transport;
    this.#trust = new TrustKeeper({
      ...{ identity, identityStore, credentials, driver, transport, clock, random, log },
    });
    const ports = { driver, transport, cluster, clock, random, log, counters };
    this.#roles = new RoleKeeper({ driver, clock, log });
    this.#orders = new MemberOrders({ ...ports, view: () => this.#roles.view() });
    this.#door = new Doorkeeper({
      ...{ ...ports, credentials, trust: this.#trust, orders: this.#orders },
    });
    this.#versions = new VersionKeeper({ driver, clock, log });
    const info = withPort(options.self, parts.listener.port);
    this.#self = new SelfKeeper({
      ...{ driver, clock, log, certificate: keys.certificate, info, life },
      recorded: () => void this.#lifeRecorded(life),
    });
    driver.onMembership((state) => {
      confState = state;
      this.#membersChanged();
    });
    driver.onApplied((events) => {
      if (this.#directory.changed(events)) this.#membersChanged();
      this.#trust.applied(events);
    });
    driver.onRole((change) => this.#roleChanged(change));
  }

  get port(): number {
    return this.#listener.port;
  }

  acceptPeer(socket: TLSSocket): void {
    this.#transport.accept(socket);
  }

  acceptJoin(socket: TLSSocket): void {
    if (this.#isClosing) socket.destroy();
    else this.#door.accept(socket);
  }

  execute<Outcome>(
    command: Command<Outcome>,
    options?: ExecuteOptions,
  ): Promise<Result<Outcome, ClusterFailure>> {
    return this.#driver.execute(command, options);
  }

  readBarrier(timeoutMs?: number): Promise<Result<void, ClusterFailure>> {
    return this.#driver.readBarrier(timeoutMs);
  }

  status(): ClusterStatus {
    const driver = this.#driver;
    const { nodeId, clusterId, generation } = this.#options.identity;
    const { role, term, leader, commit, applied } = driver.status();
    return {
      ...{ nodeId, clusterId, generation, role, term, leader, commit, applied },
      memberRole: roleIn(driver.confState, nodeId),
      revision: this.reader.revision,
      hasQuorum: driver.hasQuorum(),
      leaderless: this.#leaderless(),
      voterCount: voterIds(driver.confState).length,
      removed: driver.group.isExpelled,
      refusal: driver.group.refusal,
      warnings: this.#greeting.warnings(),
      feed: driver.feed.status,
    };
  }

  members(): readonly Member[] {
    const driver = this.#driver;
    const { progress } = driver.status();
    const { leader } = driver.role;
    const wishes = listWishes(this.reader);
    return listMembers(this.reader).map((member) => ({
      ...publicMember(member),
      role: roleIn(driver.confState, member.id),
      wish: wishes.get(member.id),
      leader: member.id === leader,
      self: member.id === driver.nodeId,
      live: this.#isLive(member.id),
      match: progress?.get(member.id)?.match,
    }));
  }

  counters(): ClusterCounters {
    const named = Object.entries(this.#counters).map(([name, value]: [string, number]) => [
      name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
      value,
    ]);
    const { feed, refusedCount } = this.#driver;
    return { ...Object.fromEntries(named), ...feed.counters(), refused_messages: refusedCount };
  }

  async createToken(options: CreateTokenOptions): Promise<Result<CreatedToken, ClusterFailure>> {
    const { clock, random } = this.#options;
    const token = createToken(pinOf(this.#credentials.authorities[0]!), random);
    const stored = newToken(token.secret, { ...options, wallMs: clock.wallMs() });
    const result = await this.execute(replaceToken(stored));
    if (!result.ok) return result;
    if (result.value.kind !== "done" || !result.value.succeeded) {
      const detail = "Cannot create a token: the cluster did not take its record; try again";
      return err({ kind: "overloaded", detail });
    }
    return ok({ ...publicToken(stored), token: formatToken(token) });
  }

  tokens(): readonly TokenInfo[] {
    return listTokens(this.reader).map(publicToken);
  }

  async revokeToken(id: string): Promise<Result<TokenInfo, RevokeTokenFailure>> {
    for (let attempt = 0; attempt < TOKEN_ATTEMPTS_MAX; attempt++) {
      const barrier = await this.readBarrier();
      if (!barrier.ok) return barrier;
      const token = findToken(this.reader, id);
      if (token === undefined) {
        const detail = `Cannot revoke token "${id}": there is none; see "overlay token list"`;
        return err({ kind: "not_found", detail });
      }
      const revoked = { ...token, revoked: true };
      const result = await this.execute(replaceToken(revoked));
      if (!result.ok) return result;
      if (result.value.kind === "done" && result.value.succeeded) return ok(publicToken(revoked));
    }
    const detail = `Cannot revoke token "${id}": it is being used at the moment; try again`;
    return err({ kind: "overloaded", detail });
  }

  async orderMember(verb: MemberVerb, id: NodeId): Promise<Result<MemberRecord, MemberFailure>> {
    const result = await this.#orders.about(verb, id);
    return result.ok ? ok(publicMember(result.value)) : result;
  }

  voterTarget(): number {
    return voterTargetOf(this.reader);
  }

  setVoterTarget(target: number): Promise<Result<void, MemberFailure>> {
    return this.#orders.setTarget(target);
  }

  leave(): Promise<Result<void, LeaveFailure>> {
    return leaveCluster(this.#driver, this.#options.clock);
  }

  updateSelf(info: Partial<MemberInfo>): Promise<Result<void, ClusterFailure>> {
    const { address, ...rest } = info;
    const change = address === undefined ? rest : withPort({ ...rest, address }, this.port);
    return this.#self.update(change);
  }

  trust(): TrustStatus {
    return this.#trust.status();
  }

  rotateCa(withinMs: number): Promise<Result<void, RotationFailure>> {
    return this.#trust.rotate(withinMs);
  }

  readmit(grant: JoinGrant): Promise<void> {
    return this.#trust.readmit(grant);
  }

  onApplied(listener: Parameters<Cluster["onApplied"]>[0]): () => void {
    return this.#driver.onApplied(listener);
  }

  onRole(listener: (change: RoleChange) => void): () => void {
    return this.#driver.onRole(listener);
  }

  async close(): Promise<void> {
    this.#isClosing = true;
    const { clock, logStore } = this.#options;
    await handOver(this.#driver, clock);
    this.#self.stop();
    this.#roles.stop();
    this.#versions.stop();
    this.#trust.stop();
    this.#directory.stop();
    await this.#driver.stop();
    this.#door.close();
    this.#handOuts.close();
    this.#transport.close();
    const { promise: timeout, resolve } = Promise.withResolvers<void>();
    const cancel = clock.after(CLOSE_TIMEOUT_MS, resolve);
    await Promise.race([this.#listener.close(), timeout]);
    cancel();
    await logStore.close();
  }

  #leaderless(): Leaderless | undefined {
    const leaderless = this.#driver.leaderless();
    const by = this.#supersededBy;
    if (leaderless === undefined || by === undefined) return leaderless;
    return { ...leaderless, supersededAt: this.#directory.addressOf(by) };
  }

  #isLive(id: NodeId): boolean | undefined {
    const driver = this.#driver;
    if (id === driver.nodeId || driver.feed.feeds(id)) return true;
    if (driver.isLeader() && isMember(driver.confState, id)) return driver.isLive(id);
    return id === driver.role.leader ? true : undefined;
  }

  async #lifeRecorded(life: KeptLife): Promise<void> {
    const { identity, identityStore, log } = this.#options;
    try {
      await identityStore.saveLife(
        identity.clusterId,
        formatKeptLife({ ...life, isRecorded: true }),
      );
    } catch (cause) {
      // The next start goes on in this life, which is as good to the cluster.
      log.warn("the life of this node could not be saved", { reason: String(cause) });
    }
  }

  #membersChanged(): void {
    this.#transport.membersChanged();
    this.#poke();
  }

  #roleChanged(change: RoleChange): void {
    const { log } = this.#options;
    const { term, leader } = change;
    if (leader !== this.#leader) {
      if (leader === undefined) log.info("no leader", { term });
      else if (leader === this.#driver.nodeId) log.info("this node leads the cluster", { term });
      else log.info("leader found", { term, leader: formatNodeId(leader) });
    }
    this.#leader = leader;
    // Who may speak Raft depends on whether this node hears a leader.
    this.#transport.membersChanged();
    this.#poke();
  }

  #poke(): void {
    this.#self.poke();
    this.#trust.poke();
  }
}

function withPort<Info extends { readonly address: HostPort }>(info: Info, port: number): Info {
  const { address } = info;
  return address.port === 0 ? { ...info, address: { ...address, port } } : info;
}

function publicMember(member: MemberRecord): MemberRecord {
  const { id, name, address, publicIp, underlayPrefixes, zone, joinedAtMs } = member;
  return { id, name, address, publicIp, underlayPrefixes, zone, joinedAtMs };
}
