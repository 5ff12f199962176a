/**
 * What a client asks of the store, and what the store would do: the sequential specification.
 *
 * Every request, a plain get as well as a conditional delete, is written as a transaction over the
 * keys of one group, so that one interpreter judges all of them. Pure, and written without a look
 * at the store's own code.
 *
 * @module
 */
import type { Model } from "../sim/linearizability.ts";

/** What stands at a key. Values are unique to the write that made them. */
export interface Item {
  readonly value: string;
  /** Of its last change; undefined after a write whose revision nobody was told. */
  readonly revision: number | undefined;
}

/** The keys that are there. Immutable. */
export type GroupState = ReadonlyMap<string, Item>;

export interface Condition {
  readonly key: string;
  /** `revision` 0: the key is not there. */
  readonly is:
    | { readonly kind: "value"; readonly value: string }
    | { readonly kind: "revision"; readonly revision: number }
    | { readonly kind: "present" };
}

export type Step =
  | { readonly kind: "put"; readonly key: string; readonly value: string }
  | { readonly kind: "get" | "delete"; readonly key: string }
  /** All keys of the group. */
  | { readonly kind: "list" };

export interface Transaction {
  /** Keys of it begin with this and are touched by no transaction of another group. */
  readonly group: string;
  readonly conditions: readonly Condition[];
  readonly success: readonly Step[];
  readonly failure: readonly Step[];
}

export type StepResult =
  | { readonly kind: "put" }
  | { readonly kind: "get"; readonly item: Item | null }
  | { readonly kind: "delete"; readonly deleted: boolean }
  | { readonly kind: "list"; readonly items: readonly (readonly [string, Item])[] };

/** What a client was told, as far as it was. */
export interface Told {
  readonly succeeded: boolean | undefined;
  /** The write's own, or that of the store when it was read. */
  readonly revision: number | undefined;
  /** One for each step of the branch that was taken. */
  readonly results: readonly StepResult[] | undefined;
}

/** One thing that a transaction changed; `value` undefined: deleted. */
export interface Effect {
  readonly key: string;
  readonly value: string | undefined;
}

export interface Outcome {
  readonly state: GroupState;
  readonly succeeded: boolean;
  readonly results: readonly StepResult[];
  /** In the order of steps; a key that is not there is not deleted. */
  readonly effects: readonly Effect[];
}

/** Carries `transaction` out on `state`, at `revision`. `assumed` decides what cannot be known. */
export function execute(
  state: GroupState,
  transaction: Transaction,
  options: { readonly revision: number | undefined; readonly assumed?: boolean | undefined },
): Outcome {
  const { conditions, success, failure } = transaction;
  const answers = conditions.map((condition) => holds(state, condition));
  const isOpen = answers.includes(undefined) && !answers.includes(false);
  const succeeded = isOpen ? (options.assumed ?? true) : !answers.includes(false);
  const next = new Map(state);
  const effects: Effect[] = [];
  const steps = succeeded ? success : failure;
  const results = steps.map((step) => take(step, next, effects, options.revision));
  return { state: effects.length === 0 ? state : next, succeeded, results, effects };
}

/** Does `step` to `next`, and notes what it changed. */
function take(
  step: Step,
  next: Map<string, Item>,
  effects: Effect[],
  revision: number | undefined,
): StepResult {
  switch (step.kind) {
    case "put":
      next.set(step.key, { value: step.value, revision });
      effects.push({ key: step.key, value: step.value });
      return { kind: "put" };
    case "delete": {
      const deleted = next.delete(step.key);
      if (deleted) effects.push({ key: step.key, value: undefined });
      return { kind: "delete", deleted };
    }
    case "get":
      return { kind: "get", item: next.get(step.key) ?? null };
    case "list":
      return { kind: "list", items: [...next].sort(([a], [b]) => (a < b ? -1 : 1)) };
  }
}

/** Why `told` cannot be the answer of `outcome`; undefined when it can. */
export function contradiction(outcome: Outcome, told: Told): string | undefined {
  if (told.succeeded !== undefined && told.succeeded !== outcome.succeeded) {
    return `conditions ${outcome.succeeded ? "held" : "did not hold"}, told the opposite`;
  }
  if (told.results === undefined) return undefined;
  for (const [i, result] of told.results.entries()) {
    const wanted = outcome.results[i];
    if (wanted !== undefined && sameResult(wanted, result)) continue;
    return `step ${i} gives ${JSON.stringify(wanted)}, told ${JSON.stringify(result)}`;
  }
  return undefined;
}

/** The steps that were taken, when that is known. */
export function branchTaken(transaction: Transaction, told: Told): readonly Step[] | undefined {
  if (told.succeeded === undefined) return undefined;
  return told.succeeded ? transaction.success : transaction.failure;
}

/** Whether any branch can change something. */
export function canChange({ success, failure }: Transaction): boolean {
  return [...success, ...failure].some(({ kind }) => kind === "put" || kind === "delete");
}

/** Whether the client was told that something changed. */
export function isChange(transaction: Transaction, told: Told): boolean {
  const steps = branchTaken(transaction, told) ?? [];
  return steps.some((step, i) => {
    if (step.kind === "put") return true;
    const result = told.results?.[i];
    return step.kind === "delete" && result?.kind === "delete" && result.deleted;
  });
}

/** One group as its clients see it. What nobody was told about may or may not have happened. */
export const GROUP_MODEL: Model<GroupState, Transaction, Told> = {
  initial: new Map(),
  step(state, transaction, told) {
    const { revision, succeeded } = told;
    const outcome = execute(state, transaction, { revision, assumed: succeeded });
    return contradiction(outcome, told) === undefined ? outcome.state : undefined;
  },
  describeState: (state) =>
    [...state]
      .map(([key, { value, revision }]) => `${key}=${value}@${revision ?? ""}`)
      .sort()
      .join(" "),
};

/** Undefined: it depends on a revision that nobody was told. */
function holds(state: GroupState, { key, is }: Condition): boolean | undefined {
  const item = state.get(key);
  switch (is.kind) {
    case "value":
      return item?.value === is.value;
    case "present":
      return item !== undefined;
    case "revision":
      if (item === undefined) return is.revision === 0;
      if (is.revision === 0) return false;
      return item.revision === undefined ? undefined : item.revision === is.revision;
  }
}

function sameResult(a: StepResult, b: StepResult): boolean {
  if (a.kind === "get" && b.kind === "get") return sameItem(a.item, b.item);
  if (a.kind === "delete" && b.kind === "delete") return a.deleted === b.deleted;
  if (a.kind !== "list" || b.kind !== "list") return a.kind === b.kind;
  return (
    a.items.length === b.items.length &&
    a.items.every(([key, item], i) => {
      const other = b.items[i];
      return other !== undefined && other[0] === key && sameItem(item, other[1]);
    })
  );
}

/** Values are unique, so a revision that nobody was told cannot hide another write. */
function sameItem(a: Item | null, b: Item | null): boolean {
  if (a === null || b === null) return a === b;
  if (a.value !== b.value) return false;
  return a.revision === undefined || b.revision === undefined || a.revision === b.revision;
}
