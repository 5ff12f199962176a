/**
 * What any simulated disk has in common, whatever is kept on it: how long an operation takes, and
 * whether it fails.
 *
 * @module
 */
import { HostError } from "../../../src/base/host-error.ts";
import type { Coverage } from "./coverage.ts";
import type { SimRandom } from "./sim-random.ts";

/** However slow a disk is, one operation takes no longer. */
const SLOW_MAX_MS = 1_500;
/** Time for an operation that does not wait for the device. */
const CACHE_MEAN_MS = 0.02;

export type DiskOperation = "open" | "list" | "read" | "write" | "sync" | "rename" | "remove";

/** How a disk behaves now; set by the nemesis. */
export interface DiskWeather {
  /** Operations take so many times as long. */
  slowness: number;
  /** No write and no sync ends before this true time. */
  stuckUntilMs: number;
  /** The next operation of this kind fails. */
  nextError: { readonly operation: DiskOperation; readonly errno: string } | undefined;
  /** Nothing new can be made. */
  isFull: boolean;
  /** Reads come in pieces, with time in between. */
  isReadShort: boolean;
}

/** A disk that works. */
export const CALM_WEATHER: Readonly<DiskWeather> = {
  slowness: 1,
  stuckUntilMs: 0,
  nextError: undefined,
  isFull: false,
  isReadShort: false,
};

export interface DeviceParts {
  readonly random: SimRandom;
  readonly coverage: Coverage;
  /** True time. */
  readonly nowMs: () => number;
  /** Mean time of an fsync. */
  readonly syncMeanMs: number;
}

/** One disk's time and errors. */
export class Device {
  readonly weather: DiskWeather = { ...CALM_WEATHER };
  readonly #parts: DeviceParts;

  constructor(parts: DeviceParts) {
    this.#parts = parts;
  }

  /** How long the next operation takes; `isStable`: it waits for stable storage. */
  delayMs(isStable: boolean): number {
    const { slowness, stuckUntilMs } = this.weather;
    const { random, nowMs, syncMeanMs } = this.#parts;
    const meanMs = isStable ? syncMeanMs : CACHE_MEAN_MS;
    const delayMs = Math.min(SLOW_MAX_MS, random.exponential(meanMs) * slowness);
    return isStable ? Math.max(0, stuckUntilMs - nowMs()) + delayMs : delayMs;
  }

  /** The error of an operation that is one of `operations`, if it is the one to fail. */
  takeError(operations: readonly string[], object: string): HostError | undefined {
    const { nextError } = this.weather;
    if (nextError === undefined || !operations.includes(nextError.operation)) return undefined;
    const { operation, errno } = nextError;
    this.weather.nextError = undefined;
    this.#parts.coverage.hit(`disk.${operation}-error`);
    return new HostError({ operation, object, errno });
  }
}
