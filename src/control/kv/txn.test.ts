import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { decodeIndex, decodeTerm } from "../../base/ids.ts";
import { kvHandlers } from "./handlers.ts";
import {
  DELETE_KEYS_MAX,
  KEY_SIZE_MAX_BYTES,
  TXN_OPERATIONS_MAX,
  VALUE_SIZE_MAX_BYTES,
} from "./limits.ts";
import { parseKvCommand } from "./parse-txn.ts";
import { createStateMachine } from "./state-machine.ts";
import {
  type Compare,
  type CompareOperator,
  checkTxn,
  type Operation,
  systemTxn,
  type TxnOutcome,
  txn,
} from "./txn.ts";
import type { Command, StateMachine } from "./types.ts";

const text = (value: string) => new TextEncoder().encode(value);
const put = (key: string, value = "x"): Operation => ({ kind: "put", key, value: text(value) });

function applyNext(machine: StateMachine, command: Command<TxnOutcome>): unknown {
  const index = decodeIndex(machine.appliedIndex + 1);
  const context = { index, term: decodeTerm(1), proposedAtMs: 0, request: undefined };
  return machine.apply(command, context).outcome;
}

/** "/a" was made at revision 1 and changed at 3; "/b" made at 2. */
function threeRevisions(): StateMachine {
  const machine = createStateMachine(kvHandlers);
  applyNext(machine, txn({ success: [put("/a", "one")] }));
  applyNext(machine, txn({ success: [put("/b", "b")] }));
  applyNext(machine, txn({ success: [put("/a", "two")] }));
  return machine;
}

function onValue(key: string, op: CompareOperator, value: string): Compare {
  return { key, target: "value", op, value: text(value) };
}

describe("compare", () => {
  const rows: { compare: Compare; holds: boolean; why: string }[] = [
    { compare: onValue("/a", "=", "two"), holds: true, why: "the same bytes" },
    { compare: onValue("/a", "=", "one"), holds: false, why: "an older value" },
    { compare: onValue("/a", "!=", "one"), holds: true, why: "other bytes" },
    { compare: onValue("/a", "<", "twofold"), holds: true, why: "a prefix is less" },
    { compare: onValue("/a", ">", "tw"), holds: true, why: "and the longer one greater" },
    { compare: onValue("/a", ">", "Two"), holds: true, why: "bytes, not letters" },
    { compare: onValue("/no", "=", ""), holds: false, why: "absent is not empty" },
    { compare: onValue("/no", "!=", "x"), holds: false, why: "absent has no value to differ" },
    { compare: { key: "/a", target: "version", op: "=", value: 2 }, holds: true, why: "2 writes" },
    {
      compare: { key: "/a", target: "createRevision", op: "=", value: 1 },
      holds: true,
      why: "made first",
    },
    {
      compare: { key: "/a", target: "modRevision", op: "=", value: 3 },
      holds: true,
      why: "changed last",
    },
    {
      compare: { key: "/a", target: "modRevision", op: "<", value: 3 },
      holds: false,
      why: "less is not equal",
    },
    {
      compare: { key: "/no", target: "version", op: "=", value: 0 },
      holds: true,
      why: "absent has version 0: how to say 'must not exist'",
    },
    {
      compare: { key: "/no", target: "modRevision", op: "<", value: 1 },
      holds: true,
      why: "and revision 0",
    },
    {
      compare: { key: "/no", target: "createRevision", op: ">", value: 0 },
      holds: false,
      why: "so it was never made",
    },
  ];
  for (const { compare, holds, why } of rows) {
    test(`${compare.key} ${compare.target} ${compare.op}: ${why}`, () => {
      const machine = threeRevisions();
      const command = txn({ compare: [compare], success: [put("/y")], failure: [put("/n")] });
      expect(applyNext(machine, command)).toMatchObject({ kind: "done", succeeded: holds });
      expect(machine.reader.get(holds ? "/y" : "/n")).toBeDefined();
      expect(machine.reader.get(holds ? "/n" : "/y")).toBeUndefined();
    });
  }

  test("every comparison must hold", () => {
    const machine = threeRevisions();
    const compare = [onValue("/a", "=", "two"), onValue("/b", "=", "other")];
    expect(applyNext(machine, txn({ compare }))).toMatchObject({ succeeded: false });
  });
});

describe("operations", () => {
  test("run in order and see those before them", () => {
    const machine = threeRevisions();
    const success: Operation[] = [
      { kind: "get", key: "/c" },
      put("/c", "1"),
      { kind: "get", key: "/c" },
      { kind: "range", prefix: "/", limit: 2 },
      { kind: "delete", key: "/a" },
      { kind: "delete", key: "/a" },
      { kind: "range", prefix: "/", limit: 5 },
      { kind: "delete_prefix", prefix: "/b" },
    ];
    const outcome = applyNext(machine, txn({ success }));
    expect(outcome).toMatchObject({
      kind: "done",
      revision: 4,
      results: [
        { kind: "get", pair: null },
        { kind: "put" },
        { kind: "get", pair: { key: "/c", modRevision: 4, version: 1 } },
        { kind: "range", pairs: [{ key: "/a" }, { key: "/b" }], more: true },
        { kind: "delete", deletedCount: 1 },
        { kind: "delete", deletedCount: 0 },
        { kind: "range", pairs: [{ key: "/b" }, { key: "/c" }], more: false },
        { kind: "delete_prefix", deletedCount: 1 },
      ],
    });
    expect([...machine.reader.list("")].map(({ key }) => key)).toEqual(["/c"]);
  });

  test("a transaction that only reads leaves the revision", () => {
    const machine = threeRevisions();
    const outcome = applyNext(machine, txn({ success: [{ kind: "get", key: "/a" }] }));
    expect(outcome).toMatchObject({ revision: 3 });
  });

  test("an answer that is too large undoes everything", () => {
    const machine = createStateMachine(kvHandlers);
    for (const key of ["/1", "/2", "/3"]) {
      const value = new Uint8Array(VALUE_SIZE_MAX_BYTES);
      applyNext(machine, txn({ success: [{ kind: "put", key, value }] }));
    }
    const before = { keys: [...machine.reader.list("")], revision: machine.reader.revision };
    const reads: Operation[] = ["/1", "/2", "/3"].map((key) => ({ kind: "get", key }));
    const success = [put("/1"), put("/new"), { kind: "delete" as const, key: "/2" }];
    expect(applyNext(machine, txn({ success: [...success, ...reads, ...reads] }))).toMatchObject({
      kind: "response_too_large",
    });
    expect([...machine.reader.list("")]).toEqual(before.keys);
    expect(machine.reader.revision).toBe(before.revision);
  });

  test("deleting more keys than allowed deletes none", () => {
    const machine = createStateMachine(kvHandlers);
    for (let i = 0; i <= DELETE_KEYS_MAX; i += 100) {
      const success = Array.from({ length: 100 }, (_, j) => put(`/k/${i + j}`));
      applyNext(machine, txn({ success }));
    }
    const { revision } = machine.reader;
    const command = txn({ success: [{ kind: "delete_prefix", prefix: "/k/" }] });
    expect(applyNext(machine, command)).toMatchObject({ kind: "too_many_keys" });
    expect(machine.reader.revision).toBe(revision);
    expect([...machine.reader.list("")]).toHaveLength(DELETE_KEYS_MAX + 100);
  }, 60_000);
});

describe("limits", () => {
  const large = new Uint8Array(VALUE_SIZE_MAX_BYTES + 1);
  const most = new Uint8Array(VALUE_SIZE_MAX_BYTES);
  const many = (count: number) => Array.from({ length: count }, () => put("/a"));
  const rows: { success: Operation[]; refusal: string | undefined; why: string }[] = [
    { success: [put("/overlay/network/config")], refusal: "reserved_key", why: "the system's" },
    { success: [put("/overlay/")], refusal: "reserved_key", why: "its first key" },
    { success: [put("/overlay")], refusal: undefined, why: "outside of it by one letter" },
    {
      success: [{ kind: "delete", key: "/overlay/x" }],
      refusal: "reserved_key",
      why: "deleting counts",
    },
    {
      success: [{ kind: "delete_prefix", prefix: "/over" }],
      refusal: "reserved_key",
      why: "would take the system's keys along",
    },
    {
      success: [{ kind: "delete_prefix", prefix: "" }],
      refusal: "reserved_key",
      why: "all keys are also the system's",
    },
    { success: [{ kind: "get", key: "/overlay/x" }], refusal: undefined, why: "reading is free" },
    {
      success: [{ kind: "range", prefix: "", limit: 1 }],
      refusal: undefined,
      why: "reading all, too",
    },
    { success: [put("")], refusal: "invalid_key", why: "an empty key" },
    { success: [put("/\ud800")], refusal: "invalid_key", why: "no UTF-8 form" },
    { success: [put("k".repeat(KEY_SIZE_MAX_BYTES))], refusal: undefined, why: "longest key" },
    {
      success: [put("ü".repeat(KEY_SIZE_MAX_BYTES))],
      refusal: "key_too_large",
      why: "bytes count, not letters",
    },
    { success: [{ kind: "put", key: "/a", value: most }], refusal: undefined, why: "1 MiB" },
    {
      success: [{ kind: "put", key: "/a", value: large }],
      refusal: "value_too_large",
      why: "and one byte",
    },
    {
      success: [
        { kind: "put", key: "/a", value: most },
        { kind: "put", key: "/b", value: most },
      ],
      refusal: "request_too_large",
      why: "together",
    },
    { success: many(TXN_OPERATIONS_MAX), refusal: undefined, why: "as many as allowed" },
    {
      success: many(TXN_OPERATIONS_MAX + 1),
      refusal: "too_many_operations",
      why: "one more",
    },
  ];
  for (const { success, refusal, why } of rows) {
    test(`${refusal ?? "accepted"}: ${why}`, () => {
      expect<string | undefined>(checkTxn(txn({ success }))?.kind).toBe(refusal);
      expect<string | undefined>(checkTxn(txn({ failure: success }))?.kind).toBe(refusal);
      const machine = createStateMachine(kvHandlers);
      expect(applyNext(machine, txn({ success }))).toMatchObject({ kind: refusal ?? "done" });
    });
  }

  test("the system's transaction may write the system's keys", () => {
    const machine = createStateMachine(kvHandlers);
    expect(applyNext(machine, systemTxn({ success: [put("/overlay/x")] }))).toMatchObject({
      kind: "done",
    });
    expect(machine.reader.get("/overlay/x")).toBeDefined();
  });
});

describe("parseKvCommand", () => {
  test("gives back what the constructors make", () => {
    const command = txn({
      compare: [onValue("/a", "=", "1"), { key: "/a", target: "version", op: ">", value: 0 }],
      success: [put("/a"), { kind: "range", prefix: "/", limit: 1 }],
      failure: [
        { kind: "delete_prefix", prefix: "/x" },
        { kind: "get", key: "/a" },
      ],
    });
    expect(parseKvCommand(structuredClone(command))).toEqual(command);
    expect(parseKvCommand(systemTxn({}))).toEqual(systemTxn({}));
  });

  test("never throws, whatever it is given", () => {
    const operation = fc.oneof(
      fc.anything(),
      fc.record({ kind: fc.constantFrom("put", "get", "range"), key: fc.anything() }),
    );
    const almost = fc.record({
      kind: fc.constantFrom("txn", "system_txn", "other"),
      compare: fc.oneof(fc.anything(), fc.array(fc.anything())),
      success: fc.oneof(fc.anything(), fc.array(operation)),
      failure: fc.constant([]),
    });
    fc.assert(
      fc.property(fc.oneof(fc.anything(), almost), (value) => {
        const command = parseKvCommand(value);
        if (command !== undefined) checkTxn(command);
      }),
      { seed: 4, numRuns: 1000 },
    );
  });
});
