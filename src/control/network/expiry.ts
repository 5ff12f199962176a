/**
 * When leases run out: deadlines on this node's monotonic clock, and what the leader does about it.
 *
 * Every node keeps the clock, to tell how long a lease has left; only the leader's word counts, and
 * it is no more than a proposal: `expire_leases`, bound to the term and to the epoch of each lease,
 * which applying ignores once either has moved on. The rules of time and leadership are those of
 * kv/deadline-clock.ts. The holder, in turn, counts from when it *sent* its last successful renewal
 * and stops at `HOLDER_STOP_FRACTION` of its TTL, so its belief ends before anybody else's.
 *
 * Pure: times are given, in milliseconds; nothing is proposed or logged here.
 *
 * @module
 */
import type { Prefix } from "../../base/address.ts";
import type { Term } from "../../base/ids.ts";
import { DeadlineClock } from "../kv/deadline-clock.ts";
import type { KvEvent } from "../kv/types.ts";
import { type ExpireLeases, type Expiry, expireLeases } from "./commands.ts";
import { decodeDraining } from "./draining.ts";
import { DRAINING_PREFIX, SUBNETS_PREFIX, subnetOfKey } from "./keys.ts";
import { decodeLease, type Lease } from "./lease.ts";
import { EXPIRE_BATCH_MAX } from "./limits.ts";

/** Deadlines of the held leases. One for each node, fed by whoever applies the log. */
export class LeaseClock {
  readonly #deadlines = new DeadlineClock<Prefix, Lease>();

  /** Starts over with these leases, as if all were renewed now: after a start or a restore. */
  reset(leases: Iterable<Lease>, nowMs: number): void {
    this.#deadlines.clear();
    for (const lease of leases) this.#note(lease, nowMs);
  }

  /** Takes note of what one applied entry changed. */
  observe(events: readonly KvEvent[], nowMs: number): void {
    // What went first: a lease that begins or ends to drain goes from one key to the other.
    for (const event of events) {
      const prefix = leasePrefix(keyOf(event));
      if (prefix === undefined) continue;
      const subnet = subnetOfKey(keyOf(event), prefix);
      if (event.kind === "delete" && subnet !== undefined) this.#deadlines.forget(subnet);
    }
    for (const event of events) {
      const prefix = leasePrefix(keyOf(event));
      if (event.kind !== "put" || prefix === undefined) continue;
      const { current } = event;
      const lease = prefix === SUBNETS_PREFIX ? decodeLease(current) : decodeDraining(current);
      const subnet = subnetOfKey(current.key, prefix);
      if (lease !== undefined) this.#note(lease, nowMs);
      else if (subnet !== undefined) this.#deadlines.forget(subnet);
    }
  }

  /** See `DeadlineClock`: every lease gets its whole time again. */
  becameLeader(term: Term, nowMs: number): void {
    this.#deadlines.becameLeader(term, nowMs);
  }

  lostLeadership(): void {
    this.#deadlines.lostLeadership();
  }

  /** Time that `subnet` has left, 0 when overdue; undefined when nobody holds it. */
  remainingSeconds(subnet: Prefix, nowMs: number): number | undefined {
    return this.#deadlines.remainingSeconds(subnet, nowMs);
  }

  /** What the leader shall propose now; nothing on other nodes. To be called once a second. */
  due(nowMs: number): readonly ExpireLeases[] {
    const due = this.#deadlines.due(nowMs);
    if (due === undefined) return [];
    const commands: ExpireLeases[] = [];
    for (let i = 0; i < due.subjects.length; i += EXPIRE_BATCH_MAX) {
      const leases = due.subjects.slice(i, i + EXPIRE_BATCH_MAX);
      commands.push(expireLeases(due.term, leases.map(expiryOf)));
    }
    return commands;
  }

  #note(lease: Lease, nowMs: number): void {
    const { subnet, state, ttlSeconds } = lease;
    if (state !== "held") {
      this.#deadlines.forget(subnet);
      return;
    }
    this.#deadlines.note(subnet, lease, { ttlMs: ttlSeconds * 1000, nowMs });
  }
}

function keyOf(event: KvEvent): string {
  return event.kind === "put" ? event.current.key : event.key;
}

/** Under which of the two prefixes `key` names a lease; undefined when it names none. */
function leasePrefix(key: string): string | undefined {
  return [SUBNETS_PREFIX, DRAINING_PREFIX].find((prefix) => key.startsWith(prefix));
}

function expiryOf({ subnet, node, epoch }: Lease): Expiry {
  return { subnet, node, epoch };
}
