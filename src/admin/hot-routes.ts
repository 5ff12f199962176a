/**
 * The short way to the routes of single keys and of transactions, past the router.
 *
 * A store is asked for single keys ten thousand times a second, and there the router's own work
 * (matching, contexts, a chain of middlewares) costs more than the answer. These routes are told by
 * method and the beginning of the path, and pass the same gate, the same handlers and the same
 * answer to faults as on the long way. Whatever is not clearly one of them goes the long way.
 *
 *     request --method and path--> hot route?  yes: gate -> handler -> answer
 *                                              no:  router (app.ts)
 *
 * The two must not differ in any answer: hot-routes.test.ts sends the same requests both ways.
 *
 * @module
 */
import type { Gate } from "./gate.ts";
import { deleteKey, getKey, putKey } from "./kv.ts";
import type { KvApi } from "./kv-api.ts";
import { KEY_PATH_PREFIX } from "./kv-item.ts";
import { pathOf } from "./request.ts";
import type { AdminService } from "./service.ts";
import { doTxn, TXN_PATH } from "./txn.ts";

/** A handler as both ways call it; `path` is the URL's, not decoded. */
type HotHandler = (kv: KvApi, request: Request, path: string) => Promise<Response>;

export interface HotRoutesOptions {
  readonly gate: Gate;
  /** The answer when a handler throws. */
  readonly answerFault: (error: Error, request: { method: string; path: string }) => Response;
}

const KEY_HANDLERS: Readonly<Record<string, HotHandler>> = {
  GET: getKey,
  PUT: putKey,
  DELETE: deleteKey,
};

/** Answers a request to a hot route; undefined, and nothing done, for all others. */
export type HotRoutes = (request: Request) => Promise<Response> | undefined;

/** The hot routes of `service`. */
export function hotRoutes(service: AdminService, options: HotRoutesOptions): HotRoutes {
  return (request) => {
    const path = pathOf(request);
    const handler = hotHandler(request.method, path);
    return handler && answer(handler, { service, request, path }, options);
  };
}

function hotHandler(method: string, path: string): HotHandler | undefined {
  if (path.length > KEY_PATH_PREFIX.length && path.startsWith(KEY_PATH_PREFIX)) {
    return Object.hasOwn(KEY_HANDLERS, method) ? KEY_HANDLERS[method] : undefined;
  }
  return path === TXN_PATH && method === "POST" ? doTxn : undefined;
}

interface Asked {
  readonly service: AdminService;
  readonly request: Request;
  readonly path: string;
}

async function answer(
  handler: HotHandler,
  { service, request, path }: Asked,
  { gate, answerFault }: HotRoutesOptions,
): Promise<Response> {
  // Not decoded: no path of another kind begins like a hot one, so the gate needs no more.
  const refusal = gate.enter(request, path);
  if (refusal !== undefined) return refusal;
  try {
    return await handler(service.kv, request, path);
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    return answerFault(error, { method: request.method, path });
  } finally {
    gate.leave();
  }
}
