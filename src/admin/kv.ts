/**
 * `GET`, `PUT` and `DELETE /kv/<key>`, and `GET /kv`: the store, one key or a list at a time.
 *
 * The body of a key is its value, byte for byte. `ETag` is the key's `modRevision`, so that
 * `If-Match` makes a write conditional on what was read (RFC 9110 §13.1); `X-Overlay-Revision` is
 * the revision of the store that was read.
 *
 * @module
 */
import { Hono } from "@hono/hono";
import * as v from "valibot";
import { decodeRevision } from "../base/ids.ts";
import { err, ok, type Result } from "../base/result.ts";
import {
  RANGE_KEYS_MAX,
  RESPONSE_SIZE_MAX_BYTES,
  VALUE_SIZE_MAX_BYTES,
} from "../control/kv/limits.ts";
import { readPast } from "../control/kv/past.ts";
import { type Compare, checkTxn, type Operation, type Txn, txn } from "../control/kv/txn.ts";
import type { KeyValue, KvReader } from "../control/kv/types.ts";
import { ANSWER_HEADERS, JSON_ANSWER_HEADERS } from "./answer.ts";
import type { Consistency, KvApi, ListView } from "./kv-api.ts";
import { itemView, keyOfPath, normalizeKey } from "./kv-item.ts";
import { compactedProblem, futureProblem, refusalProblem, valueTooLarge } from "./kv-problem.ts";
import { type Problem, problemResponse, type RequestProblem } from "./problem.ts";
import { parseQuery, parseWith, pathOf, readBytes } from "./request.ts";
import type { AdminService } from "./service.ts";

/** A whole number in a query, without sign. */
const wholeNumber = v.pipe(
  v.string(),
  v.regex(/^[0-9]{1,16}$/, "Expected a whole number from 0"),
  v.transform(Number),
  v.safeInteger(),
);
const consistency = v.optional(v.picklist(["linearizable", "serializable"]), "linearizable");
const revision = v.optional(v.pipe(wholeNumber, v.transform(decodeRevision)));

/** Query of `GET /kv/<key>`. */
export const GetQuery = v.strictObject({
  consistency,
  /** Read the past. */
  revision,
});
/** Query of `GET /kv`. */
export const ListQuery = v.strictObject({
  prefix: v.optional(v.string(), ""),
  limit: v.optional(v.pipe(wholeNumber, v.minValue(1)), String(RANGE_KEYS_MAX)),
  /** Go on behind this key. */
  after: v.optional(v.string()),
  consistency,
  revision,
});
/** Query of `PUT /kv/<key>`. */
export const PutQuery = v.strictObject({
  /** Seconds after which the key is deleted unless it is put or renewed again. */
  ttl: v.optional(wholeNumber),
});
/** Query of `DELETE /kv/<key>`: none. */
export const DeleteQuery = v.strictObject({});

/** Not a dot: a key may have line ends in it. */
const KEY_ROUTE = "/kv/:key{[\\s\\S]+}";
const ETAG_PATTERN = /^(?:"(?:0|[1-9][0-9]{0,15})"|\*)$/;
/** Headers that make a write conditional. */
export const Conditions = v.object({
  "If-Match": v.optional(
    v.pipe(v.string(), v.regex(ETAG_PATTERN, 'Expected one strong ETag such as "12", or *')),
  ),
  "If-None-Match": v.optional(v.literal("*", "Expected *")),
});

/** The routes of single keys and lists of them. */
export function kvRoutes(service: AdminService): Hono {
  const app = new Hono();
  app.get("/kv", (c) => listKeys(service.kv, c.req.raw));
  app.get(KEY_ROUTE, (c) => getKey(service.kv, c.req.raw));
  app.put(KEY_ROUTE, (c) => putKey(service.kv, c.req.raw));
  app.delete(KEY_ROUTE, (c) => deleteKey(service.kv, c.req.raw));
  return app;
}

async function listKeys(kv: KvApi, request: Request): Promise<Response> {
  const query = parseQuery(request, ListQuery);
  if (!query.ok) return problemResponse(query.error);
  const { prefix, limit, after } = query.value;
  const state = await readState(kv, query.value);
  if (!state.ok) return problemResponse(state.error);
  const range = { prefix: normalizeKey(prefix), after: after && normalizeKey(after) };
  const view = listView(state.value, { ...range, limit: Math.min(limit, RANGE_KEYS_MAX) });
  return Response.json(view, { headers: { "x-overlay-revision": `${view.revision}` } });
}

function listView(
  reader: KvReader,
  range: { readonly prefix: string; readonly after: string | undefined; readonly limit: number },
): ListView {
  const items: KeyValue[] = [];
  let sizeBytes = 0;
  let more = false;
  for (const pair of reader.list(range.prefix, range.after)) {
    sizeBytes += pair.key.length + pair.value.length;
    more = items.length === range.limit || sizeBytes > RESPONSE_SIZE_MAX_BYTES;
    if (more) break;
    items.push(pair);
  }
  return { revision: reader.revision, items: items.map(itemView), more };
}

/** `GET /kv/<key>`, of which `path` is the URL's path. */
export async function getKey(
  kv: KvApi,
  request: Request,
  path = pathOf(request),
): Promise<Response> {
  const key = parseKey(path);
  if (!key.ok) return problemResponse(key.error);
  const query = parseQuery(request, GetQuery);
  if (!query.ok) return problemResponse(query.error);
  const state = await readState(kv, query.value);
  if (!state.ok) return problemResponse(state.error);
  const pair = state.value.get(key.value);
  const revisionText = String(state.value.revision);
  if (pair === undefined) {
    return notFound("get", key.value, { "x-overlay-revision": revisionText });
  }
  const etag = `"${pair.modRevision}"`;
  const headers = { ...ANSWER_HEADERS, "x-overlay-revision": revisionText, etag };
  if (isKnown(request.headers.get("if-none-match"), etag)) {
    return new Response(null, { status: 304, headers });
  }
  // A copy: nobody else may ever hold the store's own bytes.
  return new Response(new Uint8Array(pair.value), {
    headers: { ...headers, "content-type": "application/octet-stream" },
  });
}

/** The present, or the past that is asked for. */
async function readState(
  kv: KvApi,
  query: {
    readonly consistency: Consistency;
    readonly revision?: KvReader["revision"] | undefined;
  },
): Promise<Result<KvReader, Problem>> {
  const state = await kv.read(query.consistency);
  if (!state.ok) return state;
  const { reader, history } = state.value;
  if (query.revision === undefined) return ok(reader);
  if (query.revision > reader.revision) return err(futureProblem(query.revision, reader.revision));
  const past = readPast(state.value, query.revision);
  if (past !== undefined) return ok(past);
  return err(compactedProblem(query.revision, history.oldestRevision));
}

/** Whether `If-None-Match` names what is there (RFC 9110 §13.1.2: weak comparison). */
function isKnown(header: string | null, etag: string): boolean {
  if (header === null) return false;
  const tags = header.split(",").map((tag) => tag.trim().replace(/^W\//, ""));
  return tags.includes(etag) || tags.includes("*");
}

/** `PUT /kv/<key>`, of which `path` is the URL's path. */
export async function putKey(
  kv: KvApi,
  request: Request,
  path = pathOf(request),
): Promise<Response> {
  const key = parseKey(path);
  if (!key.ok) return problemResponse(key.error);
  const query = parseQuery(request, PutQuery);
  if (!query.ok) return problemResponse(query.error);
  const compare = parseConditions(request, key.value);
  if (!compare.ok) return problemResponse(compare.error);
  const limit = { sizeMaxBytes: VALUE_SIZE_MAX_BYTES, tooLarge: valueTooLarge };
  const body = await readBytes(request, limit);
  if (!body.ok) return problemResponse(body.error);
  const { ttl } = query.value;
  const lasting = ttl === undefined ? {} : { ttlSeconds: ttl };
  const put: Operation = { kind: "put", key: key.value, value: body.value, ...lasting };
  const written = await write(kv, key.value, txn({ compare: compare.value, success: [put] }));
  if (!written.ok) return problemResponse(written.error);
  const { revision } = written.value;
  return revisionResponse(revision, { ...JSON_ANSWER_HEADERS, etag: `"${revision}"` });
}

/** `DELETE /kv/<key>`, of which `path` is the URL's path. */
export async function deleteKey(
  kv: KvApi,
  request: Request,
  path = pathOf(request),
): Promise<Response> {
  const key = parseKey(path);
  if (!key.ok) return problemResponse(key.error);
  const query = parseQuery(request, DeleteQuery);
  if (!query.ok) return problemResponse(query.error);
  const compare = parseConditions(request, key.value);
  if (!compare.ok) return problemResponse(compare.error);
  const success: Operation[] = [{ kind: "delete", key: key.value }];
  const written = await write(kv, key.value, txn({ compare: compare.value, success }));
  if (!written.ok) return problemResponse(written.error);
  const { revision, deletedCount } = written.value;
  if (deletedCount === 0) return notFound("delete", key.value, {});
  return revisionResponse(revision, JSON_ANSWER_HEADERS);
}

function revisionResponse(revision: number, headers: Readonly<Record<string, string>>): Response {
  return new Response(`{"revision":${revision}}`, { headers });
}

/** Carries out one write of `key`, whose comparisons are the request's conditions. */
async function write(
  kv: KvApi,
  key: string,
  command: Txn,
): Promise<Result<{ readonly revision: number; readonly deletedCount: number }, Problem>> {
  const refusal = checkTxn(command);
  if (refusal !== undefined) return err(refusalProblem(refusal));
  const result = await kv.txn(command);
  if (!result.ok) return result;
  const outcome = result.value;
  if (outcome.kind !== "done") return err(refusalProblem(outcome));
  const { revision, succeeded, results } = outcome;
  if (!succeeded) return err(await mismatch(kv, key));
  const done = results[0];
  return ok({ revision, deletedCount: done?.kind === "delete" ? done.deletedCount : 0 });
}

/** Why a condition did not hold. Read from this node, which has applied the transaction. */
async function mismatch(kv: KvApi, key: string): Promise<Problem> {
  const state = await kv.read("serializable");
  if (!state.ok) return state.error;
  const revision = state.value.reader.get(key)?.modRevision ?? 0;
  const where = revision === 0 ? "there is no such key now" : `it is at revision ${revision} now`;
  const detail = `Cannot change "${key}": ${where}; read it and try again`;
  return { kind: "revision_mismatch", detail, revision };
}

/** `If-Match` and `If-None-Match` as comparisons. */
function parseConditions(request: Request, key: string): Result<Compare[], RequestProblem> {
  const { headers } = request;
  const header = (name: string) => headers.get(name) ?? undefined;
  const given = { "If-Match": header("if-match"), "If-None-Match": header("if-none-match") };
  if (given["If-Match"] === undefined && given["If-None-Match"] === undefined) return ok([]);
  const parsed = parseWith(Conditions, given, "header");
  if (!parsed.ok) return parsed;
  const compare: Compare[] = [];
  const match = parsed.value["If-Match"];
  if (match === "*") {
    compare.push({ key, target: "modRevision", op: ">", value: 0 });
  } else if (match !== undefined) {
    compare.push({ key, target: "modRevision", op: "=", value: Number(match.slice(1, -1)) });
  }
  if (parsed.value["If-None-Match"] === "*") {
    compare.push({ key, target: "modRevision", op: "=", value: 0 });
  }
  return ok(compare);
}

function parseKey(path: string): Result<string, RequestProblem> {
  const key = keyOfPath(path);
  if (key !== undefined) return ok(key);
  const message = "Expected percent-encoded UTF-8";
  const detail = `Cannot read the path of the request: ${message}`;
  return err({ kind: "invalid_request", detail, errors: [{ path: "key", message }] });
}

function notFound(action: string, key: string, headers: Record<string, string>): Response {
  const detail = `Cannot ${action} "${key}": there is no such key`;
  const response = problemResponse({ kind: "not_found", detail });
  for (const [name, value] of Object.entries(headers)) response.headers.set(name, value);
  return response;
}
