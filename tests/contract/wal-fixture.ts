/**
 * Opens the real log on a disk in memory, and compares what it finds with a naive model.
 *
 * @module
 */
import { expect } from "bun:test";
import type {
  LogBatch,
  LogStore,
  StoredEntry,
  StoredHardState,
  StoredSnapshotMeta,
} from "../../src/host/ports.ts";
import { type OpenWalOptions, openWal } from "../../src/host/wal/wal.ts";
import type { WalStore } from "../../src/host/wal/wal-store.ts";
import { collect } from "./log-store.ts";
import type { MemoryDisk } from "./memory-disk.ts";

export const IDENTITY = { clusterId: "00112233445566778899aabbccddeeff", nodeId: 7 };
export const PLACES = { dir: "/wal", snapshotDir: "/snapshots" };
export const SEGMENT_SIZE = 4096;

/** Opens the log on `disk`, with small segments and without timers. */
export function openOn(disk: MemoryDisk, more: Partial<OpenWalOptions> = {}): Promise<WalStore> {
  let nonces = 0;
  return openWal({
    ...PLACES,
    ...IDENTITY,
    clock: { after: () => () => undefined },
    // Different in each segment, the same in each run.
    random: { bytes: (count) => new Uint8Array(count).fill((nonces++ * 37 + disk.steps) & 0xff) },
    limits: { segmentSizeBytes: SEGMENT_SIZE },
    disk,
    ...more,
  });
}

export interface ModelSnapshot {
  readonly meta: StoredSnapshotMeta;
  readonly chunks: readonly Uint8Array[];
}

/** What a store should hold, kept the simplest way. Immutable. */
export interface Model {
  readonly hardState: StoredHardState | undefined;
  /** Contiguous. Compaction removes none here. */
  readonly entries: readonly StoredEntry[];
  readonly snapshot: ModelSnapshot | undefined;
  readonly compactedIndex: number;
}

export const EMPTY_MODEL: Model = {
  hardState: undefined,
  entries: [],
  snapshot: undefined,
  compactedIndex: 0,
};

/** Index of the last entry of `model`, or of the snapshot that replaced them. */
export function lastIndexOf(model: Model): number {
  return model.entries.at(-1)?.index ?? model.snapshot?.meta.index ?? 0;
}

/** `model` after `append(batch)`. */
export function afterAppend(model: Model, batch: LogBatch): Model {
  const first = batch.entries[0]?.index ?? Number.POSITIVE_INFINITY;
  const kept = model.entries.filter((entry) => entry.index < first);
  return {
    ...model,
    hardState: batch.hardState ?? model.hardState,
    entries: [...kept, ...batch.entries],
  };
}

/** `model` after `saveSnapshot`. */
export function afterSnapshot(model: Model, snapshot: ModelSnapshot): Model {
  const { index, term } = snapshot.meta;
  const fits = model.entries.some((entry) => entry.index === index && entry.term === term);
  return { ...model, snapshot, entries: fits ? model.entries : [] };
}

/** Whether `store` recovered exactly `model`, give or take compacted entries. */
export async function matches(store: LogStore, model: Model): Promise<boolean> {
  const { hardState, snapshot, entries } = store.recovered;
  if (!Bun.deepEquals(hardState, model.hardState)) return false;
  if (!Bun.deepEquals(snapshot, model.snapshot?.meta)) return false;
  const missing = model.entries.length - entries.length;
  if (missing < 0 || !Bun.deepEquals(entries, model.entries.slice(missing))) return false;
  if (missing > 0 && (model.entries[missing - 1]?.index ?? 0) > model.compactedIndex) return false;
  if (model.snapshot === undefined) return true;
  return Bun.deepEquals(await collect(store.readSnapshot()), model.snapshot.chunks);
}

/** Expects `store` to hold one of `candidates`; the result is which. */
export async function expectOneOf(
  store: LogStore,
  candidates: readonly Model[],
  hint: string,
): Promise<Model> {
  for (const candidate of candidates) if (await matches(store, candidate)) return candidate;
  const { hardState, snapshot, entries } = store.recovered;
  const found = { hardState, snapshot, entries: entries.map((e) => [e.index, e.term]) };
  const wanted = candidates.map((model) => ({
    hardState: model.hardState,
    snapshot: model.snapshot?.meta,
    entries: model.entries.map((e) => [e.index, e.term]),
  }));
  expect<unknown>({ hint, found }).toEqual({ hint, found: wanted.at(-1) });
  throw new Error(`${hint}: none of ${candidates.length} states is what was found`);
}
