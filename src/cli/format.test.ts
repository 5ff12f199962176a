/**
 * Values as people read them.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  formatBytes,
  formatCount,
  formatDuration,
  formatPlural,
  paint,
  safe,
  wrap,
} from "./format.ts";

const DURATIONS = [
  [-5, "0 s"],
  [0, "0 s"],
  [0.9, "0 s"],
  [45, "45 s"],
  [60, "1 min"],
  [61, "1 min 1 s"],
  [3599, "59 min 59 s"],
  [3600, "1 h"],
  [86_340, "23 h 59 min"],
  [86_400, "1 d"],
  [90_059, "1 d 1 h"],
] as const;

const SIZES = [
  [0, "0 B"],
  [999, "999 B"],
  [1000, "1.00 kB"],
  [2048, "2.05 kB"],
  [999_499, "999 kB"],
  [999_500, "1.00 MB"],
  [123_456_789, "123 MB"],
  [1e15, "1.00 PB"],
  [5e18, "5.00e+3 PB"],
] as const;

describe("format", () => {
  for (const [seconds, text] of DURATIONS) {
    test(`formatDuration: ${seconds} is ${text}`, () => expect(formatDuration(seconds)).toBe(text));
  }
  for (const [bytes, text] of SIZES) {
    test(`formatBytes: ${bytes} is ${text}`, () => expect(formatBytes(bytes)).toBe(text));
  }

  test("counts and plurals", () => {
    expect(formatCount(1_234_567)).toBe("1,234,567");
    expect([formatPlural(0, "lease"), formatPlural(1, "lease")]).toEqual(["0 leases", "1 lease"]);
  });

  test("paint: codes only when enabled", () => {
    expect(paint("x", "red", false)).toBe("x");
    expect(paint("x", "red", true)).toBe("\u001b[31mx\u001b[39m");
  });

  test("safe: no control or formatting character is left, and no line end", () => {
    expect(safe("a\n  b")).toBe("a b");
    expect(safe("\u001b[31mred\u202e\u009b\u0007")).toBe("\ufffd[31mred\ufffd\ufffd\ufffd");
    expect(safe("web-1 ü 漢")).toBe("web-1 ü 漢");
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        expect(/[\p{Cc}\p{Cf}]/u.test(safe(text))).toBe(false);
      }),
    );
  });

  test("wrap: breaks at blanks, keeps every word, never cuts one", () => {
    expect(wrap("aa bb cc", 5)).toEqual(["aa bb", "cc"]);
    expect(wrap("aaaaaaaa b", 5)).toEqual(["aaaaaaaa", "b"]);
    expect(wrap("", 5)).toEqual([""]);
    expect(wrap("a b", Number.POSITIVE_INFINITY)).toEqual(["a b"]);
    const words = fc.array(fc.stringMatching(/^[a-z]{1,9}$/), { minLength: 1 });
    fc.assert(
      fc.property(words, fc.integer({ min: 9, max: 40 }), (given, width) => {
        const lines = wrap(given.join(" "), width);
        expect(lines.join(" ")).toBe(given.join(" "));
        for (const line of lines) expect(line.length).toBeLessThanOrEqual(width);
      }),
    );
  });
});
