import { describe, expect, test } from "bun:test";
import { decodeNodeId } from "../../../base/ids.ts";
import { obstacleToDemotion, obstacleToPromotion, obstacleToRemoval } from "./obstacles.ts";
import type { RoleView } from "./roles.ts";

interface Scene {
  readonly members: readonly number[];
  readonly voters: readonly number[];
  readonly dead?: readonly number[];
  readonly behind?: readonly number[];
  /** Wished to vote. */
  readonly up?: readonly number[];
  /** Of the members that do not vote. */
  readonly spares?: readonly number[];
  readonly target?: number;
}

function viewOf(scene: Scene): RoleView {
  const { members, voters, dead = [], behind = [], up = [], spares = [], target = 3 } = scene;
  const learners = members.filter((id) => !voters.includes(id) && !spares.includes(id));
  return {
    self: decodeNodeId(voters[0]!),
    members: members.map(decodeNodeId),
    confState: {
      voters: voters.map(decodeNodeId),
      votersOutgoing: [],
      learners: learners.map(decodeNodeId),
      learnersNext: [],
      autoLeave: false,
    },
    voterTarget: target,
    standbyTarget: spares.length > 0 ? learners.length : Number.POSITIVE_INFINITY,
    isLive: (id) => !dead.includes(id),
    isLost: (id) => dead.includes(id),
    isReady: (id) => !behind.includes(id) && !dead.includes(id),
    isStalled: () => false,
    isResting: () => false,
    zoneOf: () => "",
    wishOf: (id) => (up.includes(id) ? "voter" : undefined),
  };
}

interface Case extends Scene {
  readonly why: string;
  readonly id: number;
  /** A part of the reason; "": there is none. */
  readonly says: string;
}

const four = { members: [1, 2, 3, 4], voters: [1, 2, 3] };

const promotions: readonly Case[] = [
  { ...four, why: "a standby", id: 4, says: "" },
  { ...four, why: "a voter", id: 2, says: "" },
  { ...four, why: "a dead one", id: 4, dead: [4], says: "does not answer" },
  { ...four, why: "one that is behind", id: 4, behind: [4], says: "has not caught up" },
  { ...four, why: "a spare", id: 4, spares: [4], says: "is a spare" },
  { ...four, why: "one too many", id: 4, up: [1, 2, 3], says: "demote one of them" },
];
const demotions: readonly Case[] = [
  { ...four, why: "a voter that a standby can follow", id: 2, says: "" },
  { ...four, why: "the leader", id: 1, says: "" },
  { ...four, why: "a standby", id: 4, says: "" },
  { ...four, why: "one whose standby is dead", id: 2, dead: [4], says: "no standby is ready" },
  { why: "one of three", members: [1, 2, 3], voters: [1, 2, 3], id: 2, says: "no standby" },
  { why: "the voter of two", members: [1, 2], voters: [1], id: 1, says: "" },
];
const five = { members: [1, 2, 3, 4, 5], voters: [1, 2, 3, 4, 5], target: 5 };
const removals: readonly Case[] = [
  { ...four, why: "a voter", id: 2, says: "" },
  { ...four, why: "the leader", id: 1, says: "" },
  { ...four, why: "a standby", id: 4, says: "" },
  { ...four, why: "a dead voter", id: 3, dead: [3], says: "" },
  { ...four, why: "a live voter beside a dead one", id: 2, dead: [3], says: "" },
  { ...five, why: "one of three live ones of five", id: 3, dead: [4, 5], says: "" },
  {
    why: "a second of five while the first is on its way out",
    members: [1, 2, 4, 5],
    voters: [1, 2, 3, 4, 5],
    id: 2,
    dead: [4, 5],
    says: "of the 3 that would stay only 1 answer",
  },
  {
    why: "the only voter, by a dead standby",
    members: [1, 2],
    voters: [1],
    id: 1,
    dead: [2],
    says: "only 0",
  },
  {
    why: "the only voter, by one behind",
    members: [1, 2],
    voters: [1],
    id: 1,
    behind: [2],
    says: "caught up",
  },
  { why: "the voter of two", members: [1, 2], voters: [1], id: 1, says: "" },
];

const suites = [
  ["obstacleToPromotion", obstacleToPromotion, promotions],
  ["obstacleToDemotion", obstacleToDemotion, demotions],
  ["obstacleToRemoval", obstacleToRemoval, removals],
] as const;

for (const [name, obstacle, cases] of suites) {
  describe(name, () => {
    for (const { why, id, says, ...scene } of cases) {
      test(`${why}: "${says}"`, () => {
        const said = obstacle(viewOf(scene), decodeNodeId(id));
        if (says === "") expect(said).toBeUndefined();
        else expect(said).toContain(says);
      });
    }
  });
}
