import { describe, expect, test } from "bun:test";
import { GUESSES_PER_MINUTE_MAX, GuessLimit } from "./guess-limit.ts";

describe("GuessLimit", () => {
  function fail(limit: GuessLimit, address: string, count: number, nowMs = 0): void {
    for (let i = 0; i < count; i++) limit.failed(address, nowMs);
  }

  test("blocks an address at the limit, not before, and no other", () => {
    const limit = new GuessLimit();
    fail(limit, "a", GUESSES_PER_MINUTE_MAX - 1);
    expect(limit.isBlocked("a", 0)).toBeFalse();
    fail(limit, "a", 1);
    expect(limit.isBlocked("a", 0)).toBeTrue();
    expect(limit.isBlocked("b", 0)).toBeFalse();
  });

  test("forgets after a minute", () => {
    const limit = new GuessLimit();
    fail(limit, "a", GUESSES_PER_MINUTE_MAX);
    expect(limit.isBlocked("a", 59_999)).toBeTrue();
    expect(limit.isBlocked("a", 60_000)).toBeFalse();
    fail(limit, "a", 1, 60_000);
    expect(limit.isBlocked("a", 60_000)).toBeFalse();
  });

  test("remembers a bounded number of addresses, the newest", () => {
    const limit = new GuessLimit();
    fail(limit, "first", GUESSES_PER_MINUTE_MAX);
    for (let i = 0; i < 1_024; i++) limit.failed(`address ${i}`, 1);
    expect(limit.isBlocked("first", 1)).toBeFalse();
    fail(limit, "address 1023", GUESSES_PER_MINUTE_MAX - 1, 1);
    expect(limit.isBlocked("address 1023", 1)).toBeTrue();
  });
});
