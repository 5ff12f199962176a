import { describe, expect, test } from "bun:test";
import { collect } from "../../../tests/contract/log-store.ts";
import { MemoryDisk } from "../../../tests/contract/memory-disk.ts";
import { openSnapshotStaging } from "./snapshot-staging.ts";

const DIRECTORY = "/snapshots";

async function setUp() {
  const disk = new MemoryDisk();
  await disk.makeDirectory(DIRECTORY);
  return { disk, staging: openSnapshotStaging(disk, DIRECTORY) };
}

function chunk(fill: number, size = 100): Uint8Array {
  return new Uint8Array(size).fill(fill);
}

describe("a stage", () => {
  test("takes chunks where the body ends, and no others", async () => {
    const { staging } = await setUp();
    const stage = await staging.open("a");
    expect(await Promise.all([stage.append(0, chunk(1)), stage.append(100, chunk(2))])).toEqual([
      100, 200,
    ]);
    expect(await stage.append(100, chunk(9))).toBe(200); // Sent again.
    expect(await stage.append(300, chunk(9))).toBe(200); // A gap.
    expect(await collect(stage.read())).toEqual([chunk(1), chunk(2)]);
  });

  test("goes on after a restart with what can be read back", async () => {
    const { disk, staging } = await setUp();
    const stage = await staging.open("a");
    for (let i = 0; i < 4; i++) await stage.append(i * 100, chunk(i));
    const files = disk.files();
    const [path] = [...files.keys()];
    files.get(path!)![350]! ^= 1; // In the third chunk.
    const later = new MemoryDisk(files);
    const again = await openSnapshotStaging(later, DIRECTORY).open("a");
    expect(again.sizeBytes).toBe(200);
    expect(await again.append(200, chunk(7))).toBe(300);
    expect(await collect(again.read())).toEqual([chunk(0), chunk(1), chunk(7)]);
  });

  test("discards what was left of another snapshot", async () => {
    const { disk, staging } = await setUp();
    await (await staging.open("a")).append(0, chunk(1));
    const later = new MemoryDisk(disk.files());
    const stage = await openSnapshotStaging(later, DIRECTORY).open("b");
    expect(stage.sizeBytes).toBe(0);
    expect(later.files().size).toBe(1);
  });

  test("that nobody wants any more is cleared, one in use is not", async () => {
    const { disk, staging } = await setUp();
    await (await staging.open("a")).append(0, chunk(1));
    const later = openSnapshotStaging(new MemoryDisk(disk.files()), DIRECTORY);
    await later.clear();
    expect((await later.open("a")).sizeBytes).toBe(0);
    await staging.clear();
    expect(disk.files().size).toBe(1);
  });

  test("leaves one that is being installed alone", async () => {
    const { disk, staging } = await setUp();
    const first = await staging.open("a");
    await first.append(0, chunk(1));
    const second = await staging.open("b");
    await second.append(0, chunk(2));
    expect(await collect(first.read())).toEqual([chunk(1)]);
    await first.discard();
    expect(await first.append(100, chunk(1))).toBe(100);
    expect(await collect(second.read())).toEqual([chunk(2)]);
    await second.discard();
    expect(disk.files().size).toBe(0);
  });

  test("says where it was damaged after it was checked", async () => {
    const disk = new MemoryDisk();
    await disk.makeDirectory(DIRECTORY);
    const stage = await openSnapshotStaging(disk, DIRECTORY).open("a");
    await stage.append(0, chunk(1));
    await stage.append(100, chunk(2));
    const [path] = [...disk.files().keys()];
    const file = await disk.open(path!, "durable");
    await file.write(Uint8Array.of(9), 200);
    const reading = collect(stage.read());
    await expect(reading).rejects.toThrow("wrong checksum");
  });

  test("leaves files alone that are not its own", async () => {
    const disk = new MemoryDisk(new Map([[`${DIRECTORY}/notes.txt`, chunk(1)]]));
    await disk.makeDirectory(DIRECTORY);
    const stage = await openSnapshotStaging(disk, DIRECTORY).open("a");
    await stage.discard();
    expect([...disk.files().keys()]).toEqual([`${DIRECTORY}/notes.txt`]);
  });
});
