/**
 * One call of the plugin: environment and standard input as the runtime gives them, parsed.
 *
 * Source: CNI specification 1.1.0, sections 1 and 2; config keys as in flannel's plugin. Pure.
 *
 * @module
 */

import { isRecord, type JsonRecord, parseRecord } from "../../base/json-record.ts";
import { err, ok, type Result } from "../../base/result.ts";
import { CNI_CODE, type CniError, cniError } from "./error.ts";
import {
  CNI_VERSIONS,
  type CniVersion,
  COMMAND_SINCE,
  isAtLeast,
  LATEST_VERSION,
  parseVersion,
  UNSAID_VERSION,
} from "./versions.ts";

export type CniCommand = keyof typeof COMMAND_SINCE;
export type CniEnvironment = Readonly<Record<string, string | undefined>>;

/** A container's interface, as everybody names it. */
export interface Attachment {
  readonly containerId: string;
  readonly ifname: string;
}

/** The network config, with what was left out filled in. */
export interface CniConfig {
  readonly version: CniVersion;
  readonly name: string;
  /** Goes to the delegate; with neither name nor ipam. */
  readonly delegate: JsonRecord;
  readonly ipam: JsonRecord;
  readonly runtimeConfig: JsonRecord | undefined;
  readonly prevResult: JsonRecord | undefined;
  readonly subnetFile: string;
  /** Where configs are kept for DEL. */
  readonly dataDir: string;
  /** The agent's, for saying why there is no subnet. */
  readonly socket: string;
  readonly waitMs: number;
  /** For GC. */
  readonly validAttachments: readonly Attachment[];
}

export type CniCall =
  | { readonly command: "VERSION"; readonly version: CniVersion }
  | {
      readonly command: "ADD" | "CHECK" | "DEL";
      readonly config: CniConfig;
      readonly attachment: Attachment;
    }
  | { readonly command: "STATUS" | "GC"; readonly config: CniConfig };

/** A call that cannot be carried out; `version` is what to answer in. */
export interface BadCall {
  readonly error: CniError;
  readonly version: CniVersion;
}

export const SUBNET_FILE_DEFAULT = "/run/overlay/subnet.env";
const DATA_DIR_DEFAULT = "/var/lib/cni/overlay";
const SOCKET_DEFAULT = "/run/overlay/overlay.sock";
/** A node that just came up has its lease in a second or two; more is for slow elections. */
const WAIT_SECONDS_DEFAULT = 15;
const WAIT_SECONDS_MAX = 600;

/** Section 1 "name", and CNI_CONTAINERID. */
const NAME_PATTERN = /^[A-Za-z0-9][A-Za-z0-9_.-]*$/;
/** dev_valid_name() in net/core/dev.c, less the colon of alias names; IFNAMSIZ − 1. */
const IFNAME_PATTERN = /^(?!\.{1,2}$)[^\s/:]{1,15}$/;
/** A plugin is a file name: `../../bin/sh` is none. */
const PLUGIN_PATTERN = /^(?!\.{1,2}$)[^/\0]+$/;

/** The call that `env` and `input` make. */
export function parseCall(env: CniEnvironment, input: string): Result<CniCall, BadCall> {
  const command = env["CNI_COMMAND"] ?? "";
  const json = parseRecord(input);
  const version = parseVersion(json?.["cniVersion"]);
  const bad = (error: CniError) => err({ error, version: version ?? LATEST_VERSION });
  if (!isCommand(command)) {
    const known = Object.keys(COMMAND_SINCE).join(", ");
    return bad(badEnvironment(`CNI_COMMAND is "${command}", and must be one of ${known}`));
  }
  // A runtime that asks for versions need not know ours yet.
  if (command === "VERSION") return ok({ command, version: version ?? LATEST_VERSION });
  if (json === undefined) {
    const msg = "Cannot read the network config: standard input is not a JSON object";
    return bad(cniError(CNI_CODE.DECODE_FAILURE, msg));
  }
  if (version === undefined) return bad(unknownVersion(json["cniVersion"] ?? UNSAID_VERSION));
  if (!isAtLeast(version, COMMAND_SINCE[command])) {
    const msg = `Cannot ${command}: cniVersion is ${version}; it takes ${COMMAND_SINCE[command]} or later`;
    return bad(cniError(CNI_CODE.INCOMPATIBLE_VERSION, msg));
  }
  const config = parseConfig(json, version);
  if (!config.ok) return bad(config.error);
  if (command === "STATUS" || command === "GC") return ok({ command, config: config.value });
  const attachment = parseAttachment(env, command);
  if (!attachment.ok) return bad(attachment.error);
  return ok({ command, config: config.value, attachment: attachment.value });
}

function isCommand(text: string): text is CniCommand {
  return Object.hasOwn(COMMAND_SINCE, text);
}

function parseAttachment(
  env: CniEnvironment,
  command: "ADD" | "CHECK" | "DEL",
): Result<Attachment, CniError> {
  const containerId = env["CNI_CONTAINERID"] ?? "";
  const ifname = env["CNI_IFNAME"] ?? "";
  if (!NAME_PATTERN.test(containerId)) {
    return err(badEnvironment(`CNI_CONTAINERID "${containerId}" is no container's id`));
  }
  if (!IFNAME_PATTERN.test(ifname)) {
    return err(badEnvironment(`CNI_IFNAME "${ifname}" is no interface's name`));
  }
  if (command !== "DEL" && (env["CNI_NETNS"] ?? "") === "") {
    return err(badEnvironment("CNI_NETNS is missing"));
  }
  return ok({ containerId, ifname });
}

function parseConfig(json: JsonRecord, version: CniVersion): Result<CniConfig, CniError> {
  const { delegate = {}, ipam = {}, name, prevResult, runtimeConfig } = json;
  if (typeof name !== "string" || !NAME_PATTERN.test(name)) {
    return err(badConfig('"name" must be letters, digits, and inner dots, dashes and underscores'));
  }
  if (!isRecord(delegate)) return err(badConfig('"delegate" must be an object'));
  if (delegate["name"] !== undefined || delegate["ipam"] !== undefined) {
    return err(badConfig('"delegate" must hold neither "name" nor "ipam": they come from outside'));
  }
  if (!isRecord(ipam)) return err(badConfig('"ipam" must be an object'));
  for (const type of [delegate["type"] ?? "bridge", ipam["type"] ?? "host-local"]) {
    if (typeof type !== "string" || !PLUGIN_PATTERN.test(type)) {
      return err(badConfig(`type ${JSON.stringify(type)} is no plugin's name`));
    }
  }
  const waitSeconds = json["waitSeconds"] ?? WAIT_SECONDS_DEFAULT;
  if (typeof waitSeconds !== "number" || !(waitSeconds >= 0 && waitSeconds <= WAIT_SECONDS_MAX)) {
    return err(badConfig(`"waitSeconds" must be a number from 0 to ${WAIT_SECONDS_MAX}`));
  }
  const paths = parsePaths(json);
  if (!paths.ok) return paths;
  return ok({
    ...{ version, name, delegate, ipam, ...paths.value, waitMs: waitSeconds * 1000 },
    runtimeConfig: isRecord(runtimeConfig) ? runtimeConfig : undefined,
    prevResult: isRecord(prevResult) ? prevResult : undefined,
    validAttachments: parseValidAttachments(json["cni.dev/valid-attachments"]),
  });
}

function parsePaths(
  json: JsonRecord,
): Result<Pick<CniConfig, "dataDir" | "socket" | "subnetFile">, CniError> {
  const paths = {
    subnetFile: json["subnetFile"] ?? SUBNET_FILE_DEFAULT,
    dataDir: json["dataDir"] ?? DATA_DIR_DEFAULT,
    socket: json["socket"] ?? SOCKET_DEFAULT,
  };
  const { dataDir, socket, subnetFile } = paths;
  if (isPath(subnetFile) && isPath(dataDir) && isPath(socket)) {
    return ok({ subnetFile, dataDir, socket });
  }
  const wrong = Object.entries(paths).find(([, path]) => !isPath(path))?.[0];
  return err(badConfig(`"${wrong}" must be an absolute path`));
}

function isPath(value: unknown): value is string {
  return typeof value === "string" && value.startsWith("/") && !value.includes("\0");
}

/** Entries of another form name no attachment of ours. */
function parseValidAttachments(value: unknown): readonly Attachment[] {
  if (!Array.isArray(value)) return [];
  return value.flatMap((entry: unknown) => {
    if (!isRecord(entry)) return [];
    const { containerID: containerId, ifname } = entry;
    return typeof containerId === "string" && typeof ifname === "string"
      ? [{ containerId, ifname }]
      : [];
  });
}

function unknownVersion(given: unknown): CniError {
  const msg = `Cannot use cniVersion ${JSON.stringify(given)}: this plugin speaks ${CNI_VERSIONS.join(", ")}`;
  return cniError(CNI_CODE.INCOMPATIBLE_VERSION, msg);
}

function badEnvironment(state: string): CniError {
  return cniError(CNI_CODE.INVALID_ENVIRONMENT, `Cannot run the plugin: ${state}`);
}

function badConfig(state: string): CniError {
  return cniError(CNI_CODE.INVALID_CONFIG, `Cannot use the network config: ${state}`);
}
