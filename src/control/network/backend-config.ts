/**
 * The `Backend` part of the network config.
 *
 * Source: flannel `pkg/subnet/config.go` `parseBackendType` and each backend's options. No
 * `Backend` means udp, as in flannel's code (its documents say vxlan in places).
 *
 * @module
 */

import { canonicalKeys, UDP_BACKEND_KEYS, type UdpBackendKey } from "./config-keys.ts";
import { readInteger } from "./config-values.ts";
import type { FieldIssue } from "./field-issue.ts";
import { isJsonObject, type JsonObject, type JsonValue, showValue } from "./json.ts";

/** flannel's port for its udp backend. */
export const UDP_PORT_DEFAULT = 8285;

/** Every packet as it is in a UDP datagram, carried by the agent itself. */
export interface UdpBackendConfig {
  readonly kind: "udp";
  /** UDP port that every node listens on and sends to. */
  readonly port: number;
  readonly encryption: Encryption;
}

/** How packets between nodes are protected; what a bare flannel config means is "none". */
export type Encryption = (typeof ENCRYPTIONS)[number];
const ENCRYPTIONS = ["none", "aes-256-gcm"] as const;

export type BackendConfig = UdpBackendConfig;

/** Backends that flannel has or that are planned: known, not there yet. */
const LATER_TYPES: readonly string[] = [
  "vxlan",
  "host-gw",
  "wireguard",
  "ipip",
  "ipsec",
  "alloc",
  "extension",
  "auto",
];

interface ParsedBackend {
  readonly backend: BackendConfig | undefined;
  /** The user's own object, keys in their documented spelling. */
  readonly source: JsonObject | undefined;
}

const NOTHING: ParsedBackend = { backend: undefined, source: undefined };

/** The backend that `value` describes; undefined after reporting why not. */
export function parseBackendConfig(
  value: JsonValue | undefined,
  issues: FieldIssue[],
): ParsedBackend {
  if (value === undefined) {
    const backend = { kind: "udp", port: UDP_PORT_DEFAULT, encryption: "none" } as const;
    return { backend, source: undefined };
  }
  if (!isJsonObject(value)) {
    const message = `Backend must be an object, such as {"Type":"udp"}; got ${showValue(value)}`;
    issues.push({ path: "Backend", message });
    return NOTHING;
  }
  // The options depend on the type: with a wrong one nothing is said about them.
  if (!checkType(value, issues)) return NOTHING;
  const before = issues.length;
  const source = canonicalKeys(value, UDP_BACKEND_KEYS, "Backend.", issues);
  const port = readInteger(source, "Port" satisfies UdpBackendKey, issues, {
    min: 1,
    max: 65_535,
    path: "Backend.Port",
  });
  const encryption = readEncryption(source["Encryption" satisfies UdpBackendKey], issues);
  if (issues.length > before) return NOTHING;
  const backend = { kind: "udp", port: port ?? UDP_PORT_DEFAULT, encryption } as const;
  return { backend, source };
}

/** Whether the type is udp; reports everything else. */
function checkType(backend: JsonObject, issues: FieldIssue[]): boolean {
  const given = Object.entries(backend).find(([key]) => key.toLowerCase() === "type")?.[1];
  const type = typeof given === "string" ? given.toLowerCase() : given;
  if (type === "udp") return true;
  const path = "Backend.Type";
  if (type === undefined || type === null) {
    issues.push({ path, message: `${path} must be given when there is a Backend, such as "udp"` });
  } else if (typeof type === "string" && LATER_TYPES.includes(type)) {
    const message = `${path} must be "udp": ${showValue(type)} is not yet supported by this version`;
    issues.push({ path, message });
  } else {
    issues.push({ path, message: `${path} must be "udp"; got ${showValue(given)}` });
  }
  return false;
}

function readEncryption(given: JsonValue | undefined, issues: FieldIssue[]): Encryption {
  const wanted = typeof given === "string" ? given.toLowerCase() : given;
  const known = ENCRYPTIONS.find((encryption) => encryption === wanted);
  if (known !== undefined || given === undefined) return known ?? "none";
  const path = "Backend.Encryption";
  issues.push({
    path,
    message: `${path} must be "none" or "aes-256-gcm"; got ${showValue(given)}`,
  });
  return "none";
}
