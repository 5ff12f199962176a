/**
 * Host and port as people write them: `10.0.0.7:8286`, `[fd00::7]:8286`, `node-a.example`.
 *
 * @module
 */
import { parseAddress } from "../../../base/address.ts";
import type { HostPort } from "../types.ts";

/** The TCP port at which nodes reach each other when none is named. */
export const CLUSTER_PORT = 8286;

const PORT_PATTERN = /^(0|[1-9][0-9]{0,4})$/;
const PORT_MAX = 65_535;
/** RFC 1123 labels; a name is at most 253 characters. */
const NAME_PATTERN = /^(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))*$/;
const NAME_LENGTH_MAX = 253;

/** `host:port`, an IPv6 address in brackets. */
export function formatHostPort(address: HostPort): string {
  return address.host.includes(":")
    ? `[${address.host}]:${address.port}`
    : `${address.host}:${address.port}`;
}

/**
 * What `text` names; `portDefault` where it names no port. An IPv6 address may stand without
 * brackets when no port follows. Undefined when it is neither an address nor a host name.
 */
export function parseHostPort(text: string, portDefault: number): HostPort | undefined {
  const bracketed = /^\[([^\]]*)\](?::(.*))?$/.exec(text);
  if (bracketed !== null) {
    const host = parseAddress(bracketed[1]!);
    return host?.includes(":") ? withPort(host, bracketed[2], portDefault) : undefined;
  }
  const parts = text.split(":");
  if (parts.length > 2) {
    const host = parseAddress(text);
    return host === undefined ? undefined : { host, port: portDefault };
  }
  const name = parts[0]!.toLowerCase();
  const host = parseAddress(name) ?? (isHostName(name) ? name : undefined);
  return host === undefined ? undefined : withPort(host, parts[1], portDefault);
}

function withPort(
  host: string,
  text: string | undefined,
  portDefault: number,
): HostPort | undefined {
  if (text === undefined) return { host, port: portDefault };
  const port = Number(text);
  return PORT_PATTERN.test(text) && port <= PORT_MAX ? { host, port } : undefined;
}

function isHostName(name: string): boolean {
  if (name.length > NAME_LENGTH_MAX || !NAME_PATTERN.test(name)) return false;
  // Digits and dots alone are a mistyped address, not a name.
  return !/^[0-9.]+$/.test(name);
}
