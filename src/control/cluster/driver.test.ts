import { describe, expect, test } from "bun:test";
import { HostError } from "../../base/host-error.ts";
import { decodeNodeId } from "../../base/ids.ts";
import { kvHandlers } from "../kv/handlers.ts";
import { createStateMachine } from "../kv/state-machine.ts";
import { systemTxn } from "../kv/txn.ts";
import type { KvEvent } from "../kv/types.ts";
import type { ConfChangeSingle } from "../raft/types.ts";
import type { Driver } from "./driver.ts";
import { SimCluster } from "./sim-cluster.fake.ts";

const [A, B, C, D] = [1, 2, 3, 4].map(decodeNodeId) as [
  ReturnType<typeof decodeNodeId>,
  ReturnType<typeof decodeNodeId>,
  ReturnType<typeof decodeNodeId>,
  ReturnType<typeof decodeNodeId>,
];
const text = new TextEncoder();

function createMachine() {
  return createStateMachine(kvHandlers);
}

function put(key: string, value: string) {
  return systemTxn({ success: [{ kind: "put", key, value: text.encode(value) }] });
}

function keyOf(event: KvEvent): string {
  return event.kind === "put" ? event.current.key : event.key;
}

function textAt(driver: Driver, key: string): string | undefined {
  const pair = driver.reader.get(key);
  return pair === undefined ? undefined : new TextDecoder().decode(pair.value);
}

async function change(sim: SimCluster, ...changes: ConfChangeSingle[]): Promise<void> {
  await sim.until(() => sim.leader() !== undefined);
  const leader = sim.leader()!;
  const before = leader.confState;
  const context = new Uint8Array(0);
  leader.proposeConfChange({ version: 2, transition: "auto", changes, context });
  await sim.until(() => leader.confState !== before && !leader.confState.votersOutgoing.length);
}

/** Three voters, all up to date. */
async function startThree(seed: number): Promise<SimCluster> {
  const sim = new SimCluster({ seed, createMachine });
  await startThreeIn(sim);
  return sim;
}

async function startThreeIn(sim: SimCluster): Promise<void> {
  await sim.add(1, "founder");
  await sim.until(() => sim.leader() !== undefined);
  await sim.add(2, "joiner");
  await sim.add(3, "joiner");
  await change(sim, { operation: "add_learner", node: B });
  await change(sim, { operation: "add_learner", node: C });
  await change(sim, { operation: "add_voter", node: B }, { operation: "add_voter", node: C });
  await sim.until(() => [B, C].every((id) => sim.driver(id).confState.voters.length === 3));
}

describe("a cluster of one", () => {
  test("leads at once and applies a write", async () => {
    const sim = new SimCluster({ seed: 1, createMachine });
    await sim.add(1, "founder");
    const result = await sim.wait(sim.driver(A).execute(put("/a", "1")));
    expect(result.ok).toBeTrue();
    expect(textAt(sim.driver(A), "/a")).toBe("1");
    expect(sim.clock.nowMs()).toBeLessThan(100);
    expect(sim.driver(A).hasQuorum()).toBeTrue();
  });

  test("finds every acknowledged write again after a crash", async () => {
    const sim = new SimCluster({ seed: 2, createMachine });
    await sim.add(1, "founder");
    for (let i = 0; i < 20; i++) await sim.wait(sim.driver(A).execute(put(`/${i}`, `${i}`)));
    const lost = sim.driver(A).execute(put("/lost", "?")); // Not waited for: it may be lost.
    sim.kill(A);
    await lost;
    await sim.restart(A);
    await sim.wait(sim.driver(A).readBarrier());
    for (let i = 0; i < 20; i++) expect(textAt(sim.driver(A), `/${i}`)).toBe(`${i}`);
  });

  test("ends when the disk fails, and acknowledges nothing after that", async () => {
    const sim = new SimCluster({ seed: 3, createMachine });
    const node = await sim.add(1, "founder");
    await sim.wait(sim.driver(A).execute(put("/a", "1")));
    node.store.failure = new HostError({ operation: "sync", object: "log", errno: "EIO" });
    const result = await sim.wait(sim.driver(A).execute(put("/a", "2")));
    expect(result.ok).toBeFalse();
    expect(node.fatal?.message).toBe("Cannot sync log: EIO");
    expect(textAt(sim.driver(A), "/a")).toBe("1");
  });

  test("a bug of our own ends the process with its own words, not the disk's", async () => {
    const sim = new SimCluster({ seed: 3, createMachine });
    const bug = new Error("our own mistake");
    const caught: unknown[] = [];
    sim.onBug = (cause) => caught.push(cause);
    const node = await sim.add(1, "founder");
    await sim.wait(sim.driver(A).execute(put("/a", "1")));
    sim.driver(A).onApplied(() => {
      throw bug;
    });
    await sim.wait(sim.driver(A).execute(put("/a", "2")));
    await sim.run(1_000);
    expect(caught).toEqual([bug]);
    expect(node.fatal).toBeUndefined();
  });

  test("restarts from a snapshot with the entries behind it", async () => {
    const sim = new SimCluster({ seed: 4, createMachine });
    sim.snapshotEntries = 20;
    const node = await sim.add(1, "founder");
    for (let i = 0; i < 55; i++) await sim.wait(sim.driver(A).execute(put("/n", `${i}`)));
    await sim.run(100);
    expect(node.store.recovered.snapshot?.index).toBeGreaterThan(20);
    expect(node.store.recovered.entries.length).toBeLessThan(40);
    sim.kill(A);
    await sim.restart(A);
    await sim.wait(sim.driver(A).readBarrier());
    expect(textAt(sim.driver(A), "/n")).toBe("54");
  });

  test("hands writes of one turn to the disk as one batch", async () => {
    const sim = new SimCluster({ seed: 5, createMachine });
    const node = await sim.add(1, "founder");
    await sim.wait(sim.driver(A).execute(put("/a", "1")));
    await sim.run(100);
    const before = node.store.appendCount;
    const writes = Array.from({ length: 64 }, (_, i) => sim.driver(A).execute(put(`/${i}`, "x")));
    const results = await sim.wait(Promise.all(writes));
    expect(results.every((result) => result.ok)).toBeTrue();
    expect(node.store.appendCount - before).toBe(1);
  });
});

describe("a membership change", () => {
  test("that was acted upon is found again after a crash at once", async () => {
    const sim = new SimCluster({ seed: 6, createMachine });
    await sim.add(1, "founder");
    await sim.until(() => sim.leader() !== undefined);
    await sim.add(2, "joiner");
    await change(sim, { operation: "add_learner", node: B });
    await change(sim, { operation: "add_voter", node: B });
    await change(sim, { operation: "remove", node: B });
    // The other voter is gone for good: whoever believes in it still can never lead again.
    expect(sim.driver(A).confState.voters).toEqual([A]);
    sim.kill(B);
    sim.kill(A);
    await sim.restart(A);
    await sim.until(() => sim.leader() !== undefined, 5_000);
    expect(sim.driver(A).confState.voters).toEqual([A]);
  });

  test("holds up what was committed behind it, in order", async () => {
    const sim = await startThree(7);
    const leader = sim.leader()!;
    const applied: string[] = [];
    leader.onApplied((events) => applied.push(...events.map(keyOf)));
    leader.onMembership(() => applied.push("membership"));
    const away = [A, B, C].find((id) => id !== leader.nodeId)!;
    const before = leader.execute(put("/before", "1"));
    const context = new Uint8Array(0);
    const changes: ConfChangeSingle[] = [{ operation: "add_learner", node: away }];
    await sim.run(0); // The write is proposed at the end of its turn.
    leader.proposeConfChange({ version: 2, transition: "auto", changes, context });
    const behind = leader.execute(put("/behind", "1"));
    await sim.wait(Promise.all([before, behind]));
    expect(applied).toEqual(["/before", "membership", "/behind"]);
  });
});

describe("three voters", () => {
  test("replicate a write from any node, seen where it was made", async () => {
    const sim = await startThree(10);
    for (const id of [A, B, C]) {
      const result = await sim.wait(sim.driver(id).execute(put(`/from/${id}`, "x")));
      expect(result.ok).toBeTrue();
      expect(textAt(sim.driver(id), `/from/${id}`)).toBe("x");
    }
    await sim.run(1_000);
    for (const id of [A, B, C]) {
      expect([...sim.driver(id).reader.list("/from/")].length).toBe(3);
    }
  });

  test("elect another leader when the leader is killed, long before the timeout", async () => {
    const sim = await startThree(11);
    const times: number[] = [];
    for (let round = 0; round < 5; round++) {
      await sim.until(() => sim.leader() !== undefined);
      const old = sim.leader()!;
      await sim.wait(old.execute(put("/k", `${round}`)));
      sim.kill(old.nodeId);
      const killedMs = sim.clock.nowMs();
      const other = [A, B, C].find((id) => id !== old.nodeId)!;
      const result = await sim.wait(sim.driver(other).execute(put("/k", `${round} later`)));
      expect(result.ok).toBeTrue();
      times.push(sim.clock.nowMs() - killedMs);
      await sim.restart(old.nodeId);
      await sim.run(2_000);
    }
    expect(Math.max(...times)).toBeLessThan(1_000);
    expect(times.sort((a, b) => a - b)[2]).toBeLessThan(400);
  });

  test("a silent leader is replaced after the election timeout", async () => {
    const sim = await startThree(12);
    const old = sim.leader()!;
    const others = [A, B, C].filter((id) => id !== old.nodeId);
    for (const id of others) sim.cut(old.nodeId, id);
    const result = await sim.wait(sim.driver(others[0]!).execute(put("/k", "1")));
    expect(result.ok).toBeTrue();
    await sim.until(() => !old.isLeader());
    expect(old.hasQuorum()).toBeFalse();
    sim.heal();
    await sim.until(() => textAt(old, "/k") === "1");
  });

  test("a leader whose connections flap stays leader", async () => {
    const sim = await startThree(13);
    const leader = sim.leader()!;
    const { term } = leader.role;
    for (const id of [A, B, C]) {
      // One follower after the other believes that the leader is gone.
      if (id !== leader.nodeId) sim.driver(id).closed(leader.nodeId);
      await sim.run(1_000);
    }
    expect(sim.leader()?.nodeId).toBe(leader.nodeId);
    expect(leader.role.term).toBe(term);
  });

  test("a write without a majority fails with a reason, and is not applied", async () => {
    const sim = await startThree(14);
    const leader = sim.leader()!;
    for (const id of [A, B, C]) if (id !== leader.nodeId) sim.kill(id);
    await sim.run(5_000);
    const result = await sim.wait(leader.execute(put("/k", "1"), { timeoutMs: 1_000 }));
    expect(result.ok ? undefined : result.error.kind).toBe("no_quorum");
    const read = await sim.wait(leader.readBarrier(1_000));
    expect(read.ok ? undefined : read.error.kind).toBe("no_quorum");
    expect(textAt(leader, "/k")).toBeUndefined();
  });

  test("a write that was taken in is never said not to happen", async () => {
    const sim = await startThree(16);
    const leader = sim.leader()!;
    const followers = [A, B, C].filter((id) => id !== leader.nodeId);
    for (const id of followers) sim.cut(leader.nodeId, id);
    const atLeader = leader.execute(put("/k", "1"), { timeoutMs: 4_000 });
    const stopping = leader.execute(put("/s", "1"), { timeoutMs: 60_000 });
    const result = await sim.wait(atLeader);
    expect(result.ok ? undefined : result.error.kind).toBe("timeout");
    void leader.stop();
    const stopped = await sim.wait(stopping);
    expect(stopped.ok ? undefined : stopped.error.kind).toBe("timeout");
  });

  test("a retry with the same request id is applied once", async () => {
    const sim = await startThree(15);
    const requestId = { client: decodeNodeId(99), sequence: 1 };
    const follower = [A, B, C].find((id) => id !== sim.leader()?.nodeId)!;
    const first = await sim.wait(sim.driver(follower).execute(put("/k", "1"), { requestId }));
    const second = await sim.wait(sim.leader()!.execute(put("/k", "1"), { requestId }));
    expect(second).toEqual(first);
    expect(sim.leader()!.reader.get("/k")?.version).toBe(1);
  });

  test("writes survive lost messages and leaders killed under them, each exactly once", async () => {
    for (const seed of [20, 21, 22]) {
      const sim = await startThree(seed);
      sim.lossPercent = 5;
      const counts = new Map<string, number>();
      sim.driver(A).onApplied((events) => {
        for (const event of events) {
          if (event.kind === "put") counts.set(event.current.key, event.current.version);
        }
      });
      for (let i = 0; i < 30; i++) {
        if (i % 10 === 5) {
          const old = sim.leader()?.nodeId;
          if (old !== undefined && old !== A) {
            sim.kill(old);
            await sim.run(50);
            await sim.restart(old);
          }
        }
        const result = await sim.wait(
          sim.driver(A).execute(put(`/k/${i}`, "x"), { timeoutMs: 20_000 }),
        );
        expect(result.ok).toBeTrue();
      }
      sim.lossPercent = 0;
      await sim.run(2_000);
      expect([...counts.values()].every((version) => version === 1)).toBeTrue();
      for (const id of [A, B, C]) {
        expect([...sim.driver(id).reader.list("/k/")].length).toBe(30);
      }
    }
  });

  test("all killed and started again: the same state", async () => {
    const sim = await startThree(16);
    await sim.wait(sim.driver(A).execute(put("/k", "1")));
    for (const id of [A, B, C]) sim.kill(id);
    await sim.run(1_000);
    for (const id of [A, B, C]) await sim.restart(id);
    const read = await sim.wait(sim.driver(B).readBarrier(10_000));
    expect(read.ok).toBeTrue();
    expect(textAt(sim.driver(B), "/k")).toBe("1");
  });

  test("one that starts alone has what was committed a moment before", async () => {
    const sim = await startThree(24);
    const [alone] = [A, B, C].filter((id) => id !== sim.leader()?.nodeId);
    await sim.wait(sim.leader()!.execute(put("/k", "1")));
    await sim.run(1_000);
    const before = sim.nodes.get(alone!)!.store.appendCount;
    await sim.run(10_000);
    expect(sim.nodes.get(alone!)!.store.appendCount).toBe(before); // Once, and not for ever.
    for (const id of [A, B, C]) sim.kill(id);
    await sim.restart(alone!);
    await sim.run(100);
    expect(textAt(sim.driver(alone!), "/k")).toBe("1");
  });

  test("an idle cluster takes a new member in while the way to another is broken", async () => {
    const sim = new SimCluster({ seed: 122, createMachine });
    await sim.add(1, "founder");
    await sim.wait(sim.driver(A).execute(put("/k", "1")));
    await sim.add(2, "joiner");
    sim.loseSnapshots = true;
    // Its snapshot does not arrive: the next one waits, so that the transfer could go on.
    await change(sim, { operation: "add_learner", node: B });
    await sim.run(1_000);
    sim.cut(A, B);
    sim.loseSnapshots = false;
    await sim.add(3, "joiner");
    await change(sim, { operation: "add_learner", node: C });
    await sim.until(() => textAt(sim.driver(C), "/k") === "1", 15_000);
  });

  test("a stop leaves little to apply again, a failure no snapshot", async () => {
    for (const hasFailed of [false, true]) {
      const sim = new SimCluster({ seed: 18, createMachine });
      sim.snapshotEntries = 100;
      sim.onBug = () => undefined;
      const { store } = await sim.add(1, "founder");
      for (let i = 0; i < 30; i++) await sim.wait(sim.driver(A).execute(put("/n", `${i}`)));
      expect(store.recovered.snapshot?.index).toBe(1);
      sim.driver(A).onApplied(() => {
        if (hasFailed) throw new Error("what is applied is not to be believed");
      });
      await sim.wait(Promise.race([sim.driver(A).execute(put("/n", "30")), sim.run(100)]));
      await sim.wait(sim.driver(A).stop());
      const { applied } = sim.driver(A).status();
      expect(store.recovered.snapshot?.index).toBe(hasFailed ? 1 : applied);
    }
  });

  test("a follower that was away long gets a snapshot, and keeps it over a restart", async () => {
    const sim = new SimCluster({ seed: 17, createMachine });
    sim.snapshotEntries = 20;
    await startThreeIn(sim);
    const away = [A, B, C].find((id) => id !== sim.leader()?.nodeId)!;
    sim.kill(away);
    for (let i = 0; i < 100; i++) await sim.wait(sim.leader()!.execute(put("/n", `${i}`)));
    await sim.restart(away);
    const snapshotBefore = sim.nodes.get(away)!.store.recovered.snapshot?.index ?? 0;
    await sim.until(() => textAt(sim.driver(away), "/n") === "99");
    expect(sim.nodes.get(away)!.store.recovered.snapshot?.index).toBeGreaterThan(snapshotBefore);
    sim.kill(away);
    await sim.restart(away);
    await sim.until(() => textAt(sim.driver(away), "/n") === "99");
    await sim.wait(sim.driver(away).execute(put("/n", "100")));
    expect(textAt(sim.leader()!, "/n")).toBe("100");
  });

  test("a barrier on a follower shows what was acknowledged elsewhere", async () => {
    const sim = await startThree(18);
    const follower = [A, B, C].find((id) => id !== sim.leader()?.nodeId)!;
    for (let i = 0; i < 20; i++) {
      await sim.wait(sim.leader()!.execute(put("/n", `${i}`)));
      const read = await sim.wait(sim.driver(follower).readBarrier());
      expect(read.ok).toBeTrue();
      expect(textAt(sim.driver(follower), "/n")).toBe(`${i}`);
    }
  });

  test("a handover moves leadership within milliseconds", async () => {
    const sim = await startThree(19);
    const old = sim.leader()!;
    const target = [A, B, C].find((id) => id !== old.nodeId)!;
    const startMs = sim.clock.nowMs();
    old.transferLeadership(target);
    await sim.until(() => sim.leader()?.nodeId === target);
    expect(sim.clock.nowMs() - startMs).toBeLessThan(100);
  });

  test("a candidate asks for votes only after its own vote is durable", async () => {
    const sim = await startThree(20);
    const old = sim.leader()!;
    const target = [A, B, C].find((id) => id !== old.nodeId)!;
    const { store } = sim.nodes.get(target)!;
    await sim.run(500); // Until it has everything.
    store.stall();
    old.transferLeadership(target);
    // The others would elect it at once; after a crash it could be elected in this term again.
    await sim.run(200);
    expect(sim.driver(target).role.role).toBe("candidate");
    store.resume();
    await sim.until(() => sim.leader()?.nodeId === target);
  });

  test("a member that is removed says so", async () => {
    const sim = await startThree(23);
    await sim.add(4, "joiner");
    await change(sim, { operation: "add_learner", node: D });
    await sim.until(() => sim.driver(D).confState.learners.includes(D));
    await change(sim, { operation: "remove", node: D });
    const leader = sim.leader()!;
    expect(leader.confState.learners).toEqual([]);
    expect(leader.group.isExpelled).toBeFalse();
  });
});

describe("a disk that takes no writes and reports no error", () => {
  test("the leader hands over within two seconds or so, and comes back as a follower", async () => {
    const sim = await startThree(30);
    const old = sim.leader()!;
    await sim.wait(old.execute(put("/k", "0")));
    const { store } = sim.nodes.get(old.nodeId)!;
    store.stall();
    const startMs = sim.clock.nowMs();
    const write = old.execute(put("/k", "1"), { timeoutMs: 20_000 });
    const isReplaced = () => ![undefined, old.nodeId].includes(sim.leader()?.nodeId);
    await sim.until(isReplaced, 5_000);
    expect(sim.clock.nowMs() - startMs).toBeLessThan(2_500);
    expect((await sim.wait(sim.leader()!.execute(put("/k", "2")))).ok).toBeTrue();
    const { term } = sim.leader()!.role;
    await sim.run(20_000);
    expect(sim.leader()!.role.term).toBe(term);
    store.resume();
    expect((await sim.wait(write)).ok).toBeTrue();
    await sim.until(() => textAt(old, "/k") === "2");
    expect(old.isLeader()).toBeFalse();
    expect(sim.leader()!.reader.get("/k")?.version).toBe(3);
  });

  test("a leader that nobody takes over from stops leading", async () => {
    const sim = await startThree(31);
    const old = sim.leader()!;
    sim.ignoreTransfers = true;
    sim.nodes.get(old.nodeId)!.store.stall();
    void old.execute(put("/k", "1"));
    await sim.until(() => !old.isLeader(), 5_000);
    await sim.until(() => sim.leader() !== undefined, 5_000);
    expect(sim.leader()!.nodeId).not.toBe(old.nodeId);
  });

  test("a follower waits and asks for no election", async () => {
    const sim = await startThree(32);
    const leader = sim.leader()!;
    const stuck = [A, B, C].find((id) => id !== leader.nodeId)!;
    sim.nodes.get(stuck)!.store.stall();
    for (let i = 0; i < 10; i++) {
      expect((await sim.wait(leader.execute(put("/k", `${i}`)))).ok).toBeTrue();
      await sim.run(500);
    }
    sim.kill(leader.nodeId);
    await sim.run(10_000);
    expect(sim.driver(stuck).role.role).toBe("follower");
    sim.nodes.get(stuck)!.store.resume();
    await sim.until(() => sim.leader() !== undefined, 10_000);
    expect(textAt(sim.leader()!, "/k")).toBe("9");
  });

  test("the only voter goes on leading: nobody else can", async () => {
    const sim = new SimCluster({ seed: 33, createMachine });
    const node = await sim.add(1, "founder");
    await sim.until(() => sim.driver(A).isLeader());
    node.store.stall();
    const write = sim.driver(A).execute(put("/k", "1"), { timeoutMs: 60_000 });
    await sim.run(20_000);
    expect(sim.driver(A).isLeader()).toBeTrue();
    node.store.resume();
    expect((await sim.wait(write)).ok).toBeTrue();
  });

  test("a process that stood still for long has no such disk", async () => {
    const sim = await startThree(34);
    const leader = sim.leader()!;
    for (let i = 0; i < 5; i++) {
      const write = leader.execute(put("/k", `${i}`), { timeoutMs: 60_000 });
      await sim.run(0);
      sim.clock.jump(5_000);
      expect((await sim.wait(write)).ok).toBeTrue();
    }
    expect(sim.leader()!.nodeId).toBe(leader.nodeId);
  });
});
