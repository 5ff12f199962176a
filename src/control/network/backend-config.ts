/**
 * The `Backend` part of the network config: how packets travel between nodes, and the options of
 * each way.
 *
 * Source: flannel `pkg/subnet/config.go` `parseBackendType` and each backend's options. No
 * `Backend` means udp, as in flannel's code (its documents say vxlan in places).
 *
 * @module
 */

import { canonicalKeys } from "./config-keys.ts";
import { readInteger, readSwitch } from "./config-values.ts";
import {
  EXTENSION_COMMANDS,
  type ExtensionBackendConfig,
  readExtension,
} from "./extension-config.ts";
import type { FieldIssue } from "./field-issue.ts";
import { isJsonObject, type JsonObject, type JsonValue, showValue } from "./json.ts";

/** flannel's port for its udp backend. */
export const UDP_PORT_DEFAULT = 8285;
/** What the Linux kernel takes for VXLAN when nobody says a port; IANA's would be 4789. */
export const VXLAN_PORT_DEFAULT = 8472;
const VNI_DEFAULT = 1;
const VNI_MAX = 2 ** 24 - 1;
/** RFC 8200 §5 and the largest IPv4 packet. */
const MTU_MIN = 1280;
const MTU_MAX = 65_535;
const PORT_MAX = 65_535;

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

/** Ethernet frames in UDP (RFC 7348), by the kernel. */
export interface VxlanBackendConfig {
  readonly kind: "vxlan";
  readonly vni: number;
  readonly port: number;
  readonly gbp: boolean;
  readonly learning: boolean;
  /** Peers on the same segment are reached by a plain route. */
  readonly directRouting: boolean;
  /** Of the underlay, in place of its link's own; undefined: the link's. */
  readonly underlayMtu: number | undefined;
}

/** Routes through the peers' own addresses: all nodes are on one segment. */
export interface HostGwBackendConfig {
  readonly kind: "host-gw";
}

/** A lease and the files about it; others carry the packets. */
export interface AllocBackendConfig {
  readonly kind: "alloc";
}

/** For each peer the best way that works: a plain route, the kernel's VXLAN, UDP by the agent. */
export interface AutoBackendConfig {
  readonly kind: "auto";
  /** As in the udp backend. */
  readonly port: number;
  readonly vni: number;
  /** UDP port of VXLAN. */
  readonly vxlanPort: number;
  /** Beside udp, those that one node takes part in, which is no part of the config; absent: all. */
  readonly ways?: readonly ("direct" | "vxlan")[];
}

export type BackendConfig =
  | UdpBackendConfig
  | VxlanBackendConfig
  | HostGwBackendConfig
  | AutoBackendConfig
  | ExtensionBackendConfig
  | AllocBackendConfig;

/** What `Backend` says when it is left out. */
export const DEFAULT_BACKEND: UdpBackendConfig = {
  kind: "udp",
  port: UDP_PORT_DEFAULT,
  encryption: "none",
};

/** The options of one type beside `Type`, and how they are read. */
interface BackendOptions {
  readonly keys: readonly string[];
  readonly read: (options: JsonObject, issues: FieldIssue[]) => BackendConfig;
}

const OPTIONS: { readonly [Kind in BackendConfig["kind"]]: BackendOptions } = {
  udp: { keys: ["Port", "Encryption"], read: readUdp },
  vxlan: { keys: ["VNI", "Port", "GBP", "Learning", "DirectRouting", "MTU"], read: readVxlan },
  "host-gw": { keys: [], read: () => ({ kind: "host-gw" }) },
  auto: { keys: ["Port", "VNI", "VxlanPort", "Encryption"], read: readAuto },
  extension: { keys: EXTENSION_COMMANDS, read: readExtension },
  alloc: { keys: [], read: () => ({ kind: "alloc" }) },
};

/** Backends that flannel has or that are planned: known, not there yet. */
const LATER_TYPES: readonly string[] = ["wireguard", "ipip", "ipsec"];

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
  if (value === undefined) return { backend: DEFAULT_BACKEND, source: undefined };
  if (!isJsonObject(value)) {
    const message = `Backend must be an object, such as {"Type":"udp"}; got ${showValue(value)}`;
    issues.push({ path: "Backend", message });
    return NOTHING;
  }
  // The options depend on the type: with a wrong one nothing is said about them.
  const options = optionsOf(value, issues);
  if (options === undefined) return NOTHING;
  const before = issues.length;
  const source = canonicalKeys(value, ["Type", ...options.keys], "Backend.", issues);
  const backend = options.read(source, issues);
  return issues.length > before ? NOTHING : { backend, source };
}

/** The options of the type that is given; undefined after reporting what is wrong with it. */
function optionsOf(backend: JsonObject, issues: FieldIssue[]): BackendOptions | undefined {
  const given = Object.entries(backend).find(([key]) => key.toLowerCase() === "type")?.[1];
  const type = typeof given === "string" ? given.toLowerCase() : given;
  const known = Object.entries(OPTIONS).find(([kind]) => kind === type)?.[1];
  if (known !== undefined) return known;
  const path = "Backend.Type";
  const names = Object.keys(OPTIONS).map((kind) => `"${kind}"`);
  const choice = `${names.slice(0, -1).join(", ")} or ${names.at(-1)}`;
  if (type === undefined || type === null) {
    issues.push({ path, message: `${path} must be given when there is a Backend, such as "udp"` });
  } else if (typeof type === "string" && LATER_TYPES.includes(type)) {
    const message = `${path} must be ${choice}: ${showValue(type)} is not yet supported by this version`;
    issues.push({ path, message });
  } else {
    issues.push({ path, message: `${path} must be ${choice}; got ${showValue(given)}` });
  }
  return undefined;
}

function readUdp(options: JsonObject, issues: FieldIssue[]): UdpBackendConfig {
  const path = "Backend.Port";
  const port = readInteger(options, "Port", issues, { min: 1, max: PORT_MAX, path });
  const encryption = readEncryption(options["Encryption"], issues);
  return { kind: "udp", port: port ?? UDP_PORT_DEFAULT, encryption };
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

function readVxlan(options: JsonObject, issues: FieldIssue[]): VxlanBackendConfig {
  const integer = (key: string, min: number, max: number) =>
    readInteger(options, key, issues, { min, max, path: `Backend.${key}` });
  const isOn = (key: string) => readSwitch(options, key, issues, `Backend.${key}`) ?? false;
  const port = integer("Port", 0, PORT_MAX) ?? 0;
  return {
    kind: "vxlan",
    vni: integer("VNI", 1, VNI_MAX) ?? VNI_DEFAULT,
    // In flannel 0 means what the kernel takes.
    port: port === 0 ? VXLAN_PORT_DEFAULT : port,
    gbp: isOn("GBP"),
    learning: isOn("Learning"),
    directRouting: isOn("DirectRouting"),
    underlayMtu: integer("MTU", MTU_MIN, MTU_MAX),
  };
}

function readAuto(options: JsonObject, issues: FieldIssue[]): AutoBackendConfig {
  const integer = (key: string, min: number, max: number) =>
    readInteger(options, key, issues, { min, max, path: `Backend.${key}` });
  if (readEncryption(options["Encryption"], issues) !== "none") {
    const path = "Backend.Encryption";
    const message = `${path} must be "none" with the Type "auto": the kernel's ways cannot seal packets; use {"Type":"udp","Encryption":"aes-256-gcm"}`;
    issues.push({ path, message });
  }
  return {
    kind: "auto",
    port: integer("Port", 1, PORT_MAX) ?? UDP_PORT_DEFAULT,
    vni: integer("VNI", 1, VNI_MAX) ?? VNI_DEFAULT,
    vxlanPort: integer("VxlanPort", 1, PORT_MAX) ?? VXLAN_PORT_DEFAULT,
  };
}
