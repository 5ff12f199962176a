import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { HostError } from "../../base/host-error.ts";
import { decodeIndex, decodeNodeId, decodeTerm } from "../../base/ids.ts";
import { type CheckState, checkState, parseCheckState, StateChecks } from "./check.ts";
import { kvHandlers } from "./handlers.ts";
import { CHECK_DIGESTS_MAX, CHECK_INTERVAL_ENTRIES, CHECK_TALLIES_MAX } from "./limits.ts";
import { createStateMachine } from "./state-machine.ts";
import { txn } from "./txn.ts";
import type { Command, KvMachine } from "./types.ts";

const INDEX = decodeIndex(CHECK_INTERVAL_ENTRIES);
const hash = (digit: string) => digit.repeat(32);

function word(node: number, digit: string, voterCount = 3, index = INDEX): CheckState {
  return checkState({ index, hash: hash(digit) }, { node: decodeNodeId(node), voterCount });
}

/** A replica whose own digest is made of `digit`. */
function replica(digit: string): StateChecks {
  const checks = new StateChecks();
  checks.passed(INDEX, () => hash(digit));
  return checks;
}

describe("take", () => {
  const rows: { own: string; words: CheckState[]; diverged: boolean; why: string }[] = [
    { own: "a", words: [word(1, "a"), word(2, "a")], diverged: false, why: "all agree" },
    { own: "a", words: [word(1, "b")], diverged: false, why: "one voice, be it the leader's" },
    { own: "a", words: [word(1, "b"), word(2, "a")], diverged: false, why: "the other is alone" },
    { own: "a", words: [word(1, "b"), word(2, "b")], diverged: true, why: "two of three" },
    { own: "a", words: [word(1, "a"), word(2, "b"), word(3, "b")], diverged: true, why: "own too" },
    { own: "a", words: [word(1, "b"), word(1, "b")], diverged: false, why: "one voice, twice" },
    { own: "a", words: [word(1, "b"), word(2, "c")], diverged: false, why: "everybody differs" },
    { own: "a", words: [word(1, "b", 1)], diverged: true, why: "a learner and its only voter" },
    { own: "a", words: [word(1, "b", 5), word(2, "b", 3)], diverged: false, why: "two of five" },
    { own: "a", words: [word(1, "b", 2)], diverged: false, why: "one of two is no majority" },
  ];
  for (const { own, words, diverged, why } of rows) {
    test(`${diverged ? "diverged" : "goes on"}: ${why}`, () => {
      const checks = replica(own);
      const found = words.map((each) => checks.take(each));
      expect(found.slice(0, -1).every((each) => each === undefined)).toBe(true);
      expect(found.at(-1) !== undefined).toBe(diverged);
      expect(checks.asked).toBe(INDEX);
      const isAgreed = words.filter(({ hash: each }) => each === hash(own)).length > 1;
      expect(checks.agreed).toBe(isAgreed ? INDEX : undefined);
    });
  }

  test("a word about an entry without an own digest counts for nothing", () => {
    const checks = new StateChecks();
    for (const node of [1, 2, 3]) expect(checks.take(word(node, "b"))).toBeUndefined();
    checks.passed(INDEX, () => hash("a"));
    checks.reset();
    for (const node of [1, 2, 3]) expect(checks.take(word(node, "b"))).toBeUndefined();
  });

  test("exactly the replicas outside the majority are found, in whatever order words come", () => {
    const digits = fc.array(fc.constantFrom("a", "b", "c"), { minLength: 1, maxLength: 7 });
    fc.assert(
      fc.property(digits, fc.infiniteStream(fc.nat()), (states, keys) => {
        const voterCount = states.length;
        const order = states
          .map((digit, i) => ({ i, digit, at: keys.next().value ?? 0 }))
          .sort((x, y) => x.at - y.at);
        for (const own of states) {
          const checks = replica(own);
          const found = order.some(
            ({ i, digit }) => checks.take(word(i + 1, digit, voterCount)) !== undefined,
          );
          const majority = ["a", "b", "c"].find(
            (digit) => states.filter((state) => state === digit).length * 2 > voterCount,
          );
          expect(found).toBe(majority !== undefined && majority !== own);
        }
      }),
      { seed: 31, numRuns: 500 },
    );
  });

  test("what is kept is bounded", () => {
    const checks = new StateChecks();
    const count = CHECK_DIGESTS_MAX + 5;
    for (let i = 1; i <= count * CHECK_INTERVAL_ENTRIES; i++) {
      checks.passed(decodeIndex(i), () => hash("a"));
    }
    const at = (n: number) => checks.at(decodeIndex(n * CHECK_INTERVAL_ENTRIES));
    expect([at(5), at(6)?.hash, at(count)]).toEqual([undefined, hash("a"), checks.latest()]);
    // The first word is forgotten by the time the second one comes.
    const old = decodeIndex((count - CHECK_TALLIES_MAX) * CHECK_INTERVAL_ENTRIES);
    expect(checks.take(word(1, "b", 3, old))).toBeUndefined();
    for (let n = count - CHECK_TALLIES_MAX + 1; n <= count; n++) {
      checks.take(word(1, "b", 3, decodeIndex(n * CHECK_INTERVAL_ENTRIES)));
    }
    expect(checks.take(word(2, "b", 3, old))).toBeUndefined();
  });
});

function applyNext(machine: KvMachine, command: Command): unknown {
  const index = decodeIndex(machine.appliedIndex + 1);
  const context = { index, term: decodeTerm(1), proposedAtMs: 0, request: undefined };
  return machine.apply(command, context).outcome;
}

function fill(machine: KvMachine, value: string): void {
  const bytes = new TextEncoder().encode(value);
  applyNext(machine, txn({ success: [{ kind: "put", key: "/a", value: bytes }] }));
  while (machine.appliedIndex < INDEX) machine.skip(decodeIndex(machine.appliedIndex + 1));
}

describe("the state machine", () => {
  test("notes its digest every so many entries, whatever they are", () => {
    const [put, skipped] = [createStateMachine(kvHandlers), createStateMachine(kvHandlers)];
    fill(skipped, "1");
    while (put.appliedIndex < INDEX) applyNext(put, { kind: "txn" });
    for (const machine of [put, skipped]) {
      expect(machine.checks.latest()).toEqual({ index: INDEX, hash: machine.hash() });
    }
    expect(put.checks.latest()).not.toEqual(skipped.checks.latest()!);
  });

  test("the one that went wrong stops with a message, the others go on", () => {
    const [good, fine, wrong] = [0, 1, 2].map(() => createStateMachine(kvHandlers));
    for (const machine of [good!, fine!]) fill(machine, "right");
    fill(wrong!, "wrong");
    const digests = [wrong!, good!, fine!].map((machine) => machine.checks.at(INDEX)!);
    const words = digests.map((digest, i) =>
      checkState(digest, { node: decodeNodeId(i + 1), voterCount: 3 }),
    );
    for (const each of words) {
      expect(applyNext(good!, each)).toEqual({ kind: "checked" });
      expect(applyNext(fine!, each)).toEqual({ kind: "checked" });
    }
    expect(good!.hash()).toBe(fine!.hash());
    expect(good!.checks.agreed).toBe(INDEX);
    expect(() => words.map((each) => applyNext(wrong!, each))).toThrow(HostError);
    expect(() => applyNext(wrong!, words[1]!)).toThrow(/state diverged.*2 of 3 voters/);
  });

  test("a restored replica starts anew: it has nothing to compare", () => {
    const [source, target] = [createStateMachine(kvHandlers), createStateMachine(kvHandlers)];
    fill(source, "right");
    fill(target, "wrong");
    expect(target.restore([...source.snapshot()])).toBeUndefined();
    expect(target.checks.latest()).toBeUndefined();
    for (const node of [1, 2, 3]) {
      const digest = source.checks.at(INDEX)!;
      applyNext(target, checkState(digest, { node: decodeNodeId(node), voterCount: 3 }));
    }
  });
});

test("parseCheckState: gives back what the constructor makes, refuses the rest", () => {
  const command = word(1, "a");
  expect(parseCheckState(structuredClone(command))).toEqual(command);
  for (const bad of [
    undefined,
    { ...command, node: 0 },
    { ...command, hash: hash("g") },
    { ...command, hash: "" },
    { ...command, index: -1 },
    { ...command, voterCount: 0 },
    { ...command, voterCount: 17 },
  ]) {
    expect(parseCheckState(bad)).toBeUndefined();
  }
  const machine = createStateMachine(kvHandlers);
  expect(applyNext(machine, { kind: "check" })).toEqual({ kind: "malformed_command" });
});
