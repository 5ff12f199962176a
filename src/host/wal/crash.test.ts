/**
 * A crash after every single step of moving to a new segment, saving a snapshot and compacting.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import { collect, testEntries, testEntry } from "../../../tests/contract/log-store.ts";
import { type CrashKind, MemoryDisk, seededChance } from "../../../tests/contract/memory-disk.ts";
import {
  afterAppend,
  afterSnapshot,
  EMPTY_MODEL,
  expectOneOf,
  lastIndexOf,
  type Model,
  type ModelSnapshot,
  openOn,
} from "../../../tests/contract/wal-fixture.ts";
import type { LogBatch, LogStore } from "../ports.ts";

const limits = { segmentSizeBytes: 1024 };
/** How often each step is tried; a loss of power leaves something else each time. */
const CRASHES: readonly { kind: CrashKind; seeds: number }[] = [
  { kind: "process", seeds: 2 },
  { kind: "power", seeds: 3 },
];

interface Progress {
  model: Model;
  /** The model after the step in progress. */
  next: Model;
}

type Step = (store: LogStore, progress: Progress) => Promise<void>;

function appends(batch: LogBatch): Step {
  return async (store, progress) => {
    progress.next = afterAppend(progress.model, batch);
    await store.append(batch);
    progress.model = progress.next;
  };
}

function saves(index: number, term: number): Step {
  return async (store, progress) => {
    const meta = { index, term, header: Uint8Array.of(index) };
    const snapshot: ModelSnapshot = { meta, chunks: [new Uint8Array(700).fill(index)] };
    progress.next = afterSnapshot(progress.model, snapshot);
    await store.saveSnapshot(meta, snapshot.chunks);
    progress.model = progress.next;
  };
}

function compacts(index: number): Step {
  return async (store, progress) => {
    progress.next = { ...progress.model, compactedIndex: index };
    await store.compact(index);
    progress.model = progress.next;
  };
}

const hardState = { term: 3, vote: 1, commit: 0 };
const big = (index: number, term = 1) => ({ entries: [testEntry(index, term, 500)] });

const STORIES: readonly { what: string; steps: readonly Step[] }[] = [
  {
    what: "filling segment after segment",
    steps: [
      appends({ hardState, entries: testEntries(1, 2, 1) }),
      ...[3, 4, 5, 6].map((index) => appends(big(index))),
      appends({ entries: [testEntry(7, 1, 3000)] }),
      appends(big(8)),
    ],
  },
  {
    what: "snapshots and compaction",
    steps: [
      appends({ hardState, entries: testEntries(1, 3, 1) }),
      ...[4, 5, 6].map((index) => appends(big(index))),
      saves(3, 1),
      compacts(2),
      saves(5, 1),
      compacts(5),
      appends(big(7)),
      saves(6, 1),
      compacts(6),
      appends(big(8)),
    ],
  },
  {
    what: "a replaced tail across segments",
    steps: [
      appends({ hardState, entries: testEntries(1, 3, 1) }),
      ...[4, 5, 6].map((index) => appends(big(index))),
      appends(big(4, 2)),
      appends(big(5, 2)),
      saves(4, 2),
      compacts(4),
    ],
  },
  {
    what: "a snapshot that replaces the log",
    steps: [
      appends({ hardState, entries: testEntries(1, 3, 1) }),
      appends(big(4)),
      saves(20, 2),
      appends(big(21, 3)),
      compacts(20),
      saves(15 + 7, 3),
      appends(big(23, 3)),
    ],
  },
];

/** Runs `story` until `crashStep`; whether it got to its end. */
async function run(disk: MemoryDisk, story: readonly Step[], crashStep: number) {
  const progress: Progress = { model: EMPTY_MODEL, next: EMPTY_MODEL };
  disk.crashAfter(crashStep);
  try {
    const store = await openOn(disk, { limits });
    for (const step of story) await step(store, progress);
    await store.close();
  } catch (cause) {
    if (!disk.isCrashed) throw cause;
  }
  return progress;
}

/** Files that should not be there after a start. */
function leftovers(disk: MemoryDisk, model: Model): string[] {
  const newest = model.snapshot?.meta.index ?? 0;
  return [...disk.files().keys()].filter((path) => {
    const snapshot = /^\/snapshots\/(\d+)-/.exec(path);
    return snapshot === null ? path.endsWith(".tmp") : Number(snapshot[1]) > newest;
  });
}

/** Room for two of the batches below, not for three. */
const moveLimits = { segmentSizeBytes: 1800 };

/** A log whose move to its second segment stopped before the first one was ended. */
async function unfinishedMove(): Promise<Map<string, Uint8Array>> {
  for (let crashStep = 0; ; crashStep++) {
    const disk = new MemoryDisk();
    const store = await openOn(disk, { limits: moveLimits });
    await store.append({ hardState, entries: testEntries(1, 1, 1) });
    await store.append(big(2));
    disk.crashAfter(crashStep);
    await store.append(big(3)).catch(() => undefined);
    const files = disk.files();
    const segments = [...files.keys()].filter((path) => path.endsWith(".wal"));
    if (segments.length === 2) return files;
  }
}

describe("a move cut short", () => {
  const first = "/wal/0000000000000001-0000000000000001.wal";
  const second = "/wal/0000000000000002-0000000000000003.wal";
  const model = afterAppend(
    afterAppend(EMPTY_MODEL, { hardState, entries: testEntries(1, 1, 1) }),
    big(2),
  );

  test("is undone", async () => {
    const disk = new MemoryDisk(await unfinishedMove());
    const store = await openOn(disk, { limits: moveLimits });
    await expectOneOf(store, [model], "undone");
    expect(disk.files().has(second)).toBe(false);
    await store.append(big(3));
    await store.close();
    const again = await openOn(disk, { limits: moveLimits });
    await expectOneOf(again, [afterAppend(model, big(3))], "moved again");
  });

  const damages: { why: string; harm: (files: Map<string, Uint8Array>) => void }[] = [
    {
      why: "a batch before it is gone",
      harm: (files) => files.get(first)!.fill(0, 660),
    },
    {
      why: "the new segment was in use",
      harm: (files) => files.get(second)!.fill(1, 520, 530),
    },
  ];
  for (const { why, harm } of damages) {
    test(`is damage when ${why}`, async () => {
      const files = await unfinishedMove();
      harm(files);
      await expect(openOn(new MemoryDisk(files), { limits: moveLimits })).rejects.toThrow(
        "although segment 2 was begun after it",
      );
    });
  }
});

describe("a crash after any step", () => {
  for (const { what, steps } of STORIES) {
    for (const { kind, seeds } of CRASHES) {
      test(`of the ${kind}: ${what}`, async () => {
        let crashStep = 0;
        for (let isDone = false; !isDone; crashStep++) {
          for (let seed = 0; seed < seeds; seed++) {
            const disk = new MemoryDisk();
            const { model, next } = await run(disk, steps, crashStep);
            isDone = !disk.isCrashed;
            // The worst first: nothing that was not synced survives.
            const chance = seed === 0 ? () => 0.9 : seededChance(crashStep * 100 + seed);
            const after = disk.afterCrash(kind, chance);
            const hint = `step ${crashStep}, seed ${seed}`;
            const store = await openOn(after, { limits });
            const found = await expectOneOf(store, [model, next], hint);
            expect(store.report.fallback).toBeUndefined();
            expect(leftovers(after, found)).toEqual([]);
            // What was found is acted upon: a loss of power must not take it back.
            const twice = await openOn(after.afterCrash("power", chance), { limits });
            await expectOneOf(twice, [found], `${hint}, twice`);
            const more: LogBatch = { hardState, entries: [testEntry(lastIndexOf(found) + 1, 3)] };
            await store.append(more);
            const later = await openOn(after.afterCrash("power", chance), { limits });
            await expectOneOf(later, [afterAppend(found, more)], `${hint}, later`);
          }
        }
        expect(crashStep).toBeGreaterThan(40);
      }, 60_000);
    }
  }

  test("appends acknowledged beside a snapshot being saved are found", async () => {
    for (let crashStep = 0, isDone = false; !isDone; crashStep++) {
      const disk = new MemoryDisk();
      const store = await openOn(disk, { limits });
      await store.append({ hardState, entries: testEntries(1, 3, 1) });
      disk.crashAfter(crashStep);
      let acknowledged = 3;
      let isSaved = false;
      async function* chunks() {
        for (let index = 4; index < 8; index++) {
          await store.append(big(index));
          acknowledged = index;
          yield new Uint8Array(300).fill(index);
        }
      }
      try {
        await store.saveSnapshot({ index: 2, term: 1, header: new Uint8Array(0) }, chunks());
        isSaved = true;
        await store.append(big(8));
        acknowledged = 8;
      } catch (cause) {
        if (!disk.isCrashed) throw cause;
      }
      isDone = !disk.isCrashed;
      const again = await openOn(disk.afterCrash("power", seededChance(crashStep)), { limits });
      const last = again.recovered.entries.at(-1)?.index ?? 0;
      expect(last === acknowledged || last === acknowledged + 1).toBe(true);
      if (isSaved) expect(again.recovered.snapshot?.index).toBe(2);
      if (again.recovered.snapshot !== undefined) {
        expect(await collect(again.readSnapshot())).toHaveLength(4);
      }
    }
  });

  test("a start that crashes while it clears a torn batch can be repeated", async () => {
    const disk = new MemoryDisk();
    const store = await openOn(disk);
    const batch: LogBatch = { hardState, entries: testEntries(1, 2, 1) };
    const lost: LogBatch = { entries: [testEntry(3, 1, 3000)] };
    await store.append(batch);
    disk.fault = (operation) => {
      if (operation === "write") disk.crashAfter(1);
      return undefined;
    };
    await expect(store.append(lost)).rejects.toThrow();
    let decisions = 0;
    const torn = disk.afterCrash("power", () => (decisions++ % 2 === 0 ? 0 : 0.9));
    expect(decisions).toBeGreaterThan(4);
    const model = afterAppend(EMPTY_MODEL, batch);
    for (let crashStep = 0, isDone = false; !isDone; crashStep++) {
      const attempt = torn.afterCrash("process", () => 0);
      attempt.crashAfter(crashStep);
      await openOn(attempt).catch(() => undefined);
      isDone = !attempt.isCrashed;
      for (let seed = 0; seed < 10; seed++) {
        const again = await openOn(attempt.afterCrash("power", seededChance(seed)));
        await expectOneOf(again, [model], `step ${crashStep}`);
      }
    }
  });
});
