/**
 * The simulated disk loses what it may and nothing else, and fails as it is told to.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import { HostError } from "../../../src/base/host-error.ts";
import { decodeNodeId } from "../../../src/base/ids.ts";
import type { Disk } from "../../../src/host/files/disk.ts";
import { Coverage } from "./coverage.ts";
import { Scheduler } from "./scheduler.ts";
import { SECTOR_SIZE, SimDisk } from "./sim-disk.ts";
import { SimProcess } from "./sim-process.ts";
import { SimRandom } from "./sim-random.ts";

/** One disk with one run on it. */
function createRig(seed = 1) {
  const scheduler = new Scheduler();
  const coverage = new Coverage();
  const disk = new SimDisk({
    random: new SimRandom(seed),
    coverage,
    nowMs: () => scheduler.nowMs,
    syncMeanMs: 1,
  });
  const id = { node: decodeNodeId(1), run: 1 };
  const process = new SimProcess(id, scheduler, () => undefined);
  /** Lets events happen until `promise` is settled. */
  const settle = async <Value>(promise: Promise<Value>): Promise<Value> => {
    let isOpen = true;
    const done = promise.finally(() => {
      isOpen = false;
    });
    done.catch(() => undefined);
    while (isOpen) {
      await Promise.resolve();
      if (isOpen) scheduler.take()?.run?.();
    }
    return done;
  };
  const port: Disk = disk.portFor(process);
  return { disk, port, process, scheduler, coverage, settle };
}

type Rig = ReturnType<typeof createRig>;

/** Makes a file of zeros that survives anything, and opens it for durable writes. */
async function createFile({ port, settle }: Rig, path: string, sizeBytes: number) {
  const created = await settle(port.open(path, "create"));
  await settle(created.write(new Uint8Array(sizeBytes), 0));
  await settle(created.sync());
  await settle(port.syncDirectory("/d"));
  return settle(port.open(path, "durable"));
}

async function readAll({ port, settle }: Rig, path: string): Promise<Uint8Array> {
  const file = await settle(port.open(path, "read"));
  const into = new Uint8Array(file.sizeBytes);
  expect(await settle(file.read(into, 0))).toBe(into.length);
  return into;
}

const ONES = new Uint8Array(4 * SECTOR_SIZE).fill(1);

describe("what survives a loss of power", () => {
  test("what a durable write reported, always", async () => {
    for (let seed = 1; seed <= 20; seed++) {
      const rig = createRig(seed);
      const file = await createFile(rig, "/d/a", ONES.length);
      await rig.settle(file.write(ONES, 0));
      rig.disk.powerLost();
      expect(await readAll(rig, "/d/a")).toEqual(ONES);
    }
  });

  test("of an unsynced write any set of its sectors", async () => {
    const kept = new Set<string>();
    for (let seed = 1; seed <= 60; seed++) {
      const rig = createRig(seed);
      await createFile(rig, "/d/a", ONES.length);
      const file = await rig.settle(rig.port.open("/d/a", "create"));
      await rig.settle(file.write(ONES, 0));
      rig.disk.powerLost();
      const bytes = await readAll(rig, "/d/a");
      const sectors = [0, 1, 2, 3].map((i) => bytes[i * SECTOR_SIZE] ?? "-");
      for (let i = 0; i < bytes.length; i++) {
        expect(bytes[i]).toBe(Number(sectors[Math.floor(i / SECTOR_SIZE)]));
      }
      kept.add(sectors.join(""));
    }
    expect(kept.size).toBeGreaterThan(5);
    expect([...kept].some((each) => each === "1111")).toBeTrue();
  });

  test("a name only after the directory was synced, or by luck", async () => {
    let lostCount = 0;
    for (let seed = 1; seed <= 20; seed++) {
      const rig = createRig(seed);
      await createFile(rig, "/d/a", 10);
      await rig.settle(rig.port.rename("/d/a", "/d/b"));
      rig.disk.powerLost();
      const names = rig.disk.names("/d");
      expect([["a"], ["b"]]).toContainEqual(names);
      if (names[0] === "a") lostCount += 1;
    }
    expect(lostCount).toBeWithin(1, 20);
  });

  test("an end of the process alone loses nothing that was written", async () => {
    const rig = createRig();
    const file = await rig.settle(rig.port.open("/d/a", "create"));
    await rig.settle(file.write(ONES, 0));
    rig.disk.processEnded(rig.process);
    expect(await readAll(rig, "/d/a")).toEqual(ONES);
  });

  test("a run that has ended writes nothing more", async () => {
    const rig = createRig();
    const file = await createFile(rig, "/d/a", ONES.length);
    rig.process.kill();
    void file.write(ONES, 0);
    while (rig.scheduler.take() !== undefined) expect(rig.process.isAlive).toBeFalse();
    expect([...(rig.disk.image().get("/d/a") ?? [])].some((byte) => byte !== 0)).toBeFalse();
  });
});

describe("what fails", () => {
  test("the planned operation, once, with its errno", async () => {
    const rig = createRig();
    const file = await createFile(rig, "/d/a", 10);
    rig.disk.weather.nextError = { operation: "write", errno: "EIO" };
    const problem = await rig.settle(file.write(ONES, 0)).catch((cause: unknown) => cause);
    expect(problem).toBeInstanceOf(HostError);
    expect((problem as HostError).errno).toBe("EIO");
    await rig.settle(file.write(ONES, 0));
    expect(rig.coverage.count("disk.write-error")).toBe(1);
  });

  test("new files on a full disk", async () => {
    const rig = createRig();
    rig.disk.weather.isFull = true;
    const file = await rig.settle(rig.port.open("/d/a.tmp", "create"));
    const problem = await rig.settle(file.write(ONES, 0)).catch((cause: unknown) => cause);
    expect((problem as HostError).errno).toBe("ENOSPC");
  });

  test("a stuck disk ends no write before its time", async () => {
    const rig = createRig();
    const file = await createFile(rig, "/d/a", ONES.length);
    rig.disk.weather.stuckUntilMs = rig.scheduler.nowMs + 700;
    const startMs = rig.scheduler.nowMs;
    await rig.settle(file.write(ONES, 0));
    expect(rig.scheduler.nowMs - startMs).toBeGreaterThanOrEqual(700);
  });

  test("short reads give everything in the end", async () => {
    const rig = createRig();
    const file = await createFile(rig, "/d/a", ONES.length);
    await rig.settle(file.write(ONES, 0));
    rig.disk.weather.isReadShort = true;
    expect(await readAll(rig, "/d/a")).toEqual(ONES);
    expect(rig.coverage.count("disk.short-read")).toBeGreaterThan(0);
  });

  test("damage, loss, an old copy", async () => {
    const rig = createRig();
    const file = await createFile(rig, "/d/a", ONES.length);
    const before = rig.disk.image();
    await rig.settle(file.write(ONES, 0));
    expect(rig.disk.damage("/d/a", (bytes) => bytes.fill(7, 0, 1))).toBeTrue();
    expect((await readAll(rig, "/d/a"))[0]).toBe(7);
    expect(rig.disk.damage("/d/none", (bytes) => bytes)).toBeFalse();
    rig.disk.restore(before);
    expect((await readAll(rig, "/d/a"))[0]).toBe(0);
    rig.disk.lose("/d/a");
    expect(rig.disk.names("/d")).toEqual([]);
  });
});
