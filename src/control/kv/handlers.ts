/**
 * What the state machine does with each command of the key-value API.
 *
 * @module
 */
import { applyTxn } from "./apply-txn.ts";
import { parseKvCommand } from "./parse-txn.ts";
import { handler } from "./state-machine.ts";
import type { CommandHandler } from "./types.ts";

const applyKvCommand = handler(parseKvCommand, applyTxn);

/** Handlers by command kind, for `createStateMachine`. */
export const kvHandlers: Readonly<Record<string, CommandHandler>> = {
  txn: applyKvCommand,
  system_txn: applyKvCommand,
};
