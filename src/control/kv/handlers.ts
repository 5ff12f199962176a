/**
 * What the state machine does with each command of the key-value API.
 *
 * @module
 */
import { applyTxn } from "./apply-txn.ts";
import { applyCompact, parseCompact } from "./compact.ts";
import { applyExpireKeys, parseExpireKeys } from "./expire-keys.ts";
import { parseKvCommand } from "./parse-txn.ts";
import { handler } from "./state-machine.ts";
import type { CommandHandler } from "./types.ts";

const applyKvCommand = handler(parseKvCommand, applyTxn);

/** Handlers by command kind, for `createStateMachine`. */
export const kvHandlers: Readonly<Record<string, CommandHandler>> = {
  txn: applyKvCommand,
  system_txn: applyKvCommand,
  expire_keys: handler(parseExpireKeys, applyExpireKeys),
  compact: handler(parseCompact, applyCompact),
};
