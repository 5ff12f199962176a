/**
 * Holders of subnet leases: the agent's own code on every node, and what each believes to hold.
 *
 * A node believes in a lease from the answer to an acquisition or renewal until
 * `HOLDER_STOP_FRACTION` of the time to live has passed since it *asked*, by its own clock, whether
 * it runs or not. Checked in true time: no two nodes ever believe in overlapping subnets, and no
 * lease is taken away before its time to live is over.
 *
 * A machine whose clock stood still measures nothing: its belief is not checked from then on.
 *
 * @module
 */

import { NetworkAgent } from "../../../src/agent/network-agent.ts";
import { type IpAddress, type Prefix, parseAddress } from "../../../src/base/address.ts";
import type { NodeId } from "../../../src/base/ids.ts";
import type { Driver } from "../../../src/control/cluster/driver.ts";
import type { ClusterStatus } from "../../../src/control/cluster/types.ts";
import type { Applied, Command } from "../../../src/control/kv/types.ts";
import {
  type AcquireOutcome,
  type ExpireOutcome,
  putConfig,
  type RenewOutcome,
} from "../../../src/control/network/commands.ts";
import { HOLDER_STOP_FRACTION } from "../../../src/control/network/limits.ts";
import { readNetwork } from "../../../src/control/network/view.ts";
import { CLUSTER, type Companion, type SimNode } from "./sim-node.ts";
import type { SimProcess } from "./sim-process.ts";
import { createTraceLog } from "./trace-log.ts";
import { must } from "./violation.ts";
import type { NodeRun, World } from "./world.ts";

/** The shortest there is. */
export const LEASE_TTL_SECONDS = 10;
const CONFIG_RETRY_MS = 500;

interface Belief {
  readonly subnet: Prefix;
  /** By the holder's own clock. */
  readonly untilMs: number;
  readonly frozenCount: number;
}

/** All holders of one simulation. */
export class LeaseHolders {
  readonly #world: World;
  readonly #beliefs = new Map<NodeId, Belief>();
  /** True time at which the last acquisition or renewal of a subnet was first applied. */
  readonly #renewedAtMs = new Map<Prefix, number>();

  constructor(world: World) {
    this.#world = world;
    world.companionFactories.push((node, run) => this.#hold(node, run));
    world.firstListeners.push((_, __, applied, command) => this.#applied(applied, command));
    this.#configure();
  }

  /** Held leases whose holders will never renew them. */
  orphanCount(): number {
    const machine = this.#world.leader()?.machine;
    if (machine === undefined) return 0;
    const leases = [...readNetwork(machine.reader).leases.values()];
    const isGone = (id: NodeId) => this.#world.node(id).state === "lost";
    return leases.filter((lease) => lease.state === "held" && isGone(lease.node)).length;
  }

  /** Writes the network's config as soon as some node takes it. */
  #configure(): void {
    const world = this.#world;
    const again = () => world.later(CONFIG_RETRY_MS, "client", "config", () => this.#configure());
    const node = world.random.maybePick(world.upNodes());
    if (node?.driver === undefined || node.process === undefined) {
      again();
      return;
    }
    // Fewer subnets than nodes: leases are handed on as soon as they end.
    const config = {
      Network: world.scenario.leaseNetwork ?? "10.9.0.0/24",
      SubnetLen: 28,
      LeaseTTLSeconds: LEASE_TTL_SECONDS,
      Backend: { Type: "udp" },
    };
    let isDone = false;
    void node.driver.execute(putConfig({ config })).then((result) => {
      if (!result.ok) return;
      must(result.value.kind === "stored", "config", () => JSON.stringify(result.value));
      isDone = true;
    });
    world.later(6_000, "client", "config", () => {
      if (!isDone) this.#configure();
    });
  }

  #hold(node: SimNode, { driver, process }: NodeRun): Companion {
    const agent = new NetworkAgent({
      nodeId: node.id,
      cluster: {
        reader: driver.reader,
        execute: (command, options) => this.#execute(node, driver, process, { command, options }),
        status: () => statusOf(driver),
        onApplied: (listener) => driver.onApplied(listener),
        onRole: (listener) => driver.onRole(listener),
      },
      dataPlane: { assigned: undefined, assign: () => Promise.resolve() },
      publicIp: addressOf(node.id),
      own: (config) => config,
      wantedSubnet: this.#beliefs.get(node.id)?.subnet,
      findConflict: () => undefined,
      clock: node.clock.portFor(process),
      random: this.#world.random,
      log: createTraceLog(this.#world, node.id),
    });
    agent.start();
    return { stop: () => undefined };
  }

  async #execute<Outcome>(
    node: SimNode,
    driver: Driver,
    process: SimProcess,
    call: {
      readonly command: Command<Outcome>;
      readonly options: Parameters<Driver["execute"]>[1];
    },
  ): ReturnType<typeof driver.execute<Outcome>> {
    const sentMs = node.clock.nowMs();
    const { kind } = call.command;
    const result = await driver.execute(call.command, call.options);
    if (result.ok && process.isAlive) {
      if (kind === "acquire_lease") {
        const outcome = result.value as AcquireOutcome;
        if (outcome.kind === "acquired") this.#believe(node, outcome.lease.subnet, sentMs);
      } else if (kind === "renew_leases") {
        const outcome = result.value as RenewOutcome;
        const renewed = outcome.kind === "renewed" ? outcome.results[0] : undefined;
        if (renewed?.kind === "renewed") this.#believe(node, renewed.subnet, sentMs);
      }
    }
    return result;
  }

  #believe(node: SimNode, subnet: Prefix, sentMs: number): void {
    const world = this.#world;
    world.coverage.hit("sometimes.lease-held");
    const untilMs = sentMs + LEASE_TTL_SECONDS * 1000 * HOLDER_STOP_FRACTION;
    this.#beliefs.set(node.id, { subnet, untilMs, frozenCount: node.frozenCount });
    for (const [id, belief] of this.#beliefs) {
      if (id === node.id || belief.subnet !== subnet) continue;
      const other = world.node(id);
      if (belief.frozenCount !== other.frozenCount) continue;
      world.coverage.hit("sometimes.lease-handed-on");
      must(
        other.clock.nowMs() >= belief.untilMs || node.clock.nowMs() >= untilMs,
        "no two nodes believe in one lease",
        () => `${subnet}: node ${id} and node ${node.id}`,
      );
    }
  }

  #applied({ outcome, events }: Applied, { kind }: Command): void {
    if (events.length === 0) return; // A retry is answered again, and changes nothing.
    const { nowMs } = this.#world.scheduler;
    if (kind === "acquire_lease") {
      const acquired = outcome as AcquireOutcome;
      if (acquired.kind === "acquired") this.#renewedAtMs.set(acquired.lease.subnet, nowMs);
    } else if (kind === "renew_leases") {
      const renewed = outcome as RenewOutcome;
      for (const result of renewed.kind === "renewed" ? renewed.results : []) {
        if (result.kind === "renewed") this.#renewedAtMs.set(result.subnet, nowMs);
      }
    } else if (kind === "expire_leases") {
      const expired = outcome as ExpireOutcome;
      for (const subnet of expired.kind === "expired" ? expired.subnets : []) {
        this.#expired(subnet, nowMs);
      }
    }
  }

  #expired(subnet: Prefix, nowMs: number): void {
    this.#world.coverage.hit("sometimes.lease-expired");
    const renewedAtMs = this.#renewedAtMs.get(subnet) ?? 0;
    const ttlMs = (LEASE_TTL_SECONDS * 1000) / (1 + this.#world.scenario.clockDriftMax);
    must(
      nowMs - renewedAtMs >= ttlMs - 1,
      "no lease ends before its time",
      () => `${subnet} was renewed at ${renewedAtMs} and expired at ${nowMs}`,
    );
  }
}

function addressOf(id: NodeId): IpAddress {
  const address = parseAddress(`192.0.2.${id}`);
  must(address !== undefined, "address", () => `of node ${id}`);
  return address;
}

function statusOf(driver: Driver): ClusterStatus {
  const { role, term, leader, commit, applied } = driver.status();
  return {
    ...{ nodeId: driver.nodeId, ...CLUSTER, role, term, leader, commit, applied },
    memberRole: "voter",
    revision: driver.reader.revision,
    hasQuorum: driver.hasQuorum(),
    leaderless: driver.leaderless(),
    voterCount: driver.confState.voters.length,
    removed: driver.group.isExpelled,
    refusal: driver.group.refusal,
    warnings: [],
    feed: driver.feed.status,
  };
}
