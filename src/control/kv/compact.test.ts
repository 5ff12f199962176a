import { expect, test } from "bun:test";
import fc from "fast-check";
import { decodeIndex, decodeRevision, decodeTerm } from "../../base/ids.ts";
import { type CompactOutcome, compact, parseCompact } from "./compact.ts";
import { kvHandlers } from "./handlers.ts";
import { readPast } from "./past.ts";
import { createStateMachine } from "./state-machine.ts";
import { txn } from "./txn.ts";
import type { Command, KeyValue, StateMachine } from "./types.ts";
import { stepWatch } from "./watch.ts";

const revision = decodeRevision;

function applyNext(machine: StateMachine, command: Command): unknown {
  const index = decodeIndex(machine.appliedIndex + 1);
  const context = { index, term: decodeTerm(1), proposedAtMs: 0, request: undefined };
  return machine.apply(command, context).outcome;
}

function write(machine: StateMachine, n: number): void {
  const value = new TextEncoder().encode(String(n));
  applyNext(machine, txn({ success: [{ kind: "put", key: `/${n % 3}`, value }] }));
}

function compactAt(machine: StateMachine, at: number): CompactOutcome {
  return applyNext(machine, compact(revision(at))) as CompactOutcome;
}

/** Ten revisions, of which those before the sixth are compacted. */
function compactedMachine() {
  const machine = createStateMachine(kvHandlers);
  for (let n = 1; n <= 10; n++) write(machine, n);
  expect(compactAt(machine, 6)).toEqual({ kind: "compacted", revision: revision(6) });
  return machine;
}

test("compact: what is before it is told to be compacted, the rest stays", () => {
  const machine = compactedMachine();
  expect(Number(machine.history.oldestRevision)).toBe(6);
  expect(readPast(machine, revision(5))).toBeUndefined();
  expect(stepWatch(machine.history, { prefix: "", after: revision(5) })).toEqual({
    kind: "compacted",
    oldestRevision: revision(6),
  });
  const past = readPast(machine, revision(6));
  expect([...(past?.list("") ?? [])].map(({ modRevision }) => Number(modRevision))).toEqual([
    6, 4, 5,
  ]);
  expect(stepWatch(machine.history, { prefix: "", after: revision(6) })).toMatchObject({
    batches: [{ revision: 7 }, { revision: 8 }, { revision: 9 }, { revision: 10 }],
  });
  expect(Number(machine.reader.revision)).toBe(10);
});

const rows = [
  { at: 10, outcome: { kind: "compacted", revision: 10 }, oldest: 10, why: "all but the present" },
  { at: 6, outcome: { kind: "compacted", revision: 6 }, oldest: 6, why: "again" },
  { at: 2, outcome: { kind: "compacted", revision: 6 }, oldest: 6, why: "less than before" },
  { at: 0, outcome: { kind: "compacted", revision: 6 }, oldest: 6, why: "nothing" },
  { at: 11, outcome: { kind: "future_revision", revision: 10 }, oldest: 6, why: "the future" },
];
for (const { at, outcome, oldest, why } of rows) {
  test(`compact at ${at}: ${why}`, () => {
    const machine = compactedMachine();
    expect<unknown>(compactAt(machine, at)).toEqual(outcome);
    expect(Number(machine.history.oldestRevision)).toBe(oldest);
    write(machine, 11);
    expect(Number(machine.reader.revision)).toBe(11);
    expect(stepWatch(machine.history, { prefix: "", after: revision(10) })).toMatchObject({
      batches: [{ revision: 11 }],
    });
  });
}

test("compact: is part of the state that replicas compare and snapshots carry", () => {
  const machine = compactedMachine();
  const other = createStateMachine(kvHandlers);
  for (let n = 1; n <= 10; n++) write(other, n);
  expect(compactAt(other, 5).kind).toBe("compacted");
  expect(other.hash()).not.toBe(machine.hash());
  expect(other.restore([...machine.snapshot()])).toBeUndefined();
  expect(other.hash()).toBe(machine.hash());
  // It knows what it may not tell any more, and answers as the one does that it came from.
  expect(compactAt(other, 3)).toEqual({ kind: "compacted", revision: revision(6) });
});

test("compact: at any times, reads of the past are right or told to be compacted", () => {
  const histories = fc.array(fc.option(fc.nat(30), { nil: undefined }), { maxLength: 60 });
  fc.assert(
    fc.property(histories, (history) => {
      const machine = createStateMachine(kvHandlers);
      const seen = new Map<number, KeyValue[]>([[0, []]]);
      let oldest = 0;
      for (const [n, at] of history.entries()) {
        if (at === undefined) write(machine, n);
        else if (compactAt(machine, at).kind === "compacted") oldest = Math.max(oldest, at);
        seen.set(machine.reader.revision, [...machine.reader.list("")]);
      }
      expect(Number(machine.history.oldestRevision)).toBe(oldest);
      for (const [at, pairs] of seen) {
        const past = readPast(machine, revision(at));
        expect(past && [...past.list("")]).toEqual(at < oldest ? undefined : pairs);
      }
    }),
    { seed: 23, numRuns: 100 },
  );
});

test("parseCompact: gives back what the constructor makes, refuses the rest", () => {
  expect(parseCompact(compact(revision(7)))).toEqual(compact(revision(7)));
  for (const bad of [null, {}, { revision: -1 }, { revision: 1.5 }, { revision: "7" }]) {
    expect(parseCompact(bad)).toBeUndefined();
  }
});
