import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { decodeIndex, decodeRevision, decodeTerm } from "../../base/ids.ts";
import { kvHandlers } from "./handlers.ts";
import { eventKey, eventsSize, History } from "./history.ts";
import { EVENT_OVERHEAD_BYTES, WATCH_STEP_REVISIONS_MAX } from "./limits.ts";
import { readPast } from "./past.ts";
import { createStateMachine } from "./state-machine.ts";
import { type Operation, txn } from "./txn.ts";
import type { KeyValue, KvEvent, RevisionEvents, StateMachine } from "./types.ts";
import { stepWatch, type WatchCursor } from "./watch.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const revision = decodeRevision;

function write(machine: StateMachine, success: readonly Operation[]): void {
  const index = decodeIndex(machine.appliedIndex + 1);
  const context = { index, term: decodeTerm(1), proposedAtMs: 0, request: undefined };
  machine.apply(txn({ success }), context);
}

function putEvent(at: number, value = ""): KvEvent {
  const [createRevision, modRevision] = [revision(at), revision(at)];
  const current: KeyValue = {
    key: "/a",
    value: bytes(value),
    createRevision,
    modRevision,
    version: 1,
  };
  return { kind: "put", current, previous: undefined };
}

function entry(at: number, value?: string): RevisionEvents {
  return { revision: revision(at), events: [putEvent(at, value)] };
}

const revisionsFrom = (history: History, at: number) =>
  [...(history.from(revision(at)) ?? [])].map((some) => Number(some.revision));

describe("History", () => {
  test("keeps as many revisions as it may, and says which", () => {
    const history = new History({ revisionsMax: 3, sizeMaxBytes: 1000 });
    expect([Number(history.oldestRevision), revisionsFrom(history, 1)]).toEqual([0, []]);
    for (let at = 1; at <= 20; at++) {
      history.append(entry(at));
      const oldest = Math.max(1, at - 2);
      expect(Number(history.oldestRevision)).toBe(oldest - 1);
      expect(revisionsFrom(history, oldest)).toEqual(
        Array.from({ length: Math.min(at, 3) }, (_, i) => oldest + i),
      );
      if (oldest > 1) expect(history.from(revision(oldest - 1))).toBeUndefined();
      expect(revisionsFrom(history, at + 1)).toEqual([]);
    }
  });

  test("is bounded by bytes too, be it by one revision", () => {
    const history = new History({ revisionsMax: 100, sizeMaxBytes: 2 * EVENT_OVERHEAD_BYTES + 50 });
    for (let at = 1; at <= 5; at++) history.append(entry(at, "x".repeat(20)));
    expect(revisionsFrom(history, 4)).toEqual([4, 5]);
    expect(history.from(revision(3))).toBeUndefined();
    history.append(entry(6, "x".repeat(2 * EVENT_OVERHEAD_BYTES)));
    expect(Number(history.oldestRevision)).toBe(6);
  });

  test("forgets what it is told to, and goes on", () => {
    const history = new History();
    for (let at = 1; at <= 5; at++) history.append(entry(at));
    history.forgetThrough(revision(0));
    expect(revisionsFrom(history, 1)).toEqual([1, 2, 3, 4, 5]);
    history.forgetThrough(revision(3));
    expect([Number(history.oldestRevision), revisionsFrom(history, 4)]).toEqual([3, [4, 5]]);
    history.forgetThrough(revision(5));
    expect(revisionsFrom(history, 6)).toEqual([]);
    expect(() => history.forgetThrough(revision(6))).toThrow();
    history.append(entry(6));
    expect(revisionsFrom(history, 6)).toEqual([6]);
  });

  test("starts over after a restore", () => {
    const history = new History();
    history.append(entry(1));
    history.reset(revision(40));
    expect(history.from(revision(1))).toBeUndefined();
    history.append(entry(41));
    expect(revisionsFrom(history, 41)).toEqual([41]);
    expect(() => history.append(entry(41))).toThrow();
  });
});

const operations: fc.Arbitrary<Operation> = fc
  .tuple(
    fc.constantFrom("/a/1", "/a/2", "/b/1", "/b/2", "/c"),
    fc.option(fc.string(), { nil: undefined }),
  )
  .map(([key, value]) =>
    value === undefined ? { kind: "delete", key } : { kind: "put", key, value: bytes(value) },
  );
const writes = fc.array(fc.array(operations, { minLength: 1, maxLength: 5 }), {
  minLength: 1,
  maxLength: 40,
  size: "max",
});

/** A watcher that rebuilds the prefix out of what it is told, checking the guarantees. */
class Follower {
  readonly pairs = new Map<string, KeyValue>();
  cursor: WatchCursor;

  constructor(prefix: string) {
    this.cursor = { prefix, after: revision(0) };
  }

  follow(machine: StateMachine): void {
    for (let more = true; more; ) {
      const step = stepWatch(machine.history, this.cursor);
      if (step.kind !== "events") throw new Error("nothing is forgotten in this test");
      let last: number = this.cursor.after;
      for (const { revision, events } of step.batches) {
        expect(revision).toBeGreaterThan(last);
        last = revision;
        for (const event of events) this.#take(event, revision);
      }
      expect(step.cursor.after).toBeGreaterThanOrEqual(last);
      this.cursor = step.cursor;
      more = step.more;
    }
  }

  #take(event: KvEvent, at: number): void {
    const key = eventKey(event);
    expect(key.startsWith(this.cursor.prefix)).toBe(true);
    // The previous pair proves that no event was left out.
    expect(event.previous).toEqual(this.pairs.get(key));
    if (event.kind === "put") {
      expect(Number(event.current.modRevision)).toBe(at);
      this.pairs.set(key, event.current);
    } else {
      expect(Number(event.revision)).toBe(at);
      this.pairs.delete(key);
    }
  }
}

describe("stepWatch", () => {
  test("followers, fast and slow, end with exactly what the store has", () => {
    fc.assert(
      fc.property(writes, (history) => {
        const machine = createStateMachine(kvHandlers);
        const followers = ["", "/a/", "/a/1", "/none"].map((prefix) => new Follower(prefix));
        for (const [i, success] of history.entries()) {
          write(machine, success);
          for (const [n, follower] of followers.entries()) {
            if (i % (n + 1) === 0) follower.follow(machine);
          }
        }
        for (const follower of followers) {
          follower.follow(machine);
          expect(follower.cursor.after).toBe(machine.reader.revision);
          const there = [...machine.reader.list(follower.cursor.prefix)];
          expect([...follower.pairs.values()].sort((a, b) => (a.key < b.key ? -1 : 1))).toEqual(
            there,
          );
        }
      }),
      { seed: 12, numRuns: 60 },
    );
  });

  test("all events of a revision come together, those under the prefix", () => {
    const machine = createStateMachine(kvHandlers);
    const put = (key: string): Operation => ({ kind: "put", key, value: bytes("x") });
    write(machine, [put("/a/1"), put("/b"), put("/a/2")]);
    const step = stepWatch(machine.history, { prefix: "/a/", after: revision(0) });
    expect(step).toMatchObject({
      kind: "events",
      batches: [{ revision: 1, events: [{ kind: "put" }, { kind: "put" }] }],
      cursor: { prefix: "/a/", after: 1 },
      more: false,
    });
  });

  test("a cursor ahead of this node waits, and is not set back", () => {
    const machine = createStateMachine(kvHandlers);
    write(machine, [{ kind: "put", key: "/a", value: bytes("x") }]);
    const cursor = { prefix: "", after: revision(9) };
    expect(stepWatch(machine.history, cursor)).toEqual({
      kind: "events",
      batches: [],
      cursor,
      more: false,
    });
  });

  test("says so when changes after the cursor are forgotten", () => {
    const history = new History({ revisionsMax: 2, sizeMaxBytes: 1000 });
    for (let at = 1; at <= 5; at++) history.append(entry(at));
    expect(stepWatch(history, { prefix: "", after: revision(2) })).toEqual({
      kind: "compacted",
      oldestRevision: revision(3),
    });
    expect(stepWatch(history, { prefix: "", after: revision(3) })).toMatchObject({
      kind: "events",
      batches: [{ revision: 4 }, { revision: 5 }],
    });
  });

  test("a step is bounded by revisions and by bytes, and the next one goes on", () => {
    const many = new History();
    for (let at = 1; at <= WATCH_STEP_REVISIONS_MAX + 1; at++) many.append(entry(at));
    const first = stepWatch(many, { prefix: "/none", after: revision(0) });
    expect(first).toMatchObject({
      batches: [],
      cursor: { after: WATCH_STEP_REVISIONS_MAX },
      more: true,
    });
    const large = new History();
    for (let at = 1; at <= 4; at++) large.append(entry(at, "x".repeat(200_000)));
    const step = stepWatch(large, { prefix: "", after: revision(0) });
    expect(step).toMatchObject({ batches: [{ revision: 1 }, { revision: 2 }], more: true });
    if (step.kind === "events") {
      expect(stepWatch(large, step.cursor)).toMatchObject({ cursor: { after: 4 }, more: false });
    }
  });
});

test("readPast: the store as it was at every revision", () => {
  fc.assert(
    fc.property(writes, (history) => {
      const machine = createStateMachine(kvHandlers);
      const seen = new Map([[0, [] as KeyValue[]]]);
      for (const success of history) {
        write(machine, success);
        seen.set(machine.reader.revision, [...machine.reader.list("")]);
      }
      for (const [at, pairs] of seen) {
        const past = readPast(machine, revision(at));
        expect([...(past?.list("") ?? [])]).toEqual(pairs);
        expect([...(past?.list("/a/") ?? [])]).toEqual(
          pairs.filter((p) => p.key.startsWith("/a/")),
        );
        expect([...(past?.list("/", "/a/2") ?? [])]).toEqual(pairs.filter((p) => p.key > "/a/2"));
        for (const key of ["/a/1", "/c", "/none"]) {
          expect(past?.get(key)).toEqual(pairs.find((pair) => pair.key === key));
        }
      }
      expect(readPast(machine, revision(machine.reader.revision + 1))).toBeUndefined();
    }),
    { seed: 13, numRuns: 60 },
  );
}, 60_000);

test("eventsSize: what the events keep alive, before and after", () => {
  const [create, mod] = [revision(1), revision(1)];
  const pair: KeyValue = {
    key: "/k",
    value: bytes("123"),
    createRevision: create,
    modRevision: mod,
    version: 1,
  };
  expect(
    eventsSize([putEvent(1, "1234"), { kind: "delete", key: "/k", revision: mod, previous: pair }]),
  ).toBe(2 * EVENT_OVERHEAD_BYTES + 11);
});
