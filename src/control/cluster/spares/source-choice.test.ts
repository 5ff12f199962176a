import { expect, test } from "bun:test";
import { decodeNodeId, type NodeId } from "../../../base/ids.ts";
import { EMPTY_CONF_STATE } from "../recovery.ts";
import { sourceOrder } from "./source-choice.ts";

const ids = (...numbers: number[]): NodeId[] => numbers.map(decodeNodeId);
const [self, leader] = ids(9, 1) as [NodeId, NodeId];
const confState = { ...EMPTY_CONF_STATE, voters: ids(1, 2, 3), learners: ids(4, 5, 6) };

function order(lot: (limit: number) => number, known: readonly NodeId[] = []): readonly NodeId[] {
  return sourceOrder({ self, confState, leader, known, below: lot });
}

test("standbys, then followers, then the leader, then whoever else was known", () => {
  const last = (limit: number) => limit - 1; // Leaves everything in its place.
  expect(order(last, ids(9, 8, 4, 7))).toEqual(ids(4, 5, 6, 2, 3, 1, 8, 7));
});

test("without a membership: those that were known, in their order", () => {
  const view = { self, confState: EMPTY_CONF_STATE, leader: undefined, known: ids(7, 9, 8) };
  expect(sourceOrder({ ...view, below: () => 0 })).toEqual(ids(7, 8));
});

test("spreads evenly within a class", () => {
  let state = 1;
  const lot = (limit: number) => {
    state = (state * 48_271) % 2_147_483_647;
    return state % limit;
  };
  const firsts = new Map<NodeId, number>();
  for (let i = 0; i < 900; i++) {
    const [first] = order(lot);
    firsts.set(first!, (firsts.get(first!) ?? 0) + 1);
  }
  expect([...firsts.keys()].sort()).toEqual(ids(4, 5, 6));
  for (const count of firsts.values()) expect(count).toBeWithin(230, 370);
});
