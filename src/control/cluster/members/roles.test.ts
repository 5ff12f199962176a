import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { decodeNodeId, type NodeId } from "../../../base/ids.ts";
import type { ConfState } from "../../raft/types.ts";
import { planRoles, type RolePlan, type RoleView } from "./roles.ts";

interface Case {
  readonly why: string;
  readonly members: readonly number[];
  readonly voters: readonly number[];
  readonly learners?: readonly number[];
  /** Silent for a moment. */
  readonly dead?: readonly number[];
  /** Silent for long. */
  readonly lost?: readonly number[];
  readonly behind?: readonly number[];
  readonly self?: number;
  readonly target?: number;
  /** "+4" add voter, "~4" add as (or make) learner, "-4" remove, ">4" transfer. */
  readonly plan: string;
}

function viewOf(test: Case): RoleView {
  const ids = (numbers: readonly number[] = []) => numbers.map(decodeNodeId);
  const silent = [...(test.dead ?? []), ...(test.lost ?? [])];
  return {
    self: decodeNodeId(test.self ?? 1),
    members: ids(test.members),
    confState: {
      voters: ids(test.voters),
      votersOutgoing: [],
      learners: ids(test.learners),
      learnersNext: [],
      autoLeave: false,
    },
    voterTarget: test.target ?? 3,
    isLive: (id) => !silent.includes(id),
    isLost: (id) => (test.lost ?? []).includes(id),
    isCaughtUp: (id) => !(test.behind ?? []).includes(id),
  };
}

const SIGNS = { add_voter: "+", add_learner: "~", remove: "-", update: "?" } as const;

function written(plan: RolePlan | undefined): string {
  if (plan === undefined) return "";
  if (plan.kind === "transfer") return `>${plan.target}`;
  return plan.changes.map(({ operation, node }) => SIGNS[operation] + node).join(" ");
}

const cases: readonly Case[] = [
  { why: "alone", members: [1], voters: [1], plan: "" },
  { why: "a newcomer begins as a standby", members: [1, 2], voters: [1], plan: "~2" },
  {
    why: "two nodes are one voter and one standby",
    members: [1, 2],
    voters: [1],
    learners: [2],
    plan: "",
  },
  { why: "newcomers come in together", members: [1, 2, 3], voters: [1], plan: "~2 ~3" },
  {
    why: "three nodes: both at once",
    members: [1, 2, 3],
    voters: [1],
    learners: [2, 3],
    plan: "+2 +3",
  },
  {
    why: "not before both are caught up",
    members: [1, 2, 3],
    voters: [1],
    learners: [2, 3],
    behind: [3],
    plan: "",
  },
  {
    why: "not while one is dead",
    members: [1, 2, 3],
    voters: [1],
    learners: [2, 3],
    dead: [3],
    plan: "",
  },
  {
    why: "a fourth stays a standby",
    members: [1, 2, 3, 4],
    voters: [1, 2, 3],
    learners: [4],
    plan: "",
  },
  {
    why: "five of five when that is the setting",
    members: [1, 2, 3, 4, 5],
    voters: [1, 2, 3],
    learners: [4, 5],
    target: 5,
    plan: "+4 +5",
  },
  {
    why: "four are three voters even then",
    members: [1, 2, 3, 4],
    voters: [1, 2, 3],
    learners: [4],
    target: 5,
    plan: "",
  },

  {
    why: "one leaves three: one voter, one standby",
    members: [1, 2],
    voters: [1, 2, 3],
    plan: "~2 -3",
  },
  {
    why: "the leader leaves three: hand over first",
    members: [2, 3],
    voters: [1, 2, 3],
    plan: ">2",
  },
  {
    why: "then the new leader goes on",
    members: [2, 3],
    voters: [1, 2, 3],
    self: 2,
    plan: "~3 -1",
  },
  {
    why: "the leader leaves two: the standby gets a vote",
    members: [2],
    voters: [1],
    learners: [2],
    plan: "+2",
  },
  { why: "then the leadership", members: [2], voters: [1, 2], plan: ">2" },
  { why: "then the leaver goes", members: [2], voters: [1, 2], self: 2, plan: "-1" },
  {
    why: "the only voter cannot go while the standby is dead",
    members: [2],
    voters: [1],
    learners: [2],
    dead: [2],
    plan: "",
  },
  {
    why: "the only voter cannot go while the standby is behind",
    members: [2],
    voters: [1],
    learners: [2],
    behind: [2],
    plan: "",
  },
  {
    why: "a standby takes the leaver's place",
    members: [1, 2, 4],
    voters: [1, 2, 3],
    learners: [4],
    plan: "+4 -3",
  },
  {
    why: "a standby that is behind is waited for, two votes meanwhile",
    members: [1, 2, 4],
    voters: [1, 2, 3],
    learners: [4],
    behind: [4],
    plan: "-3",
  },
  {
    why: "a dead standby is not waited for",
    members: [1, 2, 4],
    voters: [1, 2, 3],
    learners: [4],
    dead: [4],
    plan: "~2 -3",
  },
  { why: "a standby leaves", members: [1, 2, 3], voters: [1, 2, 3], learners: [4], plan: "-4" },
  {
    why: "a dead voter is removed by order",
    members: [1, 2],
    voters: [1, 2, 3],
    dead: [3],
    plan: "~2 -3",
  },
  {
    why: "the live voter is kept, not the dead one",
    members: [1, 2, 3],
    voters: [1, 2, 3, 4, 5],
    dead: [2],
    plan: "-4 -5",
  },

  {
    why: "a voter that is silent for a moment stays",
    members: [1, 2, 3, 4],
    voters: [1, 2, 3],
    learners: [4],
    dead: [3],
    plan: "",
  },
  {
    why: "a lost voter gives way to a standby",
    members: [1, 2, 3, 4],
    voters: [1, 2, 3],
    learners: [4],
    lost: [3],
    plan: "+4 ~3",
  },
  {
    why: "a lost voter stays without one",
    members: [1, 2, 3],
    voters: [1, 2, 3],
    lost: [3],
    plan: "",
  },
  {
    why: "a lost voter stays while the standby is behind",
    members: [1, 2, 3, 4],
    voters: [1, 2, 3],
    learners: [4],
    lost: [3],
    behind: [4],
    plan: "",
  },
  {
    why: "nothing without a live majority",
    members: [1],
    voters: [1, 2, 3],
    dead: [2, 3],
    plan: "",
  },
  {
    why: "nothing that would need the dead",
    members: [1, 2],
    voters: [1, 2],
    learners: [],
    dead: [2],
    plan: "",
  },
];

describe("planRoles", () => {
  for (const each of cases) {
    test(`${each.why}: "${each.plan}"`, () => {
      expect(written(planRoles(viewOf(each)))).toBe(each.plan);
    });
  }

  test("one change at a time: none between two configurations", () => {
    const view = viewOf({ why: "", members: [1, 2, 3], voters: [1], learners: [2, 3], plan: "" });
    const confState: ConfState = { ...view.confState, votersOutgoing: [decodeNodeId(1)] };
    expect(planRoles({ ...view, confState })).toBeUndefined();
  });

  test("from any state it ends, at the right roles, never without a live majority", () => {
    const state = fc.record({
      members: fc.uniqueArray(fc.integer({ min: 1, max: 8 }), { minLength: 1, maxLength: 8 }),
      voters: fc.uniqueArray(fc.integer({ min: 1, max: 8 }), { minLength: 1, maxLength: 5 }),
      dead: fc.uniqueArray(fc.integer({ min: 1, max: 8 }), { maxLength: 3 }),
    });
    fc.assert(
      fc.property(state, ({ members, voters, dead }) => {
        const live = voters.filter((id) => !dead.includes(id));
        fc.pre(live.length > voters.length / 2);
        checkRun(members, voters, dead, live[0]!);
      }),
      { numRuns: 2_000 },
    );
  });
});

/** Follows the plan to its end, as a cluster would. */
function checkRun(
  members: readonly number[],
  startVoters: readonly number[],
  dead: readonly number[],
  leader: number,
): void {
  let voters = new Set(startVoters);
  let learners = new Set<number>();
  let self = leader;
  const isLive = (id: NodeId | number) => !dead.includes(id);
  for (let step = 0; step < 20; step++) {
    const ascending = (ids: Set<number>) => [...ids].sort((a, b) => a - b);
    const plan = planRoles(
      viewOf({
        why: "",
        members,
        voters: ascending(voters),
        learners: ascending(learners),
        dead,
        self,
        plan: "",
      }),
    );
    if (plan === undefined) {
      const liveMembers = members.filter(isLive);
      if (dead.length === 0) {
        const target = members.length >= 3 ? 3 : 1;
        expect(voters.size).toBe(target);
        expect([...voters].every((id) => members.includes(id))).toBeTrue();
      }
      // Whoever left is out, if anybody live is there to carry on.
      if (liveMembers.length === members.length) {
        expect([...voters, ...learners].sort()).toEqual([...members].sort());
      }
      return;
    }
    if (plan.kind === "transfer") {
      expect(voters.has(plan.target)).toBeTrue();
      self = plan.target;
      continue;
    }
    const nextVoters = new Set(voters);
    const nextLearners = new Set(learners);
    for (const { operation, node } of plan.changes) {
      nextVoters.delete(node);
      nextLearners.delete(node);
      if (operation === "add_voter") nextVoters.add(node);
      if (operation === "add_learner") nextLearners.add(node);
    }
    const liveCount = [...nextVoters].filter(isLive).length;
    expect(liveCount).toBeGreaterThan(nextVoters.size / 2);
    expect(nextVoters.has(self)).toBeTrue();
    voters = nextVoters;
    learners = nextLearners;
  }
  throw new Error("the plan does not end");
}
