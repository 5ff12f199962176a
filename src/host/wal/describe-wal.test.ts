/**
 * The description of a log, whole and damaged.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import { testEntries, testEntry } from "../../../tests/contract/log-store.ts";
import { MemoryDisk } from "../../../tests/contract/memory-disk.ts";
import { IDENTITY, openOn } from "../../../tests/contract/wal-fixture.ts";
import { describeWal, type WalRecord } from "./describe-wal.ts";

async function describeAll(disk: MemoryDisk): Promise<WalRecord[]> {
  const records: WalRecord[] = [];
  for await (const record of describeWal("/wal", disk)) records.push(record);
  return records;
}

async function smallLog(): Promise<MemoryDisk> {
  const disk = new MemoryDisk();
  const store = await openOn(disk);
  const hardState = { term: 1, vote: 3, commit: 2 };
  await store.append({ hardState, entries: testEntries(1, 2, 1) });
  await store.append({ entries: [testEntry(3, 1, 3500)] });
  await store.saveSnapshot({ index: 2, term: 1, header: new Uint8Array(0) }, []);
  return disk;
}

describe("describeWal", () => {
  test("lists every frame with its place", async () => {
    const disk = await smallLog();
    const records = await describeAll(disk);
    const [first, second] = [
      "0000000000000001-0000000000000001",
      "0000000000000002-0000000000000003",
    ];
    const brief = records.map(({ kind, file, offset }) => `${file.slice(5, -4)} ${offset} ${kind}`);
    expect(brief).toEqual([
      `${first} 0 segment`,
      `${first} 512 hard_state`,
      `${first} 552 entry`,
      `${first} 608 entry`,
      `${first} 664 commit`,
      `${first} 712 commit`,
      `${first} 760 end`,
      `${second} 0 segment`,
      `${second} 512 entry`,
      `${second} 4048 commit`,
      `${second} 4096 commit`,
      `${second} 4144 end`,
      "0000000000000003-0000000000000004 0 segment",
      "0000000000000003-0000000000000004 512 snapshot_mark",
      "0000000000000003-0000000000000004 584 commit",
      "0000000000000003-0000000000000004 632 end",
    ]);
    expect(records[0]).toMatchObject({ ...IDENTITY, sequence: 1, lastIndexBefore: 0 });
    expect(records[1]).toMatchObject({ term: 1, vote: 3, commit: 2, committed: true });
    expect(records[2]).toMatchObject({ index: 1, term: 1, entryKind: 2, payloadSize: 24 });
    expect(records[4]).toMatchObject({ batch: 1, frameCount: 3, continued: false });
    expect(records[5]).toMatchObject({ batch: 2, frameCount: 0, continued: true });
    expect(records[6]).toMatchObject({ reason: "blank", dirty: false, latestBatch: undefined });
    expect(records[13]).toMatchObject({ index: 2, term: 1, resets: false });
    expect(JSON.parse(JSON.stringify(records))).toHaveLength(records.length);
  });

  test("shows damage and goes on with the next segment", async () => {
    const files = (await smallLog()).files();
    const [first, second, third] = [...files.keys()].filter((path) => path.startsWith("/wal/"));
    files.get(first!)![620]! ^= 1;
    files.get(second!)![3]! ^= 1;
    files.delete(third!);
    const records = await describeAll(new MemoryDisk(files));
    const kinds = records.map(({ kind, offset }) => `${offset} ${kind}`);
    expect(kinds).toEqual(["0 segment", "512 hard_state", "552 entry", "608 end", "0 unreadable"]);
    expect(records[2]).toMatchObject({ committed: false });
    expect(records[3]).toMatchObject({ reason: "checksum", dirty: true, latestBatch: 2 });
    expect(records[4]).toMatchObject({ reason: expect.stringContaining("not a log segment") });
  });
});
