/**
 * `POST /txn` and `POST /compact`: several changes of the store at once, under conditions; and the
 * end of its past.
 *
 *     {"compare": [{"key": "/a", "target": "modRevision", "op": "=", "value": 7}],
 *      "success": [{"op": "put", "key": "/a", "value": "x", "ttl": 30}],
 *      "failure": [{"op": "get", "key": "/a"}]}
 *
 * When every comparison holds, `success` is done, otherwise `failure`: wholly, in order, in one
 * revision. Values are text, or `{"base64": "…"}`.
 *
 * @module
 */
import { Hono } from "@hono/hono";
import * as v from "valibot";
import { unreachable } from "../base/assert.ts";
import { decodeRevision } from "../base/ids.ts";
import { compact } from "../control/kv/compact.ts";
import { RANGE_KEYS_MAX } from "../control/kv/limits.ts";
import {
  type Compare,
  checkTxn,
  type Operation,
  type OperationResult,
  txn,
} from "../control/kv/txn.ts";
import { JSON_ANSWER_HEADERS } from "./answer.ts";
import type { KvApi, ResultView, TxnView, ValueView } from "./kv-api.ts";
import { itemView, normalizeKey, parseValueView } from "./kv-item.ts";
import { commandProblem, futureProblem, refusalProblem } from "./kv-problem.ts";
import { problemResponse } from "./problem.ts";
import { readBody } from "./request.ts";
import type { AdminService } from "./service.ts";

const key = v.pipe(v.string(), v.transform(normalizeKey));
const counter = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const value = v.pipe(
  v.union([v.string(), v.strictObject({ base64: v.string() })], 'Expected text or {"base64": …}'),
  v.rawTransform<ValueView, Uint8Array>(({ dataset, addIssue, NEVER }) => {
    const bytes = parseValueView(dataset.value);
    if (bytes !== undefined) return bytes;
    addIssue({ message: "Expected Unicode text, or standard base64 with padding" });
    return NEVER;
  }),
);

const op = v.picklist(["=", "!=", "<", ">"]);
const CompareSchema = v.variant("target", [
  v.strictObject({ key, target: v.literal("value"), op, value }),
  v.strictObject({
    key,
    target: v.picklist(["version", "modRevision", "createRevision"]),
    op,
    value: counter,
  }),
]);

const OperationSchema = v.variant("op", [
  v.strictObject({ op: v.literal("put"), key, value, ttl: v.optional(counter) }),
  v.strictObject({ op: v.literal("renew"), key, ttl: v.optional(counter) }),
  v.strictObject({ op: v.literal("get"), key }),
  v.strictObject({ op: v.literal("delete"), key }),
  v.strictObject({
    op: v.literal("range"),
    prefix: key,
    limit: v.optional(v.pipe(counter, v.minValue(1)), RANGE_KEYS_MAX),
  }),
  v.strictObject({ op: v.literal("deletePrefix"), prefix: key }),
]);

/** Body of `POST /txn`. */
export const TxnBody = v.strictObject({
  compare: v.optional(v.array(CompareSchema), []),
  /** Done when every comparison holds. */
  success: v.optional(v.array(OperationSchema), []),
  /** Done otherwise. */
  failure: v.optional(v.array(OperationSchema), []),
});

/** Body of `POST /compact`. */
export const CompactBody = v.strictObject({
  /** The oldest revision that can be read and watched from afterwards. */
  revision: v.pipe(counter, v.transform(decodeRevision)),
});

/** Path of `POST /txn`. */
export const TXN_PATH = "/txn";

/** The routes of transactions and compaction. */
export function txnRoutes(service: AdminService): Hono {
  const app = new Hono();
  app.post(TXN_PATH, (c) => doTxn(service.kv, c.req.raw));
  app.post("/compact", (c) => doCompact(service.kv, c.req.raw));
  return app;
}

/** `POST /txn`. */
export async function doTxn(kv: KvApi, request: Request): Promise<Response> {
  const body = await readBody(request, TxnBody);
  if (!body.ok) return problemResponse(body.error);
  const { compare, success, failure } = body.value;
  const command = txn({
    compare: compare satisfies readonly Compare[],
    success: success.map(toOperation),
    failure: failure.map(toOperation),
  });
  const refusal = checkTxn(command);
  if (refusal !== undefined) return problemResponse(refusalProblem(refusal));
  const result = await kv.txn(command);
  if (!result.ok) return problemResponse(result.error);
  const outcome = result.value;
  if (outcome.kind !== "done") return problemResponse(refusalProblem(outcome));
  const { succeeded, revision, results } = outcome;
  const view: TxnView = { succeeded, revision, results: results.map(resultView) };
  return new Response(JSON.stringify(view), { headers: JSON_ANSWER_HEADERS });
}

function toOperation(operation: v.InferOutput<typeof OperationSchema>): Operation {
  switch (operation.op) {
    case "put": {
      const { key, value, ttl } = operation;
      return { kind: "put", key, value, ...ttlField(ttl) };
    }
    case "renew":
      return { kind: "renew", key: operation.key, ...ttlField(operation.ttl) };
    case "get":
    case "delete":
      return { kind: operation.op, key: operation.key };
    case "range":
      return { kind: "range", prefix: operation.prefix, limit: operation.limit };
    case "deletePrefix":
      return { kind: "delete_prefix", prefix: operation.prefix };
    default:
      return unreachable(operation);
  }
}

function ttlField(ttl: number | undefined): { readonly ttlSeconds?: number } {
  return ttl === undefined ? {} : { ttlSeconds: ttl };
}

function resultView(result: OperationResult): ResultView {
  switch (result.kind) {
    case "put":
      return { op: "put" };
    case "renew":
      return { op: "renew", ttlSeconds: result.ttlSeconds };
    case "get":
      return { op: "get", item: result.pair === null ? null : itemView(result.pair) };
    case "range":
      return { op: "range", items: result.pairs.map(itemView), more: result.more };
    case "delete":
      return { op: "delete", deleted: result.deletedCount };
    case "delete_prefix":
      return { op: "deletePrefix", deleted: result.deletedCount };
    default:
      return unreachable(result);
  }
}

async function doCompact(kv: KvApi, request: Request): Promise<Response> {
  const body = await readBody(request, CompactBody);
  if (!body.ok) return problemResponse(body.error);
  const result = await kv.compact(compact(body.value.revision));
  if (!result.ok) return problemResponse(result.error);
  const outcome = result.value;
  switch (outcome.kind) {
    case "compacted":
      return Response.json({ revision: outcome.revision });
    case "future_revision":
      return problemResponse(futureProblem(body.value.revision, outcome.revision));
    default:
      return problemResponse(commandProblem(outcome));
  }
}
