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
  readonly stalled?: readonly number[];
  readonly resting?: readonly number[];
  /** One letter for each node from 1 on. */
  readonly zones?: string;
  /** Wished to be a voter, or a standby. */
  readonly up?: readonly number[];
  readonly down?: readonly number[];
  readonly standbys?: number;
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
    standbyTarget: test.standbys ?? Number.POSITIVE_INFINITY,
    isReady: (id) => !(test.behind ?? []).includes(id),
    isStalled: (id) => (test.stalled ?? []).includes(id),
    isResting: (id) => (test.resting ?? []).includes(id),
    zoneOf: (id) => test.zones?.[id - 1] ?? "",
    wishOf: (id) => {
      if ((test.up ?? []).includes(id)) return "voter";
      return (test.down ?? []).includes(id) ? "standby" : undefined;
    },
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

  {
    why: "a wish puts a standby in the place of a voter without one, not the leader's",
    members: [1, 2, 3, 4],
    voters: [1, 2, 3],
    learners: [4],
    up: [4],
    plan: "+4 ~3",
  },
  {
    why: "a wish does not help a standby that is behind",
    members: [1, 2, 3, 4],
    voters: [1, 2, 3],
    learners: [4],
    up: [4],
    behind: [4],
    plan: "",
  },
  {
    why: "who should not vote gives way to who may",
    members: [1, 2, 3, 4],
    voters: [1, 2, 3],
    learners: [4],
    down: [2],
    plan: "+4 ~2",
  },
  {
    why: "and votes on where nobody else can",
    members: [1, 2, 3],
    voters: [1, 2, 3],
    down: [2],
    plan: "",
  },
  {
    why: "a demoted node is not chosen for a lost one while another is there",
    members: [1, 2, 3, 4, 5],
    voters: [1, 2, 3],
    learners: [4, 5],
    lost: [3],
    down: [4],
    plan: "+5 ~3",
  },
  {
    why: "but it is when nobody else is",
    members: [1, 2, 3, 4],
    voters: [1, 2, 3],
    learners: [4],
    lost: [3],
    down: [4],
    plan: "+4 ~3",
  },
  {
    why: "the demoted leader: first a vote for another",
    members: [1, 2],
    voters: [1],
    learners: [2],
    down: [1],
    plan: "+2",
  },
  { why: "then the leadership, by wish", members: [1, 2], voters: [1, 2], down: [1], plan: ">2" },
  {
    why: "then it stands by",
    members: [1, 2],
    voters: [1, 2],
    down: [1],
    self: 2,
    plan: "~1",
  },

  {
    why: "three voters in three zones of four nodes",
    members: [1, 2, 3, 4],
    voters: [1],
    learners: [2, 3, 4],
    zones: "aabc",
    plan: "+4 +3",
  },
  {
    why: "a newcomer in a zone of its own takes the place of one of two in a zone",
    members: [1, 2, 3, 4],
    voters: [1, 2, 3],
    learners: [4],
    zones: "aabc",
    plan: "+4 ~2",
  },
  {
    why: "never the leader's",
    members: [1, 2, 3, 4],
    voters: [1, 2, 3],
    learners: [4],
    zones: "abac",
    plan: "+4 ~3",
  },
  {
    why: "as many zones already: nobody changes places",
    members: [1, 2, 3, 4],
    voters: [1, 2, 3],
    learners: [4],
    zones: "abca",
    plan: "",
  },
  {
    why: "five voters in three zones: two, two, one",
    members: [1, 2, 3, 4, 5, 6],
    voters: [1, 2, 3, 4, 5],
    learners: [6],
    zones: "aabbcc",
    target: 5,
    plan: "",
  },
  {
    why: "and not three, one, one",
    members: [1, 2, 3, 4, 5, 6],
    voters: [1, 2, 3, 4, 5],
    learners: [6],
    zones: "aaabcb",
    target: 5,
    plan: "+6 ~3",
  },
  {
    why: "a wish goes before zones",
    members: [1, 2, 3, 4],
    voters: [1, 2, 3],
    learners: [4],
    zones: "aaac",
    up: [2, 3],
    plan: "",
  },

  {
    why: "three standbys, the rest stays outside",
    members: [1, 2, 3, 4, 5, 6, 7, 8],
    voters: [1, 2, 3],
    learners: [4],
    standbys: 3,
    plan: "~5 ~6",
  },
  {
    why: "a spare takes the place of the standby that was promoted",
    members: [1, 2, 3, 4, 5, 6, 7],
    voters: [1, 2, 3],
    learners: [4, 5],
    standbys: 3,
    dead: [6],
    plan: "~7",
  },
  {
    why: "standbys that are too many leave, the dead first",
    members: [1, 2, 3, 4, 5, 6, 7],
    voters: [1, 2, 3],
    learners: [4, 5, 6, 7],
    standbys: 3,
    lost: [5],
    plan: "-5",
  },
  {
    why: "a lost standby gives way to a live spare",
    members: [1, 2, 3, 4, 5, 6, 7],
    voters: [1, 2, 3],
    learners: [4, 5, 6],
    standbys: 3,
    lost: [5],
    plan: "~7",
  },
  {
    why: "a lost standby stays without one",
    members: [1, 2, 3, 4, 5, 6, 7],
    voters: [1, 2, 3],
    learners: [4, 5, 6],
    standbys: 3,
    lost: [5, 7],
    plan: "",
  },
  {
    why: "a stalled standby is let go",
    members: [1, 2, 3, 4],
    voters: [1, 2, 3],
    learners: [4],
    stalled: [4],
    plan: "-4",
  },
  {
    why: "and not taken back at once",
    members: [1, 2, 3, 4],
    voters: [1, 2, 3],
    resting: [4],
    plan: "",
  },
  {
    why: "a spare in a new zone stands by in the place of one of three in a zone",
    members: [1, 2, 3, 4, 5, 6, 7],
    voters: [1, 2, 3],
    learners: [4, 5, 6],
    standbys: 3,
    zones: "aaaaaab",
    plan: "~7",
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
    const nodes = fc.uniqueArray(fc.integer({ min: 1, max: 8 }), { maxLength: 2 });
    const state = fc.record({
      members: fc.uniqueArray(fc.integer({ min: 1, max: 8 }), { minLength: 1, maxLength: 8 }),
      voters: fc.uniqueArray(fc.integer({ min: 1, max: 8 }), { minLength: 1, maxLength: 5 }),
      dead: fc.uniqueArray(fc.integer({ min: 1, max: 8 }), { maxLength: 3 }),
      zones: fc.string({ unit: fc.constantFrom("a", "b", "c"), minLength: 8, maxLength: 8 }),
      wishes: fc.record({ up: nodes, down: nodes }),
      standbys: fc.constantFrom(1, 3, Number.POSITIVE_INFINITY),
    });
    fc.assert(
      fc.property(state, ({ voters, wishes, ...rest }) => {
        const live = voters.filter((id) => !rest.dead.includes(id));
        fc.pre(live.length > voters.length / 2);
        checkRun({ ...rest, ...wishes, why: "", plan: "", voters, self: live[0]! });
      }),
      { numRuns: 2_000 },
    );
  });
});

/** Follows the plan to its end, as a cluster would. */
function checkRun(start: Case): void {
  const { members, dead = [], standbys = 0 } = start;
  let voters = new Set(start.voters);
  let learners = new Set<number>();
  let self = start.self ?? 1;
  const isLive = (id: NodeId | number) => !dead.includes(id);
  const ascending = (ids: Set<number>) => [...ids].sort((a, b) => a - b);
  for (let step = 0; step < 20; step++) {
    const now = { voters: ascending(voters), learners: ascending(learners), self };
    const plan = planRoles(viewOf({ ...start, ...now }));
    if (plan === undefined) {
      if (dead.length === 0) {
        expect(voters.size).toBe(members.length >= 3 ? 3 : 1);
        expect([...voters].every((id) => members.includes(id))).toBeTrue();
      }
      // Whoever left is out, and whoever there is room for is in, if all live to carry on.
      if (members.every(isLive)) {
        const count = Math.min(members.length, voters.size + standbys);
        expect([...voters, ...learners].every((id) => members.includes(id))).toBeTrue();
        expect(voters.size + learners.size).toBe(count);
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
