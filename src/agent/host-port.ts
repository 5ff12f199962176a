/**
 * Peers as people write them: `host`, `host:port`, `[v6]:port`, or a bare IPv6 address.
 *
 * @module
 */
import type { HostPort } from "../control/cluster/types.ts";

/** The port of `--cluster-listen` unless told otherwise; not printed, and not needed in `join`. */
export const CLUSTER_PORT_DEFAULT = 8286;

const PORT_MAX = 65_535;
const BRACKETED = /^\[([^\]]+)\](?::(\d{1,5}))?$/;
const NAMED = /^([^:\s/]+)(?::(\d{1,5}))?$/;
const BARE_V6 = /^([0-9a-f]*:[0-9a-f:.]+)$/i;

/** Host and port that `text` names; the cluster port when it names none. */
export function parseHostPort(text: string): HostPort | undefined {
  const match = BRACKETED.exec(text) ?? NAMED.exec(text) ?? BARE_V6.exec(text);
  if (match === null) return undefined;
  const port = match[2] === undefined ? CLUSTER_PORT_DEFAULT : Number(match[2]);
  return port > 0 && port <= PORT_MAX ? { host: match[1]!, port } : undefined;
}

/** The shortest text that `parseHostPort` reads as `hostPort`. */
export function formatHostPort({ host, port }: HostPort): string {
  if (port === CLUSTER_PORT_DEFAULT) return host;
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
