/**
 * Committed work on its way into the state machine, first in, first out.
 *
 * A membership change takes effect when it is applied, and a leader that acts by it may need nobody
 * else any more; so a restart must know at once that it is committed. On the leader it waits, and
 * everything behind it, until the commit index is on the disk. Elsewhere that is written too, and
 * nothing waits: whatever such a node promises later (a vote, entries) is written together with it.
 *
 * @module
 */
import type { Entry, StorageApply } from "../../raft/types.ts";

/** What the driver lends. */
export interface ApplyQueueHost {
  isLeader(): boolean;
  /** Up to where a restart would know at once that entries are committed. */
  durableCommit(): number;
  /** Has the commit index written; `release` is to be called when that is done. */
  wantCommit(): void;
  /** Index of the last entry in the state machine. */
  appliedIndex(): number;
  /** Applies `entries`, which are those of `work` that are not applied yet. */
  apply(entries: readonly Entry[], work: StorageApply): void;
}

/** What waits to be applied on one node. */
export class ApplyQueue {
  readonly #host: ApplyQueueHost;
  readonly #held: StorageApply[] = [];

  constructor(host: ApplyQueueHost) {
    this.#host = host;
  }

  /** Applies `work`, now or later. */
  push(work: StorageApply): void {
    if (this.#mustBeWritten(work)) this.#host.wantCommit();
    this.#held.push(work);
    this.release();
  }

  /** Applies what need not wait any more: something became durable. */
  release(): void {
    for (;;) {
      const work = this.#held[0];
      if (work === undefined || (this.#mustBeWritten(work) && this.#host.isLeader())) return;
      this.#held.shift();
      // A snapshot that came while it was held covers what it has.
      const appliedIndex = this.#host.appliedIndex();
      const entries = work.entries.filter((entry) => entry.index > appliedIndex);
      this.#host.apply(entries, work);
    }
  }

  #mustBeWritten(work: StorageApply): boolean {
    return lastConfChange(work) > this.#host.durableCommit();
  }
}

/** Index of the last membership change in `work`; 0 when there is none. */
function lastConfChange({ entries }: StorageApply): number {
  return entries.findLast((entry) => entry.kind === "conf_change")?.index ?? 0;
}
