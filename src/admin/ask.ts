/**
 * One question to the admin API over HTTP, and the ways in which there may be no answer.
 *
 * @module
 */
import * as v from "valibot";
import { err, ok, type Result } from "../base/result.ts";
import { EVENT_STREAM_TYPE } from "./event-stream.ts";
import type { Problem } from "./problem.ts";
import { errnoOf } from "./socket-path.ts";
import { decodeDetail, decodeProblem } from "./views.ts";

/** Where the agent is asked. */
export type AdminTarget =
  | { readonly kind: "socket"; readonly path: string }
  | {
      readonly kind: "http";
      /** "http://127.0.0.1:8287". */
      readonly origin: string;
      /** For writes; reads need none. */
      readonly token: string | undefined;
    };

/** No answer of the API: nobody there, not in time, or not our language. */
export type TransportFailure =
  | { readonly kind: "no_agent"; readonly detail: string }
  | { readonly kind: "no_answer"; readonly detail: string }
  | { readonly kind: "bad_answer"; readonly detail: string };

export type ClientFailure = TransportFailure | Problem;
export type Answer<T> = Promise<Result<T, ClientFailure>>;

/** One request. */
export interface Ask {
  readonly method?: string;
  readonly path: string;
  readonly body?: string | Uint8Array<ArrayBuffer>;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Header of a body that is JSON. */
export const JSON_TYPE = { "content-type": "application/json" };

/** A `POST` of `body` as JSON. */
export function post(path: string, body: unknown): Ask {
  return { method: "POST", path, body: JSON.stringify(body), headers: JSON_TYPE };
}

/** Asks, and reads the answer through `schema`; gives up after `timeoutMs`. */
export async function send<View>(
  target: AdminTarget,
  timeoutMs: number,
  schema: v.GenericSchema<unknown, View>,
  request: Ask,
): Answer<View> {
  let status: number;
  let text: string;
  try {
    const response = await fetchFrom(target, request, AbortSignal.timeout(timeoutMs));
    status = response.status;
    text = await response.text();
  } catch (error) {
    return err(transportFailure(target, timeoutMs, error));
  }
  return decodeAnswer(schema, status, text);
}

/**
 * Asks for a stream of `type`, by default of events, which may go on for ever: only its beginning
 * must come within `timeoutMs`. Whoever gets it reads it to its end or cancels it.
 */
export async function openStream(
  target: AdminTarget,
  timeoutMs: number,
  request: Ask,
  type = EVENT_STREAM_TYPE,
): Answer<ReadableStream<Uint8Array>> {
  const controller = new AbortController();
  const timeout = AbortSignal.timeout(timeoutMs);
  const giveUp = () => controller.abort(timeout.reason);
  timeout.addEventListener("abort", giveUp, { once: true });
  try {
    const response = await fetchFrom(target, request, controller.signal);
    const sent = response.headers.get("content-type") ?? "";
    if (response.ok && response.body !== null && sent.startsWith(type)) {
      return ok(response.body);
    }
    return decodeAnswer(v.never(), response.status, await response.text());
  } catch (error) {
    return err(transportFailure(target, timeoutMs, error));
  } finally {
    timeout.removeEventListener("abort", giveUp);
  }
}

/** The failure of a stream that broke off or ended. */
export function streamFailure(target: AdminTarget, error: unknown): TransportFailure {
  return transportFailure(target, 0, error);
}

function fetchFrom(target: AdminTarget, request: Ask, signal: AbortSignal): Promise<Response> {
  return fetch(urlOf(target, request.path), {
    method: request.method ?? "GET",
    headers: { ...request.headers, ...authorization(target) },
    signal,
    redirect: "error",
    ...(request.body === undefined ? {} : { body: request.body }),
    ...(target.kind === "socket" ? { unix: target.path } : {}),
  });
}

function urlOf(target: AdminTarget, path: string): string {
  return new URL(path, target.kind === "socket" ? "http://localhost" : target.origin).href;
}

function authorization(target: AdminTarget): Record<string, string> {
  if (target.kind === "socket" || target.token === undefined) return {};
  return { authorization: `Bearer ${target.token}` };
}

function decodeAnswer<View>(
  schema: v.GenericSchema<unknown, View>,
  status: number,
  text: string,
): Result<View, ClientFailure> {
  const body = parseJsonOrUndefined(text);
  // A node that is not ready says so with 503 and the same shape as when it is.
  const view = v.safeParse(schema, body);
  if (view.success && (status < 300 || status === 503)) return ok(view.output);
  const problem = status >= 400 ? decodeProblem(body) : undefined;
  if (problem !== undefined) return err(problem);
  const issue = view.issues?.[0];
  const path = issue === undefined ? "" : (v.getDotPath(issue) ?? "");
  const what = status < 300 ? `its answer is not understood (at "${path}")` : `status ${status}`;
  const said = decodeDetail(body);
  const detail =
    `the agent has another version or is no overlay agent: ${what}` +
    `${said === undefined ? "" : ` (${said})`}; restart it with this version`;
  return err({ kind: "bad_answer", detail });
}

function parseJsonOrUndefined(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return undefined; // No schema takes it, which is told as an answer not understood.
  }
}

function transportFailure(
  target: AdminTarget,
  timeoutMs: number,
  error: unknown,
): TransportFailure {
  const at = target.kind === "socket" ? target.path : target.origin;
  if (error instanceof DOMException && error.name === "TimeoutError") {
    const detail =
      `no answer from the agent at ${at} within ${timeoutMs / 1000} s; ` +
      "look before you repeat it, it may still happen, or give more time with --timeout";
    return { kind: "no_answer", detail };
  }
  if (!(error instanceof Error)) throw error;
  return { kind: "no_agent", detail: `no agent answers at ${at}: ${stateOf(error)}` };
}

function stateOf(error: Error): string {
  const start = 'start it with "systemctl start overlay" or "overlay agent", or give --socket';
  const errno = errnoOf(error);
  switch (errno) {
    case "ENOENT":
      return `the socket does not exist; ${start}`;
    case "ECONNREFUSED":
      return `nobody listens there; ${start}`;
    case "EACCES":
    case "EPERM":
      return "permission denied; run this as root";
    case "ECONNRESET":
    case "EPIPE":
      return "it closed the connection; see its log";
    default:
      return `${errno ?? error.message}; ${start}`;
  }
}
