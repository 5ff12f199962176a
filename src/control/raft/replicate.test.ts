/**
 * Pipelining and the limits that keep a leader and its followers from drowning (§10.2.1).
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import { answers, appliedText, cluster, N } from "./test-cluster.ts";
import type { AppendRequest } from "./types.ts";

describe("§10.2.1 pipelining", () => {
  test("a leader sends on without waiting, up to the window", () => {
    const group = cluster(3, { inflightCountMax: 3 });
    const leader = group.elect(1);
    group.partition([1, 3], [2]);
    for (const text of "abcdef") group.propose(1, text);
    const sent = answers(group, leader).filter(
      (message): message is AppendRequest => message.kind === "append_request" && message.to === 2,
    );
    expect(sent.map((message) => message.entries.length)).toEqual([1, 1, 1]);
    expect(leader.raft.status().progress?.get(N(2))).toMatchObject({
      kind: "replicate",
      paused: true,
      inflightCount: 3,
    });
    group.heal();
    group.tick(3);
    expect(appliedText(group.node(2))).toBe("abcdef");
  });

  test("an append message stays within its size, but carries one entry at least", () => {
    const group = cluster(3, { messageSizeMaxBytes: 60 });
    const leader = group.elect(1);
    group.partition([1, 3], [2]);
    group.tick(2);
    for (const text of ["a", "b", "x".repeat(500), "c"]) group.propose(1, text);
    group.settle();
    group.heal();
    const counts: number[] = [];
    group.passes = (message) => {
      if (message.kind === "append_request" && message.to === N(2)) {
        counts.push(message.entries.length);
      }
      return true;
    };
    leader.raft.reportUnreachable(N(2));
    group.tick(3);
    expect(counts.filter((count) => count > 0)).toEqual([2, 1, 1]);
    expect(appliedText(group.node(2))).toHaveLength(503);
  });

  test("too much uncommitted: proposals are refused until some of it commits", () => {
    const group = cluster(3, { uncommittedSizeMaxBytes: 10 });
    const leader = group.elect(1);
    group.partition([1], [2, 3]);
    expect(group.propose(1, "x".repeat(50)).ok).toBe(true);
    expect(group.propose(1, "y")).toEqual({
      ok: false,
      error: { kind: "dropped", reason: "too_busy" },
    });
    expect(group.propose(1, "").ok).toBe(true);
    group.heal();
    group.tick(3);
    expect(appliedText(leader)).toHaveLength(50);
    expect(group.propose(1, "y").ok).toBe(true);
  });

  test("committed entries are handed out within their limit, all in the end", () => {
    const group = cluster(1, { committedSizeMaxBytes: 1 });
    const leader = group.elect(1);
    for (const text of "abc") group.propose(1, text);
    group.takeReady(leader);
    while (group.writeDisk(leader));
    group.takeReady(leader);
    expect(leader.applyWork.map((work) => work.entries.length)).toEqual([1]);
    group.settle();
    expect(appliedText(leader)).toBe("abc");
  });
});
