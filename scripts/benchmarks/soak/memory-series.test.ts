import { expect, test } from "bun:test";
import { growthPerTenMinutes, type MemorySample, sampleMemory } from "./memory-series.ts";

/** One sample every ten seconds. */
function series(megabytes: readonly number[]): MemorySample[] {
  return megabytes.map((value, index) => ({
    atMs: index * 10_000,
    residentBytes: value * 1e6,
    anonymousBytes: 0,
  }));
}

const resident = (sample: MemorySample) => sample.residentBytes;

test("growthPerTenMinutes: what grew at the start and not since is flat", () => {
  const start = Array.from({ length: 30 }, (_, i) => 60 + i);
  const rest = Array.from({ length: 30 }, (_, i) => 90 + (i % 2) * 0.5);
  expect(Math.abs(growthPerTenMinutes(series([...start, ...rest]), resident))).toBeLessThan(0.5);
});

test("growthPerTenMinutes: a leak of 0.1 MB every ten seconds is 6 MB", () => {
  const leak = Array.from({ length: 60 }, (_, i) => 80 + i * 0.1);
  expect(growthPerTenMinutes(series(leak), resident)).toBeCloseTo(6, 6);
});

test("growthPerTenMinutes: one peak does not count", () => {
  const flat = Array.from({ length: 60 }, (_, i) => (i === 58 ? 300 : 80));
  expect(growthPerTenMinutes(series(flat), resident)).toBe(0);
});

test("growthPerTenMinutes: says nothing of too little", () => {
  expect(growthPerTenMinutes(series([80, 81, 82]), resident)).toBeNaN();
});

test("sampleMemory: this process has memory, and part of it is its own", () => {
  const { residentBytes, anonymousBytes } = sampleMemory(process.pid, 0);
  expect(anonymousBytes).toBeGreaterThan(1e6);
  expect(residentBytes).toBeGreaterThan(anonymousBytes);
});
