/**
 * When keys with a time to live run out, and what the leader proposes about it.
 *
 * Renewals make no events, so the clock is not told of single changes: it compares what it knows
 * with the store at each look. A renewal is then noted up to one look late, which only lengthens
 * the time. The rules of time and leadership are deadline-clock.ts's. Pure.
 *
 * @module
 */
import type { Term } from "../../base/ids.ts";
import { DeadlineClock } from "./deadline-clock.ts";
import { type ExpireKeys, expireKeys, type KeyExpiry } from "./expire-keys.ts";
import { EXPIRE_BATCH_MAX } from "./limits.ts";
import type { KeyTtl } from "./types.ts";

/** Deadlines of the keys of one store, kept by its leader. */
export class KeyClock {
  readonly #deadlines = new DeadlineClock<string, KeyExpiry>();

  /** See `DeadlineClock`: every key gets its whole time again. */
  becameLeader(term: Term, nowMs: number): void {
    this.#deadlines.becameLeader(term, nowMs);
  }

  lostLeadership(): void {
    this.#deadlines.lostLeadership();
  }

  /** What the leader shall propose now, given the keys with a time to live. About once a second. */
  look(ttls: ReadonlyMap<string, KeyTtl>, nowMs: number): readonly ExpireKeys[] {
    this.#compare(ttls, nowMs);
    const due = this.#deadlines.due(nowMs);
    if (due === undefined) return [];
    const commands: ExpireKeys[] = [];
    for (let i = 0; i < due.subjects.length; i += EXPIRE_BATCH_MAX) {
      commands.push(expireKeys(due.term, due.subjects.slice(i, i + EXPIRE_BATCH_MAX)));
    }
    return commands;
  }

  #compare(ttls: ReadonlyMap<string, KeyTtl>, nowMs: number): void {
    const deadlines = this.#deadlines;
    for (const [key, { seconds, epoch }] of ttls) {
      if (deadlines.subject(key)?.epoch === epoch) continue;
      deadlines.note(key, { key, epoch }, { ttlMs: seconds * 1000, nowMs });
    }
    if (deadlines.size === ttls.size) return;
    for (const key of deadlines.keys()) if (!ttls.has(key)) deadlines.forget(key);
  }
}
