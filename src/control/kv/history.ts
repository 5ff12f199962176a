/**
 * The events of the last revisions, in memory: what watches and reads of the past are served from.
 *
 * Each revision has its events (a revision is only made by a change), so a revision's place
 * follows from its number. Bounded by revisions and by bytes; the oldest go first. Not part of the
 * replicated state: it holds what this node applied since it started or was restored.
 *
 * @module
 */
import { assert } from "../../base/assert.ts";
import { decodeRevision, type Revision } from "../../base/ids.ts";
import { EVENT_OVERHEAD_BYTES, HISTORY_REVISIONS_MAX, HISTORY_SIZE_MAX_BYTES } from "./limits.ts";
import type { KeyValue, KvEvent, KvHistory, RevisionEvents } from "./types.ts";

/** The limits, for tests with smaller ones. */
export interface HistoryLimits {
  readonly revisionsMax: number;
  readonly sizeMaxBytes: number;
}

const LIMITS: HistoryLimits = {
  revisionsMax: HISTORY_REVISIONS_MAX,
  sizeMaxBytes: HISTORY_SIZE_MAX_BYTES,
};

/** Invariant: entry `i` after `#start` is of revision `#oldest + i`. */
export class History implements KvHistory {
  readonly #limits: HistoryLimits;
  #entries: RevisionEvents[] = [];
  /** Sizes of the entries: an old entry is long out of the processor's caches. */
  #sizes: number[] = [];
  /** Those before it are forgotten; they are cut off now and then. */
  #start = 0;
  /** Revision of the first entry, or of the next one when there is none. */
  #oldest = 1;
  #sizeBytes = 0;

  constructor(limits: HistoryLimits = LIMITS) {
    this.#limits = limits;
  }

  get oldestRevision(): Revision {
    return decodeRevision(this.#oldest - 1);
  }

  from(revision: Revision): Iterable<RevisionEvents> | undefined {
    return revision < this.#oldest ? undefined : this.#iterate(revision);
  }

  /** Adds the events of the next revision. */
  append(entry: RevisionEvents): void {
    const count = this.#entries.length - this.#start;
    assert(entry.revision === this.#oldest + count, "revisions must follow each other");
    const sizeBytes = eventsSize(entry.events);
    this.#entries.push(entry);
    this.#sizes.push(sizeBytes);
    this.#sizeBytes += sizeBytes;
    while (
      this.#entries.length - this.#start > this.#limits.revisionsMax ||
      this.#sizeBytes > this.#limits.sizeMaxBytes
    ) {
      this.#forgetOldest();
    }
  }

  /** Forgets the events up to those of `revision`, which must not lie ahead of the last ones. */
  forgetThrough(revision: Revision): void {
    while (this.#oldest <= revision) {
      assert(this.#start < this.#entries.length, "only what has happened can be forgotten");
      this.#forgetOldest();
    }
  }

  /** Forgets everything; the next events are those of the revision after `revision`. */
  reset(revision: Revision): void {
    this.#entries = [];
    this.#sizes = [];
    this.#start = 0;
    this.#oldest = revision + 1;
    this.#sizeBytes = 0;
  }

  /** Looks up each entry when it is its turn: entries may come and go in between. */
  *#iterate(revision: Revision): Iterable<RevisionEvents> {
    let next: number = revision;
    while (next >= this.#oldest) {
      const entry = this.#entries[this.#start + next - this.#oldest];
      if (entry === undefined) return;
      yield entry;
      next += 1;
    }
  }

  #forgetOldest(): void {
    this.#sizeBytes -= this.#sizes[this.#start]!;
    this.#start += 1;
    this.#oldest += 1;
    if (this.#start > this.#limits.revisionsMax) {
      this.#entries = this.#entries.slice(this.#start);
      this.#sizes = this.#sizes.slice(this.#start);
      this.#start = 0;
    }
  }
}

/** The key that `event` is about. */
export function eventKey(event: KvEvent): string {
  return event.kind === "put" ? event.current.key : event.key;
}

/** Bytes that `events` keep alive. */
export function eventsSize(events: readonly KvEvent[]): number {
  let size = events.length * EVENT_OVERHEAD_BYTES;
  for (const event of events) {
    size += pairSize(event.previous);
    if (event.kind === "put") size += pairSize(event.current);
  }
  return size;
}

function pairSize(pair: KeyValue | undefined): number {
  return pair === undefined ? 0 : pair.key.length + pair.value.length;
}
