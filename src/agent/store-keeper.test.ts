/**
 * The store's keeper and the store's service on replicas that share one log, on a clock that the
 * test moves.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import { ManualClock } from "../../tests/support/manual-clock.ts";
import { HostError } from "../base/host-error.ts";
import { decodeIndex, decodeNodeId, decodeTerm } from "../base/ids.ts";
import { createSilentLog } from "../base/log.ts";
import { err, ok, type Result } from "../base/result.ts";
import type { ClusterFailure } from "../control/cluster/types.ts";
import { kvHandlers } from "../control/kv/handlers.ts";
import { CHECK_INTERVAL_ENTRIES } from "../control/kv/limits.ts";
import { createStateMachine } from "../control/kv/state-machine.ts";
import { type Operation, txn } from "../control/kv/txn.ts";
import type { Command, KvEvent, KvMachine } from "../control/kv/types.ts";
import { KvService } from "./kv-service.ts";
import { StoreKeeper, type StoreKeeperOptions } from "./store-keeper.ts";

type Cluster = StoreKeeperOptions["cluster"] &
  ConstructorParameters<typeof KvService>[0]["cluster"];

/** Replicas that apply one log at once, the first of them leading. */
class World {
  readonly clock = new ManualClock();
  readonly machines: KvMachine[];
  readonly keepers: StoreKeeper[];
  readonly service: KvService;
  /** Kinds of command that went through the log. */
  readonly log: string[] = [];
  /** Replicas that ended themselves. */
  readonly fatal: number[] = [];
  leader = 0;
  term = 1;
  failure: ClusterFailure | undefined;
  readonly #listeners: ((events: readonly KvEvent[]) => void)[] = [];
  readonly #roleListeners: (() => void)[] = [];

  constructor(replicaCount: number) {
    this.machines = Array.from({ length: replicaCount }, () => createStateMachine(kvHandlers));
    this.keepers = this.machines.map((machine, i) => {
      const options = { machine, clock: this.clock, log: createSilentLog() };
      return new StoreKeeper({
        ...{ ...options, nodeId: decodeNodeId(i + 1), cluster: this.#cluster(i) },
      });
    });
    this.service = new KvService({
      ...{ clock: this.clock, machine: this.machines[0]!, cluster: this.#cluster(0) },
    });
  }

  apply(command: Command): unknown {
    this.log.push(command.kind);
    let outcome: unknown;
    for (const [i, machine] of this.machines.entries()) {
      if (this.fatal.includes(i)) continue;
      const index = decodeIndex(machine.appliedIndex + 1);
      const context = { index, term: decodeTerm(this.term), proposedAtMs: 0, request: undefined };
      try {
        const applied = machine.apply(command, context);
        outcome ??= applied.outcome;
        if (i === 0) for (const listener of this.#listeners) listener(applied.events);
      } catch (error) {
        expect(error).toBeInstanceOf(HostError);
        this.fatal.push(i);
      }
    }
    return outcome;
  }

  put(key: string, ttlSeconds?: number): void {
    const value = new TextEncoder().encode("x");
    const operation: Operation = { kind: "put", key, value, ...(ttlSeconds && { ttlSeconds }) };
    this.apply(txn({ success: [operation] }));
  }

  /** Empty entries up to the next one at which states are compared. */
  fill(): void {
    for (const machine of this.machines) {
      do machine.skip(decodeIndex(machine.appliedIndex + 1));
      while (machine.appliedIndex % CHECK_INTERVAL_ENTRIES !== 0);
    }
  }

  elect(leader: number): void {
    this.leader = leader;
    this.term += 1;
    for (const listener of this.#roleListeners) listener();
  }

  keys(): string[] {
    return [...this.machines[0]!.reader.list("")].map(({ key }) => key);
  }

  #cluster(i: number): Cluster {
    const execute = async <Outcome>(command: Command<Outcome>) => {
      if (this.failure !== undefined) return err(this.failure);
      return ok(this.apply(command)) as Result<Outcome, ClusterFailure>;
    };
    return {
      execute,
      readBarrier: async () => (this.failure === undefined ? ok(undefined) : err(this.failure)),
      onApplied: (listener) => {
        this.#listeners.push((events) => listener(events, this.machines[0]!.reader.revision));
        return () => undefined;
      },
      onRole: (listener) => {
        this.#roleListeners.push(listener as () => void);
        return () => undefined;
      },
      status: () => ({
        role: i === this.leader ? "leader" : "follower",
        memberRole: "voter",
        term: decodeTerm(this.term),
        voterCount: this.machines.length,
      }),
    };
  }
}

describe("expiry", () => {
  test("only the leader proposes, and a key goes after its time", async () => {
    const world = new World(3);
    world.put("/a", 5);
    world.put("/b");
    await world.clock.advance(5_000);
    expect(world.keys()).toEqual(["/a", "/b"]);
    await world.clock.advance(2_000);
    expect(world.keys()).toEqual(["/b"]);
    expect(world.log.filter((kind) => kind === "expire_keys")).toHaveLength(1);
  });

  test("a new leader starts over, the old one is silent", async () => {
    const world = new World(3);
    world.put("/a", 5);
    await world.clock.advance(4_000);
    world.elect(1);
    await world.clock.advance(4_000);
    expect(world.keys()).toEqual(["/a"]);
    await world.clock.advance(3_000);
    expect(world.keys()).toEqual([]);
  });

  test("what the cluster did not take is proposed again", async () => {
    const world = new World(1);
    world.put("/a", 1);
    world.failure = { kind: "no_quorum", detail: "d" };
    await world.clock.advance(5_000);
    world.failure = undefined;
    await world.clock.advance(5_000);
    expect(world.keys()).toEqual([]);
  });

  test("a closed keeper does nothing", async () => {
    const world = new World(1);
    world.put("/a", 1);
    for (const keeper of world.keepers) keeper.close();
    await world.clock.advance(60_000);
    expect(world.keys()).toEqual(["/a"]);
  });
});

describe("comparing states", () => {
  const checks = (world: World) => world.log.filter((kind) => kind === "check").length;

  test("once for each interval, a word from each voter, and none when nothing happens", async () => {
    const world = new World(3);
    world.put("/a");
    await world.clock.advance(5_000);
    expect(checks(world)).toBe(0);
    world.fill();
    await world.clock.advance(5_000);
    expect(checks(world)).toBe(3);
    world.fill();
    await world.clock.advance(5_000);
    expect(checks(world)).toBe(6);
    const agreed = world.machines.map((machine) => Number(machine.checks.agreed));
    expect(agreed).toEqual(Array(3).fill(2 * CHECK_INTERVAL_ENTRIES));
    expect(world.service.gauges()).toContainEqual(
      expect.objectContaining({ name: "store_agreed_index", value: agreed[0]! }),
    );
    await world.clock.advance(60_000);
    expect([checks(world), world.fatal]).toEqual([6, []]);
  });

  for (const wrong of [0, 2]) {
    test(`replica ${wrong} went wrong, ${wrong === 0 ? "the leader" : "a follower"}: it ends`, async () => {
      const world = new World(3);
      world.put("/a");
      const machine = world.machines[wrong]!;
      // A flipped bit: one replica has another value than the rest.
      machine.reader.get("/a")!.value[0]! ^= 1;
      world.put("/a");
      world.fill();
      await world.clock.advance(10_000);
      expect(world.fatal).toEqual([wrong]);
    });
  }

  test("a word that the cluster did not take is given again", async () => {
    const world = new World(3);
    world.fill();
    world.failure = { kind: "no_quorum", detail: "d" };
    await world.clock.advance(5_000);
    world.failure = undefined;
    await world.clock.advance(5_000);
    expect(checks(world)).toBe(3);
  });
});

describe("KvService", () => {
  test("a linearizable read waits for the cluster, a serializable one does not", async () => {
    const world = new World(1);
    world.failure = { kind: "no_quorum", detail: "d" };
    expect(await world.service.read("linearizable")).toEqual(err(world.failure));
    expect((await world.service.read("serializable")).ok).toBe(true);
  });

  test("a watch is told of what is applied, and ends with the service", async () => {
    const world = new World(1);
    const after = world.machines[0]!.reader.revision;
    const watch = world.service.watch({ prefix: "", after });
    if (!watch.ok) throw new Error(watch.error.detail);
    expect(await watch.value.next()).toEqual({ kind: "bookmark", revision: 0 });
    const next = watch.value.next();
    world.put("/a");
    expect(await next).toMatchObject({ kind: "events", batches: [{ revision: 1 }] });
    const last = watch.value.next();
    world.service.close();
    expect(await last).toEqual({ kind: "ended" });
    expect(world.service.watch({ prefix: "", after }).ok).toBe(false);
  });
});
