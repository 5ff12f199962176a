/**
 * What the state machine does with each command of the network.
 *
 * @module
 */
import type { CommandHandler } from "../kv/types.ts";
import type { NetworkCommand } from "./commands.ts";

/** Handlers by command kind, for `createStateMachine`. */
export const networkHandlers: Readonly<Record<string, CommandHandler>> = {};

/** The command that `value`, from another node or the log, is; undefined when it is none. */
export function parseNetworkCommand(_value: unknown): NetworkCommand | undefined {
  return undefined;
}
