/**
 * Log entries as bytes: on the disk, in append messages, and the command inside.
 *
 *     payload of a normal entry        version u8 | time f64 | CBOR {c: command, r: request}
 *     payload of a membership change   version u8 | CBOR {v, t, o: [[operation, node]], x: context}
 *     entries of an append message     (kind u8 | term f64 | index f64 | size u32 | payload) ...
 *     writes that are passed on        (size u32 | payload) ...
 *
 * Numbers are big-endian; a request is [client, sequence]. The time of a command, milliseconds
 * since 1970, has a fixed place, so that the leader can stamp what another node has encoded. The
 * payload of the entry with which a leader opens its term is empty. The version of a command is the
 * cluster version that it needs, and one: a node that reads less stops there instead of guessing.
 *
 * @module
 */
import { unreachable } from "../../../base/assert.ts";
import { decodeIndex, decodeTerm } from "../../../base/ids.ts";
import type { StoredEntry } from "../../../host/ports.ts";
import { CLUSTER_VERSION_FIRST, CLUSTER_VERSION_NEWEST } from "../../kv/cluster-version.ts";
import type { Command, RequestId } from "../../kv/types.ts";
import type {
  ConfChange,
  ConfChangeSingle,
  Entry,
  NormalEntry,
  ProposedEntry,
} from "../../raft/types.ts";
import { decodeRecord, encodeValue, isRecord } from "./codec.ts";
import { asNodeId, FieldReader } from "./fields.ts";

const CHANGE_VERSION = 1;
/** Version byte of a command that the first cluster version knows. */
const COMMAND_VERSION_FIRST = 2;
const VERSION_SIZE = 1;
/** Version and time. */
const COMMAND_HEAD_SIZE = VERSION_SIZE + 8;
/** Kind, term, index and size of one entry in an append message. */
const ENTRY_HEAD_SIZE = 1 + 8 + 8 + 4;
/** Size of one payload among many. */
const PAYLOAD_HEAD_SIZE = 4;

const KIND_NORMAL = 0;
const KIND_CONF_CHANGE = 1;

/** One write on its way through the log. */
export interface LoggedCommand {
  readonly command: Command;
  readonly request: RequestId | undefined;
  readonly proposedAtMs: number;
}

/** The payload of a normal entry. */
export function encodeCommand(logged: LoggedCommand): Uint8Array {
  const { command, request } = logged;
  const { needs = CLUSTER_VERSION_FIRST } = command;
  const record =
    request === undefined ? { c: command } : { c: command, r: [request.client, request.sequence] };
  const payload = encodeValue(record, COMMAND_HEAD_SIZE);
  payload[0] = COMMAND_VERSION_FIRST + needs - CLUSTER_VERSION_FIRST;
  viewOf(payload).setFloat64(VERSION_SIZE, logged.proposedAtMs);
  return payload;
}

/** Gives `payload`, which `decodeCommand` knows and no log has yet, another time. */
export function stampCommand(payload: Uint8Array, proposedAtMs: number): void {
  viewOf(payload).setFloat64(VERSION_SIZE, proposedAtMs);
}

/** The cluster version that a reader of `payload`, which is not empty, must know. */
export function versionOfCommand(payload: Uint8Array): number {
  return payload[0]! - COMMAND_VERSION_FIRST + CLUSTER_VERSION_FIRST;
}

/**
 * What `encodeCommand` wrote; undefined when it is malformed or needs a newer program. Byte strings
 * in it are views of `payload`.
 */
export function decodeCommand(payload: Uint8Array): LoggedCommand | undefined {
  if (payload.length < COMMAND_HEAD_SIZE) return undefined;
  const version = versionOfCommand(payload);
  if (version < CLUSTER_VERSION_FIRST || version > CLUSTER_VERSION_NEWEST) return undefined;
  const proposedAtMs = viewOf(payload).getFloat64(VERSION_SIZE);
  const record = decodeRecord(payload.subarray(COMMAND_HEAD_SIZE));
  const command = asCommand(record?.["c"]);
  const request = record?.["r"] === undefined ? undefined : asRequestId(record["r"]);
  const isWhole = Number.isSafeInteger(proposedAtMs) && proposedAtMs >= 0;
  if (command === undefined || !isWhole) return undefined;
  if (record?.["r"] !== undefined && request === undefined) return undefined;
  return { command, request, proposedAtMs };
}

/** `value` as a command: a record with a `kind`. Its handler checks the rest. */
export function asCommand(value: unknown): Command | undefined {
  return isCommand(value) ? value : undefined;
}

function isCommand(value: unknown): value is Command {
  return isRecord(value) && typeof value["kind"] === "string";
}

/** `[client, sequence]` as a request id, or undefined. */
export function asRequestId(value: unknown): RequestId | undefined {
  if (!Array.isArray(value)) return undefined;
  const client = asNodeId(value[0]);
  const sequence: unknown = value[1];
  if (client === undefined || typeof sequence !== "number") return undefined;
  return Number.isSafeInteger(sequence) && sequence >= 0 ? { client, sequence } : undefined;
}

/** `entry` as the log store keeps it. */
export function encodeStored(entry: Entry): StoredEntry {
  const payload = entry.kind === "normal" ? entry.data : encodeConfChange(entry.change);
  return { term: entry.term, index: entry.index, kind: kindNumber(entry), payload };
}

/** The entry that the log store gave back, or undefined when its payload is not ours. */
export function decodeStored(stored: StoredEntry): Entry | undefined {
  return makeEntry([stored.kind, stored.term, stored.index, stored.payload]);
}

/** `entries` as they travel inside an append message. */
export function encodeEntries(entries: readonly Entry[]): Uint8Array {
  const stored = entries.map(encodeStored);
  let size = 0;
  for (const { payload } of stored) size += ENTRY_HEAD_SIZE + payload.length;
  const bytes = new Uint8Array(size);
  const view = viewOf(bytes);
  let at = 0;
  for (const { kind, term, index, payload } of stored) {
    view.setUint8(at, kind);
    view.setFloat64(at + 1, term);
    view.setFloat64(at + 9, index);
    view.setUint32(at + 17, payload.length);
    bytes.set(payload, at + ENTRY_HEAD_SIZE);
    at += ENTRY_HEAD_SIZE + payload.length;
  }
  return bytes;
}

/** What `encodeEntries` wrote, or undefined. Payloads are views of `bytes`, which they keep. */
export function decodeEntries(bytes: Uint8Array): readonly Entry[] | undefined {
  const view = viewOf(bytes);
  const entries: Entry[] = [];
  for (let at = 0; at < bytes.length; ) {
    if (bytes.length - at < ENTRY_HEAD_SIZE) return undefined;
    const size = view.getUint32(at + 17);
    const start = at + ENTRY_HEAD_SIZE;
    if (size > bytes.length - start) return undefined;
    const payload = bytes.subarray(start, start + size);
    const head = [view.getUint8(at), view.getFloat64(at + 1), view.getFloat64(at + 9)] as const;
    const entry = makeEntry([...head, payload]);
    if (entry === undefined) return undefined;
    entries.push(entry);
    at = start + size;
  }
  return entries;
}

/** `payloads` as they travel from a follower to the leader. */
export function packPayloads(payloads: readonly Uint8Array[]): Uint8Array {
  let size = 0;
  for (const payload of payloads) size += PAYLOAD_HEAD_SIZE + payload.length;
  const bytes = new Uint8Array(size);
  const view = viewOf(bytes);
  let at = 0;
  for (const payload of payloads) {
    view.setUint32(at, payload.length);
    bytes.set(payload, at + PAYLOAD_HEAD_SIZE);
    at += PAYLOAD_HEAD_SIZE + payload.length;
  }
  return bytes;
}

/** What `packPayloads` took, as views of `bytes`, or undefined. */
export function unpackPayloads(bytes: Uint8Array): readonly Uint8Array[] | undefined {
  const view = viewOf(bytes);
  const payloads: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; ) {
    const start = at + PAYLOAD_HEAD_SIZE;
    if (start > bytes.length) return undefined;
    const end = start + view.getUint32(at);
    if (end > bytes.length) return undefined;
    payloads.push(bytes.subarray(start, end));
    at = end;
  }
  return payloads;
}

/** A proposed entry as it travels inside a message. */
export function proposedToWire(entry: ProposedEntry): readonly unknown[] {
  return entry.kind === "normal"
    ? [KIND_NORMAL, entry.data]
    : [KIND_CONF_CHANGE, encodeConfChange(entry.change)];
}

/** The proposed entry in `value`, its payload copied, or undefined. */
export function proposedFromWire(value: unknown): ProposedEntry | undefined {
  if (!Array.isArray(value) || !(value[1] instanceof Uint8Array)) return undefined;
  if (value[0] === KIND_NORMAL) return { kind: "normal", data: value[1].slice() };
  if (value[0] !== KIND_CONF_CHANGE) return undefined;
  const change = decodeConfChange(value[1].slice());
  return change === undefined ? undefined : { kind: "conf_change", change };
}

function makeEntry(parts: readonly [unknown, unknown, unknown, Uint8Array]): Entry | undefined {
  const [kind, termValue, indexValue, payload] = parts;
  if (!isPositive(termValue) || !isPositive(indexValue)) return undefined;
  const term = decodeTerm(termValue);
  const index = decodeIndex(indexValue);
  if (kind === KIND_NORMAL) {
    const entry: NormalEntry = { kind: "normal", term, index, data: payload };
    return entry;
  }
  if (kind !== KIND_CONF_CHANGE) return undefined;
  const change = decodeConfChange(payload);
  return change === undefined ? undefined : { kind: "conf_change", term, index, change };
}

function kindNumber(entry: Entry): number {
  switch (entry.kind) {
    case "normal":
      return KIND_NORMAL;
    case "conf_change":
      return KIND_CONF_CHANGE;
    default:
      return unreachable(entry);
  }
}

function encodeConfChange(change: ConfChange): Uint8Array {
  const record = {
    v: change.version,
    t: change.transition,
    o: change.changes.map((single) => [single.operation, single.node]),
    x: change.context,
  };
  const payload = encodeValue(record, VERSION_SIZE);
  payload[0] = CHANGE_VERSION;
  return payload;
}

function decodeConfChange(payload: Uint8Array): ConfChange | undefined {
  if (payload[0] !== CHANGE_VERSION) return undefined;
  const fields = new FieldReader(decodeRecord(payload.subarray(VERSION_SIZE)));
  const version = fields.counter("v");
  const transition = fields.choice("t", ["auto", "implicit", "explicit"]);
  const changes = fields.list("o", asChangeSingle);
  const context = fields.bytes("x").slice();
  if (fields.failed || (version !== 1 && version !== 2)) return undefined;
  return { version, transition, changes, context };
}

function asChangeSingle(value: unknown): ConfChangeSingle | undefined {
  if (!Array.isArray(value)) return undefined;
  const node = asNodeId(value[1]);
  const operation: unknown = value[0];
  if (node === undefined) return undefined;
  switch (operation) {
    case "add_voter":
    case "add_learner":
    case "remove":
    case "update":
      return { operation, node };
    default:
      return undefined;
  }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function isPositive(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value > 0;
}
