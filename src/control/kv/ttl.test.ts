/**
 * Time to live of keys: what commands do to it, against a naive model; and when the leader's clock
 * ends it, against true time.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { decodeIndex, decodeTerm } from "../../base/ids.ts";
import { type ExpireKeys, expireKeys, type KeyExpiry, parseExpireKeys } from "./expire-keys.ts";
import { kvHandlers } from "./handlers.ts";
import { KeyClock } from "./key-clock.ts";
import {
  DEADLINE_CLOCK_GAP_MAX_MS,
  EXPIRE_BATCH_MAX,
  EXPIRY_RETRY_MS,
  KEY_TTL_SECONDS_MAX,
  VALUE_SIZE_MAX_BYTES,
} from "./limits.ts";
import { createStateMachine } from "./state-machine.ts";
import { type Operation, type TxnOutcome, txn } from "./txn.ts";
import type { Applied, Command, KvMachine } from "./types.ts";

const text = (value: string) => new TextEncoder().encode(value);

function put(key: string, ttlSeconds?: number): Operation {
  return { kind: "put", key, value: text("x"), ...(ttlSeconds && { ttlSeconds }) };
}

function renew(key: string, ttlSeconds?: number): Operation {
  return { kind: "renew", key, ...(ttlSeconds && { ttlSeconds }) };
}

/** Applies to a store and remembers nothing. */
function applyNext(machine: KvMachine, command: Command, term = 1): Applied {
  const index = decodeIndex(machine.appliedIndex + 1);
  const context = { index, term: decodeTerm(term), proposedAtMs: 0, request: undefined };
  return machine.apply(command, context);
}

function run(machine: KvMachine, ...success: Operation[]): TxnOutcome {
  const { outcome } = applyNext(machine, txn({ success }));
  return outcome as TxnOutcome;
}

function expiries(machine: KvMachine): KeyExpiry[] {
  return Array.from(machine.ttls, ([key, { epoch }]) => ({ key, epoch }));
}

describe("put and renew", () => {
  test("a put grants, the next one grants anew or takes it away", () => {
    const machine = createStateMachine(kvHandlers);
    run(machine, put("/a", 30));
    expect(machine.reader.get("/a")?.ttl).toEqual({ seconds: 30, epoch: decodeIndex(1) });
    run(machine, put("/a", 60));
    expect(machine.reader.get("/a")?.ttl).toEqual({ seconds: 60, epoch: decodeIndex(2) });
    run(machine, put("/a"));
    expect(machine.reader.get("/a")).not.toHaveProperty("ttl");
    expect(machine.ttls.size).toBe(0);
  });

  test("a renewal is of a new epoch, and neither a revision nor an event", () => {
    const machine = createStateMachine(kvHandlers);
    run(machine, put("/a", 30));
    const before = machine.reader.get("/a")!;
    const twin = createStateMachine(kvHandlers);
    run(twin, put("/a", 30));
    run(twin, { kind: "get", key: "/a" });
    const applied = applyNext(machine, txn({ success: [renew("/a")] }));
    expect(applied).toMatchObject({ revision: 1, events: [] });
    expect(applied.outcome).toMatchObject({ results: [{ kind: "renew", ttlSeconds: 30 }] });
    expect(machine.reader.get("/a")).toEqual({
      ...before,
      ttl: { seconds: 30, epoch: decodeIndex(2) },
    });
    expect(machine.hash()).not.toBe(twin.hash());
    expect(run(machine, renew("/a", 5))).toMatchObject({
      revision: 1,
      results: [{ ttlSeconds: 5 }],
    });
  });

  test("a renewal of what is not there, or stays for good, does nothing", () => {
    const machine = createStateMachine(kvHandlers);
    run(machine, put("/a"));
    const hash = machine.reader.get("/a");
    for (const operation of [renew("/a", 5), renew("/none", 5)]) {
      expect(run(machine, operation)).toMatchObject({ results: [{ ttlSeconds: null }] });
    }
    expect([machine.reader.get("/a"), machine.ttls.size]).toEqual([hash, 0]);
  });

  test("a transaction that is undone leaves the time to live as it was", () => {
    const machine = createStateMachine(kvHandlers);
    const value = new Uint8Array(VALUE_SIZE_MAX_BYTES);
    for (const key of ["/1", "/2", "/3"]) run(machine, { kind: "put", key, value });
    run(machine, put("/a", 30), put("/b", 30));
    const before = [...machine.reader.list("")];
    const reads: Operation[] = ["/1", "/2", "/3"].map((key) => ({ kind: "get", key }));
    const outcome = run(
      machine,
      ...[renew("/a", 5), put("/b"), put("/c", 9), put("/1", 9)],
      ...[{ kind: "delete" as const, key: "/a" }, ...reads, ...reads],
    );
    expect(outcome.kind).toBe("response_too_large");
    expect([...machine.reader.list("")]).toEqual(before);
    expect([...machine.ttls.keys()].sort()).toEqual(["/a", "/b"]);
  });

  for (const [ttlSeconds, kind] of [
    [0, "invalid_ttl"],
    [1, "done"],
    [KEY_TTL_SECONDS_MAX, "done"],
    [KEY_TTL_SECONDS_MAX + 1, "invalid_ttl"],
    [1.5, "malformed_command"],
    [-1, "malformed_command"],
  ] as const) {
    test(`${ttlSeconds} seconds: ${kind}`, () => {
      const machine = createStateMachine(kvHandlers);
      const operation: Operation = { kind: "put", key: "/a", value: text("x"), ttlSeconds };
      expect<string>(run(machine, operation).kind).toBe(kind);
      expect<string>(run(machine, { kind: "renew", key: "/a", ttlSeconds }).kind).toBe(kind);
      expect(machine.reader.get("/a") !== undefined).toBe(kind === "done");
    });
  }

  test("the system's keys cannot be renewed by users", () => {
    const machine = createStateMachine(kvHandlers);
    expect(run(machine, renew("/overlay/x"))).toEqual({ kind: "reserved_key", key: "/overlay/x" });
  });
});

describe("expire_keys", () => {
  test("deletes what is still of the epoch, in one revision, and in its own term only", () => {
    const machine = createStateMachine(kvHandlers);
    run(machine, put("/a", 30), put("/b", 30), put("/c", 30));
    const seen = expiries(machine);
    run(machine, renew("/b"));
    run(machine, put("/c"));
    const late = applyNext(machine, expireKeys(decodeTerm(1), seen), 2);
    expect(late.outcome).toEqual({ kind: "expired", keys: [] });
    const applied = applyNext(machine, expireKeys(decodeTerm(1), seen));
    expect(applied).toMatchObject({
      outcome: { kind: "expired", keys: ["/a"] },
      revision: 3,
      events: [{ kind: "delete", key: "/a", revision: 3 }],
    });
    expect([...machine.reader.list("")].map(({ key }) => key)).toEqual(["/b", "/c"]);
  });

  test("parseExpireKeys: gives back what the constructor makes, refuses the rest", () => {
    const command = expireKeys(decodeTerm(3), [{ key: "/a", epoch: decodeIndex(5) }]);
    expect(parseExpireKeys(structuredClone(command))).toEqual(command);
    for (const bad of [
      undefined,
      { ...command, term: -1 },
      { ...command, keys: [{ key: "", epoch: 5 }] },
      { ...command, keys: [{ key: "/a", epoch: "5" }] },
      { ...command, keys: Array(EXPIRE_BATCH_MAX + 1).fill(command.keys[0]) },
    ]) {
      expect(parseExpireKeys(bad)).toBeUndefined();
    }
    fc.assert(fc.property(fc.anything(), (value) => void parseExpireKeys(value)));
  });
});

// A naive model: a plain map, replaced key by key.

interface ModelPair {
  createRevision: number;
  modRevision: number;
  version: number;
  ttl?: { seconds: number; epoch: number };
}

class Model {
  readonly pairs = new Map<string, ModelPair>();
  revision = 0;
  index = 0;

  /** Operations in a row, as a whole; none of the tests' transactions is refused. */
  txn(operations: readonly Operation[]): void {
    this.index += 1;
    const before = new Map(this.pairs);
    const next = this.revision + 1;
    for (const operation of operations) this.#do(operation, next);
    const keys = new Set([...before.keys(), ...this.pairs.keys()]);
    for (const key of keys) {
      const [old, now] = [before.get(key), this.pairs.get(key)];
      if (old?.modRevision !== now?.modRevision) this.revision = next;
    }
  }

  expire(keys: readonly KeyExpiry[], isThisTerm: boolean): void {
    this.index += 1;
    const gone = keys.filter(({ key, epoch }) => this.pairs.get(key)?.ttl?.epoch === epoch);
    if (!isThisTerm || gone.length === 0) return;
    for (const { key } of gone) this.pairs.delete(key);
    this.revision += 1;
  }

  #do(operation: Operation, next: number): void {
    if (!("key" in operation)) return;
    const { key } = operation;
    const old = this.pairs.get(key);
    if (operation.kind === "delete") {
      this.pairs.delete(key);
    } else if (operation.kind === "renew") {
      if (old?.ttl === undefined) return;
      const seconds = operation.ttlSeconds ?? old.ttl.seconds;
      this.pairs.set(key, { ...old, ttl: { seconds, epoch: this.index } });
    } else if (operation.kind === "put") {
      const again = old?.modRevision === next;
      this.pairs.set(key, {
        createRevision: old?.createRevision ?? next,
        modRevision: next,
        version: again ? old.version : (old?.version ?? 0) + 1,
        ...(operation.ttlSeconds && {
          ttl: { seconds: operation.ttlSeconds, epoch: this.index },
        }),
      });
    }
  }
}

const keyNames = fc.constantFrom("/a", "/b", "/c", "/d");
const ttls = fc.option(fc.integer({ min: 1, max: 20 }), { nil: undefined });
const operations: fc.Arbitrary<Operation> = fc.oneof(
  fc.tuple(keyNames, ttls).map(([key, ttl]) => put(key, ttl)),
  fc.tuple(keyNames, ttls).map(([key, ttl]) => renew(key, ttl)),
  keyNames.map((key): Operation => ({ kind: "delete", key })),
);
type Step =
  | { readonly kind: "txn"; readonly operations: readonly Operation[] }
  /** Expires what the clock would have seen `staleBy` steps ago. */
  | { readonly kind: "expire"; readonly staleBy: number; readonly isThisTerm: boolean };
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc
    .oneof(
      { weight: 4, arbitrary: fc.array(operations, { minLength: 1, maxLength: 4 }) },
      {
        weight: 1,
        arbitrary: fc.record({ staleBy: fc.nat(3), isThisTerm: fc.boolean() }),
      },
    )
    .map(
      (step): Step =>
        Array.isArray(step) ? { kind: "txn", operations: step } : { kind: "expire", ...step },
    ),
  { minLength: 1, maxLength: 60, size: "max" },
);

test("any history: the store is what the model is, on two replicas and from a snapshot", () => {
  fc.assert(
    fc.property(steps, fc.nat(), (history, cutAt) => {
      const [one, two] = [createStateMachine(kvHandlers), createStateMachine(kvHandlers)];
      const restored = createStateMachine(kvHandlers);
      const model = new Model();
      const seen: KeyExpiry[][] = [];
      for (const [i, step] of history.entries()) {
        if (i === cutAt % history.length) {
          expect(restored.restore([...one.snapshot()])).toBeUndefined();
        }
        seen.push(expiries(one));
        const isCut = i >= cutAt % history.length;
        let command: Command;
        if (step.kind === "txn") {
          command = txn({ success: step.operations });
          model.txn(step.operations);
        } else {
          const keys = seen[Math.max(0, i - step.staleBy)]!;
          command = expireKeys(decodeTerm(step.isThisTerm ? 1 : 2), keys);
          model.expire(keys, step.isThisTerm);
        }
        for (const machine of isCut ? [one, two, restored] : [one, two]) {
          applyNext(machine, command);
        }
        expect(Number(one.reader.revision)).toBe(model.revision);
        const pairs = [...one.reader.list("")].map(({ key, value: _, ...rest }) => [key, rest]);
        expect(pairs).toEqual(
          [...model.pairs].sort(([a], [b]) => (a < b ? -1 : 1)) as typeof pairs,
        );
        expect([...one.ttls.keys()].sort()).toEqual(
          [...model.pairs].flatMap(([key, { ttl }]) => (ttl ? [key] : [])).sort(),
        );
        expect(two.hash()).toBe(one.hash());
        if (isCut) expect(restored.hash()).toBe(one.hash());
      }
      expect([...restored.ttls].sort()).toEqual([...one.ttls].sort());
    }),
    { seed: 21, numRuns: 150 },
  );
}, 60_000);

/** A store, its leader's clock, and true time. */
class World {
  readonly machine = createStateMachine(kvHandlers);
  clock = new KeyClock();
  nowMs = 5_000;
  term = 1;
  /** When each key was last granted or renewed, in true time. */
  readonly grantedAtMs = new Map<string, number>();
  readonly inFlight: { command: ExpireKeys; applyAtMs: number }[] = [];
  expiredCount = 0;

  constructor() {
    this.clock.becameLeader(decodeTerm(1), this.nowMs);
  }

  write(operation: Operation): void {
    applyNext(this.machine, txn({ success: [operation] }), this.term);
    if ("key" in operation) this.grantedAtMs.set(operation.key, this.nowMs);
  }

  /** Lets time pass; looks every second as the agent does. Proposals take `lagMs` to be applied. */
  pass(ms: number, lagMs = 0): void {
    const end = this.nowMs + ms;
    while (this.nowMs < end) {
      this.nowMs = Math.min(end, this.nowMs + 1000);
      this.#applyDue();
      for (const command of this.clock.look(this.machine.ttls, this.nowMs)) {
        this.inFlight.push({ command, applyAtMs: this.nowMs + lagMs });
      }
      this.#applyDue();
    }
  }

  #applyDue(): void {
    for (const { command, applyAtMs } of this.inFlight.splice(0)) {
      if (applyAtMs > this.nowMs) this.inFlight.push({ command, applyAtMs });
      else this.#apply(command);
    }
  }

  #apply(command: ExpireKeys): void {
    const ttls = new Map(this.machine.ttls);
    const { events } = applyNext(this.machine, command, this.term);
    for (const event of events) {
      if (event.kind !== "delete") throw new Error("an expiry only deletes");
      const ageMs = this.nowMs - this.grantedAtMs.get(event.key)!;
      // The promise: never before its time.
      expect(ageMs).toBeGreaterThanOrEqual(ttls.get(event.key)!.seconds * 1000);
      this.expiredCount += 1;
    }
  }

  elect(): void {
    this.term += 1;
    this.clock.lostLeadership();
    this.clock = new KeyClock();
    this.clock.becameLeader(decodeTerm(this.term), this.nowMs);
  }
}

describe("KeyClock", () => {
  test("a key goes soon after its time, and no other", () => {
    const world = new World();
    world.write(put("/a", 3));
    world.write(put("/b", 30));
    world.write(put("/c"));
    world.pass(3_000);
    expect(world.machine.reader.get("/a")).toBeDefined();
    world.pass(2_000);
    expect([...world.machine.reader.list("")].map(({ key }) => key)).toEqual(["/b", "/c"]);
  });

  test("a renewal that overtakes the expiry wins", () => {
    const world = new World();
    world.write(put("/a", 3));
    world.pass(4_000, 1_000);
    expect(world.inFlight).toHaveLength(1);
    world.write(renew("/a"));
    world.pass(2_000, 1_000);
    expect(world.machine.reader.get("/a")).toBeDefined();
    world.pass(5_000);
    expect(world.machine.reader.get("/a")).toBeUndefined();
  });

  test("a new leader gives the whole time again, and so does one that slept", () => {
    const world = new World();
    world.write(put("/a", 10));
    world.pass(9_000);
    world.elect();
    world.pass(9_000);
    expect(world.machine.reader.get("/a")).toBeDefined();
    world.nowMs += DEADLINE_CLOCK_GAP_MAX_MS + 1;
    world.pass(10_000);
    expect(world.machine.reader.get("/a")).toBeDefined();
    world.pass(2_000);
    expect(world.machine.reader.get("/a")).toBeUndefined();
  });

  test("a proposal that got lost is made again after a while, not at once", () => {
    const world = new World();
    world.write(put("/a", 1));
    world.pass(3_000, Number.POSITIVE_INFINITY);
    expect(world.inFlight).toHaveLength(1);
    world.pass(EXPIRY_RETRY_MS, Number.POSITIVE_INFINITY);
    expect(world.inFlight).toHaveLength(2);
  });

  test("nobody but the leader proposes", () => {
    const world = new World();
    world.clock.lostLeadership();
    world.write(put("/a", 1));
    world.pass(60_000);
    expect(world.machine.reader.get("/a")).toBeDefined();
  });

  test("many keys at once go in batches", () => {
    const clock = new KeyClock();
    clock.becameLeader(decodeTerm(1), 0);
    const ttls = new Map(
      Array.from({ length: 250 }, (_, i) => [`/${i}`, { seconds: 1, epoch: decodeIndex(1) }]),
    );
    clock.look(ttls, 1);
    const commands = clock.look(ttls, 2_000);
    expect(commands.map(({ keys }) => keys.length)).toEqual([100, 100, 50]);
  });

  test("any history in true time: never before its time, and always in the end", () => {
    const action = fc.oneof(
      fc.tuple(keyNames, fc.integer({ min: 1, max: 8 })).map(([key, ttl]) => put(key, ttl)),
      keyNames.map((key) => renew(key)),
      keyNames.map((key): Operation => ({ kind: "delete", key })),
      fc.constantFrom("elect" as const, "sleep" as const),
    );
    const lives = fc.array(
      fc.record({ action, passMs: fc.nat(4_000), lagMs: fc.constantFrom(0, 700, 2_500) }),
      { minLength: 5, maxLength: 60, size: "max" },
    );
    let expiredCount = 0;
    fc.assert(
      fc.property(lives, (life) => {
        const world = new World();
        for (const { action, passMs, lagMs } of life) {
          if (action === "elect") world.elect();
          else if (action === "sleep") world.nowMs += 2 * DEADLINE_CLOCK_GAP_MAX_MS;
          else world.write(action);
          world.pass(passMs, lagMs);
        }
        expiredCount += world.expiredCount;
        world.pass(8_000 + EXPIRY_RETRY_MS + 5_000);
        expect(world.machine.ttls.size).toBe(0);
      }),
      { seed: 22, numRuns: 150 },
    );
    expect(expiredCount).toBeGreaterThan(100);
  }, 60_000);
});
