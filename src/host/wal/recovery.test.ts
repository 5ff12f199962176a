/**
 * Opening a log after a torn batch, bit rot, lost sectors and lost files.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import { collect, testEntries, testEntry } from "../../../tests/contract/log-store.ts";
import { MemoryDisk, SECTOR_SIZE, seededChance } from "../../../tests/contract/memory-disk.ts";
import {
  afterAppend,
  afterSnapshot,
  EMPTY_MODEL,
  expectOneOf,
  type Model,
  matches,
  openOn,
} from "../../../tests/contract/wal-fixture.ts";
import { HostError } from "../../base/host-error.ts";
import type { LogBatch } from "../ports.ts";

const FIRST_SEGMENT = "/wal/0000000000000001-0000000000000001.wal";
const hard = (term: number, commit: number) => ({ term, vote: 3, commit });
type Files = Map<string, Uint8Array>;

/** A log whose last batch spans five sectors, before and after that batch. */
async function logWithLastBatch() {
  const disk = new MemoryDisk();
  const store = await openOn(disk);
  const first: LogBatch = { hardState: hard(1, 0), entries: testEntries(1, 3, 1) };
  const last: LogBatch = {
    hardState: hard(2, 2),
    entries: [testEntry(4, 1, 900), testEntry(5, 2, 0), testEntry(6, 2, 1000)],
  };
  await store.append(first);
  const before = disk.files().get(FIRST_SEGMENT)!;
  await store.append(last);
  const after = disk.files().get(FIRST_SEGMENT)!;
  const start = before.findLastIndex((byte) => byte !== 0) + 1;
  const end = after.findLastIndex((byte) => byte !== 0) + 1;
  const short = afterAppend(EMPTY_MODEL, first);
  return { before, after, start, end, short, full: afterAppend(short, last) };
}

function diskWith(content: Uint8Array): MemoryDisk {
  return new MemoryDisk(new Map([[FIRST_SEGMENT, content]]));
}

/** Opens, expects one of `models`, appends, and expects the append after another start. */
async function expectUsable(disk: MemoryDisk, models: readonly Model[], hint: string) {
  const store = await openOn(disk);
  const model = await expectOneOf(store, models, hint);
  const more: LogBatch = { entries: [testEntry(1 + (model.entries.at(-1)?.index ?? 0), 2)] };
  const next: LogBatch = { hardState: hard(2, 2), ...more };
  await store.append(next);
  await store.close();
  const again = await openOn(disk);
  await expectOneOf(again, [afterAppend(model, next)], `${hint}, after another append`);
  expect(again.report.torn).toBeUndefined();
  await again.close();
  return { model, report: store.report };
}

describe("recovery of a torn last batch", () => {
  test("cut off at any byte: the batch is dropped, the one before stays", async () => {
    const { before, after, start, end, short, full } = await logWithLastBatch();
    for (let cut = start; cut <= end; cut++) {
      const content = before.slice();
      content.set(after.subarray(start, cut), start);
      const isWhole = cut === end;
      const { report } = await expectUsable(
        diskWith(content),
        [isWhole ? full : short],
        `cut at byte ${cut}`,
      );
      const isDirty = content.findLastIndex((byte) => byte !== 0) >= start;
      expect(report.torn !== undefined).toBe(isDirty && !isWhole);
    }
  }, 60_000);

  test("only its end arrived, from any byte on: dropped", async () => {
    const { before, after, start, end, short, full } = await logWithLastBatch();
    for (let cut = start; cut < end; cut++) {
      const content = before.slice();
      content.set(after.subarray(cut, end), cut);
      await expectUsable(diskWith(content), [cut === start ? full : short], `from byte ${cut}`);
    }
  }, 60_000);

  test("any set of its sectors arrived: dropped unless all did", async () => {
    const { before, after, start, end, short, full } = await logWithLastBatch();
    const sectors = [];
    for (let at = Math.floor(start / SECTOR_SIZE); at * SECTOR_SIZE < end; at++) sectors.push(at);
    expect(sectors.length).toBeGreaterThan(3);
    for (let set = 0; set < 2 ** sectors.length; set++) {
      const content = before.slice();
      for (const [bit, sector] of sectors.entries()) {
        if ((set & (1 << bit)) === 0) continue;
        const at = sector * SECTOR_SIZE;
        content.set(after.subarray(at, at + SECTOR_SIZE), at);
      }
      const isWhole = set === 2 ** sectors.length - 1;
      await expectUsable(diskWith(content), [isWhole ? full : short], `sectors ${set}`);
    }
  });

  test("a value that looks like a later commit frame does not stand in the way", async () => {
    const disk = new MemoryDisk();
    const store = await openOn(disk);
    await store.append({ hardState: hard(1, 0), entries: testEntries(1, 1, 1) });
    const content = disk.files().get(FIRST_SEGMENT)!;
    const end = content.findLastIndex((byte) => byte !== 0) + 1;
    const commit = content.slice(Math.ceil(end / 8) * 8 - 48, Math.ceil(end / 8) * 8);
    // Another nonce, another number: what a hostile writer could at best make up.
    commit.fill(0x99, 32, 40);
    commit[24] = 77;
    await store.append({ entries: [{ index: 2, term: 1, kind: 1, payload: commit }] });
    const torn = disk.files().get(FIRST_SEGMENT)!;
    torn.fill(0, torn.findLastIndex((byte) => byte !== 0) - 8);
    const again = await openOn(diskWith(torn));
    expect(again.recovered.entries).toEqual(testEntries(1, 1, 1));
    await again.close();
  });
});

/** Some of everything: three segments, two snapshots, replaced entries. */
async function busyLog(): Promise<{ disk: MemoryDisk; models: Model[] }> {
  const disk = new MemoryDisk();
  const store = await openOn(disk, { limits: { segmentSizeBytes: 1536 } });
  const models = [EMPTY_MODEL];
  const add = (model: Model) => models.push(model);
  const append = async (batch: LogBatch) => {
    await store.append(batch);
    add(afterAppend(models.at(-1)!, batch));
  };
  const save = async (index: number, term: number) => {
    const meta = { index, term, header: Uint8Array.of(9, index) };
    const chunks = [new Uint8Array(300).fill(index), new Uint8Array(40).fill(term)];
    await store.saveSnapshot(meta, chunks);
    add(afterSnapshot(models.at(-1)!, { meta, chunks }));
  };
  await append({ hardState: hard(1, 0), entries: testEntries(1, 4, 1) });
  await append({ entries: [testEntry(5, 1, 400)] });
  await save(2, 1);
  await append({ hardState: hard(2, 3), entries: [testEntry(5, 2, 300), testEntry(6, 2)] });
  await append({ entries: [testEntry(7, 2, 700)] });
  await save(6, 2);
  await append({ hardState: hard(2, 7), entries: [testEntry(8, 2, 100)] });
  await append({ entries: [testEntry(9, 2, 100)] });
  await store.close();
  return { disk, models };
}

describe("recovery of damaged files", () => {
  test("a flipped bit at any byte is found or harmless", async () => {
    const { disk, models } = await busyLog();
    const files = disk.files();
    const chance = seededChance(7);
    const full = models.at(-1)!;
    // The older snapshot and the whole log after it: what may stand in for the newest.
    const older: Model = { ...full, snapshot: models[3]!.snapshot };
    const counts = { refused: 0, harmless: 0, fellBack: 0 };
    for (const [path, content] of files) {
      for (let at = 0; at < content.length; at++) {
        const damaged = new Map(files);
        const copy = content.slice();
        copy[at]! ^= 1 << Math.floor(chance() * 8);
        damaged.set(path, copy);
        const hint = `${path} byte ${at}`;
        try {
          const store = await openOn(new MemoryDisk(damaged));
          const model = await expectOneOf(store, [full, older], hint);
          if (model === older) expect({ hint, is: store.report.fallback }).not.toBe(undefined);
          counts[model === older ? "fellBack" : "harmless"]++;
        } catch (cause) {
          if (!(cause instanceof HostError)) throw cause;
          counts.refused++;
        }
      }
    }
    const [newest] = [...files.keys()].filter((path) => path.includes("0000006-"));
    expect(counts.fellBack).toBe(files.get(newest!)!.length);
    expect(counts.refused).toBeGreaterThan(2500);
    expect(counts.harmless).toBeGreaterThan(500);
  }, 60_000);

  test("a flipped bit in the last batch of a log without a seal drops it at most", async () => {
    const { after, start, end, short, full } = await logWithLastBatch();
    let dropped = 0;
    for (let at = SECTOR_SIZE; at < after.length; at++) {
      const content = after.slice();
      content[at]! ^= 0x10;
      try {
        const store = await openOn(diskWith(content));
        const model = await expectOneOf(store, [short, full], `byte ${at}`);
        if (model === short) dropped++;
      } catch (cause) {
        if (!(cause instanceof HostError)) throw cause;
        expect(at).toBeLessThan(start);
      }
    }
    expect(dropped).toBe(Math.ceil(end / 8) * 8 - Math.ceil(start / 8) * 8);
  }, 60_000);

  test("a sealed log refuses a zeroed sector anywhere in it", async () => {
    const disk = new MemoryDisk();
    const store = await openOn(disk);
    await store.append({ hardState: hard(1, 0), entries: [testEntry(1, 1, 1500)] });
    await store.close();
    const content = disk.files().get(FIRST_SEGMENT)!;
    const end = content.findLastIndex((byte) => byte !== 0);
    // The seal itself may go: it holds nothing.
    for (let at = 0; at < end - 48 - SECTOR_SIZE; at += SECTOR_SIZE) {
      const copy = content.slice().fill(0, at, at + SECTOR_SIZE);
      const attempt = openOn(diskWith(copy));
      await expect(attempt).rejects.toThrow("join again as a new node");
    }
  });

  const losses: { why: string; message: string; harm: (files: Files) => void }[] = [
    {
      why: "the last segment is gone",
      message: "Cannot read /wal: log segment 4 is missing",
      harm: (files) => files.delete(segmentOf(files, 4)),
    },
    {
      why: "a segment in the middle is gone",
      message: "Cannot read /wal: log segment 2 is missing",
      harm: (files) => files.delete(segmentOf(files, 2)),
    },
    {
      why: "the newest snapshot is gone and nothing stands in",
      message: "0000000000000006-0000000000000002.snap: the file is missing; this node",
      harm: (files) => {
        for (const path of files.keys()) if (path.startsWith("/snap")) files.delete(path);
      },
    },
    {
      why: "a segment was cut short",
      message: "the file has 1024 bytes, it was made with 1536",
      harm: (files) => truncate(files, segmentOf(files, 2), 1024),
    },
    {
      why: "a segment was emptied",
      message: "the file ends after 0 bytes",
      harm: (files) => truncate(files, segmentOf(files, 3), 0),
    },
    {
      why: "one segment took the place of another",
      message: "its header does not fit its name",
      harm: (files) => files.set(segmentOf(files, 2), files.get(segmentOf(files, 1))!),
    },
    {
      why: "a segment is there twice, under the next number",
      message: "although segment 5 was begun after it",
      harm: (files) => {
        const last = segmentOf(files, 4);
        const next = last.replace("/0000000000000004-", "/0000000000000005-");
        files.set(next, files.get(last)!);
      },
    },
    {
      why: "a segment is there twice, under another index",
      message: "log segment 2 is there twice",
      harm: (files) => {
        const copy = "/wal/0000000000000002-0000000000000999.wal";
        files.set(copy, files.get(segmentOf(files, 2))!);
      },
    },
    {
      why: "a sector in an older segment was lost",
      message: "although segment 2 was begun after it",
      harm: (files) => files.get(segmentOf(files, 1))!.fill(0, 512, 1024),
    },
    {
      why: "a sector was lost and later batches are there",
      message: "was written after it; this node can no longer prove what it promised",
      harm: (files) => files.get(segmentOf(files, 4))!.fill(0xff, 520, 530),
    },
  ];
  for (const { why, message, harm } of losses) {
    test(`refuses when ${why}`, async () => {
      const { disk } = await busyLog();
      const files = disk.files();
      harm(files);
      const copy = new MemoryDisk(files);
      await expect(openOn(copy)).rejects.toThrow(message);
      // A refusal changes nothing: what is there may still be worth a look.
      expect(copy.files()).toEqual(files);
    });
  }

  test("refuses when the first segment is gone and no snapshot covers it", async () => {
    const disk = new MemoryDisk();
    const store = await openOn(disk);
    await store.append({ hardState: hard(1, 0), entries: [testEntry(1, 1, 3000)] });
    await store.append({ entries: [testEntry(2, 1, 3000)] });
    await store.close();
    const files = disk.files();
    files.delete(FIRST_SEGMENT);
    await expect(openOn(new MemoryDisk(files))).rejects.toThrow(
      "Cannot read log entry 2: entries 1 to 1 are missing before it; this node can no longer",
    );
  });

  test("refuses a segment of another history, though it is as long", async () => {
    const histories = [1, 2].map(async (kind) => {
      const disk = new MemoryDisk();
      const store = await openOn(disk);
      const entry = { ...testEntry(1, 1, 3000), kind };
      await store.append({ hardState: hard(1, 0), entries: [entry] });
      await store.append({ entries: [testEntry(2, 1, 3000)] });
      await store.close();
      return disk.files();
    });
    const [ours, theirs] = await Promise.all(histories);
    ours!.set(FIRST_SEGMENT, theirs!.get(FIRST_SEGMENT)!);
    await expect(openOn(new MemoryDisk(ours))).rejects.toThrow(
      "it does not continue the segment before it",
    );
  });

  test("finds a later batch whose commit frame lies across two reads of the tail", async () => {
    const disk = new MemoryDisk();
    const segmentSizeBytes = 3 * 1024 * 1024;
    const limits = { segmentSizeBytes, firstSegmentSizeBytes: segmentSizeBytes };
    const store = await openOn(disk, { limits });
    await store.append({ hardState: hard(1, 0), entries: [testEntry(1, 1, 1000)] });
    // Frames of 40, 32 + 1000 and 48 bytes come before the one that is fitted.
    const commitAt = 1024 * 1024 - 24;
    const size = commitAt - (40 + 1032 + 48) - 32;
    await store.append({ entries: [testEntry(2, 1, size)] });
    const content = disk.files().get(FIRST_SEGMENT)!;
    content[600]! ^= 1;
    await expect(openOn(diskWith(content), { limits })).rejects.toThrow(
      "although batch 2 was written after it",
    );
  });

  test("files that are not ours are left alone", async () => {
    const { disk, models } = await busyLog();
    const files = disk.files();
    files.set("/wal/notes.txt", Uint8Array.of(1));
    files.set("/snapshots/1-1.snap.bak", Uint8Array.of(2));
    const copy = new MemoryDisk(files);
    const store = await openOn(copy);
    expect(await matches(store, models.at(-1)!)).toBe(true);
    await store.close();
    expect([...copy.files().keys()].sort()).toEqual([...files.keys()].sort());
  });
});

describe("snapshots that cannot be used", () => {
  test("the one before stands in when the log reaches back, and saving goes on", async () => {
    const { disk, models } = await busyLog();
    const files = disk.files();
    const newest = [...files.keys()].find((path) => path.includes("0000006-"))!;
    files.get(newest)![200]! ^= 1;
    const copy = new MemoryDisk(files);
    const store = await openOn(copy);
    expect(store.report.fallback?.usedIndex).toBe(2);
    expect(store.report.fallback?.problem.message).toContain(newest);
    expect(copy.files().has(`${newest}.damaged`)).toBe(true);
    const meta = { index: 6, term: 2, header: new Uint8Array(0) };
    await store.saveSnapshot(meta, [Uint8Array.of(1)]);
    expect(copy.files().has(`${newest}.damaged`)).toBe(false);
    await store.close();
    const again = await openOn(copy);
    expect(again.report.fallback).toBeUndefined();
    const saved = { meta, chunks: [Uint8Array.of(1)] };
    expect(await matches(again, { ...models.at(-1)!, snapshot: saved })).toBe(true);
    await again.close();
  });

  test("a missing newest is the same as a damaged one", async () => {
    const { disk } = await busyLog();
    const files = disk.files();
    const newest = [...files.keys()].find((path) => path.includes("0000006-"))!;
    files.delete(newest);
    const store = await openOn(new MemoryDisk(files));
    expect(store.recovered.snapshot?.index).toBe(2);
    expect((await collect(store.readSnapshot())).map((chunk) => chunk.length)).toEqual([300, 40]);
    await store.close();
  });

  test("refuses when the log does not reach back to the one before", async () => {
    const { disk } = await busyLog();
    const store = await openOn(disk);
    await store.compact(6);
    await store.close();
    const files = disk.files();
    const newest = [...files.keys()].find((path) => path.includes("0000006-"))!;
    files.get(newest)![200]! ^= 1;
    await expect(openOn(new MemoryDisk(files))).rejects.toThrow(
      /^Cannot read byte \d+ of \/snapshots\/.*: wrong checksum; this node can no longer/,
    );
  });

  test("refuses an older file under the newest one's name", async () => {
    const { disk } = await busyLog();
    const files = disk.files();
    const store = await openOn(disk);
    await store.compact(6);
    await store.close();
    const [older, newest] = [...files.keys()].filter((path) => path.startsWith("/snap")).sort();
    const after = disk.files();
    after.set(newest!, files.get(older!)!);
    await expect(openOn(new MemoryDisk(after))).rejects.toThrow("its header does not fit its name");
  });

  const impostors: { why: string; message: string; fake: (content: Uint8Array) => Uint8Array }[] = [
    {
      why: "bytes follow its end",
      message: "bytes follow its end",
      fake: (content) => Buffer.concat([content, Uint8Array.of(0)]),
    },
    {
      why: "it is cut off",
      message: "wrong length",
      fake: (content) => content.slice(0, -100),
    },
  ];
  for (const { why, message, fake } of impostors) {
    test(`the newest is not used when ${why}`, async () => {
      const { disk } = await busyLog();
      const files = disk.files();
      const newest = [...files.keys()].find((path) => path.includes("0000006-"))!;
      files.set(newest, fake(files.get(newest)!));
      const store = await openOn(new MemoryDisk(files));
      expect(store.report.fallback?.problem.message).toContain(message);
      await store.close();
    });
  }

  test("the newest is not used when it is another one of the same name", async () => {
    const disks = [1, 2].map(async (byte) => {
      const disk = new MemoryDisk();
      const store = await openOn(disk);
      await store.append({ hardState: hard(1, 0), entries: testEntries(1, 3, 1) });
      const header = new Uint8Array(0);
      await store.saveSnapshot({ index: 2, term: 1, header }, [Uint8Array.of(byte)]);
      await store.close();
      return disk.files();
    });
    const [ours, theirs] = await Promise.all(disks);
    const path = [...ours!.keys()].find((name) => name.endsWith(".snap"))!;
    ours!.set(path, theirs!.get(path)!);
    await expect(openOn(new MemoryDisk(ours))).rejects.toThrow(
      "it is not the snapshot that was saved under this name",
    );
  });

  test("damage that appears while the agent runs is found when the snapshot is read", async () => {
    const { disk } = await busyLog();
    const store = await openOn(disk);
    const path = [...disk.files().keys()].find((name) => name.includes("0000006-"))!;
    const file = await disk.open(path, "durable");
    await file.write(Uint8Array.of(0xee), 420);
    // What was read and checked when the log was opened is given out once.
    expect((await collect(store.readSnapshot())).length).toBeGreaterThan(0);
    await expect(collect(store.readSnapshot())).rejects.toThrow("wrong checksum");
    await store.append({ entries: [testEntry(10, 2)] });
    await store.close();
  });
});

function segmentOf(files: Files, sequence: number): string {
  const prefix = `/wal/${String(sequence).padStart(16, "0")}-`;
  return [...files.keys()].find((path) => path.startsWith(prefix))!;
}

function truncate(files: Files, path: string, size: number): void {
  files.set(path, files.get(path)!.slice(0, size));
}
