/**
 * Changes of the membership at bad moments: nodes come and go, leaders are removed or hand over,
 * with or without the leader's own role keeper at work.
 *
 * @module
 */
import type { NodeId } from "../../../src/base/ids.ts";
import { isJoint } from "../../../src/control/cluster/members/conf-state.ts";
import { isRemoved, listMembers } from "../../../src/control/cluster/members/member-table.ts";
import { type RoleWish, VOTER_TARGETS } from "../../../src/control/cluster/members/roles.ts";
import type { ConfChangeSingle } from "../../../src/control/raft/types.ts";
import type { Admin } from "./admin.ts";
import { losable } from "./faults-disk.ts";
import type { Fault, Nemesis } from "./nemesis.ts";

const NODES_MAX = 12;
const VOTERS_MAX = 7;

/** The faults of one simulation, whose operator is `admin`. */
export function membershipFaults(admin: Admin): readonly Fault[] {
  return [
    {
      name: "member.transfer",
      start({ world, random }) {
        const leader = world.leader();
        const target = random.maybePick(world.safety.config.voters);
        if (leader?.process?.isPaused !== false || target === undefined) return false;
        leader.driver?.transferLeadership(target);
        return true;
      },
    },
    ...TABLE_FAULTS.map((fault) => ({
      name: fault.name,
      isPatient: fault.isPatient ?? false,
      start: (nemesis: Nemesis) =>
        nemesis.world.scenario.isAutopilot && fault.start(nemesis, admin) && noted(nemesis),
    })),
    ...RAFT_FAULTS.map((fault) => ({
      name: fault.name,
      start(nemesis: Nemesis) {
        const changes = fault.plan(nemesis);
        if (changes === undefined || changes.length === 0) return false;
        const { world, random } = nemesis;
        if (!admin.propose(changes, random.chance(0.3) ? "implicit" : "auto")) return false;
        if (changes.some((change) => change.node === world.nextId)) world.addJoiner();
        return noted(nemesis);
      },
    })),
  ];
}

interface TableFault {
  readonly name: string;
  readonly isPatient?: boolean;
  start(nemesis: Nemesis, admin: Admin): boolean;
}

/** Through the members table; the leader's role keeper does the rest. */
const TABLE_FAULTS: readonly TableFault[] = [
  {
    name: "member.join",
    start({ world }, admin) {
      if (world.nodes.size >= NODES_MAX) return false;
      admin.enlist(world.addJoiner().id);
      return true;
    },
  },
  {
    name: "member.leave",
    isPatient: true,
    start(nemesis, admin) {
      const { world, random } = nemesis;
      const spareable = losable(nemesis).filter((node) => node !== world.leader());
      const node = random.maybePick(spareable);
      if (node === undefined || world.safety.config.voters.length < 3) return false;
      admin.dismiss(node.id);
      return true;
    },
  },
  // Somebody runs a node that was removed, files and all: its id is used up.
  {
    name: "member.return",
    start({ world, random }, admin) {
      const machine = world.leader()?.machine;
      if (machine === undefined) return false;
      const removed = [...world.nodes.values()].filter(({ id }) => isRemoved(machine.reader, id));
      const node = random.maybePick(removed);
      if (node === undefined) return false;
      admin.enlist(node.id);
      node.start();
      return true;
    },
  },
  wishing("member.wish-voter", "voter"),
  wishing("member.wish-standby", "standby"),
  {
    name: "member.target",
    start({ random }, admin) {
      admin.target(random.pick(VOTER_TARGETS));
      return true;
    },
  },
  {
    name: "member.leave-leader",
    start({ world }, admin) {
      const leader = world.leader();
      if (leader === undefined || world.safety.config.voters.length < 3) return false;
      admin.dismiss(leader.id);
      return true;
    },
  },
];

/** Of any node in the table, whatever it is at the moment. */
function wishing(name: string, wish: RoleWish): TableFault {
  return {
    name,
    start({ world, random }, admin) {
      const reader = world.leader()?.machine?.reader;
      const member = random.maybePick(reader === undefined ? [] : listMembers(reader));
      if (member === undefined) return false;
      admin.wish(member.id, wish);
      return true;
    },
  };
}

interface RaftFault {
  readonly name: string;
  plan(nemesis: Nemesis): readonly ConfChangeSingle[] | undefined;
}

/** Directly at the leader, past its role keeper. */
const RAFT_FAULTS: readonly RaftFault[] = [
  {
    name: "member.add-learner",
    plan({ world }) {
      if (world.nodes.size >= NODES_MAX || world.scenario.isAutopilot) return undefined;
      return [{ operation: "add_learner", node: world.nextId }];
    },
  },
  {
    name: "member.add-voter",
    plan({ world }) {
      const { voters } = world.safety.config;
      if (world.nodes.size >= NODES_MAX || voters.length >= VOTERS_MAX) return undefined;
      if (world.scenario.isAutopilot) return undefined;
      return [{ operation: "add_voter", node: world.nextId }];
    },
  },
  {
    name: "member.promote",
    plan({ world, random }) {
      // Not one that will never answer: its vote would be missed for good.
      const isUsable = (id: NodeId) => world.node(id).state !== "lost" && !world.node(id).isDamaged;
      const node = random.maybePick(world.safety.config.learners.filter(isUsable));
      return node === undefined ? undefined : [{ operation: "add_voter", node }];
    },
  },
  {
    name: "member.demote",
    plan({ world, random }) {
      const { voters } = world.safety.config;
      if (voters.length < 2) return undefined;
      return [{ operation: "add_learner", node: random.pick(voters) }];
    },
  },
  {
    name: "member.remove",
    plan({ world, random }) {
      const { voters, learners } = world.safety.config;
      if (voters.length < 2 || world.scenario.isAutopilot) return undefined;
      return [{ operation: "remove", node: random.pick([...voters, ...learners]) }];
    },
  },
  {
    name: "member.remove-leader",
    plan({ world }) {
      const { voters } = world.safety.config;
      const leader = world.leader();
      if (leader === undefined || voters.length < 2 || world.scenario.isAutopilot) return undefined;
      return [{ operation: "remove", node: leader.id }];
    },
  },
  {
    name: "member.replace",
    plan({ world, random }) {
      const { voters, votersOutgoing } = world.safety.config;
      if (votersOutgoing.length > 0 || world.scenario.isAutopilot) return undefined;
      if (world.nodes.size >= NODES_MAX || voters.length < 2) return undefined;
      const gone: NodeId = random.pick(voters);
      return [
        { operation: "add_voter", node: world.nextId },
        { operation: "remove", node: gone },
      ];
    },
  },
];

/** Notes in what company a change was asked for. */
function noted(nemesis: Nemesis): true {
  const { world } = nemesis;
  if (nemesis.partitionCount > 0) nemesis.fired("member.during-partition");
  if (isJoint(world.safety.config)) nemesis.fired("member.during-joint");
  const progress = world.leader()?.driver?.status().progress;
  const isSending = [...(progress?.values() ?? [])].some((each) => each.kind === "snapshot");
  if (isSending) nemesis.fired("member.during-snapshot");
  return true;
}
