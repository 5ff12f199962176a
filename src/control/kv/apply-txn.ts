/**
 * Applying a transaction: compare, then do the one list or the other; undone when it cannot end.
 *
 * @module
 */
import { unreachable } from "../../base/assert.ts";
import { DELETE_KEYS_MAX, RANGE_KEYS_MAX, RESPONSE_SIZE_MAX_BYTES } from "./limits.ts";
import {
  type Compare,
  type CompareOperator,
  checkTxn,
  type KvCommand,
  type Operation,
  type OperationResult,
  type TxnOutcome,
  type TxnRefusal,
} from "./txn.ts";
import type { KeyValue, KvReader, KvWriter } from "./types.ts";

/** What the operations done so far have used up. */
interface Budget {
  responseBytes: number;
  deletedCount: number;
}

const PUT_DONE: OperationResult = { kind: "put" };
const ONE_PUT_DONE: readonly OperationResult[] = [PUT_DONE];

/** Does `command`, wholly or not at all. */
export function applyTxn(writer: KvWriter, command: KvCommand): TxnOutcome {
  const refusal = checkTxn(command);
  if (refusal !== undefined) return refusal;
  const succeeded = command.compare.every((compare) => holds(writer, compare));
  const operations = succeeded ? command.success : command.failure;
  const budget: Budget = { responseBytes: 0, deletedCount: 0 };
  const results: OperationResult[] = [];
  for (const operation of operations) {
    results.push(doOperation(writer, operation, budget));
    const exceeded = checkBudget(budget);
    if (exceeded !== undefined) {
      writer.revert();
      return exceeded;
    }
  }
  const revision = writer.changed ? writer.changeRevision : writer.revision;
  // Outcomes are kept for retries by the ten thousand, and most are of one put.
  const shared = results.length === 1 && results[0] === PUT_DONE ? ONE_PUT_DONE : results;
  return { kind: "done", succeeded, revision, results: shared };
}

function checkBudget(budget: Budget): TxnRefusal | undefined {
  if (budget.deletedCount > DELETE_KEYS_MAX) {
    return { kind: "too_many_keys", limit: DELETE_KEYS_MAX };
  }
  if (budget.responseBytes > RESPONSE_SIZE_MAX_BYTES) {
    return { kind: "response_too_large", limitBytes: RESPONSE_SIZE_MAX_BYTES };
  }
  return undefined;
}

function doOperation(writer: KvWriter, operation: Operation, budget: Budget): OperationResult {
  switch (operation.kind) {
    case "put":
      writer.put(operation.key, operation.value, operation.ttlSeconds);
      return PUT_DONE;
    case "renew": {
      const ttl = writer.renew(operation.key, operation.ttlSeconds);
      return { kind: "renew", ttlSeconds: ttl?.seconds ?? null };
    }
    case "get": {
      const pair = writer.get(operation.key) ?? null;
      if (pair !== null) budget.responseBytes += pairSize(pair);
      return { kind: "get", pair };
    }
    case "delete": {
      const deletedCount = writer.delete(operation.key) ? 1 : 0;
      return { kind: "delete", deletedCount };
    }
    case "range":
      return range(writer, operation, budget);
    case "delete_prefix": {
      let deletedCount = 0;
      for (const { key } of writer.list(operation.prefix)) {
        writer.delete(key);
        deletedCount += 1;
        if (budget.deletedCount + deletedCount > DELETE_KEYS_MAX) break;
      }
      budget.deletedCount += deletedCount;
      return { kind: "delete_prefix", deletedCount };
    }
    default:
      return unreachable(operation);
  }
}

function range(
  writer: KvWriter,
  operation: { readonly prefix: string; readonly limit: number },
  budget: Budget,
): OperationResult {
  const limit = Math.min(operation.limit, RANGE_KEYS_MAX);
  const pairs: KeyValue[] = [];
  for (const pair of writer.list(operation.prefix)) {
    if (pairs.length === limit) return { kind: "range", pairs, more: true };
    pairs.push(pair);
    budget.responseBytes += pairSize(pair);
    if (budget.responseBytes > RESPONSE_SIZE_MAX_BYTES) break;
  }
  return { kind: "range", pairs, more: false };
}

function pairSize(pair: KeyValue): number {
  return pair.key.length + pair.value.length;
}

function holds(reader: KvReader, compare: Compare): boolean {
  const pair = reader.get(compare.key);
  if (compare.target !== "value") {
    return orderHolds((pair?.[compare.target] ?? 0) - compare.value, compare.op);
  }
  return pair !== undefined && orderHolds(Buffer.compare(pair.value, compare.value), compare.op);
}

/** Whether `op` holds between two things whose difference has the sign of `order`. */
function orderHolds(order: number, op: CompareOperator): boolean {
  switch (op) {
    case "=":
      return order === 0;
    case "!=":
      return order !== 0;
    case "<":
      return order < 0;
    case ">":
      return order > 0;
    default:
      return unreachable(op);
  }
}
