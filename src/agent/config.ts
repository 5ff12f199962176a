/**
 * The agent's configuration: flags and environment into one readonly value.
 *
 * Everything is parsed and every cross-check made here, before anything is opened or changed. A
 * flag wins over its environment variable `OVERLAY_<UPPER_CASE>`, which wins over the default; an
 * empty variable counts as not set, so that a line of an environment file can be left blank.
 *
 * The only reader of the process environment.
 *
 * @module
 */
import { hostname } from "node:os";
import { SOCKET_PATH_BYTES_MAX } from "../admin/socket-path.ts";
import {
  addressFamily,
  type IpAddress,
  parseAddress,
  parsePrefix,
  prefixHas,
} from "../base/address.ts";
import type { LogFormat, LogLevel } from "../base/log.ts";
import { err, ok, type Result } from "../base/result.ts";
import { parseZone } from "../control/cluster/members/zones.ts";
import { parseWays, WAYS, type Way } from "../dataplane/ways/way.ts";
import { AGENT_FLAGS, type AgentFlagName, environmentName } from "./flags.ts";
import { type OffloadName, parseOffloadNames } from "./offload-names.ts";

/** Environment variables by name. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** Flags as given on the command line: a text, or one text for each time of a repeatable one. */
export type AgentFlags = Readonly<
  Partial<Record<AgentFlagName, string | readonly string[] | undefined>>
>;

/** Where to listen. Port 0: any free one. */
export interface ListenAddress {
  readonly host: IpAddress;
  readonly port: number;
}

/** How the underlay interface is chosen, in flannel's order; empty fields do not take part. */
export interface InterfaceChoice {
  /** Names or addresses; the first that exists is taken. */
  readonly names: readonly string[];
  /** Tried after `names`: against addresses first, then against names. */
  readonly patterns: readonly RegExp[];
  /** Tried last: the interface of the route to this address. */
  readonly canReach: IpAddress | undefined;
  /** Announced to peers in place of the interface's address. */
  readonly publicIpv4: IpAddress | undefined;
  readonly publicIpv6: IpAddress | undefined;
}

/** All that an agent is told at start. Paths are absolute, without a slash at the end. */
export interface AgentConfig {
  readonly dataDir: string;
  readonly runDir: string;
  /** The admin socket, in `runDir`. */
  readonly socketPath: string;
  /** An RFC 1123 label in lower case. */
  readonly nodeName: string;
  /** Where the node stands, as its operator calls the place; "": not said. */
  readonly zone: string;
  readonly choice: InterfaceChoice;
  /** One address, or the wildcards of both families. */
  readonly clusterListen: readonly ListenAddress[];
  /** On loopback. */
  readonly adminListen: ListenAddress;
  /** Undefined: only the one in `runDir` is written. */
  readonly subnetFile: string | undefined;
  readonly ipMasq: boolean;
  readonly offloadsOff: readonly OffloadName[];
  /** Whether the kernel may carry packets (eBPF) where it can. */
  readonly engine: "auto" | "user";
  /** With the backend "auto": what this node takes part in. */
  readonly ways: readonly Way[];
  /** Where the programs are that the network config may name. */
  readonly extensionDir: string;
  readonly logLevel: LogLevel;
  readonly logFormat: LogFormat;
}

/** IFNAMSIZ − 1 (include/uapi/linux/if.h). */
const LINK_NAME_LENGTH_MAX = 15;
const LABEL_PATTERN = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const LISTEN_PATTERN = /^(?:\[([^\]]+)\]|([^:]+)):([0-9]{1,5})$/;
const LOG_LEVELS: readonly LogLevel[] = ["debug", "info", "warn", "error"];
const ENGINES: readonly ("auto" | "user")[] = ["auto", "user"];
const LOG_FORMATS: readonly LogFormat[] = ["text", "json"];
const LOOPBACK = ["127.0.0.0/8", "::1/128"].map((text) => parsePrefix(text)!);
/** Not the address of one node: unspecified, multicast, reserved with broadcast. */
const NOT_UNICAST = ["0.0.0.0/8", "224.0.0.0/3", "::/128", "ff00::/8"].map(
  (text) => parsePrefix(text)!,
);

/** The environment of this process. */
export function readEnvironment(): Environment {
  return process.env;
}

/**
 * The configuration that `flags` and `env` say, or a message for the user: what is wrong, where it
 * was said, what to write instead. `hostName` is what the machine calls itself.
 */
export function parseAgentConfig(
  flags: AgentFlags,
  env: Environment,
  hostName: string = hostname(),
): Result<AgentConfig, string> {
  try {
    const config = readConfig({ flags, env }, hostName);
    crossCheck(config);
    return ok(config);
  } catch (error) {
    if (!(error instanceof FlagFault)) throw error;
    return err(`Cannot start agent: ${error.message}`);
  }
}

/** The first fault found; never leaves this file. */
class FlagFault extends Error {}

/** Where flags come from, by precedence. */
interface Sources {
  readonly flags: AgentFlags;
  readonly env: Environment;
}

function readConfig(from: Sources, hostName: string): AgentConfig {
  const runDir = readOne(from, "run-dir", parsePath, ABSOLUTE_PATH);
  const subnetFile = readOne(from, "subnet-file", parseSubnetFile, `"none" or ${ABSOLUTE_PATH}`);
  return {
    dataDir: readOne(from, "data-dir", parsePath, ABSOLUTE_PATH),
    runDir,
    socketPath: `${runDir === "/" ? "" : runDir}/overlay.sock`,
    nodeName: readNodeName(from, hostName),
    zone: readLast(from, "zone", parseZone, ZONE) ?? "",
    choice: {
      names: readAll(from, "iface", parseInterface, "an interface name or an address"),
      patterns: readAll(from, "iface-regex", parsePattern, "a regular expression"),
      canReach: readLast(from, "iface-can-reach", parseUnicast, "the address of one machine"),
      publicIpv4: readLast(from, "public-ip", parseUnicastV4, "an IPv4 address of one machine"),
      publicIpv6: readLast(from, "public-ipv6", parseUnicastV6, "an IPv6 address of one machine"),
    },
    clusterListen: readClusterListen(from),
    adminListen: readOne(from, "admin-listen", parseListen, LISTEN),
    subnetFile: subnetFile === "none" ? undefined : subnetFile,
    ipMasq: readOne(from, "ip-masq", oneOf(["true", "false"]), "true or false") === "true",
    offloadsOff: readOne(from, "offloads-off", parseOffloadNames, OFFLOAD_LIST),
    engine: readOne(from, "engine", oneOf(ENGINES), `one of ${ENGINES.join(", ")}`),
    ways: readOne(from, "ways", parseWays, `a list of ${WAYS.join(",")}`),
    extensionDir: readOne(from, "extension-dir", parsePath, ABSOLUTE_PATH),
    logLevel: readOne(from, "log-level", oneOf(LOG_LEVELS), `one of ${LOG_LEVELS.join(", ")}`),
    logFormat: readOne(from, "log-format", oneOf(LOG_FORMATS), `one of ${LOG_FORMATS.join(", ")}`),
  };
}

const OFFLOAD_LIST = '"none", "all", or some of tso,uso,gso,gro,tcp_join,udp_join';
const ABSOLUTE_PATH = "an absolute path";
const LISTEN = "an address with a port, such as 127.0.0.1:8287 or [::1]:8287";
const ZONE = "a name of at most 63 printable characters without blanks";
const LABEL = "a label (1 to 63 letters, digits and inner hyphens)";

/** What is wrong between fields. */
function crossCheck(config: AgentConfig): void {
  const { adminListen, clusterListen, dataDir, runDir, socketPath } = config;
  if (!LOOPBACK.some((prefix) => prefixHas(prefix, adminListen.host))) {
    throw new FlagFault(
      `--admin-listen ${formatListen(adminListen)} is not on loopback, which needs TLS and is ` +
        "not in this version; use 127.0.0.1:8287",
    );
  }
  if (adminListen.port !== 0 && clusterListen.some(({ port }) => port === adminListen.port)) {
    throw new FlagFault(
      `--admin-listen and --cluster-listen both have port ${adminListen.port}; change one`,
    );
  }
  if (dataDir === runDir) {
    throw new FlagFault(
      `--data-dir and --run-dir are both "${dataDir}"; keep what must outlive a reboot apart`,
    );
  }
  if (Buffer.byteLength(socketPath) > SOCKET_PATH_BYTES_MAX) {
    throw new FlagFault(
      `the socket path "${socketPath}" has more than ${SOCKET_PATH_BYTES_MAX} bytes; ` +
        "choose a shorter --run-dir",
    );
  }
}

function readNodeName(from: Sources, hostName: string): string {
  if (given(from, "node-name") !== undefined) {
    return readOne(from, "node-name", parseLabel, LABEL);
  }
  const label = parseLabel(hostName);
  if (label !== undefined) return label;
  const suggestion = suggestLabel(hostName);
  throw new FlagFault(
    `the host name "${hostName}" is not ${LABEL}; set one, such as --node-name ${suggestion}`,
  );
}

/** The default stands for the wildcards of both families; anything given, for itself alone. */
function readClusterListen(from: Sources): readonly ListenAddress[] {
  const address = readOne(from, "cluster-listen", parseListen, LISTEN);
  if (given(from, "cluster-listen") !== undefined) return [address];
  return [address, { host: parseAddress("::")!, port: address.port }];
}

type Parse<T> = (text: string) => T | undefined;

/** The value of a flag that has a default. */
function readOne<T>(from: Sources, name: AgentFlagName, parse: Parse<T>, expected: string): T {
  const value = readLast(from, name, parse, expected) ?? parse(AGENT_FLAGS[name].fallback ?? "");
  if (value === undefined) throw new FlagFault(`--${name} has no value; set it`);
  return value;
}

/** The value of a flag that may be absent; the last one wins. */
function readLast<T>(
  from: Sources,
  name: AgentFlagName,
  parse: Parse<T>,
  expected: string,
): T | undefined {
  return readAll(from, name, parse, expected).at(-1);
}

/** Every value of a flag, in order. */
function readAll<T>(from: Sources, name: AgentFlagName, parse: Parse<T>, expected: string): T[] {
  const { source, texts } = given(from, name) ?? { source: "", texts: [] };
  return texts.map((text) => {
    const value = parse(text);
    if (value === undefined) throw new FlagFault(`${source} "${text}" is not ${expected}`);
    return value;
  });
}

/** The texts of a flag and where they were said, or undefined when nowhere. */
function given(
  { flags, env }: Sources,
  name: AgentFlagName,
): { readonly source: string; readonly texts: readonly string[] } | undefined {
  const flag = flags[name];
  if (flag !== undefined) {
    return { source: `--${name}`, texts: typeof flag === "string" ? [flag] : flag };
  }
  const source = environmentName(name);
  const text = env[source]?.trim() ?? "";
  if (text === "") return undefined;
  return { source, texts: AGENT_FLAGS[name].listInEnvironment ? text.split(/\s*,\s*/) : [text] };
}

function parsePath(text: string): string | undefined {
  if (!text.startsWith("/") || text.includes("\0")) return undefined;
  const path = text.replace(/\/+$/, "");
  return path === "" ? "/" : path;
}

function parseSubnetFile(text: string): string | undefined {
  if (text === "none") return "none";
  const path = parsePath(text);
  return path === undefined || text.endsWith("/") ? undefined : path;
}

/** RFC 1123 §2.1 without dots. Case does not count in names, so it is dropped. */
function parseLabel(text: string): string | undefined {
  const lower = text.toLowerCase();
  return LABEL_PATTERN.test(lower) ? lower : undefined;
}

/** A label near `text`: the part before the first dot, with what does not belong as hyphens. */
function suggestLabel(text: string): string {
  const first = text.toLowerCase().split(".", 1)[0] ?? "";
  const hyphened = first.replaceAll(/[^a-z0-9]+/g, "-").slice(0, 63);
  return parseLabel(hyphened.replaceAll(/^-|-$/g, "")) ?? "node1";
}

function parseInterface(text: string): string | undefined {
  const address = parseAddress(text);
  if (address !== undefined) return address;
  // dev_valid_name() in net/core/dev.c, less the colon of alias names.
  const isName = !/[\s/:]/.test(text) && text !== "" && text !== "." && text !== "..";
  return isName && Buffer.byteLength(text) <= LINK_NAME_LENGTH_MAX ? text : undefined;
}

function parsePattern(text: string): RegExp | undefined {
  try {
    return new RegExp(text);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return undefined;
  }
}

function parseUnicast(text: string): IpAddress | undefined {
  const address = parseAddress(text);
  if (address === undefined) return undefined;
  return NOT_UNICAST.some((prefix) => prefixHas(prefix, address)) ? undefined : address;
}

function parseUnicastV4(text: string): IpAddress | undefined {
  const address = parseUnicast(text);
  return address !== undefined && addressFamily(address) === 4 ? address : undefined;
}

function parseUnicastV6(text: string): IpAddress | undefined {
  const address = parseUnicast(text);
  return address !== undefined && addressFamily(address) === 6 ? address : undefined;
}

function parseListen(text: string): ListenAddress | undefined {
  const match = LISTEN_PATTERN.exec(text);
  if (match === null) return undefined;
  const host = parseAddress(match[1] ?? (match[2] === "localhost" ? "127.0.0.1" : match[2]!));
  const port = Number(match[3]);
  return host === undefined || port > 65_535 ? undefined : { host, port };
}

function oneOf<T extends string>(values: readonly T[]): Parse<T> {
  return (text) => values.find((value) => value === text);
}

function formatListen({ host, port }: ListenAddress): string {
  return addressFamily(host) === 6 ? `[${host}]:${port}` : `${host}:${port}`;
}
