import { describe, expect, test } from "bun:test";
import { decodeIndex, decodeNodeId, decodeRevision, decodeTerm } from "../../base/ids.ts";
import { createSilentLog } from "../../base/log.ts";
import { kvHandlers } from "../kv/handlers.ts";
import { createStateMachine } from "../kv/state-machine.ts";
import { txn } from "../kv/txn.ts";
import { MemoryLog } from "../raft/memory-log.ts";
import type { ConfState, SnapshotRequest } from "../raft/types.ts";
import { SIM_CLUSTER, SimClock, SimLogStore } from "./sim-cluster.fake.ts";
import { encodeSnapshotBody, encodeSnapshotHeader } from "./snapshot-codec.ts";
import { Snapshots } from "./snapshots.ts";

const confState: ConfState = {
  voters: [decodeNodeId(1), decodeNodeId(2)],
  votersOutgoing: [],
  learners: [],
  learnersNext: [],
  autoLeave: false,
};

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
  const data = encodeSnapshotHeader({ ...SIM_CLUSTER, confState, revision });
  const snapshot = { index: decodeIndex(writes), term, confState, data };
  const [to, from] = [decodeNodeId(2), decodeNodeId(1)];
  const message: SnapshotRequest = { kind: "snapshot_request", to, from, term, snapshot };
  return { message, body: [...encodeSnapshotBody(machine.snapshot())] };
}

describe("Snapshots", () => {
  test("two on their way to a slow disk are installed each with its own body", () => {
    const machine = createStateMachine({ ...kvHandlers });
    const memoryLog = new MemoryLog();
    const snapshots = new Snapshots({
      cluster: SIM_CLUSTER,
      store: new SimLogStore(new SimClock()),
      memoryLog,
      machine,
      log: createSilentLog(),
      confState: () => confState,
      failed: (cause) => {
        throw cause;
      },
    });
    const arrivals = [leaderSnapshot(10), leaderSnapshot(20)];
    for (const { message, body } of arrivals) {
      expect(snapshots.offer(message, body)).toBe(true);
      expect(snapshots.bodyOf(message.snapshot)).toBe(body);
      snapshots.withdraw();
    }
    for (const { message } of arrivals) {
      snapshots.install(message.snapshot);
      expect(machine.appliedIndex).toBe(message.snapshot.index);
      expect(memoryLog.lastIndex()).toBe(message.snapshot.index);
    }
  });
});
