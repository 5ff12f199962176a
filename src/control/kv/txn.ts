/**
 * Transactions of the key-value API: compare, then do the one list or the other, all or nothing.
 *
 * Operations run in order and see what those before them did. Two writes of one key in one
 * transaction count as one change. There are two kinds of command: `txn`, which users can send and
 * which may not touch the system's keys, and `system_txn`, which no route makes.
 *
 * Pure. Size limits are checked by `checkTxn`, at the edge for a good message and when applying.
 *
 * @module
 */
import { AssertionError } from "../../base/assert.ts";
import type { Revision } from "../../base/ids.ts";
import type { Command, CommandRefusal, KeyValue } from "./types.ts";

/** Keys under it belong to the system: readable by everybody, not writable by `txn`. */
export const SYSTEM_PREFIX = "/overlay/";

export type CompareOperator = "=" | "!=" | "<" | ">";
export type RevisionTarget = "version" | "modRevision" | "createRevision";

/**
 * One condition. An absent key has version, modRevision and createRevision 0, and no value: it
 * differs from every value, and is neither less nor greater. Values compare byte by byte.
 */
export type Compare =
  | {
      readonly key: string;
      readonly target: "value";
      readonly op: CompareOperator;
      readonly value: Uint8Array;
    }
  | {
      readonly key: string;
      readonly target: RevisionTarget;
      readonly op: CompareOperator;
      readonly value: number;
    };

export type Operation =
  | { readonly kind: "put"; readonly key: string; readonly value: Uint8Array }
  | { readonly kind: "get"; readonly key: string }
  | { readonly kind: "delete"; readonly key: string }
  | { readonly kind: "range"; readonly prefix: string; readonly limit: number }
  | { readonly kind: "delete_prefix"; readonly prefix: string };

export interface TxnContent {
  readonly compare: readonly Compare[];
  /** Done when every comparison holds. */
  readonly success: readonly Operation[];
  /** Done otherwise. */
  readonly failure: readonly Operation[];
}

/** A user's transaction. */
export interface Txn extends Command<TxnOutcome>, TxnContent {
  readonly kind: "txn";
}

/** The program's own transaction, which may write under `SYSTEM_PREFIX`. */
export interface SystemTxn extends Command<TxnOutcome>, TxnContent {
  readonly kind: "system_txn";
}

export type KvCommand = Txn | SystemTxn;

/** One for each operation done, in order. Deletes tell what was there. */
export type OperationResult =
  | { readonly kind: "put"; readonly previous: KeyValue | null }
  | { readonly kind: "get"; readonly pair: KeyValue | null }
  | { readonly kind: "delete"; readonly previous: KeyValue | null }
  | { readonly kind: "range"; readonly pairs: readonly KeyValue[]; readonly more: boolean }
  | { readonly kind: "delete_prefix"; readonly deletedCount: number };

/** Why a transaction cannot be done. Nothing was changed. */
export type TxnRefusal =
  | { readonly kind: "reserved_key"; readonly key: string }
  | { readonly kind: "invalid_key"; readonly key: string }
  | { readonly kind: "key_too_large"; readonly sizeBytes: number; readonly limitBytes: number }
  | { readonly kind: "value_too_large"; readonly sizeBytes: number; readonly limitBytes: number }
  | { readonly kind: "request_too_large"; readonly sizeBytes: number; readonly limitBytes: number }
  | { readonly kind: "too_many_operations"; readonly count: number; readonly limit: number }
  | { readonly kind: "too_many_keys"; readonly limit: number }
  | { readonly kind: "response_too_large"; readonly limitBytes: number };

export type TxnOutcome =
  | {
      readonly kind: "done";
      /** Whether every comparison held. */
      readonly succeeded: boolean;
      /** Of the store after the transaction. */
      readonly revision: Revision;
      readonly results: readonly OperationResult[];
    }
  | TxnRefusal
  | CommandRefusal;

/** A user's transaction; absent lists are empty. */
export function txn(content: Partial<TxnContent>): Txn {
  const { compare = [], success = [], failure = [] } = content;
  return { kind: "txn", compare, success, failure };
}

/** A transaction that may write the system's keys. */
export function systemTxn(content: Partial<TxnContent>): SystemTxn {
  const { compare = [], success = [], failure = [] } = content;
  return { kind: "system_txn", compare, success, failure };
}

/** The first limit or rule that `command` breaks, known before it is applied. */
export function checkTxn(command: KvCommand): TxnRefusal | undefined {
  throw new AssertionError(`not built yet: ${command.kind}`);
}
