/**
 * The one history of the store, put together from everything that watches and acknowledged writes
 * told: which revision changed what.
 *
 * Two that tell different things of one revision are a finding by themselves.
 *
 * @module
 */
import type { Finding, History, WatchSession } from "./history.ts";
import {
  branchTaken,
  type Effect,
  type GroupState,
  isChange,
  type Told,
  type Transaction,
} from "./transaction.ts";

/** One change of one key. */
export interface Change extends Effect {
  readonly revision: number;
  /** When the first watch told it; `Infinity` when only an acknowledgement did. */
  readonly time: number;
}

/** Changes by revision and by key. */
export class Truth {
  readonly findings: Finding[] = [];
  /** Of each revision all changes, in the order of keys. */
  readonly byRevision = new Map<number, readonly Change[]>();
  /** Revisions that anybody told of, also those that changed only the system's keys. */
  readonly #seen = new Set<number>();
  readonly #byKey = new Map<string, Change[]>();
  readonly #keysOf = new Map<string, string[]>();
  /** Revisions at which a value was put. */
  readonly #byValue = new Map<string, number[]>();
  readonly #start: number;

  constructor(history: History) {
    this.#start = history.startRevision;
    for (const session of history.sessions) this.#addSession(session, history.prefix);
    for (const call of history.calls) {
      if (call.outcome.kind !== "told" || call.consistency !== "linear") continue;
      const { told } = call.outcome;
      if (told.revision === undefined || !isChange(call.transaction, told)) continue;
      const effects = effectsOf(call.transaction, told);
      const changes = effects.map((effect) => {
        return { ...effect, revision: told.revision as number, time: Number.POSITIVE_INFINITY };
      });
      this.#add(told.revision, changes, `call ${call.id}`);
    }
    for (const revision of this.revisions()) {
      for (const change of this.byRevision.get(revision) ?? []) this.#index(change);
    }
  }

  /** Ascending. */
  revisions(): number[] {
    return [...this.byRevision.keys()].sort((a, b) => a - b);
  }

  /** Revisions at which `value` was put; more than one is a write that happened twice. */
  revisionsOf(value: string): readonly number[] {
    return this.#byValue.get(value) ?? [];
  }

  /** All changes of a key, ascending. */
  changesOf(key: string): readonly Change[] {
    return this.#byKey.get(key) ?? [];
  }

  keys(): Iterable<string> {
    return this.#byKey.keys();
  }

  /** Revisions that must have been, and of which nobody was told. */
  holes(): number[] {
    const holes: number[] = [];
    const last = this.revisions().at(-1) ?? 0;
    for (let revision = this.#start + 1; revision < last; revision++) {
      if (!this.#seen.has(revision)) holes.push(revision);
    }
    return holes;
  }

  /** The last change of `key` at or before `revision`. */
  changeAt(key: string, revision: number): Change | undefined {
    const changes = this.changesOf(key);
    let low = 0;
    for (let high = changes.length; low < high; ) {
      const middle = (low + high) >>> 1;
      if ((changes[middle]?.revision ?? 0) <= revision) low = middle + 1;
      else high = middle;
    }
    return changes[low - 1];
  }

  /** What stood in `group` at `revision`. */
  stateAt(group: string, revision: number): GroupState {
    const state = new Map<string, { value: string; revision: number }>();
    for (const key of this.#keysOf.get(group) ?? []) {
      const change = this.changeAt(key, revision);
      if (change?.value === undefined) continue;
      state.set(key, { value: change.value, revision: change.revision });
    }
    return state;
  }

  #addSession(session: WatchSession, prefix: string): void {
    let batch: Change[] = [];
    for (const { key, value, revision, time, isLast } of session.events) {
      if (batch.length > 0 && batch[0]?.revision !== revision) batch = [];
      batch.push({ key, value, revision, time });
      if (!isLast) continue;
      // A watch of less than everything does not see all changes of a revision.
      const changes = batch.filter((change) => change.key.startsWith(prefix));
      const isWhole = prefix.startsWith(session.prefix);
      const where = `${session.watcher} on ${session.node}`;
      if (session.prefix === "") this.#seen.add(revision);
      if (isWhole && changes.length > 0) this.#add(revision, changes, where);
      batch = [];
    }
  }

  #add(revision: number, unsorted: readonly Change[], source: string): void {
    if (revision <= this.#start) return;
    this.#seen.add(revision);
    const changes = [...unsorted].sort((a, b) => (a.key < b.key ? -1 : 1));
    const known = this.byRevision.get(revision);
    if (known === undefined) {
      this.byRevision.set(revision, changes);
      return;
    }
    if (describe(known) === describe(changes)) {
      if ((changes[0]?.time ?? 0) < (known[0]?.time ?? 0)) this.byRevision.set(revision, changes);
      return;
    }
    const message = `${revision} is ${describe(known)}; by ${source} it is ${describe(changes)}`;
    this.findings.push({ check: "no revision twice", message });
  }

  #index(change: Change): void {
    const changes = this.#byKey.get(change.key);
    if (changes === undefined) {
      this.#byKey.set(change.key, [change]);
      const group = groupOf(change.key);
      const keys = this.#keysOf.get(group);
      if (keys === undefined) this.#keysOf.set(group, [change.key]);
      else keys.push(change.key);
    } else {
      changes.push(change);
    }
    if (change.value === undefined) return;
    const revisions = this.#byValue.get(change.value);
    if (revisions === undefined) this.#byValue.set(change.value, [change.revision]);
    else revisions.push(change.revision);
  }
}

/** What an acknowledged change did, by what was told of it. */
function effectsOf(transaction: Transaction, told: Told): readonly Effect[] {
  const steps = branchTaken(transaction, told) ?? [];
  return steps.flatMap((step, i): Effect[] => {
    if (step.kind === "put") return [{ key: step.key, value: step.value }];
    const result = told.results?.[i];
    const isDeleted = result?.kind === "delete" && result.deleted;
    return step.kind === "delete" && isDeleted ? [{ key: step.key, value: undefined }] : [];
  });
}

function describe(changes: readonly Change[]): string {
  return changes.map(({ key, value }) => `${key}=${value ?? "deleted"}`).join(" ");
}

/** The group of a key: what stands before its last segment. */
export function groupOf(key: string): string {
  return key.slice(0, key.lastIndexOf("/") + 1);
}
