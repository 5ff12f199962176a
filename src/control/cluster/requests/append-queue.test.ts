import { describe, expect, test } from "bun:test";
import { decodeIndex, decodeNodeId, decodeTerm } from "../../../base/ids.ts";
import type { LogBatch, LogStore, StoredSnapshotMeta } from "../../../host/ports.ts";
import type { Entry, HardState, Snapshot, StorageAppend } from "../../raft/types.ts";
import { EMPTY_CONF_STATE } from "../recovery.ts";
import { AppendQueue } from "./append-queue.ts";

/** A store whose writes end when the test says so. */
class HeldStore implements LogStore {
  readonly recovered = { hardState: undefined, snapshot: undefined, entries: [] };
  readonly calls: string[] = [];
  readonly #held: { resolve: () => void; reject: (cause: Error) => void }[] = [];

  append(batch: LogBatch): Promise<void> {
    const entries = batch.entries.map((entry) => entry.index).join(",");
    const { term, vote, commit } = batch.hardState ?? { term: "-", vote: "-", commit: "-" };
    return this.#hold(`append [${entries}] ${term}/${vote}/${commit}`);
  }
  saveSnapshot(meta: StoredSnapshotMeta): Promise<void> {
    return this.#hold(`snapshot ${meta.index}`);
  }
  async *readSnapshot(): AsyncGenerator<Uint8Array> {}
  compact(index: number): Promise<void> {
    return this.#hold(`compact ${index}`);
  }
  close(): Promise<void> {
    return Promise.resolve();
  }

  /** Ends the oldest write. */
  finish(): void {
    this.#held.shift()?.resolve();
  }
  fail(cause: Error): void {
    this.#held.shift()?.reject(cause);
  }

  #hold(call: string): Promise<void> {
    this.calls.push(call);
    return new Promise((resolve, reject) => {
      this.#held.push({ resolve, reject });
    });
  }
}

function entry(index: number): Entry {
  return {
    kind: "normal",
    term: decodeTerm(2),
    index: decodeIndex(index),
    data: new Uint8Array(0),
  };
}

function hard(term: number, vote: number | undefined, commit: number): HardState {
  return {
    term: decodeTerm(term),
    vote: vote === undefined ? undefined : decodeNodeId(vote),
    commit: decodeIndex(commit),
  };
}

function snapshotAt(index: number): Snapshot {
  return {
    index: decodeIndex(index),
    term: decodeTerm(2),
    confState: EMPTY_CONF_STATE,
    data: new Uint8Array(0),
  };
}

function work(parts: Partial<StorageAppend>): StorageAppend {
  return {
    kind: "storage_append",
    hardState: undefined,
    entries: [],
    snapshot: undefined,
    responses: [],
    ...parts,
  };
}

function start(lastIndex = 0) {
  const store = new HeldStore();
  const durable: StorageAppend[] = [];
  const failures: unknown[] = [];
  const queue = new AppendQueue(
    store,
    {
      snapshotBody: () => [],
      durable: (done) => durable.push(done),
      failed: (cause) => failures.push(cause),
    },
    { hardState: hard(1, undefined, 1), lastIndex },
  );
  return { store, durable, failures, queue };
}

async function settle(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

describe("AppendQueue", () => {
  test("hands batches in at once, tells them durable in order and not before", async () => {
    const { store, durable, queue } = start();
    const first = work({ entries: [entry(1)] });
    const second = work({ entries: [entry(2)] });
    queue.push(first);
    queue.push(second);
    await settle();
    expect(store.calls.length).toBe(2);
    expect(durable).toEqual([]);
    store.finish();
    await settle();
    expect(durable).toEqual([first]);
    expect(queue.pendingCount).toBe(1);
    store.finish();
    await settle();
    expect(durable).toEqual([first, second]);
  });

  test("does not write a batch that moves only the commit, but keeps it in its place", async () => {
    const { store, durable, queue } = start();
    const first = work({ entries: [entry(1)], hardState: hard(2, 7, 1) });
    const commit = work({ hardState: hard(2, 7, 5) });
    queue.push(first);
    queue.push(commit);
    await settle();
    expect(store.calls).toEqual(["append [1] 2/7/1"]);
    expect(durable).toEqual([]);
    store.finish();
    await settle();
    expect(durable).toEqual([first, commit]);
    queue.push(work({ entries: [entry(2)] }));
    await settle();
    expect(store.calls.at(-1)).toBe("append [2] 2/7/5");
  });

  test("writes a commit index that nothing follows, once, and a moment later", async () => {
    const { store, queue } = start();
    queue.push(work({ entries: [entry(1)], hardState: hard(2, 7, 1) }));
    queue.push(work({ hardState: hard(2, 7, 5) }));
    queue.tick();
    queue.push(work({ hardState: hard(2, 7, 6) }));
    queue.tick(); // It moves: the next batch may carry it.
    await settle();
    expect(store.calls.length).toBe(1);
    queue.tick();
    queue.tick();
    await settle();
    expect(store.calls.slice(1)).toEqual(["append [] 2/7/6"]);
  });

  test("tells which commit index a restart would know", async () => {
    const { store, queue } = start();
    queue.push(work({ entries: [entry(1)], hardState: hard(2, 7, 1) }));
    queue.push(work({ hardState: hard(2, 7, 5) }));
    store.finish();
    await settle();
    expect(queue.durableCommit).toBe(1);
    queue.pushCommit();
    await settle();
    expect(queue.durableCommit).toBe(1);
    store.finish();
    await settle();
    expect(queue.durableCommit).toBe(5);
    queue.pushCommit(); // Written already.
    await settle();
    expect(store.calls.length).toBe(2);
    expect(queue.pendingCount).toBe(0);
  });

  test("writes a new term or vote although there are no entries", async () => {
    const { store, queue } = start();
    queue.push(work({ hardState: hard(2, undefined, 1) }));
    queue.push(work({ hardState: hard(2, 7, 1) }));
    await settle();
    expect(store.calls).toEqual(["append [] 2/0/1", "append [] 2/7/1"]);
  });

  test("writes a snapshot before what follows it, and closes the gap before it", async () => {
    const { store, queue } = start(4);
    const hardState = hard(2, undefined, 10);
    queue.push(work({ snapshot: snapshotAt(10), hardState, entries: [entry(11)] }));
    await settle();
    expect(store.calls).toEqual(["snapshot 10", "compact 10", "append [11] 2/0/10"]);
  });

  test("leaves entries that contradict a snapshot to be replaced by the next", async () => {
    const { store, queue } = start(20);
    queue.push(work({ snapshot: snapshotAt(10), hardState: hard(2, undefined, 10) }));
    await settle();
    expect(store.calls).toEqual(["snapshot 10", "append [] 2/0/10"]);
  });

  test("tells a failure once, and nothing durable after it", async () => {
    const { store, durable, failures, queue } = start();
    const cause = new Error("EIO");
    queue.push(work({ entries: [entry(1)] }));
    queue.push(work({ entries: [entry(2)] }));
    queue.push(work({ hardState: hard(1, undefined, 2) }));
    await settle();
    store.fail(cause);
    store.finish();
    await settle();
    expect(failures).toEqual([cause]);
    expect(durable).toEqual([]);
    await queue.settled();
  });
});
