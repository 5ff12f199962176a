/**
 * Schedules: several faults in the one order in which certain bugs show, which chance alone finds
 * too seldom. Each is named after what it leads up to.
 *
 * The moments within a schedule are drawn, so that it also passes close by.
 *
 * @module
 */
import { memberIds } from "../../../src/control/cluster/members/conf-state.ts";
import type { Clients } from "./clients.ts";
import type { Fault, Nemesis } from "./nemesis.ts";
import type { SimNode } from "./sim-node.ts";

/** Steps between two looks at who leads. */
const LOOK_STEPS = 2;

/** The schedules of one simulation; `clients` act in them. */
export function directedFaults(clients: Clients): readonly Fault[] {
  return [
    { name: "directed.long-tail", start: (nemesis) => longTail(nemesis, clients) },
    { name: "directed.new-leaders-die", start: (nemesis) => newLeadersDie(nemesis) },
    { name: "directed.slow-answers", start: (nemesis) => slowAnswers(nemesis, clients) },
    { name: "directed.restart-amid-read", start: (nemesis) => restartAmidRead(nemesis, clients) },
    { name: "directed.renewal-race", start: (nemesis) => renewalRace(nemesis) },
    { name: "directed.two-snapshots", start: (nemesis) => twoSnapshots(nemesis, clients) },
    { name: "directed.holder-away", start: (nemesis) => holderAway(nemesis) },
  ];
}

export const DIRECTED_FAULT_NAMES: readonly string[] = [
  ...["directed.long-tail", "directed.new-leaders-die", "directed.slow-answers"],
  ...["directed.restart-amid-read", "directed.renewal-race", "directed.holder-away"],
  "directed.two-snapshots",
];

/**
 * A leader is cut off and goes on taking writes, while the others have one new leader after the
 * other: its log ends in many entries that nobody else has (thesis Figure 3.6).
 */
function longTail(nemesis: Nemesis, clients: Clients): boolean {
  const { world, random } = nemesis;
  const leader = activeLeader(nemesis);
  const others = othersOf(nemesis, leader);
  if (leader === undefined || others.length < 2) return false;
  for (const { id } of others) {
    world.network.cut(leader.id, id);
    world.network.cut(id, leader.id);
  }
  nemesis.partitionCount += 1;
  nemesis.lasting(random.between(2_500, 7_000), "long tail", () => {
    nemesis.partitionCount -= 1;
    for (const { id } of others) {
      world.network.mend(leader.id, id);
      world.network.mend(id, leader.id);
    }
  });
  clients.burst(leader, "put", random.integer(5, 60));
  for (const afterMs of [1_800, 2_300, 2_800, 3_300]) {
    later(nemesis, afterMs, () => {
      const target = random.maybePick(others.filter((node) => node.driver !== undefined));
      const now = world.leader();
      if (target === undefined || now === leader || now?.isPaused !== false) return;
      now.driver?.transferLeadership(target.id);
    });
  }
  return true;
}

/** Whoever is elected ends some effects later, on a slow disk (thesis Figure 3.7). */
function newLeadersDie(nemesis: Nemesis): boolean {
  const { world, random } = nemesis;
  const endMs = world.scheduler.nowMs + random.between(2_000, 8_000);
  let term = world.leader()?.driver?.role.term ?? 0;
  const look = () => {
    if (nemesis.isStopped || world.scheduler.nowMs >= endMs) return;
    const leader = world.leader();
    const now = leader?.driver?.role.term ?? 0;
    if (leader !== undefined && now > term) {
      term = now;
      leader.process?.killAfter(random.below(16));
      leader.storage.weather.slowness = random.pick([1, 20, 100]);
      nemesis.lasting(random.exponential(800), "slow disk of a new leader", () => {
        leader.storage.weather.slowness = 1;
      });
    }
    world.laterSteps(LOOK_STEPS, look);
  };
  world.leader()?.crash();
  look();
  return true;
}

/**
 * What the others answer reaches the leader late and all at once, and meanwhile another leads: the
 * answers prove nothing about reads that came after them (etcd raft #397).
 */
function slowAnswers(nemesis: Nemesis, clients: Clients): boolean {
  const { world, random } = nemesis;
  const leader = activeLeader(nemesis);
  const others = othersOf(nemesis, leader);
  const target = random.maybePick(others.filter((node) => node.driver !== undefined));
  if (leader === undefined || target === undefined) return false;
  const clogMs = random.between(250, 900);
  for (const { id } of others) {
    world.network.clog(id, leader.id, world.scheduler.nowMs + clogMs);
  }
  clients.burst(leader, "get", 2);
  later(nemesis, random.between(5, 80), () => leader.driver?.transferLeadership(target.id));
  later(nemesis, random.between(0.3, 0.7) * clogMs, () => clients.burst(target, "put", 5));
  later(nemesis, random.between(0.6, 1) * clogMs, () => clients.burst(leader, "get", 3));
  return true;
}

/**
 * A node asks for a read and ends; its next run asks as well, and gets the answer to the first
 * question (etcd #20418).
 */
function restartAmidRead(nemesis: Nemesis, clients: Clients): boolean {
  const { world, random } = nemesis;
  const leader = activeLeader(nemesis);
  const node = random.maybePick(
    othersOf(nemesis, leader).filter((other) => other.restartMeanMs !== undefined),
  );
  if (leader === undefined || node?.driver === undefined || node.touchesMax !== undefined) {
    return false;
  }
  const before = node.restartMeanMs;
  node.restartMeanMs = 2;
  nemesis.lasting(3_000, "quick restarts", () => {
    node.restartMeanMs = before;
  });
  // A run that has asked nothing yet, and knows its leader.
  node.losePower();
  const askMs = random.between(200, 700);
  later(nemesis, askMs, () => {
    world.network.clog(leader.id, node.id, world.scheduler.nowMs + random.between(150, 900));
    clients.burst(node, "get", 1);
  });
  later(nemesis, askMs + random.between(20, 120), () => node.losePower());
  later(nemesis, askMs + 60, () => clients.burst(leader, "put", 4));
  later(nemesis, askMs + random.between(130, 250), () => clients.burst(node, "get", 1));
  return true;
}

/**
 * A renewal is in the log but not committed when its deadline passes, and the leader's order to
 * end the lease follows it there. Or the leader sleeps while another one takes the renewal, and
 * gives its order when it wakes (etcd #15247).
 */
function renewalRace(nemesis: Nemesis): boolean {
  const { world, random } = nemesis;
  const leader = activeLeader(nemesis);
  const others = othersOf(nemesis, leader);
  const holder = random.maybePick(others.filter((node) => node.driver !== undefined));
  const process = holder?.process;
  if (leader === undefined || process === undefined || process.isPaused) return false;
  const pauseMs = random.between(5_500, 8_800);
  process.pause();
  nemesis.lasting(pauseMs, "holder's pause", () => process.resume(random.chance(0.8)));
  const isLeaderAsleep = random.chance(0.5);
  const leaderPauseMs = random.between(1_500, 4_800);
  later(nemesis, pauseMs - random.between(1, isLeaderAsleep ? 1_500 : 60), () => {
    if (isLeaderAsleep) {
      const leading = leader.process;
      if (leading?.isPaused !== false) return;
      leading.pause();
      nemesis.lasting(leaderPauseMs, "leader's pause", () => leading.resume(random.chance(0.8)));
      return;
    }
    const untilMs = world.scheduler.nowMs + random.between(800, 4_500);
    for (const { storage } of others) storage.weather.stuckUntilMs = untilMs;
  });
  return true;
}

/**
 * A node that fell far behind gets a snapshot of one leader and one of the next while its disk is
 * still busy with the first.
 */
function twoSnapshots(nemesis: Nemesis, clients: Clients): boolean {
  const { world, random } = nemesis;
  const leader = activeLeader(nemesis);
  const others = othersOf(nemesis, leader);
  const [node, next] = random.shuffled(others.filter((other) => other.driver !== undefined));
  if (leader === undefined || node === undefined || next === undefined) return false;
  const links = [leader, ...others].filter((other) => other !== node);
  for (const { id } of links) {
    world.network.cut(node.id, id);
    world.network.cut(id, node.id);
  }
  nemesis.partitionCount += 1;
  const cutMs = random.between(300, 1_200);
  nemesis.lasting(cutMs, "far behind", () => {
    nemesis.partitionCount -= 1;
    for (const { id } of links) {
      world.network.mend(node.id, id);
      world.network.mend(id, node.id);
    }
  });
  clients.burst(leader, "put", 40);
  later(nemesis, cutMs + 1, () => {
    node.storage.weather.stuckUntilMs = world.scheduler.nowMs + random.between(1_000, 4_000);
  });
  const againMs = cutMs + random.between(100, 1_200);
  later(nemesis, againMs, () => clients.burst(leader, "put", 40));
  later(nemesis, againMs + random.between(50, 400), () => {
    leader.driver?.transferLeadership(next.id);
  });
  return true;
}

/** A node is away for longer than its lease lasts; what it held may be another's by then. */
function holderAway(nemesis: Nemesis): boolean {
  const { world, random } = nemesis;
  const others = othersOf(nemesis, activeLeader(nemesis));
  const holder = random.maybePick(others);
  // One at a time, or nobody would be there to take the lease.
  if (holder?.restartMeanMs === undefined) return false;
  if (others.some((node) => node.driver === undefined)) return false;
  const before = holder.restartMeanMs;
  holder.restartMeanMs = undefined;
  holder.losePower();
  nemesis.lasting(random.between(11_000, 40_000), "holder's absence", () => {
    holder.restartMeanMs = before;
    holder.start();
  });
  // The others stay, so that nothing else happens meanwhile.
  return world.scenario.leaseNetwork !== undefined;
}

function activeLeader({ world }: Nemesis): SimNode | undefined {
  const leader = world.leader();
  return leader?.isPaused === false ? leader : undefined;
}

/** The members beside `node` that are not lost. */
function othersOf({ world }: Nemesis, node: SimNode | undefined): SimNode[] {
  return memberIds(world.safety.config)
    .map((id) => world.node(id))
    .filter((other) => other !== node && other.state !== "lost");
}

/** Does `act` later, unless everything heals by then. */
function later(nemesis: Nemesis, delayMs: number, act: () => void): void {
  nemesis.world.later(delayMs, "nemesis", "next of a schedule", () => {
    if (!nemesis.isStopped) act();
  });
}
