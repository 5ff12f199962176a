import { describe, expect, test } from "bun:test";
import { decodeNodeId, decodeRevision } from "../../base/ids.ts";
import type { StoredEntry } from "../../host/ports.ts";
import { CLUSTER_VERSION_FIRST, CLUSTER_VERSION_NEWEST } from "../kv/cluster-version.ts";
import { kvHandlers } from "../kv/handlers.ts";
import { createStateMachine } from "../kv/state-machine.ts";
import { encodeSnapshotBody, encodeSnapshotHeader } from "./codec/snapshot-codec.ts";
import { TRAILING_ENTRIES } from "./limits.ts";
import { bootstrapStore, EMPTY_CONF_STATE, isUnused, recoverStore } from "./recovery.ts";
import { SIM_CLUSTER, SimClock } from "./sim-cluster.fake.ts";
import { SimLogStore } from "./sim-log-store.fake.ts";

const nodeId = decodeNodeId(1);
const confState = { ...EMPTY_CONF_STATE, voters: [nodeId] };

/** Runs `work` while virtual time passes. */
async function withTime<Value>(clock: SimClock, work: Promise<Value>): Promise<Value> {
  let isDone = false;
  const ended = work.finally(() => {
    isDone = true;
  });
  ended.catch(() => undefined);
  while (!isDone) {
    clock.step(clock.nowMs() + 1_000);
    await new Promise((resolve) => setImmediate(resolve));
  }
  return ended;
}

function entries(from: number, to: number, term: number): StoredEntry[] {
  return Array.from({ length: to - from + 1 }, (_, offset) => ({
    term,
    index: from + offset,
    kind: 0,
    payload: new Uint8Array(0),
  }));
}

interface Disk {
  readonly snapshot?: {
    readonly index: number;
    readonly term: number;
    readonly version?: number;
  };
  readonly entries?: readonly StoredEntry[];
  readonly commit?: number;
  readonly term?: number;
  readonly generation?: number;
}

async function recover(disk: Disk) {
  const clock = new SimClock();
  const store = new SimLogStore(clock);
  const machine = createStateMachine(kvHandlers);
  const fill = async () => {
    const { term = 9, commit = 0 } = disk;
    const stored = [...(disk.entries ?? [])];
    if (stored.length > 0) {
      // The store takes entries from where its log ends: make room for what begins later.
      const { index } = stored[0]!;
      await store.saveSnapshot({ index: index - 1, term: 1, header: new Uint8Array(0) }, []);
      await store.append({ hardState: { term, vote: 0, commit }, entries: stored });
    }
    if (disk.snapshot !== undefined) {
      const source = createStateMachine(kvHandlers);
      while (source.appliedIndex < disk.snapshot.index) {
        source.skip((source.appliedIndex + 1) as typeof source.appliedIndex);
      }
      const { generation = SIM_CLUSTER.generation } = disk;
      const { clusterId } = SIM_CLUSTER;
      const revision = decodeRevision(0);
      const header = encodeSnapshotHeader({
        ...{ clusterId, generation, confState, revision },
        version: disk.snapshot.version ?? CLUSTER_VERSION_FIRST,
      });
      await store.saveSnapshot({ ...disk.snapshot, header }, encodeSnapshotBody(source.snapshot()));
    }
  };
  await withTime(clock, fill());
  const recovered = await withTime(clock, recoverStore(store, machine, SIM_CLUSTER));
  const { memoryLog, hardState } = recovered;
  return {
    span: `${memoryLog.firstIndex()}..${memoryLog.lastIndex()}`,
    snapshot: memoryLog.snapshot()?.index,
    commit: hardState?.commit,
    applied: machine.appliedIndex,
    voters: recovered.confState.voters,
    store,
  };
}

describe("recoverStore", () => {
  const snapshot = { index: 10, term: 2 };
  const cases: { why: string; disk: Disk; span: string; commit: number | undefined }[] = [
    {
      why: "entries behind the snapshot",
      disk: { snapshot, entries: entries(11, 15, 2), commit: 12 },
      span: "11..15",
      commit: 12,
    },
    {
      why: "entries from before it, kept for slow followers",
      disk: { snapshot, entries: entries(6, 15, 2), commit: 12 },
      span: "7..15",
      commit: 12,
    },
    {
      why: "a commit that lags behind the snapshot",
      disk: { snapshot, entries: entries(6, 15, 2), commit: 7 },
      span: "7..15",
      commit: 10,
    },
    {
      why: "entries that a received snapshot contradicts: dropped",
      disk: { snapshot, entries: entries(6, 15, 3), commit: 7 },
      span: "11..10",
      commit: 10,
    },
    {
      why: "entries that end before a received snapshot: dropped",
      disk: { snapshot, entries: entries(3, 8, 2), commit: 7 },
      span: "11..10",
      commit: 10,
    },
    {
      why: "the last entry is the snapshot's",
      disk: { snapshot, entries: entries(6, 10, 2), commit: 10 },
      span: "7..10",
      commit: 10,
    },
  ];
  for (const { why, disk, span, commit } of cases) {
    test(why, async () => {
      const found = await recover(disk);
      expect(found.span).toBe(span);
      expect(found.snapshot).toBe(10 as typeof found.snapshot);
      expect(found.commit).toBe(commit as typeof found.commit);
      expect(found.applied).toBe(10 as typeof found.applied);
      expect(found.voters).toEqual([nodeId]);
    });
  }

  test("of a long log before the snapshot only what the driver keeps is taken up", async () => {
    const index = TRAILING_ENTRIES + 100;
    const disk = { snapshot: { index, term: 2 }, entries: entries(1, index + 3, 2), commit: index };
    const found = await recover(disk);
    // The first one kept is known by its term only.
    expect(found.span).toBe(`102..${index + 3}`);
  });

  test("after dropped entries the next one leaves no gap in the store", async () => {
    const { store } = await recover({ snapshot, entries: entries(3, 8, 2), commit: 7 });
    expect(store.recovered.entries).toEqual([]);
  });

  const refusals: { why: string; disk: Disk; message: string }[] = [
    {
      why: "entries that begin after a gap",
      disk: { snapshot, entries: entries(13, 15, 2) },
      message: "Cannot recover from log: it begins at 13, after the snapshot at 10",
    },
    {
      why: "a log shorter than what was committed",
      disk: { snapshot, entries: entries(11, 12, 2), commit: 15 },
      message: "Cannot recover from log: it ends at 12 but 15 was committed",
    },
    {
      why: "an entry of unknown format",
      disk: {
        snapshot,
        entries: [{ term: 2, index: 11, kind: 7, payload: new Uint8Array(0) }],
      },
      message: "Cannot recover from log entry 11: its payload has an unknown format",
    },
    {
      why: "a snapshot of another generation",
      disk: { snapshot, generation: 2 },
      message: "Cannot recover from snapshot: it belongs to another cluster or generation",
    },
  ];
  for (const { why, disk, message } of refusals) {
    test(`refuses ${why}`, async () => {
      const error = await recover(disk).then(
        () => "recovered",
        (cause: unknown) => String(cause),
      );
      expect(error).toContain(message);
      expect(error).toContain("join the cluster again as a new node");
    });
  }
});

test("recoverStore: a snapshot of a newer cluster version asks for a newer program", async () => {
  const version = CLUSTER_VERSION_NEWEST + 1;
  const error = await recover({ snapshot: { index: 10, term: 2, version } }).catch(String);
  expect(error).toContain(`it is of cluster version ${version}`);
  expect(error).toContain("install the version of overlay that the other members run");
});

describe("bootstrapStore", () => {
  test("makes a cluster of one that is found again", async () => {
    const clock = new SimClock();
    const store = new SimLogStore(clock);
    expect(isUnused(store)).toBeTrue();
    const founder = { ...SIM_CLUSTER, nodeId };
    const made = await withTime(
      clock,
      bootstrapStore(store, createStateMachine(kvHandlers), founder),
    );
    expect(isUnused(store)).toBeFalse();
    const again = store.crash();
    const machine = createStateMachine(kvHandlers);
    const found = await withTime(clock, recoverStore(again, machine, SIM_CLUSTER));
    expect(found.confState).toEqual(made.confState);
    expect(found.hardState).toEqual(made.hardState);
    expect(found.memoryLog.snapshot()).toEqual(made.memoryLog.snapshot());
  });
});
