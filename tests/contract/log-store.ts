/**
 * What every `LogStore` promises, as tests: run on the real log and on the simulator's.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import type { LogStore, StoredEntry, StoredHardState } from "../../src/host/ports.ts";

/** One node's stable storage, with at most one store open on it. */
export interface LogStoreDevice extends AsyncDisposable {
  /** Opens the store, as at a start of the node. The one before was closed or lost in a crash. */
  open(): Promise<LogStore>;
  /** Stops everything at once: what was acknowledged stays, the open store is forgotten. */
  crash(): Promise<void>;
}

export interface LogStoreContract {
  readonly name: string;
  /** A device that never held anything. */
  readonly createDevice: () => Promise<LogStoreDevice>;
}

/** An entry with a payload that tells its index and term. */
export function testEntry(index: number, term: number, size = 24): StoredEntry {
  const payload = new Uint8Array(size).fill((index * 31 + term * 7) & 0xff);
  return { index, term, kind: 1 + (index % 3), payload };
}

/** Entries `first` to `last` of `term`. */
export function testEntries(first: number, last: number, term: number): StoredEntry[] {
  return Array.from({ length: last - first + 1 }, (_, i) => testEntry(first + i, term));
}

/** All chunks of `source`. */
export async function collect(source: AsyncIterable<Uint8Array>): Promise<Uint8Array[]> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of source) chunks.push(chunk);
  return chunks;
}

const hard = (term: number, vote: number, commit: number): StoredHardState => ({
  term,
  vote,
  commit,
});
const ids = (store: LogStore) => store.recovered.entries.map((e) => [e.index, e.term]);
const idsOf = (entries: readonly StoredEntry[]) => entries.map((e) => [e.index, e.term]);
const meta = (index: number, term: number) => ({
  index,
  term,
  header: Uint8Array.of(1, 2, 3, index & 0xff),
});
const body = (seed: number) => [
  new Uint8Array(1000).fill(seed),
  new Uint8Array(0),
  new Uint8Array(5).fill(seed + 1),
];

/** Runs every promise of the port on devices of `contract`. */
export function runLogStoreContract(contract: LogStoreContract): void {
  describe(`log store: ${contract.name}`, () => {
    const given = (
      what: string,
      run: (store: LogStore, device: LogStoreDevice) => Promise<void>,
    ): void => {
      test(what, async () => {
        await using device = await contract.createDevice();
        await run(await device.open(), device);
      });
    };
    /** The same after a clean stop and after a crash. */
    const givenStops = (
      what: string,
      run: (store: LogStore, restart: () => Promise<LogStore>) => Promise<void>,
    ): void => {
      given(`${what}, after a clean stop`, async (store, device) => {
        let open = store;
        await run(store, async () => {
          await open.close();
          open = await device.open();
          return open;
        });
        await open.close();
      });
      given(`${what}, after a crash`, async (store, device) => {
        let open = store;
        await run(store, async () => {
          await device.crash();
          open = await device.open();
          return open;
        });
        await open.close();
      });
    };
    testEntriesAndHardState({ given, givenStops });
    testSnapshots({ given, givenStops });
  });
}

interface Given {
  readonly given: (
    what: string,
    run: (store: LogStore, device: LogStoreDevice) => Promise<void>,
  ) => void;
  readonly givenStops: (
    what: string,
    run: (store: LogStore, restart: () => Promise<LogStore>) => Promise<void>,
  ) => void;
}

function testEntriesAndHardState({ given, givenStops }: Given): void {
  given("a fresh store is empty", async (store) => {
    expect(store.recovered).toEqual({ hardState: undefined, snapshot: undefined, entries: [] });
    await store.close();
  });

  givenStops("what was appended is found, byte for byte", async (store, restart) => {
    const sizes = [0, 1, 7, 8, 9, 511, 512, 513, 70_000];
    const entries = sizes.map((size, i) => testEntry(i + 1, 2, size));
    await store.append({ hardState: hard(2, 7, 0), entries });
    const again = await restart();
    expect(again.recovered.entries).toEqual(entries);
    expect(again.recovered.hardState).toEqual(hard(2, 7, 0));
  });

  givenStops("counters near 2^53 survive", async (store, restart) => {
    const huge = Number.MAX_SAFE_INTEGER;
    await store.append({ hardState: hard(huge, huge - 1, 0), entries: [testEntry(1, huge)] });
    const again = await restart();
    expect(again.recovered.hardState).toEqual(hard(huge, huge - 1, 0));
    expect(ids(again)).toEqual([[1, huge]]);
  });

  givenStops("appends in flight at once are found in call order", async (store, restart) => {
    const all = testEntries(1, 100, 1);
    const answered: number[] = [];
    await Promise.all(
      all.map((entry) => {
        const hardState = hard(1, 1, entry.index - 1);
        return store.append({ hardState, entries: [entry] }).then(() => answered.push(entry.index));
      }),
    );
    expect(answered).toEqual(all.map((entry) => entry.index));
    const again = await restart();
    expect(again.recovered.entries).toEqual(all);
    expect(again.recovered.hardState).toEqual(hard(1, 1, 99));
  });

  givenStops("entries replace the tail from the first one's index on", async (store, restart) => {
    await store.append({ hardState: hard(1, 0, 0), entries: testEntries(1, 10, 1) });
    await store.append({ hardState: hard(3, 0, 0), entries: testEntries(5, 6, 3) });
    const again = await restart();
    expect(again.recovered.entries).toEqual([...testEntries(1, 4, 1), ...testEntries(5, 6, 3)]);
    await again.append({ entries: testEntries(7, 7, 3) });
    const third = await restart();
    expect(idsOf(third.recovered.entries.slice(-2))).toEqual([
      [6, 3],
      [7, 3],
    ]);
  });

  givenStops("the last hard state counts, with or without entries", async (store, restart) => {
    await store.append({ hardState: hard(1, 5, 0), entries: testEntries(1, 3, 1) });
    await store.append({ hardState: hard(2, 0, 1), entries: [] });
    await store.append({ entries: [] });
    await store.append({ hardState: hard(2, 9, 3), entries: [] });
    const again = await restart();
    expect(again.recovered.hardState).toEqual(hard(2, 9, 3));
    expect(ids(again)).toHaveLength(3);
  });

  given("payloads may be reused once an append has resolved", async (store, device) => {
    const entry = testEntry(1, 1);
    const before = entry.payload.slice();
    await store.append({ hardState: hard(1, 0, 0), entries: [entry] });
    entry.payload.fill(0xee);
    await device.crash();
    const again = await device.open();
    expect(again.recovered.entries[0]?.payload).toEqual(before);
    await again.close();
  });

  given("close waits for what was appended", async (store, device) => {
    const appended = store.append({ hardState: hard(1, 0, 0), entries: testEntries(1, 50, 1) });
    await store.close();
    await appended;
    const again = await device.open();
    expect(ids(again)).toHaveLength(50);
    await again.close();
  });

  const refused = [
    { why: "a gap", batch: { entries: [testEntry(5, 1)] } },
    { why: "a term that goes back", batch: { entries: [testEntry(3, 1), testEntry(4, 0)] } },
    { why: "an entry above the current term", batch: { entries: [testEntry(3, 9)] } },
    { why: "a current term that goes back", batch: { hardState: hard(1, 1, 1), entries: [] } },
    { why: "a second vote in a term", batch: { hardState: hard(2, 2, 1), entries: [] } },
    { why: "a commit that goes back", batch: { hardState: hard(2, 1, 0), entries: [] } },
  ];
  for (const { why, batch } of refused) {
    given(`asserts: ${why}`, async (store, device) => {
      await store.append({ hardState: hard(2, 1, 1), entries: testEntries(1, 2, 1) });
      const attempt = (async () => store.append(batch))();
      await expect(attempt).rejects.toThrow();
      await device.crash();
    });
  }
}

function testSnapshots({ given, givenStops }: Given): void {
  givenStops("a snapshot is found with header, chunks and log", async (store, restart) => {
    await store.append({ hardState: hard(1, 0, 8), entries: testEntries(1, 10, 1) });
    await store.saveSnapshot(meta(8, 1), body(3));
    const again = await restart();
    expect(again.recovered.snapshot).toEqual(meta(8, 1));
    expect(await collect(again.readSnapshot())).toEqual(body(3));
    expect(again.recovered.entries.at(-1)).toEqual(testEntry(10, 1));
    const first = again.recovered.entries[0]?.index ?? 0;
    expect(first).toBeLessThanOrEqual(9);
    expect(ids(again)).toEqual(idsOf(testEntries(first, 10, 1)));
  });

  givenStops("an empty body and an empty header are kept", async (store, restart) => {
    await store.append({ hardState: hard(1, 0, 1), entries: testEntries(1, 1, 1) });
    await store.saveSnapshot({ index: 1, term: 1, header: new Uint8Array(0) }, []);
    const again = await restart();
    expect(again.recovered.snapshot).toEqual({ index: 1, term: 1, header: new Uint8Array(0) });
    expect(await collect(again.readSnapshot())).toEqual([]);
  });

  given("the newest snapshot is read, in chunks as saved, at once", async (store) => {
    await store.append({ hardState: hard(1, 0, 9), entries: testEntries(1, 9, 1) });
    await store.saveSnapshot(meta(3, 1), body(1));
    await store.saveSnapshot(meta(7, 1), body(2));
    expect(await collect(store.readSnapshot())).toEqual(body(2));
    await store.close();
  });

  given("a chunk of 1 MiB out of an async source is kept", async (store) => {
    const chunk = new Uint8Array(1024 * 1024).fill(9);
    async function* source() {
      yield chunk;
      yield chunk.subarray(0, 10);
    }
    await store.append({ hardState: hard(1, 0, 9), entries: testEntries(1, 9, 1) });
    await store.saveSnapshot(meta(3, 1), source());
    const chunks = await collect(store.readSnapshot());
    expect(chunks.map((part) => part.length)).toEqual([chunk.length, 10]);
    expect(Buffer.compare(chunks[0]!, chunk)).toBe(0);
    await store.close();
  });

  givenStops("a snapshot beyond the log replaces it", async (store, restart) => {
    await store.append({ hardState: hard(4, 0, 2), entries: testEntries(1, 3, 1) });
    const saved = store.saveSnapshot(meta(20, 4), body(4));
    // Called at once: takes effect after the snapshot.
    const appended = store.append({ entries: testEntries(21, 22, 4) });
    await Promise.all([saved, appended]);
    const again = await restart();
    expect(again.recovered.snapshot).toEqual(meta(20, 4));
    expect(ids(again)).toEqual([
      [21, 4],
      [22, 4],
    ]);
    await again.append({ entries: [testEntry(23, 4)] });
  });

  givenStops(
    "appends between two snapshots beyond the log keep their place",
    async (store, restart) => {
      await store.append({ hardState: hard(4, 0, 2), entries: testEntries(1, 3, 1) });
      // As on a disk that is stuck: all of it waits for the first one.
      await Promise.all([
        store.saveSnapshot(meta(20, 4), body(4)),
        store.append({ entries: testEntries(21, 22, 4) }),
        store.saveSnapshot(meta(40, 4), body(5)),
        store.compact(40),
        store.append({ entries: testEntries(41, 42, 4) }),
      ]);
      const again = await restart();
      expect(again.recovered.snapshot).toEqual(meta(40, 4));
      expect(ids(again)).toEqual([
        [41, 4],
        [42, 4],
      ]);
    },
  );

  givenStops("a snapshot that contradicts the log replaces it", async (store, restart) => {
    await store.append({ hardState: hard(3, 0, 0), entries: testEntries(1, 9, 1) });
    await store.saveSnapshot(meta(5, 2), body(4));
    const again = await restart();
    expect(again.recovered.snapshot).toEqual(meta(5, 2));
    expect(ids(again)).toEqual([]);
    await again.append({ entries: [testEntry(6, 3)] });
    const third = await restart();
    expect(ids(third)).toEqual([[6, 3]]);
  });

  givenStops("appends go on while a snapshot is being saved", async (store, restart) => {
    await store.append({ hardState: hard(1, 0, 2), entries: testEntries(1, 2, 1) });
    let turn = 0;
    async function* source() {
      for (; turn < 5; turn++) {
        await store.append({ entries: [testEntry(3 + turn, 1)] });
        yield new Uint8Array(10).fill(turn);
      }
    }
    await store.saveSnapshot(meta(2, 1), source());
    const again = await restart();
    expect(again.recovered.entries.at(-1)?.index).toBe(7);
    expect(await collect(again.readSnapshot())).toHaveLength(5);
  });

  givenStops("compaction keeps what no snapshot covers", async (store, restart) => {
    await store.append({ hardState: hard(1, 0, 30), entries: testEntries(1, 30, 1) });
    await store.saveSnapshot(meta(20, 1), body(5));
    await store.compact(15);
    await store.append({ entries: testEntries(31, 33, 1) });
    const again = await restart();
    const first = again.recovered.entries[0]!.index;
    expect(first).toBeLessThanOrEqual(16);
    expect(again.recovered.entries).toEqual(testEntries(first, 33, 1));
    expect(await collect(again.readSnapshot())).toEqual(body(5));
    expect(again.recovered.hardState).toEqual(hard(1, 0, 30));
  });

  given("a snapshot that comes after a newer one is not read", async (store, device) => {
    await store.append({ hardState: hard(2, 0, 5), entries: testEntries(1, 9, 1) });
    const newer = store.saveSnapshot(meta(20, 2), body(1));
    function* unread() {
      yield new Uint8Array(1);
      throw new Error("it was read");
    }
    await Promise.all([newer, store.saveSnapshot(meta(5, 1), unread()), store.compact(20)]);
    await store.append({ entries: [testEntry(21, 2)] });
    await store.close();
    const again = await device.open();
    expect(again.recovered.snapshot).toEqual(meta(20, 2));
    expect(ids(again)).toEqual([[21, 2]]);
    await again.close();
  });

  given("an error of the chunk source changes nothing", async (store, device) => {
    await store.append({ hardState: hard(1, 0, 9), entries: testEntries(1, 9, 1) });
    await store.saveSnapshot(meta(3, 1), body(1));
    const failure = new Error("the peer hung up");
    function* source() {
      yield new Uint8Array(10);
      throw failure;
    }
    await expect(store.saveSnapshot(meta(7, 1), source())).rejects.toBe(failure);
    await expect(store.saveSnapshot(meta(70, 1), source())).rejects.toBe(failure);
    await store.append({ entries: [testEntry(10, 1)] });
    await store.close();
    const again = await device.open();
    expect(again.recovered.snapshot).toEqual(meta(3, 1));
    expect(again.recovered.entries.at(-1)?.index).toBe(10);
    await again.close();
  });
}
