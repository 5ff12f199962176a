import { describe, expect, test } from "bun:test";
import { decodeNodeId, decodeTerm, type NodeId, parseClusterId } from "../../../base/ids.ts";
import type { LogStore } from "../../../host/ports.ts";
import { kvHandlers } from "../../kv/handlers.ts";
import { createStateMachine } from "../../kv/state-machine.ts";
import { systemTxn, txn } from "../../kv/txn.ts";
import type { KvMachine } from "../../kv/types.ts";
import { listMembers, putMember } from "../members/member-table.ts";
import { recoverStore } from "../recovery.ts";
import { SIM_CLUSTER, SimCluster } from "../sim-cluster.fake.ts";
import { SimLogStore } from "../sim-log-store.fake.ts";
import { formerOf } from "./former.ts";
import { foundStore, nextTerm, REVISION_STEP, reshapeState } from "./refound.ts";
import { readWholeState } from "./whole-state.ts";

const [A, B, C] = [decodeNodeId(1), decodeNodeId(2), decodeNodeId(3)];
const NEXT = parseClusterId("f".repeat(32))!;

const machineOf = () => createStateMachine(kvHandlers);
const put = (key: string) =>
  txn({ success: [{ kind: "put", key, value: new TextEncoder().encode(key) }] });

/** Three voters with a write that all know of. */
async function threeVoters(): Promise<SimCluster> {
  const cluster = new SimCluster({ seed: 5, createMachine: machineOf });
  await cluster.add(1, "founder");
  await cluster.until(() => cluster.leader() !== undefined);
  for (const number of [2, 3]) {
    await cluster.add(number, "joiner");
    const changes = [{ operation: "add_voter", node: decodeNodeId(number) }] as const;
    const context = new Uint8Array(0);
    cluster.driver(A).proposeConfChange({ version: 2, transition: "auto", changes, context });
    await cluster.until(() => cluster.driver(A).confState.voters.length === number);
  }
  const records = [A, B, C].map((id) => putMember(memberOf(id)));
  await cluster.wait(cluster.driver(A).execute(systemTxn({ success: records })));
  await cluster.wait(cluster.driver(A).execute(put("/known")));
  await cluster.until(() =>
    [A, B, C].every((id) => cluster.driver(id).reader.get("/known") !== undefined),
  );
  return cluster;
}

function memberOf(id: NodeId) {
  return {
    ...{ id, name: `n${id}`, address: { host: "192.0.2.1", port: 8286 }, publicIp: "" },
    ...{ underlayPrefixes: [], zone: "", joinedAtMs: 0, keyHash: "" },
  };
}

/** What is on the disk of a node that was killed. */
async function diskOf(cluster: SimCluster, id: NodeId) {
  const machine = machineOf();
  cluster.kill(id);
  const { store } = cluster.nodes.get(id)!;
  const whole = await cluster.wait(readWholeState(store, machine, SIM_CLUSTER));
  return { machine, whole };
}

function reshape(machine: KvMachine, nodeId: NodeId, hasNewCa = false): void {
  reshapeState(machine, {
    ...{ nodeId, hasNewCa, commands: [], term: decodeTerm(9), wallMs: 5 },
    former: { ...SIM_CLUSTER, how: "recovered", atMs: 5 },
  });
}

describe("what a survivor has", () => {
  test("is also what it does not know to be committed", async () => {
    const cluster = await threeVoters();
    const leader = cluster.leader()!;
    const [first, last] = [A, B, C].filter((id) => id !== leader.nodeId) as [NodeId, NodeId];
    // Acknowledged by two of three: by the leader, and by one whom nobody tells that it was.
    cluster.cut(leader.nodeId, last);
    await cluster.wait(leader.execute(put("/acknowledged")));
    const { machine, whole } = await diskOf(cluster, first);
    expect(machine.reader.get("/acknowledged")).toBeDefined();
    expect(whole.voters).toEqual([A, B, C]);
    expect(Number(whole.lastIndex)).toBe(Number(machine.appliedIndex));
    expect(whole.commit).toBeLessThanOrEqual(whole.lastIndex);
  });
});

describe("a state that goes on in another cluster", () => {
  test("has one member, knows where it comes from, and revisions nobody has seen", async () => {
    const cluster = await threeVoters();
    const { machine } = await diskOf(cluster, B);
    const { revision } = machine.reader;
    reshape(machine, B);
    expect(listMembers(machine.reader).map(({ id }) => id)).toEqual([B]);
    expect(formerOf(machine.reader)).toMatchObject([{ ...SIM_CLUSTER, how: "recovered" }]);
    expect(machine.reader.revision).toBeGreaterThan(revision + REVISION_STEP);
    expect(machine.history.oldestRevision).toBe(machine.reader.revision);
    expect(machine.reader.get("/known")).toBeDefined();
  });

  test("keeps tokens only with the CA that they name", async () => {
    const cluster = await threeVoters();
    const { machine } = await diskOf(cluster, B);
    const value = new Uint8Array(0);
    const index = (machine.appliedIndex + 1) as typeof machine.appliedIndex;
    const context = { index, term: decodeTerm(9), proposedAtMs: 0, request: undefined };
    const success = [{ kind: "put", key: "/overlay/tokens/abc", value }] as const;
    machine.apply(systemTxn({ success }), context);
    reshape(machine, B);
    expect(machine.reader.get("/overlay/tokens/abc")).toBeDefined();
    reshape(machine, B, true);
    expect(machine.reader.get("/overlay/tokens/abc")).toBeUndefined();
  });

  test("is found again by a node that starts, and is no part of the old cluster", async () => {
    const cluster = await threeVoters();
    const { machine, whole } = await diskOf(cluster, B);
    reshape(machine, B);
    const store: LogStore = new SimLogStore(cluster.clock);
    const next = { clusterId: NEXT, generation: 2 };
    const term = nextTerm(whole.term);
    await cluster.wait(foundStore(store, machine, { ...next, nodeId: B, term }));
    const again = machineOf();
    const found = await cluster.wait(recoverStore((store as SimLogStore).crash(), again, next));
    expect(again.hash()).toBe(machine.hash());
    expect(found.confState.voters).toEqual([B]);
    expect(Number(found.hardState?.term)).toBe(whole.term + 1);
    const wrong = recoverStore((store as SimLogStore).crash(), machineOf(), SIM_CLUSTER);
    const refusal = await cluster.wait(wrong.catch(String));
    expect(refusal).toContain("it belongs to another cluster or generation");
  });

  test("remembers only the last few clusters that it was", async () => {
    const machine = machineOf();
    for (let i = 0; i < 20; i++) {
      const clusterId = parseClusterId(i.toString(16).padStart(32, "0"))!;
      reshapeState(machine, {
        ...{ nodeId: A, hasNewCa: false, commands: [], term: decodeTerm(1), wallMs: i },
        former: { clusterId, generation: i, how: "recovered", atMs: i },
      });
    }
    const kept = formerOf(machine.reader).map(({ generation }) => generation);
    expect(kept).toEqual([12, 13, 14, 15, 16, 17, 18, 19]);
  });
});
