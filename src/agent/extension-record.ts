/**
 * What programs of the extension backend may have made on this machine, in a file: so that it is
 * taken away also by a later process, under another config, or after a crash.
 *
 * @module
 */
import { type IpAddress, type Prefix, parseAddress, parsePrefix } from "../base/address.ts";
import { isRecord, parseRecord } from "../base/json-record.ts";
import type { Log } from "../base/log.ts";
import {
  type ExtensionCommands,
  parseExtensionCommand,
  parseExtensionCommands,
} from "../control/network/extension-config.ts";
import type { ExtensionPeer } from "../dataplane/backends/extension.ts";
import { readFileIfAny } from "../host/files/atomic-file.ts";

const VERSION = 1;

/** This node's part: what its startup commands were run for, and what they printed. */
export interface ExtensionStart {
  readonly commands: ExtensionCommands;
  readonly network: Prefix;
  readonly subnet: Prefix;
  /** Underlay address. */
  readonly address: IpAddress;
  /** Undefined: PreStartupCommand has not succeeded, or there is none. */
  readonly data: string | undefined;
}

export interface ExtensionRecord {
  /** Undefined: the node is not in a network by this backend, and nothing is left of one. */
  readonly start: ExtensionStart | undefined;
  readonly peers: readonly ExtensionPeer[];
}

const NOTHING: ExtensionRecord = { start: undefined, peers: [] };

/** The record in the file at `path`; an empty one when there is none. Throws `HostError`. */
export async function readExtensionRecord(path: string, log: Log): Promise<ExtensionRecord> {
  const bytes = await readFileIfAny(path);
  if (bytes === undefined) return NOTHING;
  const record = decodeExtensionRecord(new TextDecoder().decode(bytes));
  if (record !== undefined) return record;
  log.warn("cannot understand what extension programs have made; it stays", { path });
  return NOTHING;
}

export function encodeExtensionRecord({ peers, start }: ExtensionRecord): string {
  return JSON.stringify({ version: VERSION, start, peers });
}

/** Undefined for what no version of this program has written. */
export function decodeExtensionRecord(text: string): ExtensionRecord | undefined {
  const record = parseRecord(text);
  if (record?.["version"] !== VERSION || !Array.isArray(record["peers"])) return undefined;
  const peers = record["peers"].flatMap((each) => parsePeer(each) ?? []);
  if (record["start"] === undefined) return { start: undefined, peers };
  const start = parseStart(record["start"]);
  return start === undefined ? undefined : { start, peers };
}

function parseStart(value: unknown): ExtensionStart | undefined {
  if (!isRecord(value)) return undefined;
  const commands = parseExtensionCommands(value["commands"]);
  const network = parsePrefix(String(value["network"]));
  const subnet = parsePrefix(String(value["subnet"]));
  const address = parseAddress(String(value["address"]));
  const { data } = value;
  if (commands === undefined || network === undefined) return undefined;
  if (subnet === undefined || address === undefined) return undefined;
  return { commands, network, subnet, address, data: typeof data === "string" ? data : undefined };
}

function parsePeer(value: unknown): ExtensionPeer | undefined {
  if (!isRecord(value)) return undefined;
  const subnet = parsePrefix(String(value["subnet"]));
  const address = parseAddress(String(value["address"]));
  const { data } = value;
  if (subnet === undefined || address === undefined || typeof data !== "string") return undefined;
  const add = parseExtensionCommand(value["add"]);
  const remove = parseExtensionCommand(value["remove"]);
  return { subnet, address, data, add, remove };
}
