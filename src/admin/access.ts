/**
 * Who may ask what: the rules of the socket and of the loopback port.
 *
 * The Unix socket is guarded by its file mode; whoever can open it may do everything. The TCP port
 * is open to every process of this machine and, through a browser, to every web page, so there:
 *
 * - the `Host` must be loopback's: a page whose own name was re-pointed at 127.0.0.1 (DNS
 *   rebinding) sends its own name and is refused, for reads too;
 * - a write with the `Origin` of another site is refused;
 * - a write needs the admin token; join and leave are not to be had at all.
 *
 * @module
 */
import { createHash, timingSafeEqual } from "node:crypto";
import type { MiddlewareHandler } from "@hono/hono";
import { parseAddress, parsePrefix, prefixHas } from "../base/address.ts";
import { type Problem, problemResponse } from "./problem.ts";

const LOOPBACK_V4 = parsePrefix("127.0.0.0/8")!;
const LOOPBACK_V6 = parseAddress("::1")!;
const HOST_PATTERN = /^(\[[^\]]+\]|[^:]+)(?::[0-9]{1,5})?$/;
const BEARER_PATTERN = /^Bearer +([^ ]+) *$/i;
const SAFE_METHODS = new Set(["GET", "HEAD", "OPTIONS"]);
/** Whoever may call these can point this node at another cluster. */
const SOCKET_ONLY_PATHS = new Set(["/join", "/leave"]);

/** Whether `host` (without port; IPv6 with or without brackets) can only mean this machine. */
export function isLoopbackHost(host: string): boolean {
  if (host.toLowerCase() === "localhost") return true;
  const address = parseAddress(host.replace(/^\[(.*)\]$/, "$1"));
  if (address === undefined) return false;
  return address === LOOPBACK_V6 || prefixHas(LOOPBACK_V4, address);
}

/** Lets a request to the TCP port pass, or answers why not. */
export function guardTcp(adminToken: string): MiddlewareHandler {
  // An empty admin token would be matched by nobody's header; it must never be matched at all.
  const wanted = adminToken === "" ? undefined : digestOf(adminToken);
  const refuseHost = hostCheck();
  return async (c, next) => {
    const isWrite = !SAFE_METHODS.has(c.req.method);
    const refusal =
      refuseHost(c.req.header("host")) ??
      (isWrite ? refuseOrigin(c.req.header("origin")) : undefined) ??
      (isWrite ? refusePath(c.req.path) : undefined) ??
      (isWrite ? refuseToken(c.req.header("authorization"), wanted) : undefined);
    if (refusal !== undefined) return problemResponse(refusal);
    await next();
    return undefined;
  };
}

/** A check that remembers the last good header: a client sends the same one again and again. */
function hostCheck(): (host: string | undefined) => Problem | undefined {
  let good: string | undefined;
  return (host) => {
    if (host !== undefined && host === good) return undefined;
    const name = HOST_PATTERN.exec(host ?? "")?.[1];
    if (name !== undefined && isLoopbackHost(name)) {
      good = host;
      return undefined;
    }
    const detail =
      `Cannot answer for host "${host ?? ""}": only loopback names are served; ` +
      'use "127.0.0.1" or "localhost"';
    return { kind: "forbidden_host", detail };
  };
}

function refuseOrigin(origin: string | undefined): Problem | undefined {
  if (origin === undefined) return undefined;
  const url = URL.canParse(origin) ? new URL(origin) : undefined;
  if (url !== undefined && isLoopbackHost(url.hostname)) return undefined;
  const detail = `Cannot take a write from the web page of "${origin}": it is of another site`;
  return { kind: "forbidden_origin", detail };
}

function refusePath(path: string): Problem | undefined {
  if (!SOCKET_ONLY_PATHS.has(path)) return undefined;
  const detail = `Cannot serve "${path}" over TCP: it is for the local socket only; use the CLI`;
  return { kind: "socket_only", detail };
}

/** `wanted`: digest of the admin token; undefined matches nothing. */
function refuseToken(
  authorization: string | undefined,
  wanted: Uint8Array | undefined,
): Problem | undefined {
  const given = BEARER_PATTERN.exec(authorization ?? "")?.[1];
  const isRight =
    given !== undefined && wanted !== undefined && timingSafeEqual(digestOf(given), wanted);
  if (isRight) return undefined;
  const state = given === undefined ? "the admin token is missing" : "the admin token is wrong";
  const detail =
    `Cannot change anything over TCP: ${state}; send "Authorization: Bearer <token>" with the ` +
    'content of "admin-token" in the data directory, or use the local socket';
  return { kind: "unauthorized", detail };
}

/**
 * Digests are compared, not texts: they have one length, and the time taken says nothing of the
 * token. Here and not in the library, whose digest takes two trips to another thread a request.
 */
function digestOf(token: string): Uint8Array {
  return createHash("sha256").update(token).digest();
}
