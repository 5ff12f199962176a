/**
 * Random work on the log against a naive model: appends in bursts, replaced tails, snapshots,
 * compaction; stopped cleanly, by a crash or by a loss of power, at random steps.
 *
 * After each stop the log must hold everything that was acknowledged, in order, and beyond that
 * only what was asked for next. The seed is in the failure; it reproduces the run.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import {
  type Chance,
  type CrashKind,
  MemoryDisk,
  seededChance,
} from "../../../tests/contract/memory-disk.ts";
import {
  afterAppend,
  afterSnapshot,
  EMPTY_MODEL,
  expectOneOf,
  lastIndexOf,
  type Model,
  openOn,
} from "../../../tests/contract/wal-fixture.ts";
import type { LogBatch, StoredEntry } from "../ports.ts";
import type { WalStore } from "./wal-store.ts";

const SEEDS = 80;
const ROUNDS = 12;

type Step =
  | { readonly kind: "append"; readonly batch: LogBatch }
  | { readonly kind: "snapshot"; readonly index: number; readonly term: number }
  | { readonly kind: "compact"; readonly index: number };

class Run {
  readonly #chance: Chance;
  readonly #hint: string;
  #disk = new MemoryDisk();
  #model: Model = EMPTY_MODEL;
  #term = 1;
  #marks = 0;
  /** Entries that a stop dropped although nobody had been told: how often it came to that. */
  drops = 0;

  constructor(seed: number) {
    this.#chance = seededChance(seed);
    this.#hint = `seed ${seed}`;
  }

  async run(): Promise<void> {
    for (let round = 0; round < ROUNDS; round++) {
      const segmentSizeBytes = 1024 + 8 * this.#below(400);
      const limits = { segmentSizeBytes, batchSizeBytesMax: 1 + this.#below(4000) };
      const store = await openOn(this.#disk, { limits });
      const candidates = await this.#work(store);
      const stop = this.#below(3);
      if (stop === 0) await this.#close(store);
      const kind: CrashKind = stop === 2 ? "power" : "process";
      this.#disk = this.#disk.afterCrash(kind, this.#chance);
      const again = await openOn(this.#disk, { limits });
      this.#model = await expectOneOf(again, candidates, `${this.#hint} round ${round}`);
      if (candidates.indexOf(this.#model) < candidates.length - 1) this.drops++;
      this.#term = Math.max(this.#term, this.#model.hardState?.term ?? 0);
      await again.close();
    }
  }

  /** Steps until one fails; the result is every state that may be found, newest last. */
  async #work(store: WalStore): Promise<Model[]> {
    if (this.#chance() < 0.7) this.#disk.crashAfter(this.#below(60));
    for (let count = this.#below(12); count >= 0; count--) {
      const burst = this.#chance() < 0.3 ? 1 + this.#below(5) : 1;
      const states = [this.#model];
      let acknowledged = 0;
      const attempts: Promise<void>[] = [];
      for (let i = 0; i < burst; i++) {
        const step = this.#plan(burst > 1);
        const position = i + 1;
        this.#model = this.#after(step);
        states.push(this.#model);
        const attempt = this.#apply(store, step).then(() => {
          expect({ hint: this.#hint, acknowledged }).toEqual({ hint: this.#hint, acknowledged: i });
          acknowledged = position;
        });
        attempts.push(attempt);
      }
      const results = await Promise.allSettled(attempts);
      if (results.some((result) => result.status === "rejected")) return states.slice(acknowledged);
    }
    return [this.#model];
  }

  async #close(store: WalStore): Promise<void> {
    try {
      await store.close();
    } catch (cause) {
      // The crash may have come first, or in the middle.
      if (!this.#disk.isCrashed) throw cause;
    }
  }

  #plan(appendsOnly: boolean): Step {
    const choice = this.#chance();
    const snapshotIndex = this.#model.snapshot?.meta.index ?? 0;
    const last = lastIndexOf(this.#model);
    if (!appendsOnly && choice < 0.1 && last > snapshotIndex) {
      const index = snapshotIndex + 1 + this.#below(last - snapshotIndex);
      const term = this.#model.entries.find((entry) => entry.index === index)?.term ?? 0;
      return { kind: "snapshot", index, term };
    }
    if (!appendsOnly && choice < 0.14) {
      // From a leader: beyond the log, or in conflict with it.
      const index = snapshotIndex + 1 + this.#below(last - snapshotIndex + 5);
      this.#term++;
      return { kind: "snapshot", index, term: this.#term };
    }
    if (!appendsOnly && choice < 0.22) return { kind: "compact", index: snapshotIndex };
    return { kind: "append", batch: this.#planBatch(snapshotIndex, last) };
  }

  #planBatch(snapshotIndex: number, last: number): LogBatch {
    const replaces = this.#chance() < 0.15 && last > snapshotIndex;
    const first = replaces ? snapshotIndex + 1 + this.#below(last - snapshotIndex) : last + 1;
    if (replaces || this.#chance() < 0.1) this.#term++;
    const previous = this.#model.entries.findLast((entry) => entry.index < first)?.term ?? 0;
    const term = Math.max(this.#term, previous, this.#model.snapshot?.meta.term ?? 0);
    const entries = Array.from({ length: this.#below(5) }, (_, i): StoredEntry => {
      const payload = new Uint8Array(this.#below(this.#chance() < 0.1 ? 3000 : 200));
      return { index: first + i, term, kind: this.#below(3), payload: payload.fill(first + i) };
    });
    const changes = term !== this.#model.hardState?.term || this.#chance() < 0.3;
    const commit = this.#model.hardState?.commit ?? 0;
    return changes ? { hardState: { term, vote: 0, commit }, entries } : { entries };
  }

  #after(step: Step): Model {
    switch (step.kind) {
      case "append":
        return afterAppend(this.#model, step.batch);
      case "snapshot": {
        const { index, term } = step;
        const meta = { index, term, header: Uint8Array.of(++this.#marks & 0xff) };
        const sizes = Array.from({ length: this.#below(4) }, () => this.#below(900));
        const chunks = sizes.map((size) => new Uint8Array(size).fill(this.#marks));
        return afterSnapshot(this.#model, { meta, chunks });
      }
      case "compact":
        return { ...this.#model, compactedIndex: step.index };
    }
  }

  #apply(store: WalStore, step: Step): Promise<void> {
    switch (step.kind) {
      case "append":
        return store.append(step.batch);
      case "snapshot": {
        const { meta, chunks } = this.#model.snapshot!;
        return store.saveSnapshot(meta, chunks);
      }
      case "compact":
        return store.compact(step.index);
    }
  }

  #below(limit: number): number {
    return Math.floor(this.#chance() * limit);
  }
}

describe("wal against a model", () => {
  test(`${SEEDS} random histories lose nothing acknowledged`, async () => {
    let drops = 0;
    for (let seed = 1; seed <= SEEDS; seed++) {
      const run = new Run(seed);
      await run.run();
      drops += run.drops;
    }
    // Otherwise the stops were never where they matter.
    expect(drops).toBeGreaterThan(SEEDS / 4);
  }, 60_000);
});
