/**
 * Who may ask what: the rules of the socket and of the loopback port.
 *
 * The Unix socket is guarded by its file mode; whoever can open it may do everything. The TCP port
 * is open to every process of this machine and, through a browser, to every web page, so there:
 *
 * - the `Host` must be loopback's: a page whose own name was re-pointed at 127.0.0.1 (DNS
 *   rebinding) sends its own name and is refused, for reads too;
 * - a write with the `Origin` of another site is refused;
 * - a write needs the admin token; join, leave and recovery are not to be had at all.
 *
 * @module
 */
import { timingSafeEqual } from "node:crypto";
import { parseAddress, parsePrefix, prefixHas } from "../base/address.ts";
import type { Problem } from "./problem.ts";

const LOOPBACK_V4 = parsePrefix("127.0.0.0/8")!;
const LOOPBACK_V6 = parseAddress("::1")!;
const HOST_PATTERN = /^(\[[^\]]+\]|[^:]+)(?::[0-9]{1,5})?$/;
const BEARER_PATTERN = /^Bearer +([^ ]+) *$/i;
const utf8 = new TextEncoder();
const SAFE_METHODS = new Set(["GET", "HEAD", "OPTIONS"]);
/** Whoever may call these can point this node at another cluster. */
const SOCKET_ONLY_PATHS = new Set(["/join", "/leave", "/recovery"]);

/** Whether `host` (without port; IPv6 with or without brackets) can only mean this machine. */
export function isLoopbackHost(host: string): boolean {
  if (host.toLowerCase() === "localhost") return true;
  const address = parseAddress(host.replace(/^\[(.*)\]$/, "$1"));
  if (address === undefined) return false;
  return address === LOOPBACK_V6 || prefixHas(LOOPBACK_V4, address);
}

/** Why a request, whose decoded path is `path`, is refused; undefined: it may pass. */
export type AccessCheck = (request: Request, path: string) => Problem | undefined;

/** The rules of the TCP port. */
export function tcpAccess(adminToken: string): AccessCheck {
  // An empty admin token would be matched by nobody's header; it must never be matched at all.
  const isWanted = adminToken === "" ? () => false : tokenCheck(adminToken);
  const refuseHost = hostCheck();
  return ({ method, headers }, path) => {
    const refusal = refuseHost(headers.get("host"));
    if (refusal !== undefined || SAFE_METHODS.has(method)) return refusal;
    return (
      refuseOrigin(headers.get("origin")) ??
      refusePath(path) ??
      refuseToken(headers.get("authorization"), isWanted)
    );
  };
}

/** A check that remembers the last good header: a client sends the same one again and again. */
function hostCheck(): (host: string | null) => Problem | undefined {
  let good: string | undefined;
  return (host) => {
    if (host !== null && host === good) return undefined;
    const name = HOST_PATTERN.exec(host ?? "")?.[1];
    if (host !== null && name !== undefined && isLoopbackHost(name)) {
      good = host;
      return undefined;
    }
    const detail =
      `Cannot answer for host "${host ?? ""}": only loopback names are served; ` +
      'use "127.0.0.1" or "localhost"';
    return { kind: "forbidden_host", detail };
  };
}

function refuseOrigin(origin: string | null): Problem | undefined {
  if (origin === null) return undefined;
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

function refuseToken(
  authorization: string | null,
  isWanted: (token: string) => boolean,
): Problem | undefined {
  const given = BEARER_PATTERN.exec(authorization ?? "")?.[1];
  if (given !== undefined && isWanted(given)) return undefined;
  const state = given === undefined ? "the admin token is missing" : "the admin token is wrong";
  const detail =
    `Cannot change anything over TCP: ${state}; send "Authorization: Bearer <token>" with the ` +
    'content of "admin-token" in the data directory, or use the local socket';
  return { kind: "unauthorized", detail };
}

/**
 * Whether a token is `wanted`, in a time that says nothing of its content. Its length is no secret:
 * all admin tokens have the same one.
 */
function tokenCheck(wanted: string): (token: string) => boolean {
  const wantedBytes = utf8.encode(wanted);
  // Used again for each request. One byte more, so that what is longer does not fit by chance.
  const given = new Uint8Array(wantedBytes.length + 1);
  const compared = given.subarray(0, wantedBytes.length);
  return (token) => {
    const { read, written } = utf8.encodeInto(token, given);
    const hasLength = read === token.length && written === wantedBytes.length;
    return hasLength && timingSafeEqual(compared, wantedBytes);
  };
}
