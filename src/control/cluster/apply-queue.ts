/**
 * Committed work on its way into the state machine, first in, first out.
 *
 * A membership change takes effect when it is applied, and whoever acts by it may need nobody else
 * any more; so a restart must know at once that it is committed. It waits, and everything behind
 * it, until the commit index is on the disk.
 *
 * @module
 */
import type { Entry, StorageApply } from "../raft/types.ts";

/** What the driver lends. */
export interface ApplyQueueHost {
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
    this.#held.push(work);
    this.release();
    if (this.#held.length > 0 && lastConfChange(work) > 0) this.#host.wantCommit();
  }

  /** Applies what need not wait any more: something became durable. */
  release(): void {
    for (;;) {
      const work = this.#held[0];
      if (work === undefined || lastConfChange(work) > this.#host.durableCommit()) return;
      this.#held.shift();
      // A snapshot that came while it was held covers what it has.
      const appliedIndex = this.#host.appliedIndex();
      const entries = work.entries.filter((entry) => entry.index > appliedIndex);
      this.#host.apply(entries, work);
    }
  }
}

/** Index of the last membership change in `work`; 0 when there is none. */
function lastConfChange({ entries }: StorageApply): number {
  return entries.findLast((entry) => entry.kind === "conf_change")?.index ?? 0;
}
