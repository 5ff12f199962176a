/**
 * Checks of what clients were told, against the one history and against real time.
 *
 * @module
 */
import type { Call, Finding, History } from "./history.ts";
import { putKeys } from "./settle.ts";
import { canChange, contradiction, execute, isChange, type Told } from "./transaction.ts";
import type { Truth } from "./truth.ts";

type ToldCall = Call & { readonly outcome: { readonly kind: "told"; readonly told: Told } };

/**
 * Every answer is what the store gave at the revision that it names: reads show that state, writes
 * came out of the one before it, and are there.
 */
export function checkAnswers(history: History, truth: Truth): Finding[] {
  const findings: Finding[] = [];
  for (const call of toldCalls(history)) {
    const { transaction, consistency } = call;
    const { told } = call.outcome;
    if (told.revision === undefined || told.revision < history.startRevision) continue;
    const isWrite = consistency === "linear" && isChange(transaction, told);
    const before = truth.stateAt(transaction.group, told.revision - (isWrite ? 1 : 0));
    const wanted = execute(before, transaction, { revision: told.revision });
    const problem = contradiction(wanted, told);
    const name = `call ${call.id} on ${call.node} (${consistency}), revision ${told.revision}`;
    if (problem !== undefined) {
      findings.push({ check: "answers fit their revision", message: `${name}: ${problem}` });
    }
    if (!isWrite) continue;
    const done = (truth.byRevision.get(told.revision) ?? []).map(nameOf).join(" ");
    const promised = [...wanted.effects].sort((a, b) => (a.key < b.key ? -1 : 1));
    if (done === promised.map(nameOf).join(" ")) continue;
    const message = `${name}: ${promised.map(nameOf).join(" ")} acknowledged, done was ${done}`;
    findings.push({ check: "no acknowledged write lost", message });
  }
  return findings;
}

/** A write that was acknowledged has the revision for itself, and happened once. */
export function checkRevisions(history: History, truth: Truth): Finding[] {
  const findings: Finding[] = [];
  const owners = new Map<number, Call>();
  for (const call of toldCalls(history)) {
    const { told } = call.outcome;
    if (call.consistency !== "linear" || !isChange(call.transaction, told)) continue;
    if (told.revision === undefined) continue;
    const other = owners.get(told.revision);
    owners.set(told.revision, call);
    if (other === undefined) continue;
    const message = `${told.revision} was given to calls ${other.id} and ${call.id}`;
    findings.push({ check: "no revision twice", message });
  }
  const written = new Set<string>();
  for (const { transaction } of history.calls) {
    for (const step of [...transaction.success, ...transaction.failure]) {
      if (step.kind === "put") written.add(step.value);
    }
  }
  for (const [revision, changes] of truth.byRevision) {
    for (const { key, value } of changes) {
      if (value === undefined) continue;
      const revisions = truth.revisionsOf(value);
      if (revisions.length > 1 && revisions[0] === revision) {
        const message = `"${value}" was put at ${revisions.join(", ")}, last at ${key}`;
        findings.push({ check: "exactly once", message });
      }
      if (written.has(value)) continue;
      const message = `${key} became "${value}" at ${revision}, which nobody wrote`;
      findings.push({ check: "nothing from nowhere", message });
    }
  }
  return findings;
}

/**
 * Revisions follow real time. Whoever asks after a revision was seen anywhere gets that one or a
 * later one, and a write a later one. A node's own reads do not go back while it runs.
 */
export function checkOrder(history: History, truth: Truth): Finding[] {
  interface Moment {
    readonly time: number;
    readonly call?: ToldCall;
    readonly isReturn: boolean;
    readonly revision: number;
  }
  const moments: Moment[] = [];
  for (const call of toldCalls(history)) {
    const { revision } = call.outcome.told;
    if (revision === undefined || call.consistency === "past") continue;
    moments.push({ time: call.callTime, call, isReturn: false, revision });
    moments.push({ time: call.returnTime, call, isReturn: true, revision });
  }
  for (const [revision, [change]] of truth.byRevision) {
    if (change === undefined || change.time === Number.POSITIVE_INFINITY) continue;
    moments.push({ time: change.time, isReturn: true, revision });
  }
  // At equal times questions come first: that forbids the least.
  moments.sort((a, b) => a.time - b.time || Number(a.isReturn) - Number(b.isReturn));
  const findings: Finding[] = [];
  const floors = new Map<number, { readonly all: number; readonly node: number }>();
  const nodes = new Map<string, number>();
  let seen = history.startRevision;
  for (const { call, isReturn, revision } of moments) {
    if (call === undefined) {
      seen = Math.max(seen, revision);
      continue;
    }
    const place = `${call.node} ${call.run}`;
    if (!isReturn) {
      floors.set(call.id, { all: seen, node: nodes.get(place) ?? 0 });
      continue;
    }
    const floor = floors.get(call.id) ?? { all: 0, node: 0 };
    floors.delete(call.id);
    const isWrite = isChange(call.transaction, call.outcome.told);
    const isLocal = call.consistency === "local";
    const lowest = isLocal ? floor.node : floor.all + (isWrite ? 1 : 0);
    if (revision < lowest) {
      const what = `call ${call.id} on ${call.node} was answered ${revision}`;
      const known = isLocal ? `the node itself had told ${floor.node}` : `${floor.all} was seen`;
      const check = isLocal ? "a node does not go back" : "revisions follow real time";
      findings.push({ check, message: `${what}, after ${known}` });
    }
    seen = Math.max(seen, revision);
    // What was passed on may be answered before this node has it itself.
    if (!canChange(call.transaction)) nodes.set(place, Math.max(nodes.get(place) ?? 0, revision));
  }
  return findings;
}

/** A key with a time to live stays for as long as that at least, and goes. */
export function checkTtl(history: History, truth: Truth): Finding[] {
  const findings: Finding[] = [];
  const left = new Set(history.finals.flatMap(({ items }) => items.map(({ key }) => key)));
  for (const { id, ttlMs, transaction, callTime } of history.calls) {
    if (ttlMs === undefined) continue;
    for (const key of putKeys(transaction)) {
      if (left.has(key)) {
        findings.push({ check: "keys expire", message: `${key} of call ${id} is still there` });
      }
      const gone = truth.changesOf(key).find(({ value }) => value === undefined);
      if (gone === undefined || gone.time >= callTime + ttlMs) continue;
      const early = `${Math.round(callTime + ttlMs - gone.time)} ms before its time was over`;
      const message = `${key} of call ${id} was deleted ${early}, at ${gone.revision}`;
      findings.push({ check: "no key expires early", message });
    }
  }
  return findings;
}

function toldCalls(history: History): ToldCall[] {
  return history.calls.filter((call): call is ToldCall => call.outcome.kind === "told");
}

function nameOf({ key, value }: { readonly key: string; readonly value: string | undefined }) {
  return `${key}=${value ?? "deleted"}`;
}
