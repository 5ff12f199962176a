/**
 * Requests into domain values: bodies, queries and path parameters, each through one schema.
 *
 * A request is hostile until it has passed here. Every function answers a `RequestProblem` instead
 * of throwing, so a handler is: parse, ask the service, answer.
 *
 * @module
 */
import * as v from "valibot";
import { err, ok, type Result } from "../base/result.ts";
import { formatIssue } from "./field-issue.ts";
import { parseJson } from "./json-text.ts";
import { REQUEST_SIZE_BYTES_MAX } from "./limits.ts";
import type { RequestProblem } from "./problem.ts";
import type { FieldIssue } from "./service.ts";

/** Runs a domain parser inside a schema: text in, domain value out, one issue on failure. */
export function parsedBy<Value>(parse: (text: string) => Value | undefined, expected: string) {
  return v.pipe(
    v.string(),
    v.rawTransform<string, Value>(({ dataset, addIssue, NEVER }) => {
      const value = parse(dataset.value);
      if (value !== undefined) return value;
      addIssue({ message: `Expected ${expected}` });
      return NEVER;
    }),
  );
}

/** `input` through `schema`; `where` names it in the message: "body", "query", "path". */
export function parseWith<Schema extends v.GenericSchema>(
  schema: Schema,
  input: unknown,
  where: string,
): Result<v.InferOutput<Schema>, RequestProblem> {
  const parsed = v.safeParse(schema, input);
  if (parsed.success) return ok(parsed.output);
  const errors = parsed.issues.map(fieldIssue);
  const listed = errors.map(formatIssue).join("; ");
  const detail = `Cannot read the ${where} of the request: ${listed}`;
  return err({ kind: "invalid_request", detail, errors });
}

/** The JSON body of `request` through `schema`. No body counts as `{}`. */
export async function readBody<Schema extends v.GenericSchema>(
  request: Request,
  schema: Schema,
): Promise<Result<v.InferOutput<Schema>, RequestProblem>> {
  const text = await readText(request);
  if (!text.ok) return text;
  if (text.value.trim() === "") return parseWith(schema, {}, "body");
  const body = parseBody(text.value);
  if (!body.ok) return body;
  // To valibot an array is an object too; nothing here takes one.
  const value = Array.isArray(body.value) ? "array" : body.value;
  return parseWith(schema, value, "body");
}

/** The JSON body of `request` as it is. No body is a failure. */
export async function readJson(request: Request): Promise<Result<unknown, RequestProblem>> {
  const text = await readText(request);
  return text.ok ? parseBody(text.value) : text;
}

/**
 * The query of `request` through `schema`. Twice the same parameter is refused, and so is an
 * unknown one when the schema is strict: a mistyped `dryRun` must not become a write.
 */
export function parseQuery<Schema extends v.GenericSchema>(
  request: Request,
  schema: Schema,
): Result<v.InferOutput<Schema>, RequestProblem> {
  const search = searchOf(request.url);
  const known = lastQueries.get(schema);
  if (known?.search === search) return ok(known.value as v.InferOutput<Schema>);
  const parsed = parseSearch(search, schema);
  if (parsed.ok) lastQueries.set(schema, { search, value: parsed.value });
  return parsed;
}

/** Of each schema the last good query: a client sends the same one again and again. */
const lastQueries = new WeakMap<
  v.GenericSchema,
  { readonly search: string; readonly value: unknown }
>();

function parseSearch<Schema extends v.GenericSchema>(
  search: string,
  schema: Schema,
): Result<v.InferOutput<Schema>, RequestProblem> {
  const query = new Map<string, string>();
  for (const [name, value] of search === "" ? [] : new URLSearchParams(search)) {
    if (query.has(name)) {
      const errors = [{ path: name, message: "Given more than once" }];
      const detail = `Cannot read the query of the request: "${name}" is given more than once`;
      return err({ kind: "invalid_request", detail, errors });
    }
    query.set(name, value);
  }
  return parseWith(schema, Object.fromEntries(query), "query");
}

/** The path of `request`: its URL is normalized already, so it need not be parsed again. */
export function pathOf(request: Request): string {
  const { url } = request;
  const start = url.indexOf("/", url.indexOf("://") + 3);
  for (let end = start; end < url.length; end++) {
    const code = url.charCodeAt(end);
    if (code === QUESTION_MARK || code === NUMBER_SIGN) return url.slice(start, end);
  }
  return url.slice(start);
}

const QUESTION_MARK = 0x3f;
const NUMBER_SIGN = 0x23;

/** What stands behind the question mark; "" also when there is none. */
function searchOf(url: string): string {
  const start = url.indexOf("?");
  if (start < 0) return "";
  const end = url.indexOf("#");
  return end < 0 ? url.slice(start + 1) : end < start ? "" : url.slice(start + 1, end);
}

function parseBody(text: string): Result<unknown, RequestProblem> {
  const parsed = parseJson(text);
  if (parsed.ok) return parsed;
  const { line, column, expected, found } = parsed.error;
  const detail =
    text.trim() === ""
      ? "Cannot read the body of the request: it is empty; send JSON"
      : `Cannot read the body of the request: not JSON at line ${line}, column ${column}: ` +
        `expected ${expected}, found ${found}`;
  return err({ kind: "invalid_json", detail, line, column });
}

/** How large a body may be, and what to say of a larger one. */
export interface BodyLimit<Failure> {
  readonly sizeMaxBytes: number;
  readonly tooLarge: () => Failure;
}

const utf8 = new TextDecoder("utf-8", { fatal: true });
const TEXT_LIMIT: BodyLimit<RequestProblem> = { sizeMaxBytes: REQUEST_SIZE_BYTES_MAX, tooLarge };

/** The body as text, at most `REQUEST_SIZE_BYTES_MAX` bytes of valid UTF-8. */
async function readText(request: Request): Promise<Result<string, RequestProblem>> {
  const refusal = refuseMedia(request.headers);
  if (refusal !== undefined) return err(refusal);
  const bytes = await readBytes(request, TEXT_LIMIT);
  if (!bytes.ok) return bytes;
  try {
    return ok(utf8.decode(bytes.value));
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    const detail = "Cannot read the body of the request: not valid UTF-8; send JSON in UTF-8";
    return err({ kind: "invalid_json", detail });
  }
}

/** The body as it came, whatever it is called. Holds no more of it than `limit` allows. */
export async function readBytes<Failure>(
  request: Request,
  limit: BodyLimit<Failure>,
): Promise<Result<Uint8Array, Failure | RequestProblem>> {
  const encoded = refuseEncoding(request.headers);
  if (encoded !== undefined) return err(encoded);
  const length = Number(request.headers.get("content-length") ?? Number.NaN);
  if (length > limit.sizeMaxBytes) return err(limit.tooLarge());
  try {
    // The parser of HTTP takes no more than was announced, so this needs no counting, and costs a
    // third of a stream.
    if (length >= 0) return ok(await request.bytes());
    const bytes = await readStream(request, limit.sizeMaxBytes);
    return bytes === undefined ? err(limit.tooLarge()) : ok(bytes);
  } catch {
    // Only the connection can fail here: the client went away, nobody reads this answer.
    const detail = "Cannot read the body of the request: it broke off";
    return err({ kind: "invalid_request", detail, errors: [{ path: "", message: "Broke off" }] });
  }
}

/** A body of unknown length; undefined as soon as it has more than `sizeMaxBytes`. */
async function readStream(request: Request, sizeMaxBytes: number): Promise<Uint8Array | undefined> {
  if (request.body === null) return new Uint8Array();
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  const reader = request.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return Buffer.concat(chunks);
    sizeBytes += value.length;
    if (sizeBytes > sizeMaxBytes) {
      await reader.cancel();
      return undefined;
    }
    chunks.push(value);
  }
}

function tooLarge(): RequestProblem {
  const detail = `Cannot read the body of the request: larger than ${REQUEST_SIZE_BYTES_MAX} bytes`;
  return { kind: "payload_too_large", detail };
}

/**
 * What a body of JSON may be called. The form type is what `curl -d` says when it is not told, and
 * the plain one what other tools do; a form of a browser gets no further than the access rules.
 */
const MEDIA_TYPE =
  /^(application\/(json|[\w.+-]+\+json|x-www-form-urlencoded|octet-stream)|text\/(plain|json))$/;

function refuseEncoding(headers: Headers): RequestProblem | undefined {
  const encoding = headers.get("content-encoding") ?? "identity";
  if (encoding.toLowerCase() === "identity") return undefined;
  const detail = `Cannot read the body of the request: "${encoding}" encoded; send it plain`;
  return { kind: "unsupported_media_type", detail };
}

function refuseMedia(headers: Headers): RequestProblem | undefined {
  const type = headers.get("content-type");
  if (type === null) return undefined;
  const essence = type.split(";", 1)[0]!.trim().toLowerCase();
  if (MEDIA_TYPE.test(essence)) return undefined;
  const detail = `Cannot read the body of the request: it is "${essence}"; send "application/json"`;
  return { kind: "unsupported_media_type", detail };
}

function fieldIssue(issue: v.BaseIssue<unknown>): FieldIssue {
  const path = v.getDotPath(issue) ?? "";
  // valibot words these two for programmers: "Expected never but received "foo"".
  if (issue.type === "strict_object" && issue.expected === "never") {
    return { path, message: "Unknown name" };
  }
  if (issue.received === "undefined") return { path, message: "Missing" };
  return { path, message: issue.message };
}
