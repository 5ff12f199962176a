/**
 * The real log under the port's contract, and what is its own: identity, group commit, sealing,
 * the order of failures.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import { promises as fs } from "node:fs";
import { tmpdir } from "node:os";
import {
  type LogStoreDevice,
  runLogStoreContract,
  testEntries,
  testEntry,
} from "../../../tests/contract/log-store.ts";
import { MemoryDisk, seededChance } from "../../../tests/contract/memory-disk.ts";
import { HostError } from "../../base/host-error.ts";
import type { LogStore } from "../ports.ts";
import { type OpenWalOptions, openWal } from "./wal.ts";

const IDENTITY = { clusterId: "00112233445566778899aabbccddeeff", nodeId: 7 };
const PLACES = { dir: "/wal", snapshotDir: "/snapshots" };

/** Timers that fire when told to. */
function manualClock() {
  const tasks = new Set<() => void>();
  return {
    after(_delayMs: number, task: () => void) {
      tasks.add(task);
      return () => void tasks.delete(task);
    },
    fire() {
      const due = [...tasks];
      tasks.clear();
      for (const task of due) task();
    },
  };
}

const random = { bytes: (count: number) => crypto.getRandomValues(new Uint8Array(count)) };
const quiet = { after: () => () => undefined };

function open(disk: MemoryDisk, more: Partial<OpenWalOptions> = {}) {
  const limits = { segmentSizeBytes: 4096 };
  return openWal({ ...PLACES, ...IDENTITY, clock: quiet, random, disk, limits, ...more });
}

class FileDevice implements LogStoreDevice {
  #root: string;
  #crashes = 0;
  #lost: LogStore[] = [];
  #store: LogStore | undefined;

  constructor(root: string) {
    this.#root = root;
  }

  async open(): Promise<LogStore> {
    const root = `${this.#root}/${this.#crashes}`;
    const places = { dir: `${root}/wal`, snapshotDir: `${root}/snapshots` };
    const limits = { segmentSizeBytes: 16 * 1024 };
    this.#store = await openWal({ ...places, ...IDENTITY, clock: quiet, random, limits });
    return this.#store;
  }

  /** The next start gets a copy of the files as they are now. */
  async crash(): Promise<void> {
    const from = `${this.#root}/${this.#crashes++}`;
    await fs.cp(from, `${this.#root}/${this.#crashes}`, { recursive: true });
    if (this.#store !== undefined) this.#lost.push(this.#store);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const store of this.#lost) await store.close();
    await fs.rm(this.#root, { recursive: true });
  }
}

runLogStoreContract({
  name: "files",
  createDevice: async () => new FileDevice(await fs.mkdtemp(`${tmpdir()}/overlay-wal-`)),
});

for (const kind of ["process", "power"] as const) {
  runLogStoreContract({
    name: `files on a disk in memory, crash of the ${kind}`,
    async createDevice() {
      let disk = new MemoryDisk();
      const chance = seededChance(1);
      return {
        open: () => open(disk),
        crash: async () => {
          disk = disk.afterCrash(kind, chance);
        },
        [Symbol.asyncDispose]: async () => undefined,
      };
    },
  });
}

const first = { hardState: { term: 1, vote: 0, commit: 0 }, entries: testEntries(1, 3, 1) };

describe("openWal", () => {
  const strangers = [
    { why: "another node", identity: { ...IDENTITY, nodeId: 8 } },
    { why: "another cluster", identity: { ...IDENTITY, clusterId: "f".repeat(32) } },
  ];
  for (const { why, identity } of strangers) {
    test(`refuses the log of ${why}`, async () => {
      const disk = new MemoryDisk();
      await (await open(disk)).close();
      await expect(open(disk, identity)).rejects.toThrow(
        `it belongs to node 00000000000007 of cluster ${IDENTITY.clusterId}, this is node ` +
          `${identity.nodeId.toString().padStart(14, "0")} of cluster ${identity.clusterId}; ` +
          "start the agent with the data directory that is its own",
      );
    });
  }

  test("says which disk is full", async () => {
    const disk = new MemoryDisk();
    disk.fault = full("write");
    await expect(open(disk)).rejects.toThrow(
      "Cannot make room for the log in /wal: the disk mounted at /memory is full: 0.0 MiB " +
        "needed, 0.0 MiB free (ENOSPC); free space there and start the agent again",
    );
    expect([...disk.files().keys()]).toEqual([]);
    disk.fault = () => undefined;
    await (await open(disk)).close();
  });

  test("refuses snapshots without a log", async () => {
    const disk = new MemoryDisk();
    const store = await open(disk);
    await store.append({ ...first, hardState: { ...first.hardState, commit: 3 } });
    await store.saveSnapshot({ index: 2, term: 1, header: new Uint8Array(0) }, []);
    await store.close();
    const files = disk.files();
    for (const path of files.keys()) if (path.startsWith("/wal/")) files.delete(path);
    await expect(open(new MemoryDisk(files))).rejects.toThrow("the log is missing");
  });
});

describe("segments", () => {
  test("grow from a small first one to their full size, across a restart too", async () => {
    const disk = new MemoryDisk();
    const limits = { firstSegmentSizeBytes: 1024, segmentSizeBytes: 20_000 };
    let index = 1;
    for (const until of [2, 5]) {
      const store = await open(disk, { limits });
      while (segmentSizes(disk).length < until) {
        const entries = [testEntry(index++, 1, 200)];
        await store.append({ hardState: first.hardState, entries });
      }
      await store.close();
    }
    expect(segmentSizes(disk)).toEqual([1024, 4096, 16_384, 20_000, 20_000]);
  });
});

/** Bytes of each, the oldest first. */
function segmentSizes(disk: MemoryDisk): readonly number[] {
  const files = [...disk.files()].filter(([path]) => /\d\.wal$/.test(path));
  return files.sort(([a], [b]) => (a < b ? -1 : 1)).map(([, { length }]) => length);
}

describe("a process that is killed", () => {
  test("leaves everything that it was told is stable", async () => {
    const root = await fs.mkdtemp(`${tmpdir()}/overlay-wal-killed-`);
    const source = new URL("./wal.ts", import.meta.url).pathname;
    const script = `
      import { openWal } from ${JSON.stringify(source)};
      const store = await openWal({
        ...${JSON.stringify({ ...IDENTITY, dir: `${root}/wal`, snapshotDir: `${root}/snap` })},
        clock: { after: () => () => undefined },
        random: { bytes: (count) => crypto.getRandomValues(new Uint8Array(count)) },
        limits: { segmentSizeBytes: 65536 },
      });
      const hardState = { term: 1, vote: 0, commit: 0 };
      for (let index = 1; ; index++) {
        const payload = new Uint8Array(200).fill(index);
        const entries = [{ index, term: 1, kind: 0, payload }];
        const appended = store.append({ hardState, entries });
        appended.then(() => process.stdout.write(index + "\\n"));
        if (index % 7 === 0) await appended;
      }
    `;
    try {
      const writer = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe" });
      let said = "";
      for await (const bytes of writer.stdout) {
        said += new TextDecoder().decode(bytes);
        // Well into the third segment.
        if (said.split("\n").length > 600) writer.kill("SIGKILL");
      }
      await writer.exited;
      const acknowledged = Number(said.slice(0, said.lastIndexOf("\n")).split("\n").at(-1));
      expect(acknowledged).toBeGreaterThanOrEqual(600);
      const places = { dir: `${root}/wal`, snapshotDir: `${root}/snap` };
      const store = await openWal({ ...places, ...IDENTITY, clock: quiet, random });
      const { entries } = store.recovered;
      expect(entries.length).toBeGreaterThanOrEqual(acknowledged);
      for (const [position, { index, payload }] of entries.entries()) {
        expect(index).toBe(position + 1);
        expect(payload).toEqual(new Uint8Array(200).fill(index));
      }
      await store.close();
    } finally {
      await fs.rm(root, { recursive: true });
    }
  }, 60_000);
});

describe("a snapshot of many chunks", () => {
  test("gives the loop its turn between any two of them, written and read", async () => {
    const root = await fs.mkdtemp(`${tmpdir()}/overlay-wal-turns-`);
    const places = { dir: `${root}/wal`, snapshotDir: `${root}/snap` };
    const store = await openWal({ ...places, ...IDENTITY, clock: quiet, random });
    let made = 0;
    function* chunks() {
      for (; made < 100; made++) yield new Uint8Array(64 * 1024).fill(made);
    }
    const meta = { index: 3, term: 1, header: new Uint8Array(0) };
    expect(await longestRun(() => made, store.saveSnapshot(meta, chunks()))).toBeLessThan(3);
    let read = 0;
    const reading = (async () => {
      for await (const chunk of store.readSnapshot()) read += chunk.length / (64 * 1024);
    })();
    expect(await longestRun(() => read, reading)).toBeLessThan(3);
    expect([made, read]).toEqual([100, 100]);
    await store.close();
    await fs.rm(root, { recursive: true });
  });
});

/** By how much `count` rose at most between two turns of the loop until `work` was done. */
async function longestRun(count: () => number, work: Promise<void>): Promise<number> {
  let longest = 0;
  let before = count();
  let isDone = false;
  const done = work.finally(() => {
    isDone = true;
  });
  while (!isDone) {
    await new Promise((resolve) => setImmediate(resolve));
    longest = Math.max(longest, count() - before);
    before = count();
  }
  await done;
  return longest;
}

test("what was recovered is given up when the log is written to", async () => {
  const disk = new MemoryDisk();
  const store = await open(disk);
  await store.append(first);
  await store.close();
  const again = await open(disk);
  expect(again.recovered.entries).toHaveLength(3);
  await again.append({ entries: [testEntry(4, 1)] });
  expect(again.recovered.entries).toEqual([]);
  await again.close();
});

describe("group commit", () => {
  test("appends that arrive during a sync share the next batch", async () => {
    const disk = new MemoryDisk();
    const store = await open(disk, { limits: { segmentSizeBytes: 1024 * 1024 } });
    let writes = 0;
    disk.fault = (operation) => {
      if (operation === "write") writes++;
      return undefined;
    };
    const one = store.append(first);
    await Promise.resolve();
    const rest = testEntries(4, 203, 1).map((entry) => store.append({ entries: [entry] }));
    await Promise.all([one, ...rest]);
    expect(writes).toBe(2);
    await store.close();
  });

  test("a batch is closed at its size limit, but takes any one append", async () => {
    const disk = new MemoryDisk();
    const limits = { segmentSizeBytes: 4096, batchSizeBytesMax: 1000 };
    const store = await open(disk, { limits });
    const [hardState] = [first.hardState];
    const sizes = [20_000, 100, 100, 5000];
    await Promise.all(
      sizes.map((size, i) => store.append({ hardState, entries: [testEntry(i + 1, 1, size)] })),
    );
    await store.close();
    const again = await open(disk, { limits });
    expect(again.recovered.entries.map((entry) => entry.payload.length)).toEqual(sizes);
    await again.close();
  });
});

describe("a disk that fails", () => {
  const failures = ["write", "rename", "sync", "sync directory", "remove", "open"];
  for (const operation of failures) {
    test(`${operation}: everybody gets the first error, nothing is tried again`, async () => {
      const disk = new MemoryDisk();
      const seen: HostError[] = [];
      const store = await open(disk, { onFatal: (error) => seen.push(error) });
      await store.append(first);
      let attempts = 0;
      disk.fault = (name, path) => {
        if (name !== operation) return undefined;
        attempts++;
        return new HostError({ operation, object: path, errno: "EIO" });
      };
      // Enough to move to another segment, save a snapshot and delete the first segment.
      const entries = [testEntry(4, 1, 3000)];
      const results = await Promise.allSettled([
        store.append({ entries }),
        store.append({ entries: [testEntry(5, 1, 3000)] }),
        store.saveSnapshot({ index: 5, term: 1, header: new Uint8Array(0) }, []),
        store.compact(4),
      ]);
      const reasons = results.flatMap((result) =>
        result.status === "rejected" ? [result.reason] : [],
      );
      expect(reasons.length).toBeGreaterThan(0);
      const [error] = reasons;
      expect(error).toBeInstanceOf(HostError);
      expect(error.errno).toBe("EIO");
      for (const reason of reasons) expect(reason).toBe(error);
      expect(seen).toEqual([error]);
      const before = attempts;
      await expect(store.append({ entries: [testEntry(6, 1)] })).rejects.toBe(error);
      await expect(store.compact(1)).rejects.toBe(error);
      await expect(
        store.saveSnapshot({ index: 9, term: 1, header: new Uint8Array(0) }, []),
      ).rejects.toBe(error);
      expect(attempts).toBe(before);
      disk.fault = () => undefined;
      await expect(store.close()).rejects.toBe(error);
    });
  }

  test("nothing is written that builds on a snapshot which was not saved", async () => {
    const disk = new MemoryDisk();
    const store = await open(disk);
    await store.append(first);
    disk.fault = (operation, path) =>
      operation === "write" && path.endsWith(".snap.tmp")
        ? full("write")("write", path)
        : undefined;
    const results = await Promise.allSettled([
      store.saveSnapshot({ index: 20, term: 1, header: new Uint8Array(0) }, []),
      store.append({ hardState: { term: 1, vote: 1, commit: 20 }, entries: [] }),
      store.saveSnapshot({ index: 40, term: 1, header: new Uint8Array(0) }, []),
      store.append({ entries: [testEntry(41, 1)] }),
    ]);
    expect(results.map((result) => result.status)).toEqual(Array(4).fill("rejected"));
    disk.fault = () => undefined;
    await expect(store.close()).rejects.toThrow();
    const again = await open(disk);
    expect(again.recovered.hardState).toEqual(first.hardState);
    expect(again.recovered.entries).toEqual(first.entries);
    await again.close();
  });

  test("nothing is written that builds on a snapshot whose source failed", async () => {
    const disk = new MemoryDisk();
    const store = await open(disk);
    await store.append(first);
    const failure = new Error("the peer hung up");
    function* source() {
      yield new Uint8Array(1);
      throw failure;
    }
    const results = await Promise.allSettled([
      store.saveSnapshot({ index: 20, term: 1, header: new Uint8Array(0) }, source()),
      store.append({ hardState: { term: 1, vote: 1, commit: 20 }, entries: [] }),
    ]);
    expect(results).toEqual([
      { status: "rejected", reason: failure },
      { status: "rejected", reason: failure },
    ]);
    await store.close();
    const again = await open(disk);
    expect(again.recovered.hardState).toEqual(first.hardState);
    await again.close();
  });

  test("a spare that did not fit is tried again when it is needed", async () => {
    const disk = new MemoryDisk();
    const store = await open(disk);
    disk.fault = full("open");
    // Beyond half of the segment: the next one is prepared, and fails.
    await store.append({ ...first, entries: [testEntry(1, 1, 2500)] });
    disk.fault = () => undefined;
    await store.append({ entries: [testEntry(2, 1, 2500)] });
    await store.close();
    const again = await open(disk);
    expect(again.recovered.entries).toHaveLength(2);
    await again.close();
  });
});

describe("sealing", () => {
  test("an idle log gets an empty batch; a log that moves does not", async () => {
    const disk = new MemoryDisk();
    const clock = manualClock();
    const store = await open(disk, { clock });
    await store.append(first);
    clock.fire();
    await store.append({ entries: [testEntry(4, 1)] });
    clock.fire();
    const idle = disk.steps;
    clock.fire();
    await store.append({ entries: [] });
    expect(disk.steps).toBeGreaterThan(idle);
    const sealed = disk.steps;
    clock.fire();
    await store.close();
    expect(disk.steps).toBe(sealed);
  });
});

function full(operation: string) {
  return (name: string, path: string) =>
    name === operation ? new HostError({ operation, object: path, errno: "ENOSPC" }) : undefined;
}
