import { describe, expect, test } from "bun:test";
import { decodeNodeId, type NodeId } from "../../../base/ids.ts";
import { createSilentLog } from "../../../base/log.ts";
import { kvHandlers } from "../../kv/handlers.ts";
import { createStateMachine } from "../../kv/state-machine.ts";
import { systemTxn } from "../../kv/txn.ts";
import { SimCluster } from "../sim-cluster.fake.ts";
import { findMember, putMember, removeMember } from "./member-table.ts";
import { RoleKeeper } from "./role-keeper.ts";
import { putVoterTarget, putWish } from "./role-wishes.ts";
import { STALLED_AFTER_MS } from "./standby-watch.ts";

const [A, B, C] = [decodeNodeId(1), decodeNodeId(2), decodeNodeId(3)];

/** A cluster whose nodes keep their roles by themselves. */
class KeptCluster extends SimCluster {
  readonly #keepers = new Map<NodeId, RoleKeeper>();

  constructor(seed: number) {
    super({ seed, createMachine: () => createStateMachine(kvHandlers) });
  }

  async boot(number: number): Promise<void> {
    const { id } = await this.add(number, number === 1 ? "founder" : "joiner");
    this.keep(id);
    await this.until(() => this.leader() !== undefined);
    const member = {
      id,
      name: `n${number}`,
      address: { host: "127.0.0.1", port: number },
      publicIp: "",
      underlayPrefixes: [],
      zone: "",
      joinedAtMs: 0,
      keyHash: "",
    };
    await this.wait(this.leader()!.execute(systemTxn({ success: [putMember(member)] })));
  }

  keep(id: NodeId): void {
    this.#keepers.get(id)?.stop();
    const driver = this.driver(id);
    const keeper = new RoleKeeper({ driver, clock: this.clock, log: createSilentLog() });
    this.#keepers.set(id, keeper);
  }

  async drop(id: NodeId): Promise<void> {
    const leader = this.leader()!;
    const member = findMember(leader.reader, id)!;
    await this.wait(leader.execute(removeMember(member, 0)));
  }

  /** "1 2 3 / 4": voters and standbys as the leader sees them. */
  roles(): string {
    const state = this.leader()?.confState;
    if (state === undefined || state.votersOutgoing.length > 0) return "?";
    const learners = state.learners.length > 0 ? ` / ${state.learners.join(" ")}` : "";
    return state.voters.join(" ") + learners;
  }
}

async function grow(seed: number, count: number): Promise<KeptCluster> {
  const cluster = new KeptCluster(seed);
  for (let number = 1; number <= count; number++) await cluster.boot(number);
  return cluster;
}

describe("roles by themselves", () => {
  test("1, 2, 3 and 4 nodes", async () => {
    const cluster = await grow(1, 1);
    expect(cluster.roles()).toBe("1");
    await cluster.boot(2);
    await cluster.until(() => cluster.roles() === "1 / 2", 3_000);
    await cluster.boot(3);
    await cluster.until(() => cluster.roles() === "1 2 3", 5_000);
    await cluster.boot(4);
    await cluster.until(() => cluster.roles() === "1 2 3 / 4", 3_000);
    // And it stays so.
    await cluster.run(10_000);
    expect(cluster.roles()).toBe("1 2 3 / 4");
  });

  test("a follower leaves three, then comes the next node", async () => {
    const cluster = await grow(2, 3);
    await cluster.until(() => cluster.roles() === "1 2 3");
    await cluster.drop(cluster.leader()?.nodeId === C ? B : C);
    await cluster.until(() => /^\d \/ \d$/.test(cluster.roles()), 5_000);
    await cluster.boot(4);
    await cluster.until(() => /^\d \d 4$/.test(cluster.roles()), 5_000);
  });

  test("the leader leaves three: writes go on, it is out within seconds", async () => {
    const cluster = await grow(3, 3);
    await cluster.until(() => cluster.roles() === "1 2 3");
    const old = cluster.leader()!.nodeId;
    await cluster.drop(old);
    await cluster.until(() => {
      const leader = cluster.leader();
      return leader !== undefined && leader.nodeId !== old && /^\d \/ \d$/.test(cluster.roles());
    }, 5_000);
    const write = systemTxn({ success: [{ kind: "put", key: "/x", value: new Uint8Array(1) }] });
    expect((await cluster.wait(cluster.leader()!.execute(write))).ok).toBeTrue();
  });

  test("the only voter of two leaves: the standby takes over without an election timeout", async () => {
    const cluster = await grow(4, 2);
    await cluster.until(() => cluster.roles() === "1 / 2");
    const startMs = cluster.clock.nowMs();
    await cluster.drop(A);
    await cluster.until(() => cluster.leader()?.nodeId === B && cluster.roles() === "2", 5_000);
    expect(cluster.clock.nowMs() - startMs).toBeLessThan(1_000);
  });

  test("a dead voter stays until it is long dead, then a standby votes in its place", async () => {
    const cluster = await grow(5, 4);
    const state = () => cluster.leader()!.confState;
    // Who of the four is the standby depends on who caught up first.
    await cluster.until(() => /^\d \d \d \/ \d$/.test(cluster.roles()));
    const [standby] = state().learners as [NodeId];
    const dead = state().voters.find((id) => id !== cluster.leader()!.nodeId)!;
    cluster.kill(dead);
    await cluster.run(20_000);
    expect(state().voters).toContain(dead);
    await cluster.until(() => state().voters.includes(standby), 60_000);
    await cluster.until(() => state().learners.includes(dead), 1_000);
    expect(state().voters).not.toContain(dead);
    await cluster.restart(dead);
    cluster.keep(dead);
    await cluster.run(5_000);
    expect(cluster.leader()!.confState.voters.length).toBe(3);
  });

  test("a standby that is behind by a snapshot is promoted when it has caught up", async () => {
    const cluster = new KeptCluster(6);
    cluster.snapshotEntries = 10;
    await cluster.boot(1);
    for (let i = 0; i < 50; i++) {
      const write = systemTxn({ success: [{ kind: "put", key: "/n", value: new Uint8Array(9) }] });
      await cluster.wait(cluster.leader()!.execute(write));
    }
    await cluster.boot(2);
    await cluster.boot(3);
    await cluster.until(() => cluster.roles() === "1 2 3", 10_000);
    expect(cluster.driver(C).reader.get("/n")?.version).toBe(50);
  });

  test("the number of voters follows the setting, whoever leads", async () => {
    const cluster = await grow(8, 5);
    await cluster.until(() => /^\d \d \d \/ \d \d$/.test(cluster.roles()), 5_000);
    await cluster.wait(cluster.leader()!.execute(putVoterTarget(5)));
    await cluster.until(() => cluster.roles() === "1 2 3 4 5", 5_000);
    cluster.kill(cluster.leader()!.nodeId);
    await cluster.until(() => cluster.leader() !== undefined, 5_000);
    await cluster.wait(cluster.leader()!.execute(putVoterTarget(1)));
    await cluster.until(() => /^\d \/ \d \d \d$/.test(cluster.roles()), 60_000);
  });

  test("a wish makes a voter of a standby, and of the leader a standby", async () => {
    const cluster = await grow(9, 4);
    await cluster.until(() => /^\d \d \d \/ \d$/.test(cluster.roles()), 5_000);
    const leader = cluster.leader()!;
    const [standby] = leader.confState.learners as [NodeId];
    const wish = (id: NodeId, which: "voter" | "standby") =>
      cluster.wait(leader.execute(putWish(findMember(leader.reader, id)!, which)));
    await wish(standby, "voter");
    await cluster.until(() => cluster.leader()!.confState.voters.includes(standby), 5_000);
    await wish(leader.nodeId, "standby");
    await cluster.until(() => cluster.leader()?.confState.learners[0] === leader.nodeId, 5_000);
    expect(cluster.leader()!.confState.voters.length).toBe(3);
  });

  test("a standby that stays away is let go, and comes in again", async () => {
    const cluster = await grow(10, 4);
    await cluster.until(() => /^\d \d \d \/ \d$/.test(cluster.roles()), 5_000);
    const [standby] = cluster.leader()!.confState.learners as [NodeId];
    cluster.kill(standby);
    await cluster.run(STALLED_AFTER_MS - 10_000);
    expect(cluster.leader()!.confState.learners).toEqual([standby]);
    await cluster.until(() => cluster.leader()!.confState.learners.length === 0, 20_000);
    await cluster.restart(standby);
    cluster.keep(standby);
    await cluster.until(
      () => cluster.leader()!.confState.learners.includes(standby),
      STALLED_AFTER_MS + 10_000,
    );
  }, 30_000);

  test("whoever is in neither table is left alone", async () => {
    const cluster = new KeptCluster(7);
    const { id } = await cluster.add(1, "founder");
    cluster.keep(id);
    await cluster.run(5_000);
    expect(cluster.roles()).toBe("1");
  });
});
