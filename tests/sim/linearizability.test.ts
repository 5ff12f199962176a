/**
 * The checker against histories with known verdicts, and against a slow twin on random ones.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import {
  parseJepsenLog,
  parseStoreHistory,
  REGISTER_MODEL,
  type RegisterInput,
  type RegisterOutput,
  STORE_MODEL,
} from "./histories.ts";
import { checkLinearizable, checkPartitions, type Operation } from "./linearizability.ts";

const TESTDATA =
  process.env["OVERLAY_TESTDATA"] ?? join(import.meta.dir, "../../../shared/testdata");
const PORCUPINE = join(TESTDATA, "porcupine");
const present = existsSync(join(PORCUPINE, "verdicts.json"));

type RegisterOperation = Operation<RegisterInput, RegisterOutput>;

const missing = present ? "" : ` [skipped: none at ${PORCUPINE}, set OVERLAY_TESTDATA]`;

describe.skipIf(!present)(`recorded histories (porcupine test data)${missing}`, () => {
  const verdicts: { jepsen: Record<string, boolean> } = present
    ? JSON.parse(readFileSync(join(PORCUPINE, "verdicts.json"), "utf8"))
    : { jepsen: {} };

  test("jepsen: every verdict agrees", () => {
    const wrong: string[] = [];
    for (const [file, linearizable] of Object.entries(verdicts.jepsen)) {
      const history = parseJepsenLog(readFileSync(join(PORCUPINE, "jepsen", file), "utf8"));
      expect(history.length).toBeGreaterThan(10);
      const verdict = checkLinearizable(REGISTER_MODEL, history);
      if (verdict.kind !== (linearizable ? "linearizable" : "violation")) wrong.push(file);
    }
    expect(wrong).toEqual([]);
    expect(Object.keys(verdicts.jepsen).length).toBeGreaterThan(50);
  });

  const stores = present ? readdirSync(join(PORCUPINE, "kv")) : [];
  for (const file of stores) {
    test(`store: ${file}`, () => {
      const history = parseStoreHistory(readFileSync(join(PORCUPINE, "kv", file), "utf8"));
      const verdict = checkPartitions(STORE_MODEL, history, (input) => input.key);
      expect(verdict.kind).toBe(file.includes("-ok") ? "linearizable" : "violation");
    });
  }
});

test("checker: a stale read is found, and the longest order leaves it out", () => {
  const history: RegisterOperation[] = [
    { input: { kind: "write", value: 1 }, output: { kind: "done" }, callTime: 0, returnTime: 1 },
    { input: { kind: "write", value: 2 }, output: { kind: "done" }, callTime: 2, returnTime: 3 },
    {
      input: { kind: "read" },
      output: { kind: "value", value: 1 },
      callTime: 4,
      returnTime: 5,
    },
  ];
  expect(checkLinearizable(REGISTER_MODEL, history)).toEqual({
    kind: "violation",
    longest: [0, 1],
  });
});

test("checker: a write without an answer may have happened or not", () => {
  const unanswered: RegisterOperation = {
    input: { kind: "write", value: 7 },
    output: { kind: "unknown" },
    callTime: 0,
    returnTime: Infinity,
  };
  for (const value of [undefined, 7]) {
    const read: RegisterOperation = {
      input: { kind: "read" },
      output: { kind: "value", value },
      callTime: 1,
      returnTime: 2,
    };
    expect(checkLinearizable(REGISTER_MODEL, [unanswered, read]).kind).toBe("linearizable");
  }
});

test("checker: the step limit ends a search that would take too long", () => {
  const history = Array.from(
    { length: 12 },
    (_, value): RegisterOperation => ({
      input: { kind: "write", value },
      output: { kind: "done" },
      callTime: 0,
      returnTime: 1,
    }),
  );
  const impossible: RegisterOperation = {
    input: { kind: "read" },
    output: { kind: "value", value: 99 },
    callTime: 0,
    returnTime: 1,
  };
  expect(checkLinearizable(REGISTER_MODEL, [...history, impossible], 1000).kind).toBe("undecided");
});

/** The definition itself: some order that respects real time satisfies the model. */
function slowCheck(history: readonly RegisterOperation[]): boolean {
  function extend(left: readonly RegisterOperation[], value: number | undefined): boolean {
    if (left.every((operation) => operation.returnTime === Infinity)) return true;
    return left.some((operation) => {
      if (left.some((other) => other.returnTime < operation.callTime)) return false;
      const after = REGISTER_MODEL.step({ value }, operation.input, operation.output);
      return (
        after !== undefined &&
        extend(
          left.filter((one) => one !== operation),
          after.value,
        )
      );
    });
  }
  return extend(history, undefined);
}

test("checker: agrees with the definition on random small histories", () => {
  const small = fc.integer({ min: 0, max: 2 });
  const operation = fc
    .record({ kind: fc.constantFrom("read", "write", "cas"), a: small, b: small, at: fc.nat(20) })
    .chain(({ kind, a, b, at }) =>
      fc.record({ last: fc.nat(8), lost: fc.boolean(), done: fc.boolean() }).map((end) => {
        const input: RegisterInput =
          kind === "read"
            ? { kind: "read" }
            : kind === "write"
              ? { kind: "write", value: a }
              : { kind: "cas", from: a, to: b };
        const answer: RegisterOutput =
          kind === "read"
            ? { kind: "value", value: a === 0 ? undefined : b }
            : { kind: kind === "write" || end.done ? "done" : "refused" };
        const lost = end.lost && end.last < 3;
        return {
          input,
          output: lost ? ({ kind: "unknown" } as const) : answer,
          callTime: at,
          returnTime: lost ? Infinity : at + end.last,
        };
      }),
    );
  const seen = { yes: 0, no: 0 };
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 6 }), (history) => {
      const expected = slowCheck(history);
      seen[expected ? "yes" : "no"]++;
      const verdict = checkLinearizable(REGISTER_MODEL, history);
      expect(verdict.kind).toBe(expected ? "linearizable" : "violation");
    }),
    { numRuns: 3000 },
  );
  expect(seen.yes).toBeGreaterThan(100);
  expect(seen.no).toBeGreaterThan(100);
});
