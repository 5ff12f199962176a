/**
 * No request for work is lost, whatever happens meanwhile.
 */
import { describe, expect, test } from "bun:test";
import { ManualClock } from "../../../tests/support/manual-clock.ts";
import { Errand } from "./errand.ts";

const RETRY_MS = 2000;

/** An errand whose runs end when the test says how. */
function openErrand() {
  const clock = new ManualClock();
  const runs: ((isDone: boolean) => void)[] = [];
  const run = () => new Promise<boolean>((resolve) => void runs.push(resolve));
  const errand = new Errand({ clock, retryMs: RETRY_MS, run });
  const end = async (isDone: boolean) => {
    runs.at(-1)!(isDone);
    await Promise.resolve();
    await Promise.resolve();
  };
  return { clock, errand, end, count: () => runs.length };
}

describe("an errand", () => {
  test("asked for many times while it is under way runs once more, and not beside itself", async () => {
    const { errand, end, count } = openErrand();
    errand.ask();
    for (let i = 0; i < 3; i++) errand.ask();
    expect(count()).toBe(1);
    await end(true);
    expect(count()).toBe(2);
    await end(true);
    expect(count()).toBe(2);
  });

  test("that could not be done is tried again until it is", async () => {
    const { clock, errand, end, count } = openErrand();
    errand.ask();
    await end(false);
    await clock.advance(RETRY_MS - 1);
    expect(count()).toBe(1);
    await clock.advance(1);
    expect(count()).toBe(2);
    await end(true);
    await clock.advance(10 * RETRY_MS);
    expect(count()).toBe(2);
  });

  test("asked for before its next try is not tried twice", async () => {
    const { clock, errand, end, count } = openErrand();
    errand.ask();
    await end(false);
    errand.ask();
    await end(true);
    await clock.advance(10 * RETRY_MS);
    expect(count()).toBe(2);
  });

  test("stopped begins nothing more, neither asked for nor by itself", async () => {
    const { clock, errand, end, count } = openErrand();
    errand.ask();
    errand.ask();
    errand.stop();
    await end(false);
    errand.ask();
    await clock.advance(10 * RETRY_MS);
    expect(count()).toBe(1);
  });
});
