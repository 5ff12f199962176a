/**
 * What became of the writes that nobody was told about, as far as the one history shows it.
 *
 * A write whose value was never put has not happened; one whose value was put at a revision has
 * happened there, before the first watch told of it. That leaves little for the linearizability
 * checker to try: a write that may happen at any later time doubles its work. Deletes leave no
 * value behind, so some of them stay open.
 *
 * @module
 */
import type { Operation } from "../sim/linearizability.ts";
import type { Call, Finding, History } from "./history.ts";
import { canChange, isChange, type Told, type Transaction } from "./transaction.ts";
import type { Change, Truth } from "./truth.ts";

const NOTHING_TOLD: Told = { succeeded: undefined, revision: undefined, results: undefined };

export type GroupOperation = Operation<Transaction, Told>;

/** What the history makes of calls without an answer. */
export interface Settled {
  /** Of every call that has, or may have, happened. */
  readonly operations: readonly GroupOperation[];
  readonly findings: readonly Finding[];
  /** Writes that were never told about and have happened. */
  readonly happenedCount: number;
  /** Deletes that may have happened. */
  readonly openCount: number;
}

/** Judges every call of `history` that bears on the keys' values. */
export function settle(history: History, truth: Truth): Settled {
  const findings: Finding[] = [];
  const operations: GroupOperation[] = [];
  const unclaimed = unclaimedDeletes(history, truth);
  const hasHoles = truth.holes().length > 0;
  let happenedCount = 0;
  let openCount = 0;
  for (const call of history.calls) {
    const { outcome, callTime, returnTime, transaction } = call;
    if (call.consistency !== "linear") continue;
    // Time deletes them too, and that is no call.
    const isLasting = call.ttlMs === undefined;
    if (outcome.kind === "told") {
      if (!isLasting) continue;
      operations.push({ input: transaction, output: outcome.told, callTime, returnTime });
      continue;
    }
    if (!canChange(transaction)) continue;
    const trace = traceOf(call, truth);
    if (trace.kind === "twice") {
      findings.push({ check: "exactly once", message: `call ${call.id}: ${trace.message}` });
    } else if (outcome.kind === "refused") {
      if (trace.kind !== "happened") continue;
      const message = `call ${call.id} was refused (${outcome.why}), and happened`;
      findings.push({ check: "refused is not done", message: `${message} at ${trace.revision}` });
    } else if (trace.kind === "happened") {
      happenedCount += 1;
      if (!isLasting) continue;
      const told = { ...NOTHING_TOLD, revision: trace.revision, succeeded: trace.succeeded };
      const end = Math.max(callTime, trace.time);
      operations.push({ input: transaction, output: told, callTime, returnTime: end });
    } else {
      const mayHave = deletedKeys(transaction).some((key) => unclaimed.has(key));
      if (!(mayHave || hasHoles) || !isLasting) continue;
      openCount += 1;
      operations.push({
        input: transaction,
        output: NOTHING_TOLD,
        callTime,
        returnTime: Number.POSITIVE_INFINITY,
      });
    }
  }
  return { operations, findings, happenedCount, openCount };
}

type Trace =
  | { readonly kind: "none" }
  | { readonly kind: "twice"; readonly message: string }
  | {
      readonly kind: "happened";
      readonly revision: number;
      readonly time: number;
      readonly succeeded: boolean;
    };

/** Where a write's values are found. */
function traceOf({ transaction }: Call, truth: Truth): Trace {
  for (const succeeded of [true, false]) {
    for (const step of succeeded ? transaction.success : transaction.failure) {
      if (step.kind !== "put") continue;
      const revisions = truth.revisionsOf(step.value);
      const [revision] = revisions;
      if (revision === undefined) break;
      if (revisions.length > 1) {
        return { kind: "twice", message: `"${step.value}" was put at ${revisions.join(", ")}` };
      }
      const time = truth.changeAt(step.key, revision)?.time ?? Number.POSITIVE_INFINITY;
      return { kind: "happened", revision, time, succeeded };
    }
  }
  return { kind: "none" };
}

/** Keys with deletes that no acknowledged call did, nor one that left a value behind. */
function unclaimedDeletes(history: History, truth: Truth): Map<string, readonly Change[]> {
  const claimed = new Set<number>();
  for (const { outcome, transaction, consistency } of history.calls) {
    if (outcome.kind !== "told" || consistency !== "linear") continue;
    const { told } = outcome;
    if (told.revision !== undefined && isChange(transaction, told)) claimed.add(told.revision);
  }
  const unclaimed = new Map<string, Change[]>();
  for (const [revision, changes] of truth.byRevision) {
    if (claimed.has(revision) || changes.some(({ value }) => value !== undefined)) continue;
    for (const change of changes) {
      unclaimed.set(change.key, [...(unclaimed.get(change.key) ?? []), change]);
    }
  }
  return unclaimed;
}

/** Every delete that nobody asked for: no client, and no time to live. */
export function checkDeletes(history: History, truth: Truth): Finding[] {
  const asked = new Set<string>();
  for (const { outcome, transaction, ttlMs } of history.calls) {
    if (ttlMs !== undefined) for (const key of putKeys(transaction)) asked.add(key);
    if (outcome.kind === "unknown") for (const key of deletedKeys(transaction)) asked.add(key);
  }
  return [...unclaimedDeletes(history, truth)]
    .filter(([key]) => !asked.has(key))
    .map(([key, changes]) => {
      const where = changes.map(({ revision }) => revision).join(", ");
      return { check: "nothing from nowhere", message: `nobody deleted ${key} at ${where}` };
    });
}

function deletedKeys({ success, failure }: Transaction): string[] {
  return [...success, ...failure].flatMap((step) => (step.kind === "delete" ? [step.key] : []));
}

/** The keys that a transaction may put. */
export function putKeys({ success, failure }: Transaction): string[] {
  return [...success, ...failure].flatMap((step) => (step.kind === "put" ? [step.key] : []));
}
