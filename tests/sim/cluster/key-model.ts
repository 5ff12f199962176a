/**
 * One key of the store as its clients see it, for the linearizability checker.
 *
 * @module
 */
import type { Model } from "../linearizability.ts";

/** Values are numbers that no two writes share; 0: the key does not exist. */
export type KeyInput =
  | { readonly kind: "put"; readonly key: string; readonly value: number }
  | { readonly kind: "cas"; readonly key: string; readonly from: number; readonly to: number }
  | { readonly kind: "get" | "log_get" | "delete" | "local_get"; readonly key: string };

/** `unknown`: it may have happened, or may still happen, or not. */
export type KeyOutput =
  | { readonly kind: "unknown" | "done" | "refused" }
  | { readonly kind: "value"; readonly value: number };

export const KEY_MODEL: Model<number, KeyInput, KeyOutput> = {
  initial: 0,
  step(state, input, output) {
    switch (input.kind) {
      case "put":
        return input.value;
      case "delete":
        return 0;
      case "cas":
        if (output.kind === "unknown") return state === input.from ? input.to : state;
        if (output.kind === "refused") return state === input.from ? undefined : state;
        return state === input.from ? input.to : undefined;
      default:
        return output.kind !== "value" || output.value === state ? state : undefined;
    }
  },
  describeState: String,
};
