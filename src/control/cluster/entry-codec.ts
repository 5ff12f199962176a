/**
 * Log entries as bytes: on the disk, in append messages, and the command inside.
 *
 *     payload of a normal entry        version u8 | CBOR {c: command, r: [client, sequence], t: ms}
 *     payload of a membership change   version u8 | CBOR {v, t, o: [[operation, node]], x: context}
 *
 * The payload of the entry with which a leader opens its term is empty. The version lets a node
 * say "written by a newer one" instead of guessing.
 *
 * @module
 */
import { unreachable } from "../../base/assert.ts";
import { decodeIndex, decodeTerm } from "../../base/ids.ts";
import type { StoredEntry } from "../../host/ports.ts";
import type { Command, RequestId } from "../kv/types.ts";
import type {
  ConfChange,
  ConfChangeSingle,
  Entry,
  NormalEntry,
  ProposedEntry,
} from "../raft/types.ts";
import { decodeRecord, encodeValue, isRecord, type PlainRecord } from "./codec.ts";
import { asNodeId, FieldReader } from "./fields.ts";

const PAYLOAD_VERSION = 1;

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
  const request = logged.request;
  return versioned({
    c: logged.command,
    ...(request === undefined ? {} : { r: [request.client, request.sequence] }),
    t: logged.proposedAtMs,
  });
}

/** What `encodeCommand` wrote, or undefined. */
export function decodeCommand(payload: Uint8Array): LoggedCommand | undefined {
  const fields = new FieldReader(decodeVersioned(payload));
  const command = asCommand(fields.raw("c"));
  const request = fields.has("r") ? asRequestId(fields.raw("r")) : undefined;
  const proposedAtMs = fields.counter("t");
  if (fields.failed || command === undefined) return undefined;
  if (fields.has("r") && request === undefined) return undefined;
  return { command, request, proposedAtMs };
}

/** `value` as a command: a record with a `kind`. Its handler checks the rest. */
export function asCommand(value: unknown): Command | undefined {
  if (!isRecord(value)) return undefined;
  const kind = value["kind"];
  return typeof kind === "string" ? { ...value, kind } : undefined;
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

/** `entry` as it travels inside a message. */
export function entryToWire(entry: Entry): readonly unknown[] {
  const stored = encodeStored(entry);
  return [stored.kind, stored.term, stored.index, stored.payload];
}

/** The entry in `value`, its payload copied (it will be kept), or undefined. */
export function entryFromWire(value: unknown): Entry | undefined {
  if (!Array.isArray(value) || !(value[3] instanceof Uint8Array)) return undefined;
  return makeEntry([value[0], value[1], value[2], value[3].slice()]);
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
  return versioned({
    v: change.version,
    t: change.transition,
    o: change.changes.map((single) => [single.operation, single.node]),
    x: change.context,
  });
}

function decodeConfChange(payload: Uint8Array): ConfChange | undefined {
  const fields = new FieldReader(decodeVersioned(payload));
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

function versioned(value: PlainRecord): Uint8Array {
  const body = encodeValue(value);
  const payload = new Uint8Array(1 + body.length);
  payload[0] = PAYLOAD_VERSION;
  payload.set(body, 1);
  return payload;
}

/** Undefined when empty, malformed, or written by a version that this one does not know. */
function decodeVersioned(payload: Uint8Array): PlainRecord | undefined {
  return payload[0] === PAYLOAD_VERSION ? decodeRecord(payload.subarray(1)) : undefined;
}

function isPositive(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value > 0;
}
