import { expect, test } from "bun:test";
import fc from "fast-check";
import { AssertionError, assert } from "../../base/assert.ts";
import { decodeIndex, decodeNodeId, decodeTerm } from "../../base/ids.ts";
import { kvHandlers } from "./handlers.ts";
import { SNAPSHOT_PART_SIZE_BYTES } from "./limits.ts";
import { plainSize } from "./plain.ts";
import { createStateMachine } from "./state-machine.ts";
import { type Operation, txn } from "./txn.ts";
import type { Applied, Command, RequestId, SnapshotPart, StateMachine } from "./types.ts";

const text = (value: string) => new TextEncoder().encode(value);
const put = (key: string, value: string): Operation => ({ kind: "put", key, value: text(value) });

function applyNext(machine: StateMachine, command: Command, request?: RequestId): Applied {
  return machine.apply(command, {
    index: decodeIndex(machine.appliedIndex + 1),
    term: decodeTerm(1),
    proposedAtMs: 0,
    request,
  });
}

function id(client: number, sequence: number): RequestId {
  return { client: decodeNodeId(client), sequence };
}

/** What a driver does with parts: bytes and back. JSON with tagged bytes stands in for CBOR. */
function overTheWire(parts: Iterable<SnapshotPart>): SnapshotPart[] {
  const encode = (_: string, v: unknown) =>
    v instanceof Uint8Array ? { $: Buffer.from(v).toString("base64") } : v;
  const decode = (_: string, v: unknown) =>
    typeof v === "object" && v !== null && "$" in v && typeof v.$ === "string"
      ? new Uint8Array(Buffer.from(v.$, "base64"))
      : v;
  return Array.from(parts, (part) => JSON.parse(JSON.stringify(part, encode), decode));
}

test("apply: one revision for each command that changes something", () => {
  const machine = createStateMachine(kvHandlers);
  const first = applyNext(machine, txn({ success: [put("/a", "1"), put("/b", "1")] }));
  expect(Number(first.revision)).toBe(1);
  expect(first.events.map((event) => event.kind)).toEqual(["put", "put"]);
  const read = applyNext(machine, txn({ success: [{ kind: "get", key: "/a" }] }));
  expect(Number(read.revision)).toBe(1);
  expect(read.events).toEqual([]);
  applyNext(machine, txn({ success: [put("/a", "2")] }));
  expect(machine.reader.get("/a")).toMatchObject({ createRevision: 1, modRevision: 2, version: 2 });
  const gone = applyNext(machine, txn({ success: [{ kind: "delete", key: "/a" }] }));
  expect(gone.events).toMatchObject([{ kind: "delete", key: "/a", revision: 3 }]);
  applyNext(machine, txn({ success: [put("/a", "3")] }));
  expect(machine.reader.get("/a")).toMatchObject({ createRevision: 4, version: 1 });
});

test("apply: several writes of one key are one change, one event, one version", () => {
  const machine = createStateMachine(kvHandlers);
  applyNext(machine, txn({ success: [put("/a", "0")] }));
  const applied = applyNext(machine, txn({ success: [put("/a", "1"), put("/a", "2")] }));
  expect(applied.events).toHaveLength(1);
  expect(machine.reader.get("/a")).toMatchObject({ version: 2, value: text("2") });
  const nothing = applyNext(
    machine,
    txn({ success: [put("/b", "1"), { kind: "delete", key: "/b" }] }),
  );
  expect(nothing.events).toEqual([]);
  expect(Number(nothing.revision)).toBe(2);
});

test("apply: a value is copied, so that the caller's buffer may change", () => {
  const machine = createStateMachine(kvHandlers);
  const buffer = Buffer.from("before");
  applyNext(machine, txn({ success: [{ kind: "put", key: "/a", value: buffer }] }));
  buffer.write("after!");
  expect(machine.reader.get("/a")?.value).toEqual(text("before"));
});

test("apply: a request is applied once and answered again", () => {
  const machine = createStateMachine(kvHandlers);
  const command = txn({ success: [put("/a", "1")] });
  const first = applyNext(machine, command, id(1, 1));
  applyNext(machine, txn({ success: [put("/a", "2")] }), id(1, 2));
  const again = applyNext(machine, command, id(1, 1));
  const { revision } = machine.reader;
  expect(again).toEqual({ outcome: first.outcome, revision, events: [] });
  expect(machine.reader.get("/a")?.value).toEqual(text("2"));
});

test("apply: a refusal is remembered like any outcome", () => {
  const machine = createStateMachine(kvHandlers);
  const command = txn({ success: [put("/overlay/x", "1")] });
  const refusal = { kind: "reserved_key", key: "/overlay/x" };
  expect(applyNext(machine, command, id(1, 1)).outcome).toEqual(refusal);
  const other = txn({ success: [put("/a", "1")] });
  expect(applyNext(machine, other, id(1, 1)).outcome).toEqual(refusal);
  expect(machine.reader.get("/a")).toBeUndefined();
});

const refused: { command: Command; outcome: string; why: string }[] = [
  { command: { kind: "txn" }, outcome: "malformed_command", why: "a known kind without content" },
  {
    command: Object.assign({ kind: "txn" }, { compare: [], success: [{ key: 1 }], failure: [] }),
    outcome: "malformed_command",
    why: "a key that is not text",
  },
];
for (const { command, outcome, why } of refused) {
  test(`apply: refuses and goes on: ${why}`, () => {
    const machine = createStateMachine(kvHandlers);
    expect(applyNext(machine, command).outcome).toEqual({ kind: outcome });
    expect(Number(machine.appliedIndex)).toBe(1);
    expect(Number(machine.reader.revision)).toBe(0);
  });
}

const unknown = [
  { kind: "of_the_future", why: "a kind of a newer node" },
  { kind: "toString", why: "a name every object has" },
  { kind: "__proto__", why: "not an own key either" },
];
for (const { kind, why } of unknown) {
  test(`apply: an unknown command is not passed over: ${why}`, () => {
    const machine = createStateMachine(kvHandlers);
    expect(() => applyNext(machine, { kind })).toThrow(
      `Cannot apply log entry 1: this program does not know its command "${kind}"`,
    );
  });
}

test("apply: a handler's failed assertion is not caught", () => {
  const handlers = {
    broken: () => {
      assert(false, "broken");
    },
  };
  const machine = createStateMachine(handlers);
  expect(() => applyNext(machine, { kind: "broken" })).toThrow(AssertionError);
});

test("apply and skip: refuse an index out of order", () => {
  const machine = createStateMachine(kvHandlers);
  machine.skip(decodeIndex(1));
  expect(() => machine.skip(decodeIndex(1))).toThrow(AssertionError);
  expect(() => machine.skip(decodeIndex(3))).toThrow(AssertionError);
  machine.skip(decodeIndex(2));
  expect(Number(machine.appliedIndex)).toBe(2);
});

interface Write {
  readonly key: string;
  readonly value: Uint8Array | undefined;
  readonly client: number;
  readonly sequence: number;
}

const writes: fc.Arbitrary<Write[]> = fc.array(
  fc.record({
    key: fc.integer({ min: 0, max: 40 }).map((n) => `/k/${n}`),
    value: fc.option(fc.uint8Array({ maxLength: 40 }), { nil: undefined }),
    client: fc.integer({ min: 1, max: 4 }),
    sequence: fc.integer({ min: 0, max: 60 }),
  }),
  { minLength: 1, maxLength: 120, size: "max" },
);

function applyWrite(machine: StateMachine, write: Write): Applied {
  const operation: Operation =
    write.value === undefined
      ? { kind: "delete", key: write.key }
      : { kind: "put", key: write.key, value: write.value };
  return applyNext(machine, txn({ success: [operation] }), id(write.client, write.sequence));
}

test("snapshot at any point and the rest of the log give what the whole log gives", () => {
  fc.assert(
    fc.property(writes, fc.nat(), (history, at) => {
      const whole = createStateMachine(kvHandlers);
      const cut = at % history.length;
      let parts: Iterable<SnapshotPart> = [];
      for (const [i, write] of history.entries()) {
        if (i === cut) parts = whole.snapshot();
        applyWrite(whole, write);
      }
      // Encoded only now: the snapshot must not show what was applied since.
      const restored = createStateMachine(kvHandlers);
      applyWrite(restored, { key: "/old", value: text("old"), client: 9, sequence: 9 });
      expect(restored.restore(overTheWire(parts))).toBeUndefined();
      expect(Number(restored.appliedIndex)).toBe(cut);
      const replayed = history.slice(cut).map((write) => applyWrite(restored, write));
      expect(replayed.at(-1)?.revision).toBe(whole.reader.revision);
      expect(restored.hash()).toBe(whole.hash());
      expect([...restored.reader.list("")]).toEqual([...whole.reader.list("")]);
    }),
    { seed: 2, numRuns: 100 },
  );
}, 60_000);

test("hash: equal for equal logs, different after any single change", () => {
  const hashes = new Set<string>();
  for (const value of ["1", "2", "\u0000", ""]) {
    const [one, two] = [createStateMachine(kvHandlers), createStateMachine(kvHandlers)];
    applyNext(one, txn({ success: [put("/a", value)] }));
    applyNext(two, txn({ success: [put("/a", value)] }));
    expect(one.hash()).toBe(two.hash());
    expect(one.hash()).toMatch(/^[0-9a-f]{32}$/);
    hashes.add(one.hash());
    applyNext(one, txn({ success: [{ kind: "delete", key: "/a" }] }));
    hashes.add(one.hash());
  }
  // Four values, and one empty store: deletion leaves nothing of the value.
  expect(hashes.size).toBe(5);
});

function largeMachine(): StateMachine {
  const machine = createStateMachine(kvHandlers);
  const value = new Uint8Array(700_001).map((_, i) => i % 251);
  applyNext(machine, txn({ success: [put("/a", "1")] }), id(1, 1));
  applyNext(machine, txn({ success: [{ kind: "put", key: "/large", value }] }), id(1, 2));
  applyNext(machine, txn({ success: [put("/z", "1")] }), id(2, 1));
  return machine;
}

test("snapshot: values larger than a part are cut and joined again", () => {
  const machine = largeMachine();
  const parts = overTheWire(machine.snapshot());
  for (const part of parts) expect(plainSize(part)).toBeLessThan(2 * SNAPSHOT_PART_SIZE_BYTES);
  const copy = createStateMachine(kvHandlers);
  expect(copy.restore(parts)).toBeUndefined();
  expect(copy.hash()).toBe(machine.hash());
  expect(copy.reader.get("/large")).toEqual(machine.reader.get("/large")!);
});

test("snapshot: no part is more than a moment's work, however small its rows are", () => {
  const machine = createStateMachine(kvHandlers);
  for (let i = 0; i < 3000; i++) {
    // One client for each three requests, and renewals, so that all kinds of rows are many.
    const operation = i % 2 === 0 ? put(`/${i}`, "") : { ...put(`/${i}`, ""), ttlSeconds: 9 };
    applyNext(machine, txn({ success: [operation] }), id(1 + (i % 1000), i));
  }
  const rowCounts = new Map<unknown, number>();
  for (const part of machine.snapshot()) {
    expect(plainSize(part)).toBeLessThan(1.1 * SNAPSHOT_PART_SIZE_BYTES);
    const { kind, rows } = part;
    if (!Array.isArray(rows)) continue;
    expect(rows.length).toBeLessThan(2000);
    rowCounts.set(kind, (rowCounts.get(kind) ?? 0) + rows.length);
  }
  expect(Object.fromEntries(rowCounts)).toEqual({ clients: 1000, outcomes: 3000, pairs: 3000 });
});

test("restoration: part by part, and nothing is replaced before the end", () => {
  const source = largeMachine();
  const target = createStateMachine(kvHandlers);
  applyNext(target, txn({ success: [put("/mine", "1")] }));
  const before = target.hash();
  const restoration = target.restoration();
  for (const part of overTheWire(source.snapshot())) {
    expect(restoration.take(part)).toBeUndefined();
    expect(target.hash()).toBe(before);
  }
  expect(restoration.end()).toBeUndefined();
  expect(target.hash()).toBe(source.hash());
  expect(createStateMachine(kvHandlers).restoration().end()).toBe("there are no parts");
});

test("restore: every part lost or repeated is found, and nothing changes", () => {
  const parts = overTheWire(largeMachine().snapshot());
  expect(parts.length).toBeGreaterThan(6);
  const target = createStateMachine(kvHandlers);
  applyNext(target, txn({ success: [put("/mine", "1")] }));
  const before = target.hash();
  const damaged: SnapshotPart[][] = [[]];
  for (let i = 0; i < parts.length; i++) {
    damaged.push(parts.toSpliced(i, 1), parts.toSpliced(i, 0, parts[i]!), parts.slice(0, i));
  }
  for (const some of damaged) {
    expect(target.restore(some)).toBeString();
    expect(target.hash()).toBe(before);
  }
});

test("restore: parts in another order give the same state or are refused", () => {
  const machine = largeMachine();
  const parts = overTheWire(machine.snapshot());
  for (let i = 1; i < parts.length; i++) {
    const target = createStateMachine(kvHandlers);
    const problem = target.restore(parts.toSpliced(i - 1, 2, parts[i]!, parts[i - 1]!));
    if (problem === undefined) expect(target.hash()).toBe(machine.hash());
    else expect(Number(target.appliedIndex)).toBe(0);
  }
});

test("restore: random damage inside a part is found and never throws", () => {
  const parts = overTheWire(largeMachine().snapshot()).filter((part) => part["kind"] !== "piece");
  const machine = createStateMachine(kvHandlers);
  applyNext(machine, txn({ success: [put("/a", "1"), put("/b", "2")] }), id(1, 1));
  const good = overTheWire(machine.snapshot());
  const junk = fc.oneof(fc.anything(), fc.constantFrom(...parts));
  fc.assert(
    fc.property(fc.nat(good.length - 1), fc.string(), junk, (i, name, value) => {
      const target = createStateMachine(kvHandlers);
      const names = Object.keys(good[i]!);
      const key = names[name.length % names.length]!;
      const bad = good.toSpliced(i, 1, { ...good[i]!, [key]: value });
      const problem = target.restore(bad);
      if (problem === undefined) expect(target.hash()).toBe(machine.hash());
    }),
    { seed: 3, numRuns: 500 },
  );
});

test("reader: outlives a restore, and a listing stands still while the store changes", () => {
  const machine = largeMachine();
  const { reader } = machine;
  const seen: string[] = [];
  for (const { key } of reader.list("/")) {
    applyNext(machine, txn({ success: [{ kind: "delete_prefix", prefix: "/z" }] }));
    seen.push(key);
  }
  expect(seen).toEqual(["/a", "/large", "/z"]);
  const other = createStateMachine(kvHandlers);
  applyNext(other, txn({ success: [put("/other", "1")] }));
  expect(machine.restore(overTheWire(other.snapshot()))).toBeUndefined();
  expect([...reader.list("/")].map(({ key }) => key)).toEqual(["/other"]);
  expect(Number(reader.revision)).toBe(1);
  // What happened before the snapshot is not known here.
  expect(Number(machine.history.oldestRevision)).toBe(1);
});
