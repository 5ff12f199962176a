/**
 * What the leader remembers of its standbys: which one is steady enough for a vote, and which one
 * is not worth the leader's work any more.
 *
 *     steady    without a break for ten seconds after one. A newcomer is not made to wait, nor is
 *               what comes and goes in its first ten seconds a break: it starts.
 *     stalled   silent, or there and without any progress, for five minutes (k3s evicts a learner
 *               after as long)
 *     resting   let go for that; tried again after as long, doubled each time up to an hour
 *
 * A new leader begins with nothing, so it may wait longer than the last one would have. No clock
 * of its own.
 *
 * @module
 */
import type { NodeId } from "../../../base/ids.ts";

/** How long a standby must be there without a break before it gets a vote (Consul's default). */
export const STEADY_AFTER_MS = 10_000;
/** How long a standby may make no progress. */
export const STALLED_AFTER_MS = 300_000;
const REST_MAX_MS = 3_600_000;

/** How a standby does at one moment. */
export interface StandbySight {
  readonly isLive: boolean;
  /** How far its log is known to be good; undefined while it is sent a snapshot. */
  readonly match: number | undefined;
  /** Whether there is more that it should have. */
  readonly isBehind: boolean;
}

interface Memory {
  readonly firstMs: number;
  isLive: boolean;
  liveSinceMs: number;
  hadBreak: boolean;
  match: number | undefined;
  progressMs: number;
}

/** One leader's memory; a new one for each time in office. */
export class StandbyWatch {
  readonly #standbys = new Map<NodeId, Memory>();
  readonly #rests = new Map<NodeId, { readonly untilMs: number; readonly lengthMs: number }>();

  /** Takes in how `id` does now. */
  saw(id: NodeId, sight: StandbySight, nowMs: number): void {
    const { isLive, match, isBehind } = sight;
    const memory = this.#standbys.get(id);
    if (memory === undefined) {
      const begun = { firstMs: nowMs, liveSinceMs: nowMs, progressMs: nowMs };
      this.#standbys.set(id, { ...begun, isLive, match, hadBreak: false });
      return;
    }
    const isNew = nowMs - memory.firstMs < STEADY_AFTER_MS;
    if (!isLive && memory.isLive && !isNew) memory.hadBreak = true;
    if (isLive && !memory.isLive) memory.liveSinceMs = nowMs;
    const isInProgress = isLive && (!isBehind || match === undefined || match !== memory.match);
    if (isInProgress) memory.progressMs = nowMs;
    memory.isLive = isLive;
    memory.match = match;
  }

  isSteady(id: NodeId, nowMs: number): boolean {
    const memory = this.#standbys.get(id);
    if (memory === undefined || !memory.isLive) return false;
    return !memory.hadBreak || nowMs - memory.liveSinceMs >= STEADY_AFTER_MS;
  }

  isStalled(id: NodeId, nowMs: number): boolean {
    const memory = this.#standbys.get(id);
    return memory !== undefined && nowMs - memory.progressMs >= STALLED_AFTER_MS;
  }

  /** `id` is taken out because it is stalled. */
  letGo(id: NodeId, nowMs: number): void {
    const last = this.#rests.get(id)?.lengthMs ?? STALLED_AFTER_MS / 2;
    const lengthMs = Math.min(2 * last, REST_MAX_MS);
    this.#rests.set(id, { untilMs: nowMs + lengthMs, lengthMs });
    this.#standbys.delete(id);
  }

  isResting(id: NodeId, nowMs: number): boolean {
    return nowMs < (this.#rests.get(id)?.untilMs ?? Number.NEGATIVE_INFINITY);
  }

  /** Forgets the sights of all but `standbys`, and the rests of all but `members`. */
  keepOnly(standbys: ReadonlySet<NodeId>, members: ReadonlySet<NodeId>): void {
    for (const id of this.#standbys.keys()) if (!standbys.has(id)) this.#standbys.delete(id);
    for (const id of this.#rests.keys()) if (!members.has(id)) this.#rests.delete(id);
  }
}
