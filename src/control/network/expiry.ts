/**
 * When leases run out: deadlines on this node's monotonic clock, and what the leader does about it.
 *
 * Every node keeps the clock, to tell how long a lease has left; only the leader's word counts, and
 * it is no more than a proposal: `expire_leases`, bound to the term and to the epoch of each lease,
 * which applying ignores once either has moved on.
 *
 *     deadline = max(renewal applied here, this node became leader, the clock slept) + TTL
 *
 * So a TTL is a minimum. A new leader does not know when the renewals that it knows of were sent,
 * so it gives every lease its whole time again; a leader that was stopped for a while (a paused
 * virtual machine, a stalled disk) has renewals waiting unread and does the same. The holder, in
 * turn, counts from when it *sent* its last successful renewal and stops at `HOLDER_STOP_FRACTION`
 * of its TTL, so its belief ends before anybody else's.
 *
 * Pure: times are given, in milliseconds; nothing is proposed or logged here.
 *
 * @module
 */
import type { Prefix } from "../../base/address.ts";
import type { NodeId, Revision, Term } from "../../base/ids.ts";
import type { KvEvent } from "../kv/types.ts";
import { type ExpireLeases, type Expiry, expireLeases } from "./commands.ts";
import { SUBNETS_PREFIX, subnetOfKey } from "./keys.ts";
import { decodeLease, type Lease } from "./lease.ts";
import {
  EXPIRE_BATCH_MAX,
  EXPIRIES_PER_SECOND_MAX,
  EXPIRY_RETRY_MS,
  LEASE_CLOCK_GAP_MAX_MS,
} from "./limits.ts";

interface Timer {
  readonly node: NodeId;
  readonly epoch: Revision;
  readonly ttlMs: number;
  /** When the acquisition or last renewal was applied here. */
  readonly renewedAtMs: number;
  /** Not proposed again before this. */
  retryAtMs: number;
}

type Role =
  | { readonly kind: "other" }
  | {
      readonly kind: "leader";
      readonly term: Term;
      /** No lease counts as older than this. */
      readonly sinceMs: number;
      readonly lastLookMs: number;
    };

/** Deadlines of the held leases. One for each node, fed by whoever applies the log. */
export class LeaseClock {
  #timers = new Map<Prefix, Timer>();
  #role: Role = { kind: "other" };
  /** Expiries that may still be proposed at `#budgetAtMs`; grows with time. */
  #budget = EXPIRIES_PER_SECOND_MAX;
  #budgetAtMs = 0;
  /** No deadline is before this: most looks end here. Infinite when there is no lease. */
  #nextDueMs = Number.POSITIVE_INFINITY;

  /** Starts over with these leases, as if all were renewed now: after a start or a restore. */
  reset(leases: Iterable<Lease>, nowMs: number): void {
    this.#timers = new Map();
    this.#nextDueMs = Number.POSITIVE_INFINITY;
    for (const lease of leases) this.#note(lease, nowMs);
  }

  /** Takes note of what one applied entry changed. */
  observe(events: readonly KvEvent[], nowMs: number): void {
    for (const event of events) {
      const key = event.kind === "put" ? event.current.key : event.key;
      if (!key.startsWith(SUBNETS_PREFIX)) continue;
      const lease = event.kind === "put" ? decodeLease(event.current) : undefined;
      const subnet = lease?.subnet ?? subnetOfKey(key, SUBNETS_PREFIX);
      if (lease !== undefined) this.#note(lease, nowMs);
      else if (subnet !== undefined) this.#timers.delete(subnet);
    }
  }

  /**
   * From now on this node leads `term`: every lease gets its whole time again. Saying it again for
   * the same term changes nothing.
   */
  becameLeader(term: Term, nowMs: number): void {
    if (this.#role.kind === "leader" && this.#role.term === term) return;
    this.#startOver(term, nowMs);
  }

  lostLeadership(): void {
    this.#role = { kind: "other" };
  }

  /** Time that `subnet` has left, 0 when overdue; undefined when nobody holds it. */
  remainingSeconds(subnet: Prefix, nowMs: number): number | undefined {
    const timer = this.#timers.get(subnet);
    if (timer === undefined) return undefined;
    return Math.max(0, Math.ceil((this.#deadlineMs(timer) - nowMs) / 1000));
  }

  /**
   * What the leader shall propose now; nothing on other nodes. To be called about once a second: a
   * longer gap counts as sleep. What is not applied is given again after `EXPIRY_RETRY_MS`.
   */
  due(nowMs: number): readonly ExpireLeases[] {
    if (this.#role.kind !== "leader") return [];
    const { term, lastLookMs } = this.#role;
    if (nowMs - lastLookMs > LEASE_CLOCK_GAP_MAX_MS) {
      this.#startOver(term, nowMs);
      return [];
    }
    this.#role = { ...this.#role, lastLookMs: nowMs };
    this.#refillBudget(nowMs);
    if (nowMs < this.#nextDueMs) return [];
    const expiries = this.#takeDue(nowMs);
    const commands: ExpireLeases[] = [];
    for (let i = 0; i < expiries.length; i += EXPIRE_BATCH_MAX) {
      commands.push(expireLeases(term, expiries.slice(i, i + EXPIRE_BATCH_MAX)));
    }
    return commands;
  }

  /** The leases whose time is over, as many as the budget allows; looks at all of them. */
  #takeDue(nowMs: number): readonly Expiry[] {
    const expiries: Expiry[] = [];
    let nextDueMs = Number.POSITIVE_INFINITY;
    for (const [subnet, timer] of this.#timers) {
      const dueMs = Math.max(this.#deadlineMs(timer), timer.retryAtMs);
      if (dueMs > nowMs || expiries.length >= Math.floor(this.#budget)) {
        nextDueMs = Math.min(nextDueMs, dueMs);
        continue;
      }
      timer.retryAtMs = nowMs + EXPIRY_RETRY_MS;
      nextDueMs = Math.min(nextDueMs, timer.retryAtMs);
      expiries.push({ subnet, node: timer.node, epoch: timer.epoch });
    }
    this.#budget -= expiries.length;
    this.#nextDueMs = nextDueMs;
    return expiries;
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

  #note(lease: Lease, nowMs: number): void {
    const { subnet, node, epoch, state, ttlSeconds } = lease;
    if (state !== "held") {
      this.#timers.delete(subnet);
      return;
    }
    const timer: Timer = {
      node,
      epoch,
      ttlMs: ttlSeconds * 1000,
      renewedAtMs: nowMs,
      retryAtMs: 0,
    };
    this.#timers.set(subnet, timer);
    this.#nextDueMs = Math.min(this.#nextDueMs, this.#deadlineMs(timer));
  }

  #deadlineMs(timer: Timer): number {
    const sinceMs = this.#role.kind === "leader" ? this.#role.sinceMs : timer.renewedAtMs;
    return Math.max(timer.renewedAtMs, sinceMs) + timer.ttlMs;
  }
}
