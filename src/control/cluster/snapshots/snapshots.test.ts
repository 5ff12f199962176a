import { describe, expect, test } from "bun:test";
import { decodeIndex, decodeNodeId, decodeRevision, decodeTerm } from "../../../base/ids.ts";
import { createSilentLog } from "../../../base/log.ts";
import type { SnapshotStage } from "../../../host/ports.ts";
import { kvHandlers } from "../../kv/handlers.ts";
import { createStateMachine } from "../../kv/state-machine.ts";
import { txn } from "../../kv/txn.ts";
import type { SnapshotPart } from "../../kv/types.ts";
import { MemoryLog } from "../../raft/memory-log.ts";
import type { ConfState, SnapshotRequest } from "../../raft/types.ts";
import {
  decodeSnapshotBody,
  encodeSnapshotBody,
  encodeSnapshotHeader,
} from "../codec/snapshot-codec.ts";
import { SNAPSHOT_QUIET_MS, SNAPSHOT_REFUSAL_MIN_MS, SNAPSHOT_STOP_MAX_MS } from "../limits.ts";
import { SIM_CLUSTER, SimClock } from "../sim-cluster.fake.ts";
import { SimLogStore } from "../sim-log-store.fake.ts";
import { MemoryStage } from "./memory-staging.fake.ts";
import { Snapshots } from "./snapshots.ts";

const confState: ConfState = {
  voters: [decodeNodeId(1), decodeNodeId(2)],
  votersOutgoing: [],
  learners: [],
  learnersNext: [],
  autoLeave: false,
};

const data = new Uint8Array(0);

/** A leader's snapshot of a store that was written to `writes` times, and its body. */
function leaderSnapshot(writes: number) {
  const machine = createStateMachine({ ...kvHandlers });
  const term = decodeTerm(1);
  for (let i = 1; i <= writes; i++) {
    const command = txn({ success: [{ kind: "put", key: "/k", value: Uint8Array.of(i) }] });
    const context = { index: decodeIndex(i), term, proposedAtMs: 0, request: undefined };
    machine.apply(command, context);
  }
  const revision = decodeRevision(writes);
  const data = encodeSnapshotHeader({ ...SIM_CLUSTER, confState, revision, version: 1 });
  const snapshot = { index: decodeIndex(writes), term, confState, data };
  const [to, from] = [decodeNodeId(2), decodeNodeId(1)];
  const message: SnapshotRequest = { kind: "snapshot_request", to, from, term, snapshot };
  return { message, body: [...encodeSnapshotBody(machine.snapshot())] };
}

function setUp({ snapshotEntries = 4 } = {}) {
  const machine = createStateMachine({ ...kvHandlers });
  const memoryLog = new MemoryLog();
  const stages: MemoryStage[] = [];
  const clock = new SimClock();
  const logStore = new SimLogStore(clock);
  const snapshots = new Snapshots({
    cluster: SIM_CLUSTER,
    logStore,
    memoryLog,
    machine,
    log: createSilentLog(),
    confState: () => confState,
    failed: (cause) => {
      throw cause;
    },
    clock,
    snapshotEntries,
    staging: {
      async open() {
        const stage = new MemoryStage();
        stages.push(stage);
        return stage;
      },
      clear: () => Promise.resolve(),
    },
  });
  return { snapshots, machine, memoryLog, stages, clock, logStore };
}

async function collect(
  chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
): Promise<Uint8Array[]> {
  const all: Uint8Array[] = [];
  for await (const chunk of chunks) all.push(chunk);
  return all;
}

/** What came in over a transport, chunk by chunk. */
async function fill(stage: SnapshotStage, body: readonly Uint8Array[]): Promise<void> {
  for (const chunk of body) await stage.append(stage.sizeBytes, chunk);
}

/** Applies entries up to `last`, as the driver does. */
function apply({ machine, memoryLog, snapshots }: ReturnType<typeof setUp>, last: number): void {
  for (let i = machine.appliedIndex + 1; i <= last; i++) {
    memoryLog.append([{ kind: "normal", term: decodeTerm(1), index: decodeIndex(i), data }]);
    machine.skip(decodeIndex(i));
    snapshots.counted(1);
  }
}

/** Lets the disk do what it was asked for. */
async function settle({ clock }: ReturnType<typeof setUp>, work: Promise<void>): Promise<void> {
  let isDone = false;
  void work.then(() => {
    isDone = true;
  });
  while (!isDone) {
    clock.step(clock.nowMs() + 10);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

describe("a snapshot before it is due", () => {
  test("is made when nothing has been applied for a while", async () => {
    const parts = setUp({ snapshotEntries: 100 });
    const { snapshots, memoryLog, clock } = parts;
    apply(parts, 10);
    for (let i = 0; i < 3; i++) {
      snapshots.tick();
      clock.jump(SNAPSHOT_QUIET_MS / 3);
      snapshots.maybeMake();
    }
    expect(memoryLog.snapshot()?.index).toBe(decodeIndex(0));
    snapshots.tick();
    await settle(parts, snapshots.settled());
    expect(memoryLog.snapshot()?.index).toBe(decodeIndex(10));
  });

  test("is made at the end, when there is something worth it", async () => {
    const parts = setUp({ snapshotEntries: 100 });
    const { snapshots, memoryLog } = parts;
    apply(parts, 9);
    await settle(parts, snapshots.finish());
    expect(memoryLog.snapshot()?.index).toBe(decodeIndex(0));
    apply(parts, 10);
    await settle(parts, snapshots.finish());
    expect(memoryLog.snapshot()?.index).toBe(decodeIndex(10));
  });

  test("is given up at the end when it takes long", async () => {
    const parts = setUp({ snapshotEntries: 100 });
    const { snapshots, memoryLog, clock, logStore } = parts;
    apply(parts, 50);
    const nowMs = clock.nowMs.bind(clock);
    clock.nowMs = () => {
      clock.jump(SNAPSHOT_STOP_MAX_MS);
      return nowMs();
    };
    await settle(parts, snapshots.finish());
    expect(memoryLog.snapshot()?.index).toBe(decodeIndex(0));
    expect(logStore.recovered.snapshot).toBeUndefined();
  });
});

describe("Snapshots", () => {
  test("two on their way to a slow disk are installed each with its own body", async () => {
    const { snapshots, machine, memoryLog } = setUp();
    const arrivals = [leaderSnapshot(10), leaderSnapshot(20)];
    for (const { message, body } of arrivals) {
      snapshots.offer((await snapshots.read(message, body))!);
      expect(snapshots.bodyOf(message.snapshot)).toBe(body);
      snapshots.withdraw();
    }
    for (const { message } of arrivals) {
      snapshots.install(message.snapshot);
      expect(machine.appliedIndex).toBe(message.snapshot.index);
      expect(memoryLog.lastIndex()).toBe(message.snapshot.index);
    }
  });

  test("what came in goes to the log store from its stage, which is given back after", async () => {
    const { snapshots, machine, stages } = setUp();
    const { message, body } = leaderSnapshot(10);
    const stage = (await snapshots.stage(message))!;
    await fill(stage, body);
    snapshots.offer((await snapshots.read(message, stage))!);
    const stored = await collect(snapshots.bodyOf(message.snapshot));
    expect(Buffer.concat(stored)).toEqual(Buffer.concat(body));
    snapshots.withdraw();
    expect(stages[0]!.isDiscarded).toBeFalse();
    snapshots.install(message.snapshot);
    expect(stages[0]!.isDiscarded).toBeTrue();
    expect(machine.appliedIndex).toBe(message.snapshot.index);
  });

  test("the same snapshot of the same sender goes on in its stage; any other begins anew", async () => {
    const { snapshots, stages } = setUp();
    const { message, body } = leaderSnapshot(10);
    await fill((await snapshots.stage(message))!, body);
    expect((await snapshots.stage(message))?.sizeBytes).toBe(stages[0]!.sizeBytes);
    const other = { ...message, from: decodeNodeId(3) };
    expect((await snapshots.stage(other))?.sizeBytes).toBe(0);
    expect(stages.map((stage) => stage.isDiscarded)).toEqual([true, false]);
    const foreign = encodeSnapshotHeader({
      ...{ ...SIM_CLUSTER, generation: 9 },
      ...{ confState, revision: decodeRevision(1), version: 1 },
    });
    const wrong = { ...message, snapshot: { ...message.snapshot, data: foreign } };
    expect(await snapshots.stage(wrong)).toBeUndefined();
  });

  test("a body that is not whole is refused, and begun anew", async () => {
    const { snapshots, stages, clock } = setUp();
    const { message, body } = leaderSnapshot(10);
    const stage = (await snapshots.stage(message))!;
    await stage.append(0, body[0]!.subarray(0, -1));
    expect(await snapshots.read(message, stage)).toBeUndefined();
    expect(stages[0]!.isDiscarded).toBeTrue();
    clock.jump(SNAPSHOT_REFUSAL_MIN_MS);
    expect((await snapshots.stage(message))?.sizeBytes).toBe(0);
  });

  test("one that is of no use is taken again ever later, another one at once", async () => {
    const { snapshots, clock } = setUp();
    const [{ message }, other] = [leaderSnapshot(10), leaderSnapshot(20)];
    for (const waitMs of [SNAPSHOT_REFUSAL_MIN_MS, 2 * SNAPSHOT_REFUSAL_MIN_MS]) {
      const stage = (await snapshots.stage(message))!;
      expect(await snapshots.read(message, stage)).toBeUndefined();
      clock.jump(waitMs - 1);
      expect(await snapshots.stage(message)).toBeUndefined();
      expect(await snapshots.stage(other.message)).toBeDefined();
      clock.jump(1);
    }
    expect(await snapshots.stage(message)).toBeDefined();
  });

  test("a state with another digest than was saved is refused before it is stored", async () => {
    const { snapshots, machine, stages } = setUp();
    const { message, body } = leaderSnapshot(10);
    const parts = decodeSnapshotBody(body)!;
    const [header, ...others] = parts as [SnapshotPart, ...SnapshotPart[]];
    const altered = [...encodeSnapshotBody([{ ...header, hash: "00" }, ...others])];
    const stage = (await snapshots.stage(message))!;
    await fill(stage, altered);
    expect(await snapshots.read(message, stage)).toBeUndefined();
    expect(stages[0]!.isDiscarded).toBeTrue();
    expect(machine.appliedIndex).toBe(decodeIndex(0));
  });

  test("the state after another entry than was said is refused before it is stored", async () => {
    const { snapshots, machine } = setUp();
    const [{ message }, { body }] = [leaderSnapshot(10), leaderSnapshot(12)];
    expect(await snapshots.read(message, body)).toBeUndefined();
    expect(machine.appliedIndex).toBe(decodeIndex(0));
  });

  test("the old one is not sent while a newer one takes its place on the disk", async () => {
    const { snapshots } = setUp();
    const [old, next] = [leaderSnapshot(10), leaderSnapshot(12)];
    const sent: SnapshotRequest[] = [];
    const transport = {
      sendSnapshot: ({ message }: { readonly message: SnapshotRequest }) => {
        sent.push(message);
        return Promise.resolve(true);
      },
    };
    const take = async ({ message, body }: typeof old) => {
      snapshots.offer((await snapshots.read(message, body))!);
      snapshots.bodyOf(message.snapshot);
      snapshots.withdraw();
    };
    await take(old);
    snapshots.install(old.message.snapshot);
    expect(await snapshots.send(old.message, transport)).toBeTrue();
    await take(next);
    expect(await snapshots.send(old.message, transport)).toBeFalse();
    snapshots.install(next.message.snapshot);
    expect(await snapshots.send(next.message, transport)).toBeTrue();
    expect(sent.map(({ snapshot }) => Number(snapshot.index))).toEqual([10, 12]);
  });

  test("one on its way in is given up when this node has caught up without it", async () => {
    const parts = setUp();
    const { snapshots, memoryLog, stages } = parts;
    const [old, next] = [leaderSnapshot(5), leaderSnapshot(20)];
    await fill((await snapshots.stage(old.message))!, old.body);
    const make = () => {
      snapshots.maybeMake();
      return settle(parts, snapshots.settled());
    };
    apply(parts, 6);
    await make();
    expect(stages[0]!.isDiscarded).toBeTrue();
    await snapshots.stage(next.message);
    apply(parts, 12);
    await make();
    expect(memoryLog.snapshot()?.index).toBe(decodeIndex(12));
    expect(stages[1]!.isDiscarded).toBeFalse();
  });
});
