/**
 * Resident memory over time, and whether it grows.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { median } from "../store/figures.ts";

const KIB = 1024;
const BYTES_PER_MEGABYTE = 1e6;

/** What a process had at one time. */
export interface MemorySample {
  readonly atMs: number;
  readonly residentBytes: number;
  /** Of that its own, without pages of its executable. */
  readonly anonymousBytes: number;
}

/** What process `pid` has now. */
export function sampleMemory(pid: number, atMs: number): MemorySample {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const of = (name: string) =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(status)?.[1] ?? Number.NaN) * KIB;
  return { atMs, residentBytes: of("VmRSS"), anonymousBytes: of("RssAnon") };
}

/**
 * By how many MB `samples` grow in ten minutes, over the later half of them: the median of the
 * slopes between any two, which a single peak does not move. NaN of fewer than three.
 */
export function growthPerTenMinutes(
  samples: readonly MemorySample[],
  of: (sample: MemorySample) => number,
): number {
  const half = samples.slice(Math.floor(samples.length / 2));
  if (half.length < 3) return Number.NaN;
  const slopes = half.flatMap((later, index) =>
    half.slice(0, index).map((earlier) => (of(later) - of(earlier)) / (later.atMs - earlier.atMs)),
  );
  return (median(slopes) * 600_000) / BYTES_PER_MEGABYTE;
}
