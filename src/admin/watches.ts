/**
 * The watches of one node: each a cursor over the store's history that waits for the next change.
 *
 *     caught up --something was applied--> steps over the history --> caught up
 *     caught up --nothing for `WATCH_IDLE_MS`--> bookmark
 *
 * A watch keeps no events: what its client is not ready for stays in the history, and a client so
 * slow that the history passes it by is told `compacted`. A bookmark is given only when the cursor
 * has reached what this node has applied, so all up to it has been handed out.
 *
 * @module
 */
import { assert } from "../base/assert.ts";
import { err, ok, type Result } from "../base/result.ts";
import { stepWatch, type WatchCursor } from "../control/kv/watch.ts";
import type { Clock } from "../host/ports.ts";
import type { KvState, Watch, WatchItem } from "./kv-api.ts";
import { WATCH_IDLE_MS, WATCHES_MAX } from "./limits.ts";
import type { ClusterFailure } from "./service.ts";

const ENDED: WatchItem = { kind: "ended" };

/** All watches of one store. */
export class Watches {
  readonly #state: KvState;
  readonly #clock: Clock;
  readonly #open = new Set<LiveWatch>();
  /** Runs only while somebody watches. */
  #cancelIdle: (() => void) | undefined;
  #isClosed = false;

  constructor(state: KvState, clock: Clock) {
    this.#state = state;
    this.#clock = clock;
  }

  get count(): number {
    return this.#open.size;
  }

  /** Begins a watch at `cursor`. */
  open(cursor: WatchCursor): Result<Watch, ClusterFailure> {
    if (this.#isClosed || this.#open.size >= WATCHES_MAX) {
      const state = this.#isClosed ? "this node stops" : `${WATCHES_MAX} watches are open already`;
      const next = "use another node, or try again";
      return err({ kind: "overloaded", detail: `Cannot watch the store: ${state}; ${next}` });
    }
    const watch = new LiveWatch(this.#state, cursor, () => {
      this.#open.delete(watch);
      if (this.#open.size === 0) this.#stopIdle();
    });
    this.#open.add(watch);
    this.#cancelIdle ??= this.#clock.every(WATCH_IDLE_MS, () => {
      for (const each of this.#open) each.idle();
    });
    return ok(watch);
  }

  /** To be called when the store has changed. */
  changed(): void {
    for (const watch of this.#open) watch.wake();
  }

  /** Ends all watches. */
  close(): void {
    this.#isClosed = true;
    for (const watch of [...this.#open]) watch.close();
  }

  #stopIdle(): void {
    this.#cancelIdle?.();
    this.#cancelIdle = undefined;
  }
}

class LiveWatch implements Watch {
  readonly #state: KvState;
  readonly #closed: () => void;
  #cursor: WatchCursor;
  /** Somebody wants to know how far it is: at the beginning, and when it was idle. */
  #isBookmarkDue = true;
  #isEnded = false;
  /** Resolves the question that waits. */
  #wake: (() => void) | undefined;

  constructor(state: KvState, cursor: WatchCursor, closed: () => void) {
    this.#state = state;
    this.#cursor = cursor;
    this.#closed = closed;
  }

  async next(): Promise<WatchItem> {
    assert(this.#wake === undefined, "a watch is asked one thing at a time");
    for (;;) {
      const item = this.#isEnded ? ENDED : this.#step();
      if (item !== undefined) return item;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  wake(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }

  /** A while has passed: a client that waits is told how far it is. */
  idle(): void {
    if (this.#wake === undefined) return;
    this.#isBookmarkDue = true;
    this.wake();
  }

  close(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#closed();
    this.wake();
  }

  /** What there is to tell now. */
  #step(): WatchItem | undefined {
    const { history, reader } = this.#state;
    for (let more = true; more; ) {
      const step = stepWatch(history, this.#cursor);
      if (step.kind === "compacted") {
        this.close();
        return step;
      }
      this.#cursor = step.cursor;
      if (step.batches.length > 0) return { kind: "events", batches: step.batches };
      more = step.more;
    }
    if (!this.#isBookmarkDue) return undefined;
    this.#isBookmarkDue = false;
    const { after } = this.#cursor;
    // Ahead of this node: what lies between is still to be told.
    return after > reader.revision ? { kind: "idle" } : { kind: "bookmark", revision: after };
  }
}
