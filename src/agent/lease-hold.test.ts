import { describe, expect, test } from "bun:test";
import { ManualClock } from "../../tests/support/manual-clock.ts";
import { parsePrefix } from "../base/address.ts";
import { decodeHold, encodeHold, LeaseHold } from "./lease-hold.ts";

const SUBNET = parsePrefix("10.0.53.0/24")!;
const OTHER = parsePrefix("10.0.54.0/24")!;

describe("the belief in a subnet", () => {
  test("counts nine tenths of its life from when the renewal was sent", async () => {
    const clock = new ManualClock();
    const hold = new LeaseHold(clock);
    expect(hold.remainingMs(SUBNET)).toBe(0);
    const sent = hold.now();
    await clock.advance(4_000); // The answer takes its time.
    hold.confirm(SUBNET, 60, sent);
    expect(hold.remainingMs(SUBNET)).toBe(50_000);
    expect(hold.remainingMs(OTHER)).toBe(0);
    await clock.advance(50_000);
    expect(hold.remainingMs(SUBNET)).toBe(0);
  });

  for (const { why, wallMs, remainingMs } of [
    { why: "goes on over a restart", wallMs: 1_030_000, remainingMs: 24_000 },
    { why: "is over when the node was down for long", wallMs: 1_054_000, remainingMs: 0 },
    { why: "is over when the wall clock went back", wallMs: 999_999, remainingMs: 0 },
  ]) {
    test(why, () => {
      const clock = { ...portOf(new ManualClock()), wallMs: () => wallMs };
      const hold = new LeaseHold(clock, {
        subnet: SUBNET,
        ttlSeconds: 60,
        sentWallMs: 1_000_000,
      });
      expect(hold.remainingMs(SUBNET)).toBe(remainingMs);
      expect(hold.record?.subnet).toBe(SUBNET);
    });
  }

  test("survives its file, and nothing else does", () => {
    const record = { subnet: SUBNET, ttlSeconds: 60, sentWallMs: 1_000_000 };
    expect(decodeHold(encodeHold(record))).toEqual(record);
    for (const text of [
      "",
      "{",
      "null",
      "[]",
      '{"subnet":"10.0.53.0/24"}',
      '{"subnet":"10.0.53","ttlSeconds":60,"sentWallMs":1}',
      '{"subnet":"10.0.53.0/24","ttlSeconds":-1,"sentWallMs":1}',
      '{"subnet":"10.0.53.0/24","ttlSeconds":60,"sentWallMs":"1"}',
    ]) {
      expect(decodeHold(text)).toBeUndefined();
    }
  });
});

function portOf(clock: ManualClock) {
  return {
    nowMs: () => clock.nowMs(),
    after: (delayMs: number, task: () => void) => clock.after(delayMs, task),
    every: (intervalMs: number, task: () => void) => clock.every(intervalMs, task),
  };
}
