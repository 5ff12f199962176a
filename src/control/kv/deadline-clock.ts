/**
 * When things run out that somebody has to renew: deadlines on this node's monotonic clock.
 *
 * Every node may keep such a clock, to tell how much time is left; only the leader's word counts,
 * and it is no more than a proposal, bound to its term and to the epoch of what is to end.
 *
 *     deadline = max(renewal noted here, this node became leader, the clock slept) + time to live
 *
 * So a time to live is a minimum. A new leader does not know when the renewals that it knows of
 * were sent, so it gives everything its whole time again; a leader that was stopped for a while (a
 * paused virtual machine, a stalled disk) has renewals waiting unread and does the same.
 *
 * Used for the keys of the store (key-clock.ts) and for subnet leases (network/expiry.ts). Pure:
 * times are given, in milliseconds; nothing is proposed here.
 *
 * @module
 */
import type { Term } from "../../base/ids.ts";
import { DEADLINE_CLOCK_GAP_MAX_MS, EXPIRIES_PER_SECOND_MAX, EXPIRY_RETRY_MS } from "./limits.ts";

interface Timer<Subject> {
  readonly subject: Subject;
  readonly ttlMs: number;
  readonly notedAtMs: number;
  /** Not due again before this. */
  retryAtMs: number;
}

type Role =
  | { readonly kind: "other" }
  | {
      readonly kind: "leader";
      readonly term: Term;
      /** Nothing counts as older than this. */
      readonly sinceMs: number;
      readonly lastLookMs: number;
    };

/** What the leader of `term` shall end. */
export interface Due<Subject> {
  readonly term: Term;
  readonly subjects: readonly Subject[];
}

/** Deadlines by `Key`; a subject is what it takes to name one renewal of it in a command. */
export class DeadlineClock<Key, Subject> {
  readonly #timers = new Map<Key, Timer<Subject>>();
  #role: Role = { kind: "other" };
  /** How many may still be due at `#budgetAtMs`; grows with time. */
  #budget = EXPIRIES_PER_SECOND_MAX;
  #budgetAtMs = 0;
  /** No deadline is before this: most looks end here. Infinite when there is none. */
  #nextDueMs = Number.POSITIVE_INFINITY;

  /** What has a deadline. */
  keys(): Iterable<Key> {
    return this.#timers.keys();
  }

  get size(): number {
    return this.#timers.size;
  }

  /** The subject last noted for `key`. */
  subject(key: Key): Subject | undefined {
    return this.#timers.get(key)?.subject;
  }

  /** `key` was granted or renewed just now. */
  note(key: Key, subject: Subject, at: { readonly ttlMs: number; readonly nowMs: number }): void {
    const { ttlMs, nowMs } = at;
    const timer: Timer<Subject> = { subject, ttlMs, notedAtMs: nowMs, retryAtMs: 0 };
    this.#timers.set(key, timer);
    this.#nextDueMs = Math.min(this.#nextDueMs, this.#deadlineMs(timer));
  }

  /** `key` has no deadline any more. */
  forget(key: Key): void {
    this.#timers.delete(key);
  }

  /** Forgets all deadlines. */
  clear(): void {
    this.#timers.clear();
    this.#nextDueMs = Number.POSITIVE_INFINITY;
  }

  /**
   * From now on this node leads `term`: everything gets its whole time again. Saying it again for
   * the same term changes nothing.
   */
  becameLeader(term: Term, nowMs: number): void {
    if (this.#role.kind === "leader" && this.#role.term === term) return;
    this.#startOver(term, nowMs);
  }

  lostLeadership(): void {
    this.#role = { kind: "other" };
  }

  /** Time that `key` has left, 0 when overdue; undefined when it has no deadline. */
  remainingSeconds(key: Key, nowMs: number): number | undefined {
    const timer = this.#timers.get(key);
    if (timer === undefined) return undefined;
    return Math.max(0, Math.ceil((this.#deadlineMs(timer) - nowMs) / 1000));
  }

  /**
   * What the leader shall end now; nothing on other nodes. To be called about once a second: a
   * longer gap counts as sleep. What was not ended is due again after `EXPIRY_RETRY_MS`.
   */
  due(nowMs: number): Due<Subject> | undefined {
    if (this.#role.kind !== "leader") return undefined;
    const { term, lastLookMs } = this.#role;
    if (nowMs - lastLookMs > DEADLINE_CLOCK_GAP_MAX_MS) {
      this.#startOver(term, nowMs);
      return undefined;
    }
    this.#role = { ...this.#role, lastLookMs: nowMs };
    this.#refillBudget(nowMs);
    if (nowMs < this.#nextDueMs) return undefined;
    return { term, subjects: this.#takeDue(nowMs) };
  }

  /** What is overdue, as much as the budget allows; looks at everything. */
  #takeDue(nowMs: number): readonly Subject[] {
    const subjects: Subject[] = [];
    let nextDueMs = Number.POSITIVE_INFINITY;
    for (const timer of this.#timers.values()) {
      const dueMs = Math.max(this.#deadlineMs(timer), timer.retryAtMs);
      if (dueMs > nowMs || subjects.length >= Math.floor(this.#budget)) {
        nextDueMs = Math.min(nextDueMs, dueMs);
        continue;
      }
      timer.retryAtMs = nowMs + EXPIRY_RETRY_MS;
      nextDueMs = Math.min(nextDueMs, timer.retryAtMs);
      subjects.push(timer.subject);
    }
    this.#budget -= subjects.length;
    this.#nextDueMs = nextDueMs;
    return subjects;
  }

  #refillBudget(nowMs: number): void {
    const refill = ((nowMs - this.#budgetAtMs) / 1000) * EXPIRIES_PER_SECOND_MAX;
    this.#budget = Math.min(EXPIRIES_PER_SECOND_MAX, this.#budget + refill);
    this.#budgetAtMs = nowMs;
  }

  #startOver(term: Term, nowMs: number): void {
    this.#role = { kind: "leader", term, sinceMs: nowMs, lastLookMs: nowMs };
    this.#nextDueMs = nowMs;
    for (const timer of this.#timers.values()) timer.retryAtMs = 0;
  }

  #deadlineMs(timer: Timer<Subject>): number {
    const sinceMs = this.#role.kind === "leader" ? this.#role.sinceMs : timer.notedAtMs;
    return Math.max(timer.notedAtMs, sinceMs) + timer.ttlMs;
  }
}
