import { describe, expect, test } from "bun:test";
import {
  GUESSES_PER_MINUTE_MAX,
  GuessLimit,
  NETWORK_GUESSES_PER_MINUTE_MAX,
} from "./guess-limit.ts";

function tryOften(limit: GuessLimit, address: string, count: number, nowMs = 0): number {
  let taken = 0;
  for (let i = 0; i < count; i++) if (limit.take(address, nowMs)) taken += 1;
  return taken;
}

describe("GuessLimit", () => {
  test("blocks an address at the limit, not before, and no other", () => {
    const limit = new GuessLimit();
    expect(tryOften(limit, "192.0.2.1", GUESSES_PER_MINUTE_MAX - 1)).toBe(9);
    expect(limit.isBlocked("192.0.2.1", 0)).toBeFalse();
    expect(tryOften(limit, "192.0.2.1", 5)).toBe(1);
    expect(limit.isBlocked("192.0.2.1", 0)).toBeTrue();
    expect(limit.isBlocked("192.0.2.2", 0)).toBeFalse();
  });

  test("takes back what was no wrong token", () => {
    const limit = new GuessLimit();
    for (let i = 0; i < 1_000; i++) {
      expect(limit.take("192.0.2.1", 0)).toBeTrue();
      limit.giveBack("192.0.2.1");
    }
    expect(tryOften(limit, "192.0.2.1", 100)).toBe(GUESSES_PER_MINUTE_MAX);
  });

  test("forgets after a minute", () => {
    const limit = new GuessLimit();
    tryOften(limit, "192.0.2.1", GUESSES_PER_MINUTE_MAX);
    expect(limit.isBlocked("192.0.2.1", 59_999)).toBeTrue();
    expect(limit.isBlocked("192.0.2.1", 60_000)).toBeFalse();
    expect(tryOften(limit, "192.0.2.1", 1, 60_000)).toBe(1);
    expect(limit.isBlocked("192.0.2.1", 60_000)).toBeFalse();
  });

  const origins = [
    { why: "one /64", address: (i: number) => `2001:db8::${i.toString(16)}`, max: 10 },
    { why: "one /48", address: (i: number) => `2001:db8:1:${i.toString(16)}::1`, max: 50 },
    { why: "one /24", address: (i: number) => `192.0.2.${i % 256}`, max: 50 },
    { why: "one address in the form of IPv6", address: () => "::ffff:192.0.2.9", max: 10 },
    { why: "what is no address", address: () => "", max: 10 },
  ];
  for (const { why, address, max } of origins) {
    test(`counts together what comes from ${why}`, () => {
      const limit = new GuessLimit();
      let taken = 0;
      for (let i = 0; i < 1_000; i++) if (limit.take(address(i), 0)) taken += 1;
      expect(taken).toBe(max);
    });
  }

  test("the two forms of an IPv4 address are one", () => {
    const limit = new GuessLimit();
    tryOften(limit, "192.0.2.9", GUESSES_PER_MINUTE_MAX);
    expect(limit.isBlocked("::FFFF:192.0.2.9", 0)).toBeTrue();
    expect(limit.isBlocked("::ffff:192.0.2.10", 0)).toBeFalse();
  });

  test("remembers a bounded number of origins, the newest", () => {
    const limit = new GuessLimit();
    tryOften(limit, "192.0.2.1", NETWORK_GUESSES_PER_MINUTE_MAX);
    for (let i = 0; i < 4_096; i++) limit.take(`origin ${i}`, 1);
    expect(limit.isBlocked("192.0.2.1", 1)).toBeFalse();
    tryOften(limit, "origin 4095", GUESSES_PER_MINUTE_MAX - 1, 1);
    expect(limit.isBlocked("origin 4095", 1)).toBeTrue();
  });
});
