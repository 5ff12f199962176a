/**
 * Transactions of the key-value API: compare, then do the one list or the other, all or nothing.
 *
 * Operations run in order and see what those before them did. Two writes of one key in one
 * transaction count as one change. A put can give its key a time to live; `renew` starts that
 * again and changes nothing else, so it makes neither a revision nor an event. There are two kinds
 * of command: `txn`, which users can send and which may not touch the system's keys, and
 * `system_txn`, which no route makes.
 *
 * Pure. Size limits are checked by `checkTxn`, at the edge for a good message and when applying.
 *
 * @module
 */
import { unreachable } from "../../base/assert.ts";
import type { Revision } from "../../base/ids.ts";
import { isValidKey, keySize } from "./key.ts";
import {
  KEY_SIZE_MAX_BYTES,
  KEY_TTL_SECONDS_MAX,
  KEY_TTL_SECONDS_MIN,
  REQUEST_SIZE_MAX_BYTES,
  TXN_OPERATIONS_MAX,
  VALUE_SIZE_MAX_BYTES,
} from "./limits.ts";
import type { Command, CommandRefusal, KeyValue } from "./types.ts";

/** Keys under it belong to the system: readable by everybody, not writable by `txn`. */
export const SYSTEM_PREFIX = "/overlay/";

export type CompareOperator = "=" | "!=" | "<" | ">";
export type RevisionTarget = "version" | "modRevision" | "createRevision";

/**
 * One condition. An absent key has version, modRevision and createRevision 0, and no value: as in
 * etcd no comparison with its value holds, not even "!=". Values compare byte by byte.
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
  | {
      readonly kind: "put";
      readonly key: string;
      readonly value: Uint8Array;
      /** Absent: the key stays for good. */
      readonly ttlSeconds?: number;
    }
  | {
      readonly kind: "renew";
      readonly key: string;
      /** Absent: as long as before. */
      readonly ttlSeconds?: number;
    }
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

/** One for each operation done, in order. */
export type OperationResult =
  | { readonly kind: "put" }
  /** Null: there is no such key, or it has no time to live. */
  | { readonly kind: "renew"; readonly ttlSeconds: number | null }
  | { readonly kind: "get"; readonly pair: KeyValue | null }
  | { readonly kind: "range"; readonly pairs: readonly KeyValue[]; readonly more: boolean }
  | { readonly kind: "delete" | "delete_prefix"; readonly deletedCount: number };

/** Why a transaction cannot be done. Nothing was changed. */
export type TxnRefusal =
  | { readonly kind: "reserved_key"; readonly key: string }
  | { readonly kind: "invalid_key"; readonly key: string }
  | {
      readonly kind: "invalid_ttl";
      readonly ttlSeconds: number;
      readonly minSeconds: number;
      readonly maxSeconds: number;
    }
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
  const { compare, success, failure } = command;
  const count = Math.max(compare.length, success.length, failure.length);
  if (count > TXN_OPERATIONS_MAX) {
    return { kind: "too_many_operations", count, limit: TXN_OPERATIONS_MAX };
  }
  let sizeBytes = 0;
  for (const { key, value } of compare) {
    const problem = checkKey(key) ?? checkValue(value);
    if (problem !== undefined) return problem;
    sizeBytes += keySize(key) + valueSize(value);
  }
  for (const operations of [success, failure]) {
    for (const operation of operations) {
      const problem = checkOperation(operation, command.kind);
      if (problem !== undefined) return problem;
      sizeBytes += operationSize(operation);
    }
  }
  if (sizeBytes <= REQUEST_SIZE_MAX_BYTES) return undefined;
  return { kind: "request_too_large", sizeBytes, limitBytes: REQUEST_SIZE_MAX_BYTES };
}

function checkOperation(operation: Operation, by: KvCommand["kind"]): TxnRefusal | undefined {
  switch (operation.kind) {
    case "put": {
      const { key, value, ttlSeconds } = operation;
      return checkWrite(key, by) ?? checkValue(value) ?? checkTtl(ttlSeconds);
    }
    case "renew":
      return checkWrite(operation.key, by) ?? checkTtl(operation.ttlSeconds);
    case "delete":
      return checkWrite(operation.key, by);
    case "get":
      return checkKey(operation.key);
    case "range":
      return checkPrefix(operation.prefix);
    case "delete_prefix": {
      const { prefix } = operation;
      // A shorter prefix would take the system's keys along.
      if (by === "txn" && (SYSTEM_PREFIX.startsWith(prefix) || prefix.startsWith(SYSTEM_PREFIX))) {
        return { kind: "reserved_key", key: prefix };
      }
      return checkPrefix(prefix);
    }
    default:
      return unreachable(operation);
  }
}

function checkWrite(key: string, by: KvCommand["kind"]): TxnRefusal | undefined {
  if (by === "txn" && key.startsWith(SYSTEM_PREFIX)) return { kind: "reserved_key", key };
  return checkKey(key);
}

function checkKey(key: string): TxnRefusal | undefined {
  if (isValidKey(key)) return undefined;
  const sizeBytes = keySize(key);
  if (sizeBytes <= KEY_SIZE_MAX_BYTES) return { kind: "invalid_key", key: key.toWellFormed() };
  return { kind: "key_too_large", sizeBytes, limitBytes: KEY_SIZE_MAX_BYTES };
}

/** The empty prefix is one: it stands for all keys. */
function checkPrefix(prefix: string): TxnRefusal | undefined {
  return prefix === "" ? undefined : checkKey(prefix);
}

function checkValue(value: Uint8Array | number): TxnRefusal | undefined {
  const sizeBytes = valueSize(value);
  if (sizeBytes <= VALUE_SIZE_MAX_BYTES) return undefined;
  return { kind: "value_too_large", sizeBytes, limitBytes: VALUE_SIZE_MAX_BYTES };
}

function checkTtl(ttlSeconds: number | undefined): TxnRefusal | undefined {
  if (ttlSeconds === undefined) return undefined;
  const [minSeconds, maxSeconds] = [KEY_TTL_SECONDS_MIN, KEY_TTL_SECONDS_MAX];
  if (ttlSeconds >= minSeconds && ttlSeconds <= maxSeconds) return undefined;
  return { kind: "invalid_ttl", ttlSeconds, minSeconds, maxSeconds };
}

function valueSize(value: Uint8Array | number): number {
  return typeof value === "number" ? 0 : value.length;
}

function operationSize(operation: Operation): number {
  switch (operation.kind) {
    case "put":
      return keySize(operation.key) + operation.value.length;
    case "get":
    case "renew":
    case "delete":
      return keySize(operation.key);
    case "range":
    case "delete_prefix":
      return keySize(operation.prefix);
    default:
      return unreachable(operation);
  }
}
