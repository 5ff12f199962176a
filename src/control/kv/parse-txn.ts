/**
 * Transactions out of plain data of unknown origin: their shape; limits are `checkTxn`'s.
 *
 * @module
 */
import { isCounter, isRecord, parseList } from "./plain.ts";
import {
  type Compare,
  type CompareOperator,
  type KvCommand,
  type Operation,
  type RevisionTarget,
  systemTxn,
  type TxnContent,
  txn,
} from "./txn.ts";

/** More than `checkTxn` allows, so that it can say by how much; bounds the work of parsing. */
const LIST_MAX = 100_000;

/** The transaction that `value` is; undefined when it is none. */
export function parseKvCommand(value: unknown): KvCommand | undefined {
  if (!isRecord(value)) return undefined;
  if (value["kind"] !== "txn" && value["kind"] !== "system_txn") return undefined;
  const content = parseContent(value);
  if (content === undefined) return undefined;
  return value["kind"] === "txn" ? txn(content) : systemTxn(content);
}

function parseContent(value: Readonly<Record<string, unknown>>): TxnContent | undefined {
  const compare = parseList(value["compare"], LIST_MAX, parseCompare);
  const success = parseList(value["success"], LIST_MAX, parseOperation);
  const failure = parseList(value["failure"], LIST_MAX, parseOperation);
  if (compare === undefined || success === undefined || failure === undefined) return undefined;
  return { compare, success, failure };
}

function parseCompare(item: unknown): Compare | undefined {
  if (!isRecord(item)) return undefined;
  const { key, target, op, value } = item;
  if (typeof key !== "string" || !isOperator(op)) return undefined;
  if (target === "value") {
    return value instanceof Uint8Array ? { key, target, op, value } : undefined;
  }
  return isRevisionTarget(target) && isCounter(value) ? { key, target, op, value } : undefined;
}

function parseOperation(item: unknown): Operation | undefined {
  if (!isRecord(item)) return undefined;
  const { kind, key, prefix, value, limit, ttlSeconds } = item;
  if (ttlSeconds !== undefined && !isCounter(ttlSeconds)) return undefined;
  switch (kind) {
    case "put":
      if (typeof key !== "string" || !(value instanceof Uint8Array)) return undefined;
      return ttlSeconds === undefined ? { kind, key, value } : { kind, key, value, ttlSeconds };
    case "renew":
      if (typeof key !== "string") return undefined;
      return ttlSeconds === undefined ? { kind, key } : { kind, key, ttlSeconds };
    case "get":
    case "delete":
      return typeof key === "string" ? { kind, key } : undefined;
    case "range":
      if (typeof prefix !== "string" || !isCounter(limit) || limit < 1) return undefined;
      return { kind, prefix, limit };
    case "delete_prefix":
      return typeof prefix === "string" ? { kind, prefix } : undefined;
    default:
      return undefined;
  }
}

function isOperator(value: unknown): value is CompareOperator {
  return value === "=" || value === "!=" || value === "<" || value === ">";
}

function isRevisionTarget(value: unknown): value is RevisionTarget {
  return value === "version" || value === "modRevision" || value === "createRevision";
}
