/**
 * The states of one member's progress.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import { Progress } from "./progress.ts";
import { I } from "./test-cluster.ts";

const LIMITS = { countMax: 2, sizeMaxBytes: Number.POSITIVE_INFINITY };

function progress(match: number, next: number): Progress {
  const start = { match: I(match), next: I(next), isLearner: false, recentActive: true };
  return new Progress(start, LIMITS);
}

describe("Progress", () => {
  test("probe: one message with entries, then silence until a heartbeat answer", () => {
    const member = progress(0, 5);
    member.sentEntries(0, 0);
    expect(member.paused).toBe(false);
    member.sentEntries(2, 20);
    expect([member.paused, member.next]).toEqual([true, I(5)]);
    member.resume();
    expect(member.paused).toBe(false);
  });

  test("replicate: next runs ahead until the window is full", () => {
    const member = progress(4, 5);
    member.becomeReplicate();
    member.sentEntries(2, 20);
    expect([member.paused, member.next]).toEqual([false, I(7)]);
    member.sentEntries(1, 10);
    expect([member.paused, member.inflightFull, member.next]).toEqual([true, true, I(8)]);
    // A heartbeat answer lets an empty message through, which pauses again.
    member.resume();
    expect([member.paused, member.inflightFull]).toEqual([false, true]);
    member.sentEntries(0, 0);
    expect(member.paused).toBe(true);
    member.maybeUpdate(I(6));
    member.freeInflight(I(6));
    expect([member.paused, member.inflightFull]).toEqual([false, false]);
  });

  const DECREASE = [
    { kind: "probe", match: 2, next: 9, rejected: 8, hint: 5, ok: true, to: 6, why: "the hint" },
    { kind: "probe", match: 2, next: 9, rejected: 8, hint: 20, ok: true, to: 8, why: "no hint" },
    { kind: "probe", match: 6, next: 9, rejected: 8, hint: 1, ok: true, to: 7, why: "known match" },
    { kind: "probe", match: 2, next: 9, rejected: 5, hint: 1, ok: false, to: 9, why: "stale" },
    { kind: "replicate", match: 4, next: 5, rejected: 4, hint: 1, ok: false, to: 5, why: "stale" },
    { kind: "replicate", match: 4, next: 5, rejected: 6, hint: 5, ok: true, to: 5, why: "lost" },
  ] as const;
  for (const { kind, match, next, rejected, hint, ok, to, why } of DECREASE) {
    test(`${kind} at ${match}/${next}, ${rejected} refused with hint ${hint}: ${why}`, () => {
      const member = progress(match, next);
      if (kind === "replicate") member.becomeReplicate();
      expect(member.maybeDecrease(I(rejected), I(hint))).toBe(ok);
      expect([member.match, member.next]).toEqual([I(match), I(to)]);
    });
  }

  const SNAPSHOT = [
    { arrived: true, next: 11, why: "goes on after the snapshot" },
    { arrived: false, next: 4, why: "starts over from what is known" },
  ] as const;
  for (const { arrived, next, why } of SNAPSHOT) {
    test(`snapshot reported ${arrived ? "arrived" : "lost"}: ${why}`, () => {
      const member = progress(3, 5);
      member.becomeSnapshot(I(10));
      expect([member.paused, member.status().pendingSnapshotIndex]).toEqual([true, I(10)]);
      member.resume();
      expect(member.paused).toBe(true);
      member.snapshotEnded(arrived);
      expect([member.kind, member.next]).toEqual(["probe", I(next)]);
    });
  }

  test("old acknowledgements change nothing", () => {
    const member = progress(4, 6);
    expect([member.maybeUpdate(I(4)), member.maybeUpdate(I(3))]).toEqual([false, false]);
    expect(member.maybeUpdate(I(8))).toBe(true);
    expect([member.match, member.next]).toEqual([I(8), I(9)]);
  });

  test("the commit index is told once, and only as far as it helps", () => {
    const member = progress(4, 5);
    expect(member.canBumpCommit(I(3))).toBe(true);
    member.sentCommit(I(3));
    expect(member.canBumpCommit(I(3))).toBe(false);
    member.sentCommit(I(4));
    expect(member.canBumpCommit(I(9))).toBe(false);
  });
});
