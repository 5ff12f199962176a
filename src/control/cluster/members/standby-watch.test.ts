import { describe, expect, test } from "bun:test";
import { decodeNodeId } from "../../../base/ids.ts";
import { STALLED_AFTER_MS, STEADY_AFTER_MS, StandbyWatch } from "./standby-watch.ts";

const A = decodeNodeId(1);
const good = { isLive: true, match: 10, isBehind: false };
const behind = { isLive: true, match: 5, isBehind: true };
const dead = { isLive: false, match: 5, isBehind: true };

describe("steady", () => {
  test("a newcomer is at once, one that is not there never", () => {
    const watch = new StandbyWatch();
    expect(watch.isSteady(A, 0)).toBeFalse();
    watch.saw(A, good, 0);
    expect(watch.isSteady(A, 0)).toBeTrue();
    watch.saw(A, dead, 1);
    expect(watch.isSteady(A, 1)).toBeFalse();
  });

  test("a newcomer that has yet to come up is not held to have been away", () => {
    const watch = new StandbyWatch();
    watch.saw(A, dead, 0);
    watch.saw(A, behind, 500);
    expect(watch.isSteady(A, 500)).toBeTrue();
  });

  test("a newcomer that starts once more is not held to have been away", () => {
    const watch = new StandbyWatch();
    watch.saw(A, good, 0);
    watch.saw(A, dead, 1_000);
    watch.saw(A, good, 2_000);
    expect(watch.isSteady(A, 2_000)).toBeTrue();
  });

  test("who was away has to stay for a while, each time anew", () => {
    const watch = new StandbyWatch();
    watch.saw(A, good, 0);
    watch.saw(A, dead, 11_000);
    watch.saw(A, good, 12_000);
    expect(watch.isSteady(A, 12_000 + STEADY_AFTER_MS - 1)).toBeFalse();
    expect(watch.isSteady(A, 12_000 + STEADY_AFTER_MS)).toBeTrue();
    watch.saw(A, dead, 30_000);
    watch.saw(A, good, 30_001);
    expect(watch.isSteady(A, 30_002)).toBeFalse();
  });
});

describe("stalled", () => {
  for (const [why, sight, isStalled] of [
    ["silent", dead, true],
    ["there, and its log does not grow", behind, true],
    ["there, and has everything", { ...good, match: 5 }, false],
    ["being sent a snapshot", { ...behind, match: undefined }, false],
    ["behind, and getting on", { ...behind, match: 6 }, false],
  ] as const) {
    test(`after five minutes: ${why}: ${isStalled}`, () => {
      const watch = new StandbyWatch();
      watch.saw(A, behind, 0);
      watch.saw(A, sight, STALLED_AFTER_MS);
      expect(watch.isStalled(A, STALLED_AFTER_MS - 1)).toBeFalse();
      expect(watch.isStalled(A, STALLED_AFTER_MS)).toBe(isStalled);
    });
  }

  test("let go, it rests, twice as long each time, and then begins anew", () => {
    const watch = new StandbyWatch();
    watch.saw(A, dead, 0);
    watch.letGo(A, 0);
    expect(watch.isStalled(A, STALLED_AFTER_MS)).toBeFalse();
    expect(watch.isResting(A, STALLED_AFTER_MS - 1)).toBeTrue();
    expect(watch.isResting(A, STALLED_AFTER_MS)).toBeFalse();
    watch.letGo(A, STALLED_AFTER_MS);
    expect(watch.isResting(A, 3 * STALLED_AFTER_MS - 1)).toBeTrue();
    expect(watch.isResting(A, 3 * STALLED_AFTER_MS)).toBeFalse();
  });

  test("what is remembered is bounded by who is there", () => {
    const watch = new StandbyWatch();
    watch.saw(A, good, 0);
    watch.keepOnly(new Set(), new Set([A]));
    expect(watch.isSteady(A, 0)).toBeFalse();
    watch.letGo(A, 0);
    watch.keepOnly(new Set(), new Set());
    expect(watch.isResting(A, 0)).toBeFalse();
  });
});
