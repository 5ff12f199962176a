/**
 * Keeps this node's part of the network: acquires its lease, renews it, and tells the data plane
 * what the store says about everybody.
 *
 *     no config --config appears--> wanting --acquired--> held --data plane assigned--> ready
 *     held --lease gone from the store--> wanting      (the data plane keeps the old one meanwhile)
 *     ready <--renewed-- suspect <--not renewed for most of its life, or found at a start-- held
 *
 * Suspect: the cluster may have given the subnet to another node, and this one cannot know. It goes
 * on carrying packets, which every receiver checks against what it knows itself, and no longer
 * tells programs on this machine to use the subnet.
 *
 * One pass runs at a time; whatever happens during a pass starts another one. A pass reads the
 * store and compares, so it does not matter which events led to it.
 *
 * @module
 */
import type { IpAddress, Prefix } from "../base/address.ts";
import { HostError } from "../base/host-error.ts";
import { formatNodeId, type NodeId } from "../base/ids.ts";
import type { Log } from "../base/log.ts";
import type { Cluster } from "../control/cluster/types.ts";
import type { KvEvent } from "../control/kv/types.ts";
import type { BackendConfig } from "../control/network/backend-config.ts";
import {
  acquireLease,
  expireLeases,
  releaseLease,
  renewLeases,
} from "../control/network/commands.ts";
import { LeaseClock } from "../control/network/expiry.ts";
import type { Lease, LeaseAttributes } from "../control/network/lease.ts";
import type { SealKey } from "../control/network/seal-key.ts";
import { type NetworkView, readNetwork, type StoredConfig } from "../control/network/view.ts";
import type { BackendPeer } from "../dataplane/backends/backend.ts";
import { backendOf } from "../dataplane/backends/node-plan.ts";
import type { FibRow } from "../dataplane/fib/row.ts";
import type { Clock, Random } from "../host/ports.ts";
import { backendPeers, enginePort } from "./backend-peers.ts";
import type { Assignment, DataPlane } from "./data-plane.ts";
import { LeaseHold, type SentAt } from "./lease-hold.ts";
import type { LeaseMemory } from "./lease-memory.ts";
import { peerRows } from "./peer-rows.ts";
import { drainingOf, Renumbering } from "./renumbering.ts";
import { sameAttributes } from "./same-attributes.ts";
import type { SealKeeper, SealPlan } from "./seal-keeper.ts";

/** A failed pass is tried again after this, doubled up to the other, plus jitter. */
const RETRY_MIN_MS = 250;
const RETRY_MAX_MS = 15_000;
/** A lease is renewed after this part of its life, so that two renewals may fail. */
const RENEW_AT_FRACTION = 1 / 3;
/** Spread of renewals, so that nodes started together do not stay together. */
const RENEW_JITTER_FRACTION = 0.1;
const EXPIRY_CHECK_MS = 1000;
/** A process that restarts more often than it renews must still renew: soon after each start. */
const FIRST_RENEWAL_MAX_MS = 5000;

/** Where this node stands with the network; `reason` is a sentence for people. */
export type NetworkState =
  | { readonly kind: "no_config" }
  | { readonly kind: "wanting"; readonly reason: string }
  | { readonly kind: "blocked"; readonly subnet: Prefix; readonly reason: string }
  | { readonly kind: "suspect"; readonly subnet: Prefix; readonly reason: string }
  | { readonly kind: "ready"; readonly subnet: Prefix };

export interface NetworkAgentOptions {
  readonly nodeId: NodeId;
  readonly cluster: Pick<Cluster, "reader" | "execute" | "status" | "onApplied" | "onRole">;
  readonly dataPlane: Pick<DataPlane, "assigned" | "assign">;
  readonly publicIp: IpAddress;
  /** A config with what this node takes part in and says of itself. */
  readonly own: (config: BackendConfig) => BackendConfig;
  /** Subnet that an earlier life of this node left in its files. */
  readonly wantedSubnet: Prefix | undefined;
  /** Says why `network` cannot be laid over this machine; undefined when it can. */
  readonly findConflict: (network: Prefix, leases: readonly Prefix[]) => string | undefined;
  /** What on this machine has addresses in `subnet`; absent: nothing ever has. */
  readonly usedBy?: (subnet: Prefix) => string | undefined;
  /** The last confirmation of a lease, over restarts; absent: none is kept. */
  readonly memory?: LeaseMemory;
  /** This node's keys; absent: it takes and sends plain packets only. */
  readonly seal?: SealKeeper;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** What the data plane was last told, and of which view. */
interface Told {
  readonly view: NetworkView;
  readonly isSure: boolean;
  readonly assignment: Assignment;
  /** Then sealing is to be decided anew. */
  readonly untilMs: number;
}

/** The network's part of one agent, for as long as it is in one cluster. */
export class NetworkAgent {
  readonly #options: NetworkAgentOptions;
  readonly #leaseClock = new LeaseClock();
  readonly #hold: LeaseHold;
  readonly #renumbering: Renumbering;
  readonly #undo: (() => void)[] = [];
  #view: NetworkView;
  #told: Told | undefined;
  #refreshCount = 0;
  #state: NetworkState = { kind: "no_config" };
  /** Of the last assignment. */
  #rows: readonly FibRow[] = [];
  #peers: readonly BackendPeer[] = [];
  #dirty = false;
  #running: Promise<void> | undefined;
  #closed = false;
  #retryMs = RETRY_MIN_MS;
  #cancelRetry: () => void = () => undefined;
  #cancelRenewal: () => void = () => undefined;
  #cancelExpiry: () => void = () => undefined;
  #cancelSuspicion: () => void = () => undefined;
  #cancelSealing: () => void = () => undefined;
  /** The lease that a renewal timer runs for. */
  #renewing: { readonly subnet: Prefix; readonly ttlSeconds: number } | undefined;

  constructor(options: NetworkAgentOptions) {
    this.#options = options;
    this.#view = readNetwork(options.cluster.reader);
    this.#hold = new LeaseHold(options.clock, options.memory?.recalled);
    this.#renumbering = new Renumbering({
      nodeId: options.nodeId,
      knownSubnet: options.wantedSubnet,
      usedBy: options.usedBy ?? (() => undefined),
      release: (subnet) => this.#release(subnet),
      onTurn: () => this.refresh(),
      clock: options.clock,
    });
  }

  /** Begins to follow the store. */
  start(): void {
    const { cluster, clock } = this.#options;
    const { leases, draining } = this.#view;
    this.#leaseClock.reset([...leases.values(), ...draining.values()], clock.nowMs());
    this.#undo.push(cluster.onApplied((events) => this.#onApplied(events)));
    this.#undo.push(cluster.onRole(() => this.#onRole()));
    this.#onRole();
    this.#wake();
  }

  get state(): NetworkState {
    return this.#state;
  }

  /** The network as this node knows it now. */
  view(): NetworkView {
    this.#view = readNetwork(this.#options.cluster.reader, this.#view);
    return this.#view;
  }

  /** The link that keeps this node's draining `subnet` in use; undefined: none does. */
  userOf(subnet: Prefix): string | undefined {
    return this.#renumbering.userOf(subnet);
  }

  /** Seconds that a held lease has left, as far as this node can know. */
  remainingSeconds(subnet: Prefix): number {
    return this.#leaseClock.remainingSeconds(subnet, this.#options.clock.nowMs()) ?? 0;
  }

  /** Looks again: something outside the store has changed. */
  refresh(): void {
    this.#refreshCount += 1;
    this.#told = undefined;
    this.#wake();
  }

  /** Stops following; waits for a pass under way. The data plane stays as it is. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const undo of this.#undo.splice(0)) undo();
    this.#cancelRetry();
    this.#cancelRenewal();
    this.#cancelExpiry();
    this.#cancelSuspicion();
    this.#cancelSealing();
    this.#renumbering.close();
    await this.#running;
    this.#options.seal?.close();
  }

  #onApplied(events: readonly KvEvent[]): void {
    this.#leaseClock.observe(events, this.#options.clock.nowMs());
    this.#wake();
  }

  #onRole(): void {
    const { cluster, clock } = this.#options;
    const { role, term } = cluster.status();
    this.#cancelExpiry();
    if (role === "leader") {
      this.#leaseClock.becameLeader(term, clock.nowMs());
      this.#cancelExpiry = clock.every(EXPIRY_CHECK_MS, () => void this.#expire());
    } else {
      this.#leaseClock.lostLeadership();
    }
    // A new leader may be able to do what the last one could not.
    this.#retryMs = RETRY_MIN_MS;
    if (this.#state.kind === "suspect") this.#renewAfter(0);
    this.#wake();
  }

  async #expire(): Promise<void> {
    for (const { term, leases } of this.#leaseClock.due(this.#options.clock.nowMs())) {
      const result = await this.#options.cluster.execute(expireLeases(term, leases));
      // Proposed again at the next check: the deadline has not moved.
      if (!result.ok) return;
      if (result.value.kind !== "expired") continue;
      for (const subnet of result.value.subnets) {
        this.#options.log.warn("lease expired", { subnet });
      }
    }
  }

  #wake(): void {
    this.#dirty = true;
    if (this.#running || this.#closed) return;
    // Begun in a later turn, so that a pass which wakes us is already known to be running.
    this.#running = Promise.resolve()
      .then(() => this.#runPasses())
      .finally(() => {
        this.#running = undefined;
      });
  }

  async #runPasses(): Promise<void> {
    while (this.#dirty && !this.#closed) {
      this.#dirty = false;
      this.#cancelRetry();
      const next = await this.#pass();
      this.#setState(next);
      if (next.kind === "wanting" || next.kind === "blocked") this.#scheduleRetry();
      else if (next.kind === "suspect")
        this.#cancelRetry(); // Its renewals go on.
      else this.#retryMs = RETRY_MIN_MS;
    }
  }

  async #pass(): Promise<NetworkState> {
    const view = this.view();
    if (view.config === undefined) return { kind: "no_config" };
    const isTold = this.#isTold(view);
    if (!isTold) this.#decideSealing(view);
    const lease = view.byNode.get(this.#options.nodeId);
    if (lease === undefined) return this.#acquire(view.config);
    const refusal = await this.#assure(lease);
    if (refusal !== undefined) return { kind: "wanting", reason: refusal };
    this.#keepRenewing(lease);
    const isSure = this.#hold.remainingMs(lease.subnet) > 0;
    if (isTold && this.#told?.isSure === isSure) return carrying(lease, isSure);
    const assignment = { ...this.#assignment(view, view.config, lease), announced: isSure };
    const conflict = this.#conflict(assignment);
    if (conflict !== undefined) return { kind: "blocked", subnet: lease.subnet, reason: conflict };
    const { dataPlane, seal } = this.#options;
    const refreshCount = this.#refreshCount;
    this.#told = undefined;
    try {
      await dataPlane.assign(assignment);
    } catch (error) {
      if (!(error instanceof HostError)) throw error;
      return { kind: "blocked", subnet: lease.subnet, reason: error.message };
    }
    this.#keepRenewing(lease);
    // Unless it was asked for again meanwhile.
    if (dataPlane.assigned === assignment && refreshCount === this.#refreshCount) {
      this.#told = { view, isSure, assignment, untilMs: seal?.nextMs ?? Infinity };
    }
    return carrying(lease, isSure);
  }

  /** Whether the data plane has all that `view` says: telling it of 10,000 peers takes 0.1 s. */
  #isTold(view: NetworkView): boolean {
    const { dataPlane, clock } = this.#options;
    const told = this.#told;
    if (told?.view !== view || clock.nowMs() >= told.untilMs) return false;
    return dataPlane.assigned === told.assignment;
  }

  /**
   * Before a subnet is carried that this process has not carried yet: the store here may be old, so
   * the cluster is asked. Undefined when the subnet may be carried, also because nobody answers.
   */
  async #assure({ subnet, node }: Lease): Promise<string | undefined> {
    const isCarried = this.#options.dataPlane.assigned?.subnet === subnet;
    if (isCarried || this.#hold.remainingMs(subnet) > 0) return undefined;
    const answer = await this.#askRenewal(subnet);
    if (answer.kind !== "not_held") return undefined;
    return `${subnet} is not the subnet of node ${formatNodeId(node)} any more`;
  }

  /** Checked only while it is new here: a later route does not tear a running one down. */
  #conflict({ network, subnet, renumbering }: Assignment): string | undefined {
    if (this.#options.dataPlane.assigned?.network === network) return undefined;
    return this.#options.findConflict(network, [subnet, ...(renumbering?.draining ?? [])]);
  }

  /** Gives up a subnet that nothing on this machine uses any more; tried again when it fails. */
  async #release(subnet: Prefix): Promise<void> {
    const { cluster, nodeId, log } = this.#options;
    const result = await cluster.execute(releaseLease({ subnet, node: nodeId }));
    if (result.ok) log.info("old subnet released: nothing uses it", { subnet });
  }

  async #acquire(stored: StoredConfig): Promise<NetworkState> {
    const { cluster, nodeId, wantedSubnet } = this.#options;
    const attributes = this.#attributes(stored);
    const wanted =
      this.#options.dataPlane.assigned?.subnet ?? wantedSubnet ?? this.#hold.record?.subnet;
    const sent = this.#hold.now();
    const result = await cluster.execute(acquireLease({ node: nodeId, attributes, wanted }));
    if (!result.ok) return { kind: "wanting", reason: result.error.detail };
    switch (result.value.kind) {
      case "acquired":
        this.#options.log.info("lease acquired", {
          subnet: result.value.lease.subnet,
          how: result.value.how,
        });
        this.#confirmed(result.value.lease, sent);
        this.#dirty = true;
        return { kind: "wanting", reason: "The lease is about to arrive" };
      case "no_config":
        return { kind: "no_config" };
      case "pool_exhausted":
        return {
          kind: "wanting",
          reason: `Cannot acquire a lease: all ${result.value.capacity} subnets of the network are held; use a larger Network or release a lease`,
        };
      default:
        return { kind: "wanting", reason: `Cannot acquire a lease: ${result.value.kind}` };
    }
  }

  #attributes(stored: StoredConfig): LeaseAttributes {
    const { nodeId, publicIp, dataPlane } = this.#options;
    // Peers are told of another way to reach this node once that way is there.
    const config = dataPlane.assigned?.backend ?? this.#options.own(stored.config.backend);
    const backend = backendOf(config).publish(nodeId, config);
    const keys = backend.kind === "udp" ? this.#sealKeys() : {};
    return { publicIp, publicIpv6: null, backend: { ...backend, ...keys } };
  }

  #sealKeys(): { readonly sealKeys?: readonly SealKey[] } {
    const sealKeys = this.#options.seal?.publish ?? [];
    return sealKeys.length === 0 ? {} : { sealKeys };
  }

  /** Which keys there are and who is sealed to, by the store and by the clock. */
  #decideSealing(view: NetworkView): void {
    const { seal, clock } = this.#options;
    if (seal === undefined) return;
    seal.update(view);
    this.#cancelSealing();
    if (seal.nextMs === undefined) return;
    const delayMs = Math.max(0, seal.nextMs - clock.nowMs());
    this.#cancelSealing = clock.after(delayMs, () => {
      // A timer may be a fraction of a millisecond early: decided anew all the same, or never.
      this.#told = undefined;
      this.#wake();
    });
  }

  #assignment(view: NetworkView, stored: StoredConfig, mine: Lease): Omit<Assignment, "announced"> {
    const seal = this.#options.seal?.plan;
    const { pool } = stored.config;
    const backend = this.#options.own(stored.config.backend);
    const { subnet, node: self } = mine;
    const { draining } = view;
    const leases = draining.size === 0 ? view.leases : new Map([...view.leases, ...draining]);
    const renumbering = this.#renumbering.plan(view, { network: pool.network, subnet });
    const peers = backendPeers(this.#peers, leases, self);
    this.#peers = peers;
    const port = enginePort(backend, peers);
    const seals = seal?.peers ?? NOBODY;
    this.#rows = peerRows(this.#rows, { leases, self, port, seals });
    const sealed = seal === undefined ? {} : { seal };
    const moving = renumbering === undefined ? {} : { renumbering };
    const tables = { rows: this.#rows, peers, ...moving };
    return { network: pool.network, subnet, backend, port, ...tables, self, ...sealed };
  }

  /** One timer for the lease held; at once when what the store says about this node is not so. */
  #keepRenewing(lease: Lease): void {
    const stored = this.#view.config;
    const own = [lease, ...drainingOf(this.#view, lease.node)];
    const attributes = stored && this.#attributes(stored);
    const stale = attributes && own.some((one) => !sameAttributes(one.attributes, attributes));
    const known = this.#renewing;
    if (known?.subnet === lease.subnet && known.ttlSeconds === lease.ttlSeconds && !stale) return;
    const isFirst = known === undefined;
    this.#renewing = { subnet: lease.subnet, ttlSeconds: lease.ttlSeconds };
    const renewMs = lease.ttlSeconds * 1000 * RENEW_AT_FRACTION;
    const firstMs = Math.min(FIRST_RENEWAL_MAX_MS, renewMs);
    this.#renewAfter(stale ? 0 : isFirst ? this.#options.random.below(firstMs) : renewMs);
  }

  #renewAfter(delayMs: number): void {
    const jitterMs = this.#options.random.below(Math.ceil(delayMs * RENEW_JITTER_FRACTION) + 1);
    this.#cancelRenewal();
    this.#cancelRenewal = this.#options.clock.after(delayMs + jitterMs, () => void this.#renew());
  }

  async #renew(): Promise<void> {
    const view = this.view();
    const lease = view.byNode.get(this.#options.nodeId);
    if (lease === undefined || view.config === undefined) {
      this.#renewing = undefined;
      return;
    }
    const answer = await this.#askRenewal(lease.subnet);
    if (this.#closed) return;
    if (answer.kind === "failed") {
      const { subnet } = lease;
      this.#options.log.warn("cannot renew the lease", { subnet, reason: answer.reason });
      this.#renewAfter(Math.min(RETRY_MAX_MS, (lease.ttlSeconds * 1000) / 10));
      return;
    }
    if (answer.kind === "not_held" || this.#state.kind !== "ready") this.#wake();
    this.#renewAfter(lease.ttlSeconds * 1000 * RENEW_AT_FRACTION);
  }

  async #askRenewal(subnet: Prefix): Promise<RenewalAnswer> {
    const { cluster, nodeId } = this.#options;
    const stored = this.#view.config;
    if (stored === undefined) return { kind: "failed", reason: "no_config" };
    const sent = this.#hold.now();
    const attributes = this.#attributes(stored);
    const draining = drainingOf(this.#view, nodeId).map((lease) => lease.subnet);
    const renewals = [subnet, ...draining].map((each) => ({
      ...{ subnet: each, node: nodeId, attributes },
    }));
    const result = await cluster.execute(renewLeases(renewals));
    if (!result.ok) return { kind: "failed", reason: result.error.detail };
    if (result.value.kind !== "renewed") return { kind: "failed", reason: result.value.kind };
    const renewed = result.value.results[0];
    if (renewed?.kind !== "renewed") return { kind: "not_held" };
    this.#confirmed(renewed, sent);
    return { kind: "renewed" };
  }

  /** The cluster says that the subnet is this node's, in answer to what was sent at `sent`. */
  #confirmed(lease: { readonly subnet: Prefix; readonly ttlSeconds: number }, sent: SentAt): void {
    if (this.#closed) return;
    const { clock, memory, log } = this.#options;
    const record = this.#hold.confirm(lease.subnet, lease.ttlSeconds, sent);
    this.#cancelSuspicion();
    this.#cancelSuspicion = clock.after(this.#hold.remainingMs(lease.subnet), () => this.#wake());
    void memory?.keep(record).catch((error: unknown) => {
      if (!(error instanceof HostError)) throw error;
      log.warn("cannot keep when the lease was renewed", { reason: error.message });
    });
  }

  #scheduleRetry(): void {
    const jitterMs = this.#options.random.below(this.#retryMs);
    this.#cancelRetry = this.#options.clock.after(this.#retryMs + jitterMs, () => this.#wake());
    this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MAX_MS);
  }

  #setState(next: NetworkState): void {
    const before = this.#state;
    this.#state = next;
    if (before.kind === next.kind && reasonOf(before) === reasonOf(next)) return;
    const { log } = this.#options;
    if (next.kind === "ready") log.info("network ready", { subnet: next.subnet });
    else if (next.kind === "blocked") log.error("network blocked", { reason: next.reason });
    else if (next.kind === "suspect") log.warn("lease in doubt", { reason: next.reason });
    else log.debug("network state", { state: next.kind, reason: reasonOf(next) });
  }
}

/** What the cluster says to a renewal. */
type RenewalAnswer =
  | { readonly kind: "renewed" }
  | { readonly kind: "not_held" }
  | { readonly kind: "failed"; readonly reason: string };

/** In a network that was never sealed. */
const NOBODY: SealPlan["peers"] = new Map();

const SUSPECT_REASON =
  "The lease was not renewed for so long that the cluster may give it away: packets go on, " +
  "and nothing new may use the subnet until a majority of the voters is back";

function carrying({ subnet }: Lease, isSure: boolean): NetworkState {
  return isSure ? { kind: "ready", subnet } : { kind: "suspect", subnet, reason: SUSPECT_REASON };
}

function reasonOf(state: NetworkState): string {
  return "reason" in state ? state.reason : "";
}
