/**
 * The end of a simulation: everything heals, and then what must happen happens, in bounded time.
 *
 * Every wait is in true time and has its limit; a limit that passes is a violation by the name of
 * what was waited for.
 *
 * @module
 */

import { ELECTION_TIMEOUT_MS } from "../../../src/control/cluster/limits.ts";
import { isJoint, memberIds } from "../../../src/control/cluster/members/conf-state.ts";
import { isRemoved } from "../../../src/control/cluster/members/member-table.ts";
import type { ConfState } from "../../../src/control/raft/types.ts";
import type { Admin } from "./admin.ts";
import type { Clients } from "./clients.ts";
import { CALM_WEATHER } from "./device.ts";
import { LEASE_TTL_SECONDS, type LeaseHolders } from "./lease-holders.ts";
import type { Nemesis } from "./nemesis.ts";
import { areRolesAsSaid } from "./roles-as-said.ts";
import type { SimNode } from "./sim-node.ts";
import type { TtlKeys } from "./ttl-keys.ts";
import { Violation } from "./violation.ts";
import type { Watchers } from "./watchers.ts";
import type { World } from "./world.ts";

/**
 * Two candidates split the votes in more than a quarter of the rounds when their ticks, which come
 * three at a time, fall together; here they do for good where clocks do not drift.
 */
const LEADER_MS = 20 * ELECTION_TIMEOUT_MS;
/** Several tries of the patient clients, with time-outs in between. */
const REQUESTS_MS = 60_000;
/** A feed goes on in small steps where frames overtake each other, as on no connection they can. */
const CONVERGENCE_MS = 60_000;
/** What is promised: a voter is given up after half a minute; then another one must catch up. */
const ROLES_MS = 45_000;
/** A new leader gives each key its whole time again; then a look, a proposal and a retry. */
const KEYS_MS = 20_000;
const LEAVE_JOINT_RETRY_MS = 500;
const REPLACE_LOOK_MS = 1_000;

/** Everything that takes part in the end. */
export interface Ending {
  readonly world: World;
  readonly nemesis: Nemesis;
  readonly clients: Clients;
  readonly watchers: Watchers;
  readonly admin: Admin;
  readonly leases: LeaseHolders | undefined;
  readonly ttlKeys: TtlKeys;
}

/** One wait: in the order of the list, each with its own limit. */
interface Wait {
  readonly what: string;
  readonly limitMs: number;
  readonly holds: () => boolean;
}

/** Ends all faults. Nodes that cannot come back are replaced where somebody may do that. */
export function heal({ world, nemesis, admin }: Ending): void {
  nemesis.stop();
  world.network.heal();
  const { weather } = world.network;
  Object.assign(weather, { dropChance: 0, duplicateChance: 0, corruptChance: 0, tailChance: 0 });
  for (const node of world.nodes.values()) {
    Object.assign(node.storage.weather, CALM_WEATHER);
    if (node.state === "lost") continue;
    node.touchesMax = undefined;
    node.process?.killAfter(Number.POSITIVE_INFINITY);
    node.restartMeanMs = 100;
    node.upgrade(); // What an older version lacks may be just what ends a deadlock.
    node.start();
  }
  const isReplaced = world.scenario.profile === "damage"; // All the time, not only from now on.
  if (isReplaced) return;
  if (world.scenario.isAutopilot) replaceLost(world, admin);
  else leaveJoint(world, admin);
}

/** What must come true, in order. */
export function ending(parts: Ending): readonly Wait[] {
  const { world, clients, watchers, admin, leases, ttlKeys } = parts;
  let target = 0;
  const waits: Wait[] = [
    { what: "a leader is elected", limitMs: LEADER_MS, holds: () => hasLeader(world) },
    {
      what: "pending requests finish",
      limitMs: REQUESTS_MS,
      holds: () => clients.openCount === 0 && admin.openCount === 0,
    },
  ];
  if (world.scenario.isAutopilot) {
    waits.push({
      what: "roles are as said",
      limitMs: ROLES_MS,
      holds: () => areRolesAsSaid(world),
    });
  }
  if (leases !== undefined) {
    waits.push({
      what: "leases of lost nodes expire",
      limitMs: 4 * LEASE_TTL_SECONDS * 1000,
      holds: () => leases.orphanCount() === 0,
    });
  }
  waits.push({
    what: "keys run out",
    limitMs: KEYS_MS,
    holds: () => world.leader() !== undefined && ttlKeys.openCount === 0,
  });
  waits.push({
    what: "replicas converge",
    limitMs: CONVERGENCE_MS,
    holds: () => {
      if (target === 0) target = world.safety.committedIndex;
      return [...membersOf(world), ...sparesOf(world)].every(
        (node) => (node.machine?.appliedIndex ?? 0) >= target,
      );
    },
  });
  waits.push({
    what: "watchers are told everything",
    limitMs: CONVERGENCE_MS,
    holds: () => {
      watchers.lookAll();
      return watchers.slowestRevision >= world.replay.revision;
    },
  });
  return waits;
}

/** The violation when the limit of `wait` passed. */
export function missed(world: World, wait: Wait): Violation {
  const nodes = [...world.nodes.values()].map((node) => describeNode(node)).join("; ");
  const { voters, votersOutgoing, learners } = world.safety.config;
  const config = `voters ${voters} outgoing ${votersOutgoing} learners ${learners}`;
  const detail = `not within ${wait.limitMs} ms of healing; ${config}; ${nodes}`;
  return new Violation(`liveness: ${wait.what}`, detail);
}

function describeNode(node: SimNode): string {
  const status = node.driver?.status();
  if (status === undefined) return `node ${node.id} ${node.state}`;
  const { role, term, leader, commit, applied } = status;
  return `node ${node.id} ${role} t${term} leader ${leader} commit ${commit} applied ${applied}`;
}

/** Whether a majority of the voters follows one leader. */
function hasLeader(world: World): boolean {
  const leader = world.leader();
  if (leader === undefined) return false;
  const { voters } = world.safety.config;
  const follows = (id: (typeof voters)[number]) => world.node(id).driver?.role.leader === leader.id;
  return voters.filter(follows).length > voters.length / 2;
}

function membersOf(world: World): SimNode[] {
  const { config } = world.safety;
  return memberIds(config)
    .map((id) => world.node(id))
    .filter((node) => node.state !== "lost");
}

/** Who began as a spare, unless an operator took it out since: nobody feeds it then. */
function sparesOf(world: World): SimNode[] {
  const reader = world.leader()?.machine?.reader;
  return world.spares.filter(
    ({ id, state }) => state !== "lost" && reader !== undefined && !isRemoved(reader, id),
  );
}

/**
 * Has the operator replace members that are lost, again and again: damage may show only when a
 * node is started again.
 */
export function replaceLost(world: World, admin: Admin, replaced = new Set<SimNode>()): void {
  for (const node of [...world.nodes.values()]) {
    // It has found out that it forgot something, and says so in its status.
    if (node.isAmnesiac && node.driver?.group.refusal !== undefined) node.giveUp();
    const isMissed = node.state === "lost" && isKnown(world.safety.config, node);
    if (!isMissed || replaced.has(node)) continue;
    replaced.add(node);
    admin.replace(node.id, world.addJoiner().id);
  }
  world.later(REPLACE_LOOK_MS, "nemesis", "replace lost nodes", () =>
    replaceLost(world, admin, replaced),
  );
}

function isKnown(config: ConfState, node: SimNode): boolean {
  return memberIds(config).includes(node.id);
}

/** Nobody leaves a joint membership that was entered to be left by hand. */
function leaveJoint(world: World, admin: Admin): void {
  world.later(LEAVE_JOINT_RETRY_MS, "nemesis", "leave joint membership", () => {
    const { config } = world.safety;
    if (isJoint(config) && !config.autoLeave) admin.propose([]);
    leaveJoint(world, admin);
  });
}
