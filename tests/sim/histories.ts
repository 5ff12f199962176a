/**
 * Readers of recorded histories and the models that they are checked against.
 *
 * Two text forms, one event a line: Jepsen's log of an etcd register
 * (`INFO jepsen.util - 3 :invoke :cas [1 2]`) and EDN maps of a key-value store
 * (`{:process 0, :type :invoke, :f :append, :key "0", :value "x"}`).
 *
 * @module
 */
import type { Model, Operation } from "./linearizability.ts";

export type RegisterInput =
  | { readonly kind: "read" }
  | { readonly kind: "write"; readonly value: number }
  | { readonly kind: "cas"; readonly from: number; readonly to: number };

/** `unknown`: no answer, or one that does not tell whether it happened. */
export type RegisterOutput =
  | { readonly kind: "unknown" }
  | { readonly kind: "value"; readonly value: number | undefined }
  | { readonly kind: "done" }
  | { readonly kind: "refused" };

/** One register with read, write and compare-and-set; undefined until first written. */
export const REGISTER_MODEL: Model<
  { readonly value: number | undefined },
  RegisterInput,
  RegisterOutput
> = {
  initial: { value: undefined },
  step(state, input, output) {
    if (input.kind === "read") {
      return output.kind === "unknown" || (output.kind === "value" && output.value === state.value)
        ? state
        : undefined;
    }
    if (input.kind === "write") return { value: input.value };
    const matches = state.value === input.from;
    if (output.kind === "done" && !matches) return undefined;
    if (output.kind === "refused" && matches) return undefined;
    return matches ? { value: input.to } : state;
  },
  describeState: (state) => String(state.value),
};

const JEPSEN_LINE =
  /^INFO\s+jepsen\.util\s+-\s+(\d+)\s+:(invoke|ok|fail|info)\s+:(read|write|cas)\s+(.*)$/;

/** Parses a Jepsen log; lines of other shapes are passed over. Line numbers serve as times. */
export function parseJepsenLog(text: string): Operation<RegisterInput, RegisterOutput>[] {
  const operations: Operation<RegisterInput, RegisterOutput>[] = [];
  const pending = new Map<string, { readonly input: RegisterInput; readonly callTime: number }>();
  for (const [time, line] of text.split("\n").entries()) {
    const match = JEPSEN_LINE.exec(line);
    if (match === null) continue;
    const [process, type, name, argument] = [match[1]!, match[2]!, match[3]!, match[4]!];
    if (type === "invoke") {
      pending.set(process, { input: registerInput(name, argument), callTime: time });
      continue;
    }
    const call = pending.get(process);
    if (call === undefined || type === "info") continue;
    pending.delete(process);
    // A read that failed observed nothing and changed nothing.
    if (type === "fail" && name !== "cas") continue;
    operations.push({ ...call, output: registerOutput(type, name, argument), returnTime: time });
  }
  for (const call of pending.values()) {
    operations.push({ ...call, output: { kind: "unknown" }, returnTime: Infinity });
  }
  return operations;
}

function registerInput(name: string, argument: string): RegisterInput {
  if (name === "read") return { kind: "read" };
  if (name === "write") return { kind: "write", value: Number(argument) };
  const pair = /\[(\d+) (\d+)\]/.exec(argument);
  if (pair === null) throw new Error(`Cannot read a compare-and-set out of "${argument}"`);
  return { kind: "cas", from: Number(pair[1]), to: Number(pair[2]) };
}

function registerOutput(type: string, name: string, argument: string): RegisterOutput {
  if (name === "read") {
    return { kind: "value", value: argument.trim() === "nil" ? undefined : Number(argument) };
  }
  return type === "ok" ? { kind: "done" } : { kind: "refused" };
}

export interface StoreInput {
  readonly kind: "get" | "put" | "append";
  readonly key: string;
  readonly value: string;
}

/** A get's answer; "" for writes; undefined when no answer came. */
export type StoreOutput = string | undefined;

/** One key of a store with get, put and append; "" until first written. */
export const STORE_MODEL: Model<{ readonly value: string }, StoreInput, StoreOutput> = {
  initial: { value: "" },
  step(state, input, output) {
    switch (input.kind) {
      case "get":
        return output === undefined || output === state.value ? state : undefined;
      case "put":
        return { value: input.value };
      case "append":
        return { value: state.value + input.value };
    }
  },
  describeState: (state) => state.value,
};

const STORE_LINE =
  /^\{:process (\d+), :type :(invoke|ok|fail|info), :f :(get|put|append), :key "(.*)", :value (nil|"(.*)")\}$/;

/** Parses an EDN history of a key-value store. Line numbers serve as times. */
export function parseStoreHistory(text: string): Operation<StoreInput, StoreOutput>[] {
  const operations: Operation<StoreInput, StoreOutput>[] = [];
  const pending = new Map<string, { readonly input: StoreInput; readonly callTime: number }>();
  for (const [time, line] of text.split("\n").entries()) {
    const match = STORE_LINE.exec(line);
    if (match === null) continue;
    const process = match[1]!;
    const kind = match[3] as StoreInput["kind"];
    if (match[2] === "invoke") {
      pending.set(process, {
        input: { kind, key: match[4]!, value: match[6] ?? "" },
        callTime: time,
      });
      continue;
    }
    const call = pending.get(process);
    if (call === undefined || match[2] !== "ok") continue;
    pending.delete(process);
    operations.push({ ...call, output: kind === "get" ? (match[6] ?? "") : "", returnTime: time });
  }
  for (const call of pending.values()) {
    operations.push({ ...call, output: undefined, returnTime: Infinity });
  }
  return operations;
}
