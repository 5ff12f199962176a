/**
 * Messages that are late, forged or broken: refused, and nothing changed.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import type { NodeId } from "../../base/ids.ts";
import {
  appendRequest,
  cluster,
  configOf,
  I,
  N,
  normalEntry,
  T,
  type TestNode,
} from "./test-cluster.ts";
import type { PeerMessage } from "./types.ts";

describe("hostile and late messages", () => {
  const node = (): TestNode => cluster(3).elect(1);
  const answer = { to: N(1), from: N(9) };
  const STRANGERS: readonly PeerMessage[] = [
    { kind: "append_response", ...answer, term: T(1), index: I(9), rejected: undefined },
    { kind: "vote_response", ...answer, round: "vote", term: T(1), rejected: false },
    { kind: "heartbeat_response", ...answer, term: T(1), context: undefined },
    { kind: "read_index_response", ...answer, term: T(1), context: 1, index: I(1) },
  ];
  for (const message of STRANGERS) {
    test(`${message.kind} of a stranger is refused`, () => {
      const { raft } = node();
      const before = raft.status();
      expect(raft.step(message)).toEqual({
        ok: false,
        error: { kind: "unknown_peer", from: N(9) },
      });
      expect(raft.status()).toEqual(before);
    });
  }

  const own = { to: N(1), from: N(2) };
  const emptySnapshot = { term: T(1), confState: configOf([1, 2]), data: new Uint8Array(0) };
  const MALFORMED: readonly { readonly message: PeerMessage; readonly why: string }[] = [
    { message: appendRequest(9, [1, 1], [normalEntry(9, 3)]), why: "a gap after previous" },
    { message: appendRequest(9, [2, 4], [normalEntry(1, 5)]), why: "a term below previous" },
    { message: appendRequest(9, [1, 1], [normalEntry(10, 2)]), why: "a term above the leader's" },
    { message: appendRequest(2, [3, 1], []), why: "previous above the leader's term" },
    {
      message: { kind: "append_response", ...own, term: T(1), index: I(99), rejected: undefined },
      why: "acknowledges what was never sent",
    },
    {
      message: {
        kind: "snapshot_request",
        ...own,
        term: T(9),
        snapshot: { ...emptySnapshot, index: I(0) },
      },
      why: "an empty snapshot",
    },
    {
      message: {
        kind: "snapshot_request",
        ...own,
        term: T(9),
        snapshot: { ...emptySnapshot, index: I(9), confState: configOf([2, 1]) },
      },
      why: "members out of order",
    },
    { message: { kind: "propose_request", ...own, term: T(0), entries: [] }, why: "no entries" },
  ];
  for (const { message, why } of MALFORMED) {
    test(`${message.kind} is refused: ${why}`, () => {
      const { raft } = node();
      const before = raft.status();
      expect(raft.step(message)).toEqual({ ok: false, error: { kind: "malformed" } });
      expect(raft.status()).toEqual(before);
    });
  }

  test("a commit index beyond the log means that the log was lost: the node stops", () => {
    const { raft } = cluster(3).node(1);
    const heartbeat = { kind: "heartbeat_request", to: N(1), from: N(2), term: T(1) } as const;
    const beyond = { ...heartbeat, commit: I(99), context: undefined };
    expect(() => raft.step(beyond)).toThrow("was the log damaged or lost");
  });

  test("a leader ignores unreachable and snapshot reports about strangers", () => {
    const { raft } = node();
    const stranger: NodeId = N(77);
    raft.reportUnreachable(stranger);
    raft.reportSnapshot(stranger, true);
    expect(raft.status().progress?.has(stranger)).toBe(false);
  });

  test("a snapshot says nothing of who leads: another node may have passed it on", () => {
    const { raft } = cluster(3).node(1);
    const own = { to: N(1), from: N(2), term: T(4) };
    const taken = { ...emptySnapshot, index: I(7), term: T(3), confState: configOf([1, 2, 3]) };
    expect(raft.step({ kind: "snapshot_request", ...own, snapshot: taken }).ok).toBe(true);
    expect(raft.status()).toMatchObject({ role: "follower", term: 4, commit: 7 });
    expect(raft.status().leader).toBeUndefined();
    const leaders = { ...own, from: N(3), commit: I(7), context: undefined };
    expect(raft.step({ kind: "heartbeat_request", ...leaders }).ok).toBe(true);
    expect(raft.status().leader).toBe(N(3));
  });
});
