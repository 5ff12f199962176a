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

  test("ends at the first damage, and says what and where", async () => {
    const files = (await smallLog()).files();
    const [first, second] = segmentsOf(files);
    files.get(first!)![620]! ^= 1;
    const records = await describeAll(new MemoryDisk(files));
    const kinds = records.map(({ kind, offset }) => `${offset} ${kind}`);
    expect(kinds).toEqual(["0 segment", "512 hard_state", "552 entry", "608 end", "608 damage"]);
    expect(records[2]).toMatchObject({ committed: false });
    expect(records[3]).toMatchObject({ reason: "checksum", dirty: true, latestBatch: 2 });
    expect(records[4]).toMatchObject({
      file: first,
      reason: "checksum in batch 1, although batch 2 was written after it",
    });
    expect(second).toBeString();
  });

  for (const { name, harm, place, reason } of [
    {
      name: "a segment in the middle that is gone",
      harm: (files: Files, [, second]: string[]) => files.delete(second!),
      place: "/wal 0",
      reason: "log segment 2 is missing",
    },
    {
      name: "the last segment that is gone",
      harm: (files: Files, [, , third]: string[]) => files.delete(third!),
      place: "/wal 0",
      reason: "log segment 3 is missing",
    },
    {
      name: "a header that is no header",
      harm: (files: Files, [, second]: string[]) => {
        files.get(second!)![3]! ^= 1;
      },
      place: "/wal/0000000000000002-0000000000000003.wal 0",
      reason: "it is not a log segment",
    },
    {
      name: "a copy under another name",
      harm: (files: Files, [, second, third]: string[]) => {
        files.set(third!, files.get(second!)!);
      },
      place: "/wal/0000000000000003-0000000000000004.wal 0",
      reason: "its header does not fit its name",
    },
  ]) {
    test(`finds ${name}`, async () => {
      const files = (await smallLog()).files();
      harm(files, segmentsOf(files));
      const last = (await describeAll(new MemoryDisk(files))).at(-1)!;
      expect(last.kind).toBe("damage");
      expect(`${last.file} ${last.offset}`).toBe(place);
      expect("reason" in last ? last.reason : "").toContain(reason);
    });
  }

  test("what is being written while it is read is no damage", async () => {
    const disk = new MemoryDisk();
    const store = await openOn(disk);
    const hardState = { term: 1, vote: 3, commit: 0 };
    await store.append({ hardState, entries: testEntries(1, 1, 1) });
    const seen: string[] = [];
    let next = 2;
    for await (const { kind } of describeWal("/wal", disk)) {
      seen.push(kind);
      // Segments come and go meanwhile; the reader is never given time to keep up.
      if (next > 12) continue;
      await store.append({ entries: [testEntry(next++, 1, 900)] });
      await store.append({ entries: [testEntry(next++, 1, 900)] });
    }
    expect(seen).not.toContain("damage");
    expect(seen.filter((kind) => kind === "entry").length).toBe(next - 1);
    await store.close();
  });
});

type Files = Map<string, Uint8Array>;

function segmentsOf(files: Files): string[] {
  return [...files.keys()].filter((path) => path.startsWith("/wal/")).sort();
}
