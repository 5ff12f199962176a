import { describe, expect, test } from "bun:test";
import { decodeNodeId, type NodeId } from "../../../base/ids.ts";
import { kvHandlers } from "../../kv/handlers.ts";
import { createStateMachine } from "../../kv/state-machine.ts";
import { systemTxn } from "../../kv/txn.ts";
import type { KvEvent } from "../../kv/types.ts";
import type { ConfChangeSingle } from "../../raft/types.ts";
import type { Driver } from "../driver.ts";
import { FEED_BETTER_MS, FEED_SILENCE_MS } from "../limits.ts";
import { SimCluster } from "../sim-cluster.fake.ts";

const [A, B, C, D, E] = [1, 2, 3, 4, 5].map(decodeNodeId) as [
  NodeId,
  NodeId,
  NodeId,
  NodeId,
  NodeId,
];
/** The spares. */
const [S, T] = [11, 12].map(decodeNodeId) as [NodeId, NodeId];
const text = new TextEncoder();

function createMachine() {
  return createStateMachine(kvHandlers);
}

function put(key: string, value: string | Uint8Array) {
  const bytes = typeof value === "string" ? text.encode(value) : value;
  return systemTxn({ success: [{ kind: "put", key, value: bytes }] });
}

function textAt(driver: Driver, key: string): string | undefined {
  const pair = driver.reader.get(key);
  return pair === undefined ? undefined : new TextDecoder().decode(pair.value);
}

async function change(sim: SimCluster, ...changes: ConfChangeSingle[]): Promise<void> {
  const leader = sim.leader()!;
  const before = leader.confState;
  const context = new Uint8Array(0);
  leader.proposeConfChange({ version: 2, transition: "auto", changes, context });
  await sim.until(() => leader.confState !== before && !leader.confState.votersOutgoing.length);
}

/** Voters A, B and C; more as standbys. A leads. */
async function start(seed: number, standbys: readonly NodeId[] = []): Promise<SimCluster> {
  const sim = new SimCluster({ seed, createMachine });
  await sim.add(1, "founder");
  await sim.until(() => sim.leader() !== undefined);
  for (const id of [B, C, ...standbys]) {
    await sim.add(id, "joiner");
    await change(sim, { operation: "add_learner", node: id });
  }
  await change(sim, { operation: "add_voter", node: B }, { operation: "add_voter", node: C });
  await sim.until(() => [B, C].every((id) => sim.driver(id).confState.voters.length === 3));
  return sim;
}

async function write(sim: SimCluster, by: NodeId, key: string, value: string): Promise<void> {
  const result = await sim.wait(sim.driver(by).execute(put(key, value)));
  expect(result.ok).toBeTrue();
}

/** Waits until `node` has all that the leader has. The simulation compares the digests. */
async function catchUp(sim: SimCluster, node: NodeId): Promise<void> {
  const goal = () => sim.leader()?.status().applied ?? Number.POSITIVE_INFINITY;
  await sim.until(() => sim.driver(node).status().applied >= goal());
}

function sourceOf(sim: SimCluster, spare: NodeId): NodeId | undefined {
  return sim.driver(spare).feed.status?.source;
}

/** Every applied change that `node` is told of, as revision and key. */
function watch(sim: SimCluster, node: NodeId): { revision: number; key: string }[] {
  const seen: { revision: number; key: string }[] = [];
  sim.driver(node).onApplied((events: readonly KvEvent[], revision) => {
    for (const event of events) {
      seen.push({ revision, key: event.kind === "put" ? event.current.key : event.key });
    }
  });
  return seen;
}

describe("a spare", () => {
  test("gets the state by snapshot, then each change once and in order", async () => {
    const sim = await start(1);
    await write(sim, A, "/early", "1");
    await sim.add(S, "spare");
    await catchUp(sim, S);
    expect(textAt(sim.driver(S), "/early")).toBe("1");
    const seen = watch(sim, S);
    for (let i = 0; i < 50; i++) await write(sim, [A, B, C][i % 3]!, `/${i}`, `${i}`);
    await catchUp(sim, S);
    expect(seen.map(({ key }) => key)).toEqual(Array.from({ length: 50 }, (_, i) => `/${i}`));
    const revisions = seen.map(({ revision }) => revision);
    expect(revisions).toEqual(revisions.map((_, i) => revisions[0]! + i));
    expect(sim.driver(A).confState.learners).toEqual([]);
    expect(sim.driver(S).hasQuorum()).toBeTrue();
    expect(sim.driver(S).role.leader).toBe(A);
  });

  test("prefers standbys, then followers, and the leader when nobody else lives", async () => {
    const sim = await start(2, [D]);
    await sim.add(S, "spare");
    await sim.until(() => sourceOf(sim, S) !== undefined);
    await catchUp(sim, S);
    // It knew nobody's role when it asked the first time.
    sim.kill(sourceOf(sim, S)!);
    await sim.until(() => sim.leader() !== undefined && sourceOf(sim, S) === D);
    sim.kill(D);
    await sim.until(() => {
      const source = sourceOf(sim, S);
      return source !== undefined && source !== D && source !== sim.leader()?.nodeId;
    });
  });

  test("leaves the leader as soon as there is somebody else, without missing anything", async () => {
    const sim = await start(3);
    const solo = new SimCluster({ seed: 3, createMachine });
    await solo.add(1, "founder");
    await solo.until(() => solo.leader() !== undefined);
    await solo.add(S, "spare");
    await catchUp(solo, S);
    expect(sourceOf(solo, S)).toBe(A);
    await solo.add(2, "joiner");
    await change(solo, { operation: "add_learner", node: B });
    const seen = watch(solo, S);
    const untilMs = solo.clock.nowMs() + 3 * FEED_BETTER_MS;
    for (let i = 0; solo.clock.nowMs() < untilMs; i++) {
      await write(solo, A, `/${i}`, `${i}`);
      await solo.run(100);
    }
    expect(sourceOf(solo, S)).toBe(B);
    await catchUp(solo, S);
    expect(seen.map(({ key }) => key)).toEqual(seen.map((_, i) => `/${i}`));
    await sim.run(0);
  });

  test("falls back when its source dies or falls silent, and goes on where it was", async () => {
    const sim = await start(4, [D, E]);
    await sim.add(S, "spare");
    await catchUp(sim, S);
    const seen = watch(sim, S);
    for (let round = 0; round < 4; round++) {
      const source = sourceOf(sim, S)!;
      if (round % 2 === 0) sim.cut(source, S);
      else sim.kill(source);
      await sim.until(() => sim.leader() !== undefined);
      const by = sim.leader()!.nodeId;
      for (let i = 0; i < 10; i++) await write(sim, by, `/${round}/${i}`, "x");
      await sim.until(() => ![undefined, source].includes(sourceOf(sim, S)), 4 * FEED_SILENCE_MS);
      await catchUp(sim, S);
      sim.heal();
      if (round % 2 === 1) await sim.restart(source);
    }
    expect(seen.length).toBe(40);
    expect(new Set(seen.map(({ key }) => key)).size).toBe(40);
  });

  test("takes the checked snapshot when its source's log begins later", async () => {
    const sim = await start(5, [D]);
    sim.snapshotEntries = 20;
    for (const id of [A, B, C, D]) {
      sim.kill(id);
      await sim.restart(id);
    }
    await sim.until(() => sim.leader() !== undefined);
    await sim.add(S, "spare");
    await catchUp(sim, S);
    for (const id of [A, B, C, D]) sim.cut(id, S);
    for (let i = 0; i < 120; i++) await write(sim, sim.leader()!.nodeId, "/n", `${i}`);
    sim.heal();
    await catchUp(sim, S);
    expect(textAt(sim.driver(S), "/n")).toBe("119");
    await write(sim, sim.leader()!.nodeId, "/after", "1");
    await catchUp(sim, S);
    expect(textAt(sim.driver(S), "/after")).toBe("1");
  });

  test("comes up from its disk without its cluster, and says that there is no quorum", async () => {
    const sim = await start(6);
    await sim.add(S, "spare");
    await write(sim, A, "/a", "1");
    await catchUp(sim, S);
    await sim.run(5_000); // Its commit index reaches the disk.
    for (const id of [A, B, C, S]) sim.kill(id);
    await sim.restart(S);
    await sim.run(5_000);
    expect(textAt(sim.driver(S), "/a")).toBe("1");
    expect(sim.driver(S).hasQuorum()).toBeFalse();
    const failed = await sim.wait(sim.driver(S).execute(put("/b", "1"), { timeoutMs: 1_000 }));
    expect(failed.ok ? "" : failed.error.kind).toBe("no_quorum");
    for (const id of [A, B, C]) await sim.restart(id);
    await sim.until(() => sim.driver(S).hasQuorum());
    await write(sim, S, "/b", "2");
    expect(textAt(sim.driver(S), "/b")).toBe("2");
  });

  test("hears of a lost quorum from its source, and of its return", async () => {
    const sim = await start(7, [D]);
    await sim.add(S, "spare");
    await catchUp(sim, S);
    sim.kill(B);
    sim.kill(C);
    await sim.until(() => !sim.driver(S).hasQuorum());
    await sim.restart(B);
    await sim.until(() => sim.driver(S).hasQuorum());
    await write(sim, S, "/a", "1");
  });

  test("writes and reads through its source, also while that changes", async () => {
    const sim = await start(8, [D]);
    await sim.add(S, "spare");
    await catchUp(sim, S);
    await write(sim, S, "/s", "1");
    expect(textAt(sim.driver(S), "/s")).toBe("1");
    await write(sim, B, "/b", "2");
    expect((await sim.wait(sim.driver(S).readBarrier())).ok).toBeTrue();
    expect(textAt(sim.driver(S), "/b")).toBe("2");
    const pending = Array.from({ length: 20 }, (_, i) =>
      sim.driver(S).execute(put(`/p/${i}`, `${i}`), { timeoutMs: 20_000 }),
    );
    sim.kill(sourceOf(sim, S)!);
    const results = await sim.wait(Promise.all(pending));
    expect(results.every((result) => result.ok)).toBeTrue();
  });

  test("many writes of many spares reach the leader in few calls", async () => {
    const sim = await start(9, [D]);
    await sim.add(S, "spare");
    await sim.add(T, "spare");
    await catchUp(sim, S);
    await catchUp(sim, T);
    const results = [S, T].flatMap((id) =>
      Array.from({ length: 30 }, (_, i) => sim.driver(id).execute(put(`/${id}/${i}`, "x"))),
    );
    const outcomes = await sim.wait(Promise.all(results));
    expect(outcomes.every((result) => result.ok)).toBeTrue();
    const calls = [B, C, D].map((id) => sim.driver(id).feed.counters()["relay_calls"]!);
    expect(calls.reduce((sum, count) => sum + count, 0)).toBeLessThan(10);
  });

  test("is let in as a standby, goes on with its disk, and back again", async () => {
    const sim = await start(10);
    await sim.add(S, "spare");
    for (let i = 0; i < 20; i++) await write(sim, A, `/${i}`, "x");
    await catchUp(sim, S);
    const seen = watch(sim, S);
    await change(sim, { operation: "add_learner", node: S });
    await sim.until(() => sim.driver(S).feed.status === undefined);
    await write(sim, A, "/as-standby", "1");
    await catchUp(sim, S);
    await change(sim, { operation: "remove", node: S });
    await write(sim, A, "/as-spare", "1");
    await sim.until(() => sourceOf(sim, S) !== undefined);
    await catchUp(sim, S);
    await write(sim, S, "/again", "1");
    expect(seen.map(({ key }) => key)).toEqual(["/as-standby", "/as-spare", "/again"]);
    expect(sim.driver(S).group.isExpelled).toBeFalse();
  });

  test("a voter that lost its vote while it was away finds out and is fed", async () => {
    const sim = await start(11, [D]);
    sim.kill(C);
    await change(sim, { operation: "add_voter", node: D }, { operation: "remove", node: C });
    await write(sim, A, "/meanwhile", "1");
    await sim.restart(C);
    await sim.until(() => sim.driver(C).confState.voters.includes(D), 60_000);
    await catchUp(sim, C);
    expect(textAt(sim.driver(C), "/meanwhile")).toBe("1");
    expect(sim.driver(C).confState.voters).not.toContain(C);
    await write(sim, C, "/c", "1");
  });

  test("that knows none of the present members is told of them by who was one", async () => {
    const sim = await start(12);
    await sim.add(S, "spare");
    await catchUp(sim, S);
    sim.kill(S);
    // Whom S knows are spares themselves when it comes back, and feed nobody.
    for (const id of [D, E, T]) {
      await sim.add(id, "joiner");
      await change(sim, { operation: "add_learner", node: id });
    }
    await sim.until(() => {
      const progress = sim.leader()?.status().progress;
      return [D, E, T].every((id) => progress?.get(id)?.kind === "replicate");
    });
    await change(
      sim,
      ...[D, E, T].map((node) => ({ operation: "add_voter", node }) as const),
      ...[A, B, C].map((node) => ({ operation: "remove", node }) as const),
    );
    await sim.until(() => [D, E, T].some((id) => sim.driver(id).isLeader()));
    await write(sim, D, "/meanwhile", "1");
    await sim.until(() => [A, B, C].every((id) => sourceOf(sim, id) !== undefined));
    await sim.restart(S);
    await catchUp(sim, S);
    expect(textAt(sim.driver(S), "/meanwhile")).toBe("1");
    expect([D, E, T]).toContain(sourceOf(sim, S)!);
  });

  for (const seed of [21, 22, 23, 24, 25, 26, 27, 28]) {
    test(`misses and repeats nothing in a bad network (seed ${seed})`, async () => {
      const sim = await start(seed, [D, E]);
      sim.snapshotEntries = 40;
      await sim.add(S, "spare");
      await sim.add(T, "spare");
      await catchUp(sim, S);
      sim.lossPercent = 10;
      const all = [A, B, C, D, E, S, T];
      let written = 0;
      for (let round = 0; round < 12; round++) {
        const victim = all[sim.random.below(all.length)]!;
        const other = all[sim.random.below(all.length)]!;
        if (sim.random.below(2) === 0) sim.cut(victim, other);
        else if (sim.nodes.get(victim)?.driver !== undefined) sim.kill(victim);
        await sim.run(sim.random.below(3_000));
        const by = [S, T, A].find((id) => sim.nodes.get(id)?.driver !== undefined)!;
        for (let i = 0; i < 15; i++) {
          const done = sim.driver(by).execute(put("/n", `${written++}`), { timeoutMs: 500 });
          await sim.wait(done);
        }
        if (round % 3 !== 2) continue;
        sim.heal();
        for (const id of all) if (sim.nodes.get(id)?.driver === undefined) await sim.restart(id);
      }
      sim.heal();
      sim.lossPercent = 0;
      for (const id of all) if (sim.nodes.get(id)?.driver === undefined) await sim.restart(id);
      await sim.until(() => sim.leader() !== undefined);
      await write(sim, S, "/n", "last");
      for (const id of all) await catchUp(sim, id);
      const hashes = new Set(all.map((id) => sim.nodes.get(id)!.machine.hash()));
      expect(hashes.size).toBe(1);
    }, 30_000);
  }
});
