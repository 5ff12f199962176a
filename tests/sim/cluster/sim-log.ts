/**
 * A log store without files, for simulations in which the disk's own format is not what is tested:
 * batches become durable in order, after a while, or never.
 *
 * Does what the port promises and asserts what the port demands, so that the driver cannot tell it
 * from the real log. A loss of power keeps some first part of what was not acknowledged yet.
 *
 * @module
 */
import { assert } from "../../../src/base/assert.ts";
import type {
  LogBatch,
  LogStore,
  RecoveredLog,
  StoredEntry,
  StoredHardState,
  StoredSnapshotMeta,
} from "../../../src/host/ports.ts";
import type { Coverage } from "./coverage.ts";
import { Device, type DeviceParts, type DiskWeather } from "./device.ts";
import type { SimProcess } from "./sim-process.ts";
import type { SimRandom } from "./sim-random.ts";

interface Snapshot {
  readonly meta: StoredSnapshotMeta;
  readonly chunks: readonly Uint8Array[];
}

/** What survives. Entries are contiguous and begin after `baseIndex`. */
interface Stored {
  hardState: StoredHardState | undefined;
  snapshot: Snapshot | undefined;
  baseIndex: number;
  entries: StoredEntry[];
}

type Write =
  | { readonly kind: "append"; readonly batch: LogBatch }
  | { readonly kind: "snapshot"; readonly snapshot: Snapshot }
  | { readonly kind: "compact"; readonly index: number };

/** The stable part of one machine's log. Outlives the runs of the node. */
export class SimLog {
  readonly #device: Device;
  readonly #random: SimRandom;
  readonly #coverage: Coverage;
  readonly #nowMs: () => number;
  #stored = emptyLog();
  /** Handed in and not durable yet, in order. */
  #pending: { readonly work: Write; readonly resolve: () => void }[] = [];
  #lastDoneMs = 0;

  constructor(parts: DeviceParts) {
    this.#device = new Device(parts);
    this.#random = parts.random;
    this.#coverage = parts.coverage;
    this.#nowMs = parts.nowMs;
  }

  get weather(): DiskWeather {
    return this.#device.weather;
  }

  /** The run ended, with or without the machine's power: what was not acknowledged may be there. */
  ended(): void {
    const keptCount = this.#random.below(this.#pending.length + 1);
    if (keptCount < this.#pending.length) this.#coverage.hit("disk.lose-unsynced");
    for (const { work } of this.#pending.slice(0, keptCount)) applyWrite(this.#stored, work);
    this.#pending = [];
  }

  wipe(): void {
    this.#stored = emptyLog();
    this.#pending = [];
  }

  /** A copy of all that is stable. */
  image(): Stored {
    return { ...this.#stored, entries: [...this.#stored.entries] };
  }

  /** Puts `image` in the place of everything. */
  restore(image: Stored): void {
    this.#stored = { ...image, entries: [...image.entries] };
    this.#pending = [];
  }

  /** Opens the log for one run. */
  open(process: SimProcess): LogStore {
    const { hardState, snapshot, entries } = this.#stored;
    const recovered: RecoveredLog = {
      hardState,
      snapshot: snapshot?.meta,
      entries: [...entries],
    };
    this.#pending = [];
    let failure: unknown;
    const state = {
      hasFailed: () => failure !== undefined,
      fail: (cause: unknown) => {
        failure = cause;
      },
    };
    const write = (work: Write): Promise<void> =>
      failure === undefined ? this.#write(process, work, state) : Promise.reject(failure);
    return {
      recovered,
      append: (batch) => write({ kind: "append", batch }),
      saveSnapshot: async (meta, chunks) => {
        const copy: Uint8Array[] = [];
        if (Symbol.iterator in chunks) for (const chunk of chunks) copy.push(chunk.slice());
        else for await (const chunk of chunks) copy.push(chunk.slice());
        await write({ kind: "snapshot", snapshot: { meta, chunks: copy } });
      },
      readSnapshot: () => this.#read(process),
      compact: (index) => write({ kind: "compact", index }),
      close: () => Promise.resolve(),
    };
  }

  #write(
    process: SimProcess,
    work: Write,
    { hasFailed, fail }: { hasFailed(): boolean; fail(cause: unknown): void },
  ): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    if (!process.touch()) return promise;
    const before = this.#pending.map((each) => each.work);
    checkWrite(this.#stored, before, work);
    this.#pending.push({ work, resolve });
    const nowMs = this.#nowMs();
    this.#lastDoneMs = Math.max(this.#lastDoneMs, nowMs + this.#device.delayMs(true));
    const run = () => {
      const problem = hasFailed() ? undefined : this.#device.takeError(["sync", "write"], "log");
      if (problem !== undefined) {
        fail(problem);
        reject(problem);
        return;
      }
      // In order, whoever's time it is: nothing overtakes what was handed in before it.
      const first = this.#pending.shift();
      if (first === undefined || hasFailed()) return;
      applyWrite(this.#stored, first.work);
      first.resolve();
    };
    process.after(this.#lastDoneMs - nowMs, "disk", run, `log ${work.kind}`);
    return promise;
  }

  async *#read(process: SimProcess): AsyncGenerator<Uint8Array> {
    for (const chunk of this.#stored.snapshot?.chunks ?? []) {
      await new Promise<void>((resolve) => {
        if (process.touch()) process.after(this.#device.delayMs(true), "disk", resolve, "log read");
      });
      yield chunk.slice();
    }
  }
}

function emptyLog(): Stored {
  return { hardState: undefined, snapshot: undefined, baseIndex: 0, entries: [] };
}

/** Asserts what the port demands of its caller. */
function checkWrite(stored: Stored, pending: readonly Write[], work: Write): void {
  if (work.kind === "compact") {
    const saved = Math.max(
      stored.snapshot?.meta.index ?? 0,
      ...pending.map((each) => (each.kind === "snapshot" ? each.snapshot.meta.index : 0)),
    );
    assert(work.index <= saved, "only what a snapshot covers may be forgotten");
  }
  if (work.kind !== "append" || work.batch.hardState === undefined) return;
  const last = pending.findLast((each) => each.kind === "append" && each.batch.hardState);
  const now = last?.kind === "append" ? last.batch.hardState : stored.hardState;
  if (now === undefined) return;
  const next = work.batch.hardState;
  assert(next.term >= now.term, "the current term goes back");
  assert(next.commit >= now.commit, "the commit index goes back");
  const isRevote = next.term === now.term && now.vote !== 0 && next.vote !== now.vote;
  assert(!isRevote, "the vote changes within a term");
}

function applyWrite(stored: Stored, work: Write): void {
  switch (work.kind) {
    case "append":
      applyBatch(stored, work.batch);
      return;
    case "snapshot": {
      const { index, term } = work.snapshot.meta;
      if (index <= (stored.snapshot?.meta.index ?? 0)) return;
      const known = stored.entries[index - stored.baseIndex - 1];
      stored.snapshot = work.snapshot;
      if (known?.term === term) return;
      stored.entries = [];
      stored.baseIndex = index;
      return;
    }
    case "compact": {
      const count = work.index - stored.baseIndex;
      if (count <= 0) return;
      stored.entries = stored.entries.slice(count);
      stored.baseIndex = work.index;
    }
  }
}

function applyBatch(stored: Stored, { hardState, entries }: LogBatch): void {
  if (hardState !== undefined) stored.hardState = hardState;
  for (const entry of entries) {
    const position = entry.index - stored.baseIndex - 1;
    assert(position >= 0 && position <= stored.entries.length, "an entry leaves a gap in the log");
    assert(entry.index > (stored.snapshot?.meta.index ?? 0), "an entry is covered by a snapshot");
    assert(entry.term <= (stored.hardState?.term ?? 0), "an entry's term is above the current one");
    stored.entries.length = position;
    stored.entries.push(entry);
  }
}
