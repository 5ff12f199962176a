/**
 * The choice of the way to one peer, out of what probes by each way say.
 *
 * Problem: two ways may fail and come back at any time, each move costs packets or their order, and
 * a peer that is off looks like a way that is broken.
 *
 *     udp ──a better way answered PROOF_ANSWERS times in a row, and is not held──► that way
 *     any ──BROKEN_LOSSES lost in a row, while another answers──► the best that answers
 *     any ──lost, and no other way answers──► stays: the peer is away, not the way
 *
 * A way that broke is *held*: not returned to for HOLD_FIRST_MS, doubled each time up to
 * HOLD_MAX_MS, and from the beginning again after it was in use for STABLE_MS. So a way that comes
 * and goes costs a few moves at first and one in ten minutes then. A held way is still taken when
 * nothing else answers: a bad way is better than none.
 *
 * The last resort, udp, is never held and needs no proof: without any answer it is what is used.
 *
 * Pure: told the time.
 *
 * @module
 */
import { assert } from "../../base/assert.ts";
import type { Way } from "./way.ts";

/** Answers in a row by which a way is proven. */
export const PROOF_ANSWERS = 3;
/** Questions lost in a row by which the way in use is broken. */
export const BROKEN_LOSSES = 3;
/**
 * The last of them must have been asked this long after another way began to answer: the parts of a
 * peer's agent that answer come up one after the other.
 */
export const SURE_MS = 400;
export const HOLD_FIRST_MS = 10_000;
export const HOLD_MAX_MS = 600_000;
/** In use for so long, a way has a clean slate. */
export const STABLE_MS = 600_000;

/** What is known of one way. */
class WayState {
  /** Answers since the last loss, or since the way in use came in doubt. */
  answers = 0;
  /** When the first of them came. */
  answeringSinceMs = 0;
  /** Questions lost since the last answer. */
  losses = 0;
  /** When the first of them was noticed. */
  silentSinceMs = 0;
  /** When the last of them was asked. */
  lostAskedMs = Number.NEGATIVE_INFINITY;
  hasAnswered = false;
  heldUntilMs = Number.NEGATIVE_INFINITY;
  /** Of the next hold. */
  holdMs = HOLD_FIRST_MS;
}

/** Why a way is not in use. */
export type WayObstacle =
  /** Questions are lost. */
  | { readonly kind: "silent"; readonly forMs: number; readonly hasAnswered: boolean }
  /** It answers again, but broke so lately that it has to wait. */
  | { readonly kind: "held"; readonly forMs: number }
  /** It is being tried. */
  | { readonly kind: "unproven" };

/** The ways to one peer. */
export class WayChoice {
  /** Best first; the last is the last resort. */
  readonly ways: readonly Way[];
  readonly #states: ReadonlyMap<Way, WayState>;
  #current: Way;
  #usedSinceMs = Number.NEGATIVE_INFINITY;

  /** `current`: the way in use, where it is known already and still one. */
  constructor(ways: readonly Way[], current?: Way) {
    const last = ways.at(-1);
    assert(last !== undefined, "there is always a last resort");
    this.ways = ways;
    this.#states = new Map(ways.map((way) => [way, new WayState()]));
    this.#current = ways.find((way) => way === current) ?? last;
  }

  /** The way to use. */
  get current(): Way {
    return this.#current;
  }

  /** Whether more answers would decide something soon. */
  get isInDoubt(): boolean {
    return this.#state(this.#current).losses > 0;
  }

  /** Whether `way` is about to be taken into use, when its next questions are answered. */
  isProving(way: Way, nowMs: number): boolean {
    const state = this.#state(way);
    return this.#isBetter(way) && state.answers > 0 && nowMs >= state.heldUntilMs;
  }

  /** When the last hold of `way` ends or ended. */
  heldUntilMs(way: Way): number {
    return this.#state(way).heldUntilMs;
  }

  /** A question by `way` was answered. Whether another way is to be used now. */
  answered(way: Way, nowMs: number): boolean {
    const state = this.#state(way);
    state.hasAnswered = true;
    state.losses = 0;
    if (state.answers++ === 0) state.answeringSinceMs = nowMs;
    return this.#decide(nowMs);
  }

  /**
   * A question by `way` that was asked at `askedMs` was not answered in time. Whether another way
   * is to be used now.
   */
  lost(way: Way, askedMs: number, nowMs: number): boolean {
    const state = this.#state(way);
    state.answers = 0;
    state.lostAskedMs = askedMs;
    if (state.losses++ === 0) {
      state.silentSinceMs = nowMs;
      // Only what the others answer from now on says that the peer lives.
      if (way === this.#current) this.#forgetAnswers();
    }
    return this.#decide(nowMs);
  }

  /** Why `way`, one of `ways`, is not in use; undefined when it is, or is not the better one. */
  obstacle(way: Way, nowMs: number): WayObstacle | undefined {
    if (!this.#isBetter(way)) return undefined;
    const state = this.#state(way);
    if (state.losses > 0) {
      const { hasAnswered, silentSinceMs } = state;
      return { kind: "silent", forMs: nowMs - silentSinceMs, hasAnswered };
    }
    if (nowMs < state.heldUntilMs) return { kind: "held", forMs: state.heldUntilMs - nowMs };
    return { kind: "unproven" };
  }

  #decide(nowMs: number): boolean {
    const better = this.ways.find((way) => {
      const { answers, heldUntilMs } = this.#state(way);
      return this.#isBetter(way) && answers >= PROOF_ANSWERS && nowMs >= heldUntilMs;
    });
    if (better !== undefined) return this.#use(better, nowMs);
    const { losses, lostAskedMs } = this.#state(this.#current);
    if (losses < BROKEN_LOSSES) return false;
    const answering = this.ways.filter((way) => {
      const { answers, answeringSinceMs } = this.#state(way);
      return answers >= PROOF_ANSWERS && lostAskedMs - answeringSinceMs >= SURE_MS;
    });
    const free = answering.find((way) => nowMs >= this.#state(way).heldUntilMs);
    const other = free ?? answering[0];
    if (other === undefined) return false;
    this.#hold(this.#current, nowMs);
    return this.#use(other, nowMs);
  }

  #use(way: Way, nowMs: number): boolean {
    this.#current = way;
    this.#usedSinceMs = nowMs;
    return true;
  }

  #hold(way: Way, nowMs: number): void {
    if (way === this.ways.at(-1)) return;
    const state = this.#state(way);
    const usedForMs = nowMs - this.#usedSinceMs;
    if (usedForMs >= STABLE_MS) state.holdMs = HOLD_FIRST_MS;
    state.heldUntilMs = nowMs + state.holdMs;
    state.holdMs = Math.min(state.holdMs * 2, HOLD_MAX_MS);
  }

  #forgetAnswers(): void {
    for (const state of this.#states.values()) state.answers = 0;
  }

  #isBetter(way: Way): boolean {
    return this.ways.indexOf(way) < this.ways.indexOf(this.#current);
  }

  #state(way: Way): WayState {
    const state = this.#states.get(way);
    assert(state !== undefined, "only ways to the peer are asked");
    return state;
  }
}
