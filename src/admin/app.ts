/**
 * The HTTP API as one application: access rules, routes, and an answer for everything else.
 *
 * Knows nothing of sockets: `server.ts` serves it twice, once for each kind of access, and tests
 * call it without any.
 *
 * @module
 */
import { Hono, type MiddlewareHandler } from "@hono/hono";
import { AssertionError } from "../base/assert.ts";
import { HostError } from "../base/host-error.ts";
import type { Log } from "../base/log.ts";
import { sealAnswer } from "./answer.ts";
import { authorityRoutes } from "./authority.ts";
import { configRoutes } from "./config.ts";
import { Gate } from "./gate.ts";
import { healthRoutes } from "./health.ts";
import { homeRoutes } from "./home.ts";
import { hotRoutes } from "./hot-routes.ts";
import { importRoutes } from "./import.ts";
import { joinRoutes } from "./join.ts";
import { kvRoutes } from "./kv.ts";
import { leaseRoutes } from "./leases.ts";
import { memberRoutes } from "./members.ts";
import { metricsRoutes } from "./metrics.ts";
import { openApiRoutes } from "./openapi.ts";
import { pingRoutes } from "./ping.ts";
import { type Problem, problemResponse } from "./problem.ts";
import { recoveryRoutes } from "./recovery.ts";
import { reservationRoutes } from "./reservations.ts";
import type { AdminService } from "./service.ts";
import { snapshotRoutes } from "./snapshot.ts";
import { statusRoutes } from "./status.ts";
import { tokenRoutes } from "./tokens.ts";
import { txnRoutes } from "./txn.ts";
import { watchRoutes } from "./watch.ts";

export interface AdminAppOptions {
  /** Through which kind of listener requests come. */
  readonly access: "socket" | "tcp";
  /** What `Authorization: Bearer` must hold for a write over TCP. */
  readonly adminToken: string;
  readonly log: Log;
  /** Gets an `AssertionError` that a handler ran into; by default it ends the process. */
  readonly onBug?: (error: AssertionError) => void;
  /** Aborts when the listener closes: answers that go on for ever end then. */
  readonly closing?: AbortSignal;
}

/** The API of one listener. */
export interface AdminApp {
  /** Answers any request; those to hot routes by the short way. */
  readonly fetch: (request: Request) => Response | Promise<Response>;
  /** The long way, which answers all of them too. */
  readonly router: Hono;
}

/** The application that answers for `service`. */
export function createAdminApp(service: AdminService, options: AdminAppOptions): AdminApp {
  const gate = new Gate(options);
  const answerFault = (error: Error, request: { method: string; path: string }) =>
    faultResponse(error, request, options);
  const router = createRouter(service, { ...options, gate, answerFault });
  const hot = hotRoutes(service, { gate, answerFault });
  return { fetch: (request) => hot(request) ?? router.fetch(request), router };
}

interface RouterOptions extends Pick<AdminAppOptions, "closing"> {
  readonly gate: Gate;
  readonly answerFault: (error: Error, request: { method: string; path: string }) => Response;
}

function createRouter(service: AdminService, options: RouterOptions): Hono {
  const app = new Hono();
  app.use(passGate(options.gate));

  for (const routes of [
    homeRoutes,
    healthRoutes,
    metricsRoutes,
    openApiRoutes,
    statusRoutes,
    configRoutes,
    leaseRoutes,
    reservationRoutes,
    importRoutes,
    memberRoutes,
    authorityRoutes,
    tokenRoutes,
    joinRoutes,
    pingRoutes,
    snapshotRoutes,
    recoveryRoutes,
    kvRoutes,
    txnRoutes,
  ]) {
    app.route("/", routes(service));
  }
  app.route("/", watchRoutes(service, options.closing));

  const endpoints = listEndpoints(app);
  app.notFound((c) => problemResponse(noRoute(endpoints, c.req.method, c.req.path)));
  app.onError((error, c) => options.answerFault(error, { method: c.req.method, path: c.req.path }));
  return app;
}

function faultResponse(
  error: Error,
  request: { readonly method: string; readonly path: string },
  { log, onBug = crash }: AdminAppOptions,
): Response {
  log.error("request failed", { ...request, error: error.stack ?? String(error) });
  if (error instanceof AssertionError) onBug(error);
  const detail =
    error instanceof HostError
      ? error.message
      : "Cannot answer the request: a fault of the agent; see its log";
  return problemResponse({ kind: "internal_error", detail });
}

interface Endpoint {
  readonly pattern: RegExp;
  readonly method: string;
}

/** Hono answers 404 for a known path with another method; this table tells the two apart. */
function listEndpoints(app: Hono): readonly Endpoint[] {
  return app.routes
    .filter(({ method }) => method !== "ALL")
    .map(({ method, path }) => ({
      method,
      pattern: new RegExp(`^${path.replaceAll(/:[a-z]+(\{.+\})?/g, parameterPattern)}$`),
    }));
}

/** `:id` stands for one segment, `:key{.+}` for what is in its braces. */
function parameterPattern(_: string, braces: string | undefined): string {
  return braces === undefined ? "[^/]+" : braces.slice(1, -1);
}

function noRoute(endpoints: readonly Endpoint[], method: string, path: string): Problem {
  const methods = endpoints.filter(({ pattern }) => pattern.test(path)).map((at) => at.method);
  if (methods.length === 0) {
    return { kind: "not_found", detail: `Cannot find "${path}"; see / for what there is` };
  }
  const allow = methods.includes("GET") ? [...methods, "HEAD"] : methods;
  const detail = `Cannot ${method} "${path}": it takes ${allow.join(", ")}`;
  return { kind: "method_not_allowed", detail, allow };
}

function passGate(gate: Gate): MiddlewareHandler {
  return async (c, next) => {
    const refusal = gate.enter(c.req.raw, c.req.path);
    if (refusal !== undefined) return refusal;
    try {
      await next();
      // Not by c.header(), which makes a second response around the body of the first.
      sealAnswer(c.res);
      return undefined;
    } finally {
      gate.leave();
    }
  };
}

/** Ends the process from outside the request, where nothing can catch it. */
function crash(error: AssertionError): void {
  queueMicrotask(() => {
    throw error;
  });
}
