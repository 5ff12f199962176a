/**
 * What the state machine does with each command of the key-value API.
 *
 * @module
 */
import type { KvCommand } from "./txn.ts";
import type { CommandHandler } from "./types.ts";

/** Handlers by command kind, for `createStateMachine`. */
export const kvHandlers: Readonly<Record<string, CommandHandler>> = {};

/** The command that `value`, from another node or the log, is; undefined when it is none. */
export function parseKvCommand(_value: unknown): KvCommand | undefined {
  return undefined;
}
