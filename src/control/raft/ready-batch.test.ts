/**
 * What a batch holds, and in which order a driver may go on, in both storage modes.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import { appendRequest, cluster, I, normalEntry, T, voteRequest } from "./test-cluster.ts";

describe("Raft.ready", () => {
  const SYNC = [
    { event: "an entry", message: appendRequest(1, [1, 1], [normalEntry(1, 2)]), mustSync: true },
    { event: "a vote", message: voteRequest({ term: T(1) }), mustSync: true },
    { event: "a higher term", message: appendRequest(7, [1, 1], []), mustSync: true },
  ] as const;
  for (const { event, message, mustSync } of SYNC) {
    test(`${event} must be synced before anything is answered`, () => {
      const { raft } = cluster(3).node(1);
      raft.step(message);
      expect(raft.ready().mustSync).toBe(mustSync);
    });
  }

  test("a commit index alone needs no sync of its own", () => {
    const group = cluster(3);
    const node = group.node(1);
    node.raft.step(appendRequest(1, [1, 1], [normalEntry(1, 2)]));
    group.settle();
    node.raft.step(appendRequest(1, [1, 2], [], 2));
    const ready = node.raft.ready();
    expect(ready).toMatchObject({ mustSync: false, hardState: { commit: 2 } });
    expect(ready.messages).toMatchObject([
      // Its answer still waits for the writes before it.
      { kind: "storage_append", entries: [], responses: [{ kind: "append_response", index: 2 }] },
      { kind: "storage_apply", entries: [{ index: 2 }] },
    ]);
  });

  test("hands out a thing once", () => {
    const { raft } = cluster(3).node(1);
    raft.step(appendRequest(1, [1, 1], [normalEntry(1, 2)]));
    expect(raft.ready().entries).toHaveLength(1);
    expect(raft.hasReady()).toBe(false);
    expect(raft.ready()).toEqual({
      softState: undefined,
      hardState: undefined,
      readStates: [],
      entries: [],
      snapshot: undefined,
      committedEntries: [],
      messages: [],
      mustSync: false,
    });
  });

  test("an idle node has nothing", () => {
    expect(cluster(3).node(1).raft.hasReady()).toBe(false);
  });
});

describe("Raft.advance", () => {
  test("synchronous: one batch at a time", () => {
    const node = cluster(3, { asyncStorageWrites: false }).node(1);
    node.raft.step(appendRequest(1, [1, 1], [normalEntry(1, 2)], 2));
    const ready = node.raft.ready();
    expect(() => node.raft.ready()).toThrow("carried out before the next");
    // Committed already, it is written and applied in the same batch.
    expect(ready.committedEntries.map((entry) => entry.index)).toEqual([I(2)]);
    node.log.append(ready.entries);
    node.raft.advance();
    expect(node.raft.status().applied).toBe(I(2));
    expect(node.raft.hasReady()).toBe(false);
  });

  test("asynchronous: is not to be called", () => {
    const { raft } = cluster(3).node(1);
    expect(() => raft.advance()).toThrow("synchronous mode only");
  });
});
