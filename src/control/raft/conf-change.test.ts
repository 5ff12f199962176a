/**
 * Membership changes: two ways to the same configuration, and what is refused.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { decodeNodeId } from "../../base/ids.ts";
import {
  changeConfig,
  changeSimple,
  EMPTY_CONFIG,
  enterJoint,
  isValidConfState,
  leaveJoint,
  membersOf,
} from "./conf-change.ts";
import { conf, configOf } from "./test-cluster.ts";
import type { ConfChangeSingle, ConfState } from "./types.ts";

const singles: fc.Arbitrary<ConfChangeSingle> = fc.record({
  operation: fc.constantFrom("add_voter", "add_learner", "remove", "update"),
  node: fc.integer({ min: 1, max: 8 }).map(decodeNodeId),
});

/** A configuration that some changes led to. */
const configs = fc.array(singles, { maxLength: 12 }).map((changes) => {
  let config = configOf([1]);
  for (const change of changes) {
    const outcome = changeSimple(config, [change]);
    if (outcome.ok) config = outcome.value.config;
  }
  return config;
});

/** One change after the other; undefined when one of them is refused. */
function oneByOne(config: ConfState, changes: readonly ConfChangeSingle[]): ConfState | undefined {
  let current = config;
  for (const change of changes) {
    const outcome = changeSimple(current, [change]);
    if (!outcome.ok) return undefined;
    current = outcome.value.config;
  }
  return current;
}

describe("conf-change properties", () => {
  test("the joint path leads where the simple one does", () => {
    let compared = 0;
    fc.assert(
      fc.property(
        configs,
        fc.array(singles, { maxLength: 8 }),
        fc.boolean(),
        (config, changes, auto) => {
          const simple = oneByOne(config, changes);
          const entered = enterJoint(config, changes, auto);
          if (simple === undefined || !entered.ok) return;
          compared++;
          const joint = entered.value.config;
          expect(isValidConfState(joint)).toBe(true);
          expect(joint.votersOutgoing).toEqual(config.voters);
          expect(joint.autoLeave).toBe(auto);
          const left = leaveJoint(joint);
          expect(left).toEqual({ ok: true, value: { config: simple, fresh: new Set() } });
        },
      ),
      { numRuns: 1000 },
    );
    expect(compared).toBeGreaterThan(200);
  });

  test("every outcome is well formed, and the order of the members does not matter", () => {
    fc.assert(
      fc.property(configs, fc.array(singles, { maxLength: 8 }), (config, changes) => {
        for (const outcome of [changeSimple(config, changes), enterJoint(config, changes, false)]) {
          if (!outcome.ok) continue;
          expect(isValidConfState(outcome.value.config)).toBe(true);
          const members = membersOf(outcome.value.config);
          expect(members).toEqual([...new Set(members)].sort((a, b) => a - b));
        }
      }),
    );
  });

  test("a simple change keeps old and new majorities overlapping (§4.1)", () => {
    fc.assert(
      fc.property(configs, fc.array(singles, { maxLength: 4 }), (config, changes) => {
        const outcome = changeSimple(config, changes);
        if (!outcome.ok) return;
        const { voters } = outcome.value.config;
        const common = voters.filter((id) => config.voters.includes(id)).length;
        const disjoint = voters.length + config.voters.length - 2 * common;
        expect(disjoint).toBeLessThanOrEqual(1);
      }),
    );
  });
});

const JOINT: ConfState = { ...configOf([1, 2]), votersOutgoing: configOf([1]).voters };

const TABLE: readonly {
  readonly config: ConfState;
  readonly text: string;
  readonly transition?: "implicit" | "explicit";
  readonly expected: Partial<ConfState> | string;
  readonly why: string;
}[] = [
  { config: configOf([1]), text: "v2", expected: configOf([1, 2]), why: "one voter: simple" },
  {
    config: configOf([1]),
    text: "v2 v3",
    expected: { voters: configOf([1, 2, 3]).voters, autoLeave: true },
    why: "several: joint, left by itself",
  },
  {
    config: configOf([1]),
    text: "v2",
    transition: "explicit",
    expected: { votersOutgoing: configOf([1]).voters, autoLeave: false },
    why: "joint because asked for",
  },
  { config: JOINT, text: "", expected: configOf([1, 2]), why: "nothing to change: leave" },
  { config: JOINT, text: "v3", expected: "simple_while_joint", why: "leave the joint first" },
  { config: JOINT, text: "v3 v4", expected: "already_joint", why: "leave the joint first" },
  { config: configOf([1]), text: "", expected: "not_joint", why: "there is nothing to leave" },
  { config: configOf([1]), text: "r1", expected: "no_voters_left", why: "somebody must decide" },
  { config: configOf([1]), text: "l1", expected: "no_voters_left", why: "a learner cannot" },
  { config: EMPTY_CONFIG, text: "v1 v2", expected: "no_voters_to_join", why: "no majority to ask" },
  {
    config: configOf([1, 2], [3]),
    text: "v3",
    expected: configOf([1, 2, 3]),
    why: "a learner is promoted",
  },
  {
    config: configOf([1, 2]),
    text: "l2",
    transition: "explicit",
    expected: { learners: [], learnersNext: configOf([2]).voters },
    why: "a voter of the outgoing half waits to become a learner",
  },
];

describe("changeConfig", () => {
  for (const { config, text, transition, expected, why } of TABLE) {
    const name = `(${config.voters.join(" ")})&&(${config.votersOutgoing.join(" ")}) "${text}"`;
    test(`${name}: ${why}`, () => {
      const outcome = changeConfig(config, conf(text, transition ?? "auto"));
      if (typeof expected === "string") {
        expect(outcome).toEqual({ ok: false, error: { kind: expected } } as typeof outcome);
      } else {
        expect(outcome.ok && outcome.value.config).toMatchObject(expected);
      }
    });
  }

  test("a member that is removed and added again starts anew", () => {
    const outcome = changeSimple(configOf([1, 2]), conf("r2 v2 v1").changes);
    expect(outcome.ok && [...outcome.value.fresh]).toEqual([decodeNodeId(2)]);
  });
});

describe("isValidConfState", () => {
  const INVALID: readonly { readonly config: ConfState; readonly why: string }[] = [
    { config: configOf([2, 1]), why: "not ascending" },
    { config: configOf([1, 1]), why: "a repetition" },
    { config: configOf([1, 2], [2]), why: "voter and learner at once" },
    { config: { ...configOf([1]), autoLeave: true }, why: "nothing to leave" },
    {
      config: { ...JOINT, learnersNext: configOf([2]).voters },
      why: "only a voter of the outgoing half can wait to become a learner",
    },
  ];
  for (const { config, why } of INVALID) {
    test(why, () => expect(isValidConfState(config)).toBe(false));
  }
});
