/**
 * Decides whether a history of concurrent operations is linearizable.
 *
 * The search of Wing and Gong (1993) with Lowe's cache of visited configurations (2017) and
 * partitioning by object (Horn and Kroening, 2015), as porcupine made popular: walk the events in
 * time order, try each pending call as the next to take effect, lift it and its return out of the
 * list when the model agrees, and go back when a return is met whose call was not taken.
 *
 *     call A   call B   return A   return B          events by time, doubly linked
 *       └────────┴── try A, lift (A, return A), go on; stuck at "return B": put back, try B …
 *
 * Two configurations are the same when the same set of calls took effect and the state is equal;
 * the second visit is cut off. Exponential in the worst case, so a step limit bounds it.
 *
 * @module
 */
import { assert } from "../../src/base/assert.ts";

/** A sequential specification. States are immutable. */
export interface Model<State, Input, Output> {
  readonly initial: State;
  /** The state after `input` answered `output`, or undefined when it cannot have. */
  step(state: State, input: Input, output: Output): State | undefined;
  /** Equal text for equal states. */
  describeState(state: State): string;
}

/** One call and what came of it. Times need only be comparable. */
export interface Operation<Input, Output> {
  readonly input: Input;
  readonly output: Output;
  readonly callTime: number;
  /** `Infinity` when no answer came: the operation may take effect at any later time or never. */
  readonly returnTime: number;
}

export type Verdict =
  | { readonly kind: "linearizable" }
  | {
      readonly kind: "violation";
      /** The most operations that any attempt could put in order, as positions in the history. */
      readonly longest: readonly number[];
    }
  | { readonly kind: "undecided"; readonly steps: number };

/** Checks one object's history. `stepsMax` bounds the model steps taken. */
export function checkLinearizable<State, Input, Output>(
  model: Model<State, Input, Output>,
  history: readonly Operation<Input, Output>[],
  stepsMax = 50_000_000,
): Verdict {
  const search = new Search(model, history);
  return search.run(stepsMax);
}

/** Checks each object's history by itself: locality makes the whole linearizable iff all are. */
export function checkPartitions<State, Input, Output>(
  model: Model<State, Input, Output>,
  history: readonly Operation<Input, Output>[],
  keyOf: (input: Input) => string,
  stepsMax?: number,
): Verdict {
  const partitions = new Map<string, Operation<Input, Output>[]>();
  for (const operation of history) {
    const key = keyOf(operation.input);
    const partition = partitions.get(key);
    if (partition) partition.push(operation);
    else partitions.set(key, [operation]);
  }
  let undecided: Verdict | undefined;
  for (const partition of partitions.values()) {
    const verdict = checkLinearizable(model, partition, stepsMax);
    if (verdict.kind === "violation") return verdict;
    if (verdict.kind === "undecided") undecided = verdict;
  }
  return undecided ?? { kind: "linearizable" };
}

interface Choice<State> {
  readonly operation: number;
  readonly stateBefore: State;
}

/**
 * The event list has node 0 as head, nodes 1 to n for calls, n + 1 to 2n for their returns.
 */
class Search<State, Input, Output> {
  readonly #model: Model<State, Input, Output>;
  readonly #history: readonly Operation<Input, Output>[];
  readonly #count: number;
  readonly #next: Int32Array;
  readonly #previous: Int32Array;
  readonly #taken: Uint32Array;
  readonly #marks: Float64Array;
  readonly #visited = new Map<number, { readonly taken: Uint32Array; readonly state: string }[]>();
  #hash = 0;

  constructor(model: Model<State, Input, Output>, history: readonly Operation<Input, Output>[]) {
    this.#model = model;
    this.#history = history;
    this.#count = history.length;
    this.#next = new Int32Array(2 * this.#count + 1);
    this.#previous = new Int32Array(2 * this.#count + 1);
    this.#taken = new Uint32Array(Math.ceil(this.#count / 32));
    this.#marks = mixedMarks(this.#count);
    this.#link();
  }

  run(stepsMax: number): Verdict {
    let state = this.#model.initial;
    let longest: readonly number[] = [];
    const choices: Choice<State>[] = [];
    let node = this.#next[0]!;
    let steps = 0;
    while (this.#next[0] !== 0) {
      if (node > this.#count || node === 0) {
        const choice = choices.pop();
        if (choice === undefined) return { kind: "violation", longest };
        state = choice.stateBefore;
        this.#flip(choice.operation);
        this.#putBack(choice.operation);
        node = this.#next[choice.operation + 1]!;
        continue;
      }
      if (++steps > stepsMax) return { kind: "undecided", steps };
      const operation = node - 1;
      const { input, output } = this.#history[operation]!;
      const after = this.#model.step(state, input, output);
      if (after !== undefined && this.#visitWith(operation, after)) {
        choices.push({ operation, stateBefore: state });
        state = after;
        this.#lift(operation);
        node = this.#next[0]!;
        if (choices.length > longest.length) longest = choices.map((choice) => choice.operation);
      } else {
        node = this.#next[node]!;
      }
      // Calls without an answer need not take effect: only they are left, so all is in order.
      if (this.#onlyUnanswered()) return { kind: "linearizable" };
    }
    return { kind: "linearizable" };
  }

  /** Links events by time; at equal times calls come first, which allows the most orders. */
  #link(): void {
    const events: { readonly node: number; readonly time: number; readonly isReturn: boolean }[] =
      [];
    for (let i = 0; i < this.#count; i++) {
      const operation = this.#history[i]!;
      assert(operation.callTime <= operation.returnTime, "a call must not return before it began");
      events.push({ node: i + 1, time: operation.callTime, isReturn: false });
      events.push({ node: this.#count + i + 1, time: operation.returnTime, isReturn: true });
    }
    events.sort((a, b) =>
      a.time === b.time ? Number(a.isReturn) - Number(b.isReturn) : a.time < b.time ? -1 : 1,
    );
    let last = 0;
    for (const event of events) {
      this.#next[last] = event.node;
      this.#previous[event.node] = last;
      last = event.node;
    }
    this.#next[last] = 0;
    this.#previous[0] = last;
  }

  #onlyUnanswered(): boolean {
    const first = this.#firstReturn();
    return first === 0 || this.#history[first - this.#count - 1]!.returnTime === Infinity;
  }

  /** The earliest return still in the list: returns of unanswered calls are at its end. */
  #firstReturn(): number {
    let node = this.#next[0]!;
    while (node !== 0 && node <= this.#count) node = this.#next[node]!;
    return node;
  }

  #lift(operation: number): void {
    for (const node of [operation + 1, this.#count + operation + 1]) {
      this.#next[this.#previous[node]!] = this.#next[node]!;
      this.#previous[this.#next[node]!] = this.#previous[node]!;
    }
  }

  #putBack(operation: number): void {
    // In the opposite order of lifting, so that each finds its neighbours as it left them.
    for (const node of [this.#count + operation + 1, operation + 1]) {
      this.#next[this.#previous[node]!] = node;
      this.#previous[this.#next[node]!] = node;
    }
  }

  #flip(operation: number): void {
    this.#taken[operation >>> 5]! ^= 1 << (operation & 31);
    this.#hash ^= this.#marks[operation]!;
  }

  /** Whether taking `operation` reaches a configuration not seen before; then it is taken. */
  #visitWith(operation: number, after: State): boolean {
    this.#flip(operation);
    const state = this.#model.describeState(after);
    const seen = this.#visited.get(this.#hash);
    if (seen?.some((one) => one.state === state && sameWords(one.taken, this.#taken))) {
      this.#flip(operation);
      return false;
    }
    const entry = { taken: this.#taken.slice(), state };
    if (seen) seen.push(entry);
    else this.#visited.set(this.#hash, [entry]);
    return true;
  }
}

function sameWords(a: Uint32Array, b: Uint32Array): boolean {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** A fixed 31-bit mark for each operation; the hash of a set is the exclusive or of its marks. */
function mixedMarks(count: number): Float64Array {
  const marks = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    let word = Math.imul(i + 1, 0x9e3779b1);
    word = Math.imul(word ^ (word >>> 15), 0x85ebca6b);
    word = Math.imul(word ^ (word >>> 13), 0xc2b2ae35);
    marks[i] = (word ^ (word >>> 16)) & 0x7fffffff;
  }
  return marks;
}
