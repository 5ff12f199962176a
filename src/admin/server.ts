/**
 * The admin API on its two listeners: the Unix socket and the loopback port.
 *
 * Both are checked and bound here before any request is served; when the second one fails, the
 * first is closed again, so a failed start leaves nothing behind.
 *
 * @module
 */
import { HostError } from "../base/host-error.ts";
import type { Log } from "../base/log.ts";
import { isLoopbackHost } from "./access.ts";
import { type AdminApp, createAdminApp } from "./app.ts";
import { CLOSE_GRACE_MS, CONNECTION_IDLE_SECONDS_MAX } from "./limits.ts";
import { problemResponse } from "./problem.ts";
import type { AdminService } from "./service.ts";
import { clearSocketPath, errnoOf } from "./socket-path.ts";

/** Permission bits that the socket must not get: it is created with mode 0660. */
const SOCKET_UMASK = 0o117;

/**
 * The runtime keeps to it on a Unix socket as on TCP (10 seconds without it, which would cut a slow
 * join), but its types forbid it there: hence the wide type.
 */
const IDLE_TIMEOUT: object = { idleTimeout: CONNECTION_IDLE_SECONDS_MAX };

export interface AdminServerOptions {
  readonly service: AdminService;
  /** Its directory must exist. */
  readonly socketPath: string;
  /** A loopback address (port 0: any free one). */
  readonly listen: { readonly host: string; readonly port: number };
  readonly adminToken: string;
  readonly log: Log;
}

export interface AdminServer {
  /** The TCP port that is listened on. */
  readonly port: number;
  /** Stops listening, removes the socket, waits `CLOSE_GRACE_MS` for requests in work. */
  close(): Promise<void>;
}

type Listener = Bun.Server<undefined>;

/**
 * Serves `service`. Throws `HostError` when an agent answers on the socket already, the port is
 * taken, or the address is not loopback's.
 */
export async function openAdminServer(options: AdminServerOptions): Promise<AdminServer> {
  const { service, socketPath, listen, adminToken, log } = options;
  if (!isLoopbackHost(listen.host)) {
    throw new HostError({
      operation: "listen on",
      object: formatListen(listen),
      reason: "the admin API elsewhere than on loopback needs TLS, which this version has not",
      next: "choose a loopback address with --admin-listen, such as 127.0.0.1:8287",
    });
  }
  await clearSocketPath(socketPath);
  const closing = new AbortController();
  const app = (access: "socket" | "tcp") =>
    createAdminApp(service, { access, adminToken, log, closing: closing.signal });
  const tcp = listenTcp(app("tcp"), listen);
  try {
    const socket = listenSocket(app("socket"), socketPath);
    const close = () => {
      closing.abort();
      return closeAll([socket, tcp]);
    };
    return { port: tcp.port ?? listen.port, close };
  } catch (error) {
    await tcp.stop(true);
    throw error;
  }
}

function listenTcp(app: AdminApp, listen: AdminServerOptions["listen"]): Listener {
  try {
    // Without `reusePort: false` the runtime shares the port with whoever asks next as soon as
    // `development` is off, and an address in use would go unnoticed.
    const { host, port } = listen;
    return Bun.serve({ hostname: host, port, reusePort: false, ...serveOptions(app) });
  } catch (error) {
    const errno = errnoOf(error) ?? "EIO";
    throw new HostError({
      operation: "listen on",
      object: formatListen(listen),
      reason: errno === "EADDRINUSE" ? `port ${listen.port} is in use` : "address not usable",
      errno,
      next: "choose another address or port with --admin-listen",
      cause: error,
    });
  }
}

function listenSocket(app: AdminApp, path: string): Listener {
  // The file appears in bind() with the mode that umask leaves: no moment in which others may open
  // it, which a later chmod would have.
  const umask = process.umask(SOCKET_UMASK);
  try {
    return Bun.serve({ unix: path, ...serveOptions(app) });
  } catch (error) {
    throw new HostError({
      operation: "open the admin socket",
      object: path,
      errno: errnoOf(error) ?? "EIO",
      next: "check --run-dir and its permissions",
      cause: error,
    });
  } finally {
    process.umask(umask);
  }
}

function serveOptions(app: AdminApp) {
  return {
    fetch: app.fetch,
    // The runtime's own limit answers without a body; ours (request.ts) is lower in effect, since
    // it counts while it reads and never holds more than the limit.
    maxRequestBodySize: Number.MAX_SAFE_INTEGER,
    development: false,
    ...IDLE_TIMEOUT,
    error: () =>
      problemResponse({ kind: "internal_error", detail: "Cannot answer the request: see the log" }),
  } as const;
}

async function closeAll(listeners: readonly Listener[]): Promise<void> {
  const grace = AbortSignal.timeout(CLOSE_GRACE_MS);
  const expired = new Promise<void>((resolve) => {
    grace.addEventListener("abort", () => resolve(), { once: true });
  });
  const drained = Promise.all(listeners.map((listener) => listener.stop()));
  await Promise.race([drained, expired]);
  if (grace.aborted) await Promise.all(listeners.map((listener) => listener.stop(true)));
}

function formatListen(listen: AdminServerOptions["listen"]): string {
  return listen.host.includes(":")
    ? `[${listen.host}]:${listen.port}`
    : `${listen.host}:${listen.port}`;
}
