/**
 * Every check of a history, and the verdict.
 *
 * Two that do not trust each other: the linearizability checker knows nothing of revisions beyond
 * what clients were told, and looks at each group of keys by itself; the others take the order that
 * the revisions give and hold every answer and every event against it.
 *
 * @module
 */
import { checkLinearizable } from "../sim/linearizability.ts";
import { checkAnswers, checkOrder, checkRevisions, checkTtl } from "./check-calls.ts";
import { checkHoles, checkWatches } from "./check-watches.ts";
import type { Finding, History } from "./history.ts";
import { checkDeletes, type GroupOperation, settle } from "./settle.ts";
import { GROUP_MODEL } from "./transaction.ts";
import { Truth } from "./truth.ts";

export interface Verdict {
  readonly findings: readonly Finding[];
  /** Groups whose linearizability could not be decided in the steps allowed. */
  readonly undecidedCount: number;
  readonly groupCount: number;
  readonly operationCount: number;
  /** Writes without an answer that have happened. */
  readonly happenedCount: number;
  /** Deletes without an answer that may have happened. */
  readonly openCount: number;
  readonly revisionCount: number;
}

const STEPS_MAX = 500_000;

/** Judges `history`. */
export function checkHistory(history: History): Verdict {
  const truth = new Truth(history);
  const settled = settle(history, truth);
  const groups = groupBy(settled.operations);
  const findings: Finding[] = [
    ...truth.findings,
    ...checkHoles(truth),
    ...settled.findings,
    ...checkDeletes(history, truth),
    ...checkRevisions(history, truth),
    ...checkAnswers(history, truth),
    ...checkOrder(history, truth),
    ...checkTtl(history, truth),
    ...checkWatches(history, truth),
    ...checkFinals(history, truth),
  ];
  let undecidedCount = 0;
  for (const [group, operations] of groups) {
    const verdict = checkLinearizable(GROUP_MODEL, operations, STEPS_MAX);
    if (verdict.kind === "undecided") undecidedCount += 1;
    if (verdict.kind !== "violation") continue;
    const { length } = verdict.longest;
    const message = `${group}: ${length} of ${operations.length} operations can be put in order`;
    findings.push({ check: "linearizable", message });
  }
  return {
    findings,
    undecidedCount,
    groupCount: groups.size,
    operationCount: settled.operations.length,
    happenedCount: settled.happenedCount,
    openCount: settled.openCount,
    revisionCount: truth.byRevision.size,
  };
}

/** At the end all nodes have the same, and it is what the history leads to. */
function checkFinals({ finals, prefix }: History, truth: Truth): Finding[] {
  const findings: Finding[] = [];
  const texts = new Set(finals.map(({ items }) => JSON.stringify(items)));
  const check = "replicas are equal";
  if (texts.size > 1) {
    const counts = finals.map(({ node, items }) => `${node} ${items.length}`).join(", ");
    findings.push({ check, message: `their keys differ: ${counts}` });
  }
  for (const { node, revision, items } of finals) {
    const there = new Map(items.map((item) => [item.key, item]));
    for (const key of new Set([...truth.keys(), ...there.keys()])) {
      if (!key.startsWith(prefix)) continue;
      const wanted = truth.changeAt(key, revision);
      const item = there.get(key);
      const isWanted =
        wanted?.value === undefined
          ? item === undefined
          : item?.value === wanted.value && item.modRevision === wanted.revision;
      if (isWanted) continue;
      const told = `${wanted?.value} at ${wanted?.revision}`;
      const message = `${node}: ${key} is ${JSON.stringify(item)}, told was ${told}`;
      findings.push({ check: "no acknowledged write lost", message });
    }
  }
  return findings;
}

function groupBy(operations: readonly GroupOperation[]): Map<string, GroupOperation[]> {
  const groups = new Map<string, GroupOperation[]>();
  for (const operation of operations) {
    const group = groups.get(operation.input.group);
    if (group === undefined) groups.set(operation.input.group, [operation]);
    else group.push(operation);
  }
  return groups;
}
