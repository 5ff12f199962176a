/**
 * Quorums against their definitions, spelled out.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { decodeNodeId, type NodeId } from "../../base/ids.ts";
import { type Quorum, quorumAcked, quorumVote, type VoteResult } from "./quorum.ts";

const nodes = fc.uniqueArray(fc.integer({ min: 1, max: 9 }).map(decodeNodeId), { maxLength: 7 });
const quorums: fc.Arbitrary<Quorum> = fc.record({ voters: nodes, votersOutgoing: nodes });
const acks = fc
  .array(fc.tuple(fc.integer({ min: 1, max: 9 }).map(decodeNodeId), fc.nat(12)))
  .map((pairs) => new Map(pairs));
const votes = fc
  .array(fc.tuple(fc.integer({ min: 1, max: 9 }).map(decodeNodeId), fc.boolean()))
  .map((pairs) => new Map(pairs));

function halves({ voters, votersOutgoing }: Quorum): (readonly NodeId[])[] {
  return [voters, votersOutgoing].filter((half) => half.length > 0);
}

/** The highest number that more than half of each half has reached, by trying them all. */
function slowAcked(quorum: Quorum, acked: ReadonlyMap<NodeId, number>): number {
  const parts = halves(quorum);
  if (parts.length === 0) return Number.POSITIVE_INFINITY;
  for (let index = 12; index > 0; index--) {
    const reached = (half: readonly NodeId[]) =>
      half.filter((id) => (acked.get(id) ?? 0) >= index).length > half.length / 2;
    if (parts.every(reached)) return index;
  }
  return 0;
}

/** Won when decided so already; lost when not even all missing votes could win it. */
function slowVote(quorum: Quorum, given: ReadonlyMap<NodeId, boolean>): VoteResult {
  const wins = (missing: boolean) =>
    halves(quorum).every(
      (half) => half.filter((id) => given.get(id) ?? missing).length > half.length / 2,
    );
  if (wins(false)) return "won";
  return wins(true) ? "pending" : "lost";
}

describe("quorumAcked", () => {
  test("agrees with its slow twin", () => {
    fc.assert(
      fc.property(quorums, acks, (quorum, acked) => {
        expect(quorumAcked(quorum, (id) => acked.get(id))).toBe(slowAcked(quorum, acked));
      }),
      { numRuns: 2000 },
    );
  });

  test("two majorities of one configuration share a member", () => {
    fc.assert(
      fc.property(nodes, nodes, votes, (voters, votersOutgoing, given) => {
        const quorum = { voters, votersOutgoing };
        if (halves(quorum).length === 0) return;
        const opposite = new Map([...given].map(([id, vote]) => [id, !vote]));
        const both = [quorumVote(quorum, given), quorumVote(quorum, opposite)];
        expect(both.filter((result) => result === "won").length).toBeLessThan(2);
      }),
    );
  });
});

describe("quorumVote", () => {
  test("agrees with its slow twin", () => {
    fc.assert(
      fc.property(quorums, votes, (quorum, given) => {
        expect(quorumVote(quorum, given)).toBe(slowVote(quorum, given));
      }),
      { numRuns: 2000 },
    );
  });
});
