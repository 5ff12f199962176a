/**
 * The admin API from the other side: one method for each thing to ask, failures as a closed union.
 *
 * Speaks HTTP over the Unix socket (the command line on this machine), or over TCP with the admin
 * token. No retries: whether a write may be repeated is for the caller to say.
 *
 * @module
 */
import * as v from "valibot";
import { err, ok, type Result } from "../base/result.ts";
import type { Problem } from "./problem.ts";
import type {
  ConfigView,
  CreatedToken,
  JoinRequest,
  JoinView,
  LeaseView,
  LeaveView,
  MemberView,
  Readiness,
  StatusView,
  TokenView,
} from "./service.ts";
import { errnoOf } from "./socket-path.ts";
import {
  ConfigSchema,
  CreatedTokenSchema,
  decodeDetail,
  decodeProblem,
  JoinSchema,
  LeaseSchema,
  LeaveSchema,
  MemberSchema,
  PutConfigSchema,
  type PutConfigView,
  ReadinessSchema,
  StatusSchema,
  TokenSchema,
} from "./views.ts";

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

export interface PutConfigOptions {
  readonly dryRun?: boolean;
  readonly renumber?: boolean;
  /** Fail with `revision_mismatch` unless the config is at this revision. */
  readonly expectedRevision?: number | undefined;
}

export interface NewToken {
  readonly lifeSeconds?: number | undefined;
  readonly usesMax?: number | undefined;
}

export interface AdminClient {
  getConfig(): Answer<ConfigView>;
  /** `body` goes to the agent as it is, so that its faults are told with their position. */
  putConfig(body: string, options: PutConfigOptions): Answer<PutConfigView>;
  status(): Answer<StatusView>;
  readiness(): Answer<Readiness>;
  leases(): Answer<readonly LeaseView[]>;
  /** `subnet` as "10.0.53.0/24". */
  releaseLease(subnet: string): Answer<LeaseView>;
  members(): Answer<readonly MemberView[]>;
  removeMember(id: string): Answer<MemberView>;
  tokens(): Answer<readonly TokenView[]>;
  createToken(request: NewToken): Answer<CreatedToken>;
  revokeToken(id: string): Answer<TokenView>;
  join(request: JoinRequest): Answer<JoinView>;
  leave(): Answer<LeaveView>;
}

/** A client that gives each request `timeoutMs`. Opens nothing until it is asked. */
export function createAdminClient(target: AdminTarget, timeoutMs: number): AdminClient {
  const ask = <View>(schema: v.GenericSchema<unknown, View>, request: Ask) =>
    send(target, timeoutMs, schema, request);
  const path = (name: string, id: string) => `/${name}/${encodeURIComponent(id)}`;
  return {
    getConfig: () => ask(ConfigSchema, { path: "/config" }),
    putConfig: (body, options) => ask(PutConfigSchema, putConfigRequest(body, options)),
    status: () => ask(StatusSchema, { path: "/status" }),
    readiness: () => ask(ReadinessSchema, { path: "/readyz" }),
    leases: () => ask(v.array(LeaseSchema), { path: "/leases" }),
    releaseLease: (subnet) =>
      ask(LeaseSchema, { method: "DELETE", path: path("leases", subnet.replace("/", "-")) }),
    members: () => ask(v.array(MemberSchema), { path: "/members" }),
    removeMember: (id) => ask(MemberSchema, { method: "DELETE", path: path("members", id) }),
    tokens: () => ask(v.array(TokenSchema), { path: "/tokens" }),
    createToken: (request) => ask(CreatedTokenSchema, post("/tokens", request)),
    revokeToken: (id) => ask(TokenSchema, { method: "DELETE", path: path("tokens", id) }),
    join: (request) => ask(JoinSchema, post("/join", request)),
    leave: () => ask(LeaveSchema, post("/leave", {})),
  };
}

interface Ask {
  readonly method?: string;
  readonly path: string;
  readonly body?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

const JSON_TYPE = { "content-type": "application/json" };

function post(path: string, body: unknown): Ask {
  return { method: "POST", path, body: JSON.stringify(body), headers: JSON_TYPE };
}

function putConfigRequest(body: string, options: PutConfigOptions): Ask {
  const query = new URLSearchParams();
  if (options.dryRun === true) query.set("dryRun", "true");
  if (options.renumber === true) query.set("renumber", "true");
  const { expectedRevision } = options;
  const ifMatch = expectedRevision === undefined ? {} : { "if-match": `"${expectedRevision}"` };
  const path = query.size === 0 ? "/config" : `/config?${query}`;
  return { method: "PUT", path, body, headers: { ...JSON_TYPE, ...ifMatch } };
}

async function send<View>(
  target: AdminTarget,
  timeoutMs: number,
  schema: v.GenericSchema<unknown, View>,
  request: Ask,
): Answer<View> {
  let status: number;
  let text: string;
  try {
    const response = await fetch(urlOf(target, request.path), {
      method: request.method ?? "GET",
      headers: { ...request.headers, ...authorization(target) },
      signal: AbortSignal.timeout(timeoutMs),
      redirect: "error",
      ...(request.body === undefined ? {} : { body: request.body }),
      ...(target.kind === "socket" ? { unix: target.path } : {}),
    });
    status = response.status;
    text = await response.text();
  } catch (error) {
    return err(transportFailure(target, timeoutMs, error));
  }
  return decodeAnswer(schema, status, text);
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
