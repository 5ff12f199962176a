/**
 * For tests of this folder: a log store in memory that loses what it had not synced, can be slow,
 * and can fail.
 *
 * @module
 */
import { assert } from "../../base/assert.ts";
import type {
  Clock,
  LogBatch,
  LogStore,
  RecoveredLog,
  StoredEntry,
  StoredHardState,
  StoredSnapshotMeta,
} from "../../host/ports.ts";

const DISK_SYNC_MS = 2;

interface Durable {
  hardState: StoredHardState | undefined;
  snapshot: { meta: StoredSnapshotMeta; chunks: Uint8Array[] } | undefined;
  entries: StoredEntry[];
}

/** A log store in memory whose writes become durable a little later, in order. */
export class SimLogStore implements LogStore {
  readonly #clock: Clock;
  readonly #durable: Durable;
  #isDead = false;
  /** When set, every write from now on fails with it. */
  failure: Error | undefined;
  appendCount = 0;
  /** Resolves when the bodies of snapshots handed in so far are read; undefined when all are. */
  #ready: Promise<void> | undefined;
  /** Writes that wait for a stalled disk, while it is. */
  #stalled: (() => void)[] | undefined;

  constructor(clock: Clock, durable?: Durable) {
    this.#clock = clock;
    this.#durable = durable ?? { hardState: undefined, snapshot: undefined, entries: [] };
  }

  get recovered(): RecoveredLog {
    const { hardState, snapshot, entries } = this.#durable;
    return { hardState, snapshot: snapshot?.meta, entries: [...entries] };
  }

  append(batch: LogBatch): Promise<void> {
    this.appendCount += 1;
    return this.#write(() => {
      const first = batch.entries[0];
      const { entries } = this.#durable;
      if (first !== undefined) {
        const last = entries.at(-1)?.index ?? this.#durable.snapshot?.meta.index ?? 0;
        assert(first.index <= last + 1, "append must not leave a gap");
        this.#durable.entries = entries.filter((entry) => entry.index < first.index);
        this.#durable.entries.push(...batch.entries);
      }
      if (batch.hardState !== undefined) this.#durable.hardState = batch.hardState;
    });
  }

  async saveSnapshot(
    meta: StoredSnapshotMeta,
    chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  ): Promise<void> {
    const copy: Uint8Array[] = [];
    // Calls take effect in order, however long the body takes to read.
    const reading = Symbol.iterator in chunks ? undefined : readInto(copy, chunks);
    if (Symbol.iterator in chunks) copy.push(...chunks);
    await this.#write(() => {
      this.#durable.snapshot = { meta, chunks: copy };
    }, reading);
  }

  async *readSnapshot(): AsyncGenerator<Uint8Array> {
    yield* this.#durable.snapshot?.chunks ?? [];
  }

  compact(index: number): Promise<void> {
    return this.#write(() => {
      assert(index <= (this.#durable.snapshot?.meta.index ?? 0), "compaction beyond the snapshot");
      this.#durable.entries = this.#durable.entries.filter((entry) => entry.index > index);
    });
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  /** Takes no write until `resume`: nothing fails, nothing becomes durable. */
  stall(): void {
    this.#stalled ??= [];
  }

  resume(): void {
    const waiting = this.#stalled ?? [];
    this.#stalled = undefined;
    for (const write of waiting) write();
  }

  /** Another disk with what is durable now. */
  copy(): SimLogStore {
    const { hardState, snapshot, entries } = this.#durable;
    return new SimLogStore(this.#clock, { hardState, snapshot, entries: [...entries] });
  }

  /** The same disk after a crash: what was not yet durable never will be. */
  crash(): SimLogStore {
    this.#isDead = true;
    return new SimLogStore(this.#clock, this.#durable);
  }

  /** `ready` holds this write up, and every one behind it. */
  async #write(apply: () => void, ready?: Promise<void>): Promise<void> {
    const before = this.#ready;
    if (ready !== undefined) {
      const both = Promise.all([before, ready]).then(() => undefined);
      this.#ready = both;
      await both;
      if (this.#ready === both) this.#ready = undefined;
    } else if (before !== undefined) {
      await before;
    }
    return this.#writeSoon(apply);
  }

  #writeSoon(apply: () => void): Promise<void> {
    return new Promise((resolve, reject) => {
      const write = () => {
        if (this.#isDead) return;
        if (this.#stalled !== undefined) {
          this.#stalled.push(write);
          return;
        }
        if (this.failure !== undefined) {
          reject(this.failure);
          return;
        }
        apply();
        resolve();
      };
      this.#clock.after(DISK_SYNC_MS, write);
    });
  }
}

async function readInto(copy: Uint8Array[], chunks: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const chunk of chunks) copy.push(chunk);
}
