/**
 * Until when this node may believe that a subnet is its own without hearing from the cluster.
 *
 *     suspect --cluster confirms--> held --HOLDER_STOP_FRACTION of its life passed--> suspect
 *
 * A confirmation is the answer to an acquisition or a renewal. The time counts from when that was
 * *sent*: the leader counts from when it applied it, which is later, and waits for the whole life;
 * so the belief ends before anybody else can be given the subnet, in true time.
 *
 * The monotonic clock measures while the process runs. Over a restart only the wall clock is left:
 * what it says is believed when it has not gone back, and else the subnet is suspect until the
 * cluster confirms it.
 *
 * @module
 */
import { type Prefix, parsePrefix } from "../base/address.ts";
import { HOLDER_STOP_FRACTION } from "../control/network/limits.ts";
import type { Clock } from "../host/ports.ts";

/** The last confirmation, as it is kept over a restart. */
export interface HoldRecord {
  readonly subnet: Prefix;
  readonly ttlSeconds: number;
  /** By the wall clock, when the request was sent that was confirmed. */
  readonly sentWallMs: number;
}

/** When a request left. */
export interface SentAt {
  readonly nowMs: number;
  readonly wallMs: number;
}

/** One node's belief in its subnet. */
export class LeaseHold {
  readonly #clock: Clock;
  #record: HoldRecord | undefined;
  #untilMs = Number.NEGATIVE_INFINITY;

  /** `recalled`: what an earlier process of this node kept. */
  constructor(clock: Clock, recalled?: HoldRecord) {
    this.#clock = clock;
    if (recalled === undefined) return;
    const ageMs = clock.wallMs() - recalled.sentWallMs;
    this.#record = recalled;
    if (ageMs >= 0) this.#untilMs = clock.nowMs() + lifeMs(recalled.ttlSeconds) - ageMs;
  }

  /** The last confirmation there was, over or not. */
  get record(): HoldRecord | undefined {
    return this.#record;
  }

  /** The time of a request that is about to be sent. */
  now(): SentAt {
    return { nowMs: this.#clock.nowMs(), wallMs: this.#clock.wallMs() };
  }

  /** The cluster's answer to what was sent at `sent`: this node holds `subnet`. */
  confirm(subnet: Prefix, ttlSeconds: number, sent: SentAt): HoldRecord {
    this.#record = { subnet, ttlSeconds, sentWallMs: sent.wallMs };
    this.#untilMs = sent.nowMs + lifeMs(ttlSeconds);
    return this.#record;
  }

  /** How long `subnet` is this node's for certain, milliseconds; 0 when it is suspect. */
  remainingMs(subnet: Prefix): number {
    if (this.#record?.subnet !== subnet) return 0;
    return Math.max(0, this.#untilMs - this.#clock.nowMs());
  }
}

/** `record` as the text of a file. */
export function encodeHold(record: HoldRecord): string {
  return `${JSON.stringify(record)}\n`;
}

/** What `text` says; undefined when it is not what `encodeHold` writes. */
export function decodeHold(text: string): HoldRecord | undefined {
  const value: unknown = parseJson(text);
  if (typeof value !== "object" || value === null) return undefined;
  const { subnet, ttlSeconds, sentWallMs } = value as Record<string, unknown>;
  const prefix = typeof subnet === "string" ? parsePrefix(subnet) : undefined;
  if (prefix === undefined || !isPositive(ttlSeconds) || !isPositive(sentWallMs)) return undefined;
  return { subnet: prefix, ttlSeconds, sentWallMs };
}

function isPositive(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value) && value > 0;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The part of a life that the holder may use. */
function lifeMs(ttlSeconds: number): number {
  return ttlSeconds * 1000 * HOLDER_STOP_FRACTION;
}
