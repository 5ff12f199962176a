/**
 * The replicated state machine: applies commands in log order, each exactly once.
 *
 * @module
 */
import { AssertionError } from "../../base/assert.ts";
import type { CommandHandler, StateMachine } from "./types.ts";

/** An empty store that applies the commands of `handlers` (by command kind). */
export function createStateMachine(
  handlers: Readonly<Record<string, CommandHandler>>,
): StateMachine {
  throw new AssertionError(`not built yet: ${Object.keys(handlers).length}`);
}
