/**
 * Raft messages as plain records, both ways.
 *
 * A record has `k` (the kind), `t`, `f`, `m` (to, from, term) and the kind's own fields. Decoding
 * checks every field and copies what the core will keep. The body of a snapshot does not travel
 * here: `snapshot.data` is only its small header.
 *
 * @module
 */
import { unreachable } from "../../../base/assert.ts";
import type {
  ConfState,
  Entry,
  EntryId,
  PeerMessage,
  ProposedEntry,
  Snapshot,
} from "../../raft/types.ts";
import type { PlainRecord } from "./codec.ts";
import { decodeEntries, encodeEntries, proposedFromWire, proposedToWire } from "./entry-codec.ts";
import { asNodeId, FieldReader } from "./fields.ts";

const ROUNDS = ["vote", "pre_vote"] as const;

/** Nodes in one list of a membership; far above any cluster's size. */
const CONF_NODE_COUNT_MAX = 1_000;

/** `message` as a record for `encodeValue`. */
export function messageToRecord(message: PeerMessage): PlainRecord {
  const head = { k: message.kind, t: message.to, f: message.from, m: message.term };
  switch (message.kind) {
    case "vote_request":
      return { ...head, r: message.round, l: idToWire(message.last), x: message.transfer };
    case "vote_response":
      return message.commit === undefined
        ? { ...head, r: message.round, n: message.rejected }
        : { ...head, r: message.round, n: message.rejected, c: idToWire(message.commit) };
    case "append_request":
      return {
        ...head,
        p: idToWire(message.previous),
        e: encodeEntries(message.entries),
        c: message.commit,
      };
    case "append_response":
      return message.rejected === undefined
        ? { ...head, i: message.index }
        : { ...head, i: message.index, h: idToWire(message.rejected.hint) };
    case "heartbeat_request":
      return message.context === undefined
        ? { ...head, c: message.commit }
        : { ...head, c: message.commit, o: message.context };
    case "heartbeat_response":
      return message.context === undefined ? head : { ...head, o: message.context };
    case "snapshot_request":
      return { ...head, s: snapshotToRecord(message.snapshot) };
    case "timeout_now":
      return head;
    case "propose_request":
      return { ...head, e: message.entries.map(proposedToWire) };
    case "read_index_request":
      return { ...head, o: message.context };
    case "read_index_response":
      return { ...head, o: message.context, i: message.index };
    case "transfer_request":
      return { ...head, g: message.target };
    default:
      return unreachable(message);
  }
}

/** The message in `value`, or undefined when anything in it is wrong. */
export function messageFromRecord(value: unknown): PeerMessage | undefined {
  const fields = new FieldReader(value);
  const message = readMessage(fields);
  return fields.failed ? undefined : message;
}

/** `state` as a record. */
export function confStateToRecord(state: ConfState): PlainRecord {
  return {
    v: state.voters,
    o: state.votersOutgoing,
    l: state.learners,
    n: state.learnersNext,
    a: state.autoLeave,
  };
}

/** The membership in `value`, or undefined. */
export function confStateFromRecord(value: unknown): ConfState | undefined {
  const fields = new FieldReader(value);
  const state: ConfState = {
    voters: fields.list("v", asNodeId),
    votersOutgoing: fields.list("o", asNodeId),
    learners: fields.list("l", asNodeId),
    learnersNext: fields.list("n", asNodeId),
    autoLeave: fields.flag("a"),
  };
  const lists = [state.voters, state.votersOutgoing, state.learners, state.learnersNext];
  if (fields.failed || lists.some((list) => list.length > CONF_NODE_COUNT_MAX)) return undefined;
  return lists.every(isAscending) ? state : undefined;
}

function readMessage(fields: FieldReader): PeerMessage | undefined {
  const head = { to: fields.nodeId("t"), from: fields.nodeId("f"), term: fields.term("m") };
  switch (fields.raw("k")) {
    case "vote_request":
      return {
        kind: "vote_request",
        ...head,
        round: fields.choice("r", ROUNDS),
        last: idFromWire(fields, "l"),
        transfer: fields.flag("x"),
      };
    case "vote_response":
      return {
        kind: "vote_response",
        ...head,
        round: fields.choice("r", ROUNDS),
        rejected: fields.flag("n"),
        ...(fields.has("c") && { commit: idFromWire(fields, "c") }),
      };
    case "append_request":
      return {
        kind: "append_request",
        ...head,
        previous: idFromWire(fields, "p"),
        entries: readEntries(fields),
        commit: fields.index("c"),
      };
    case "append_response": {
      const rejected = fields.has("h") ? { hint: idFromWire(fields, "h") } : undefined;
      return { kind: "append_response", ...head, index: fields.index("i"), rejected };
    }
    default:
      return readRareMessage(fields, head);
  }
}

function readEntries(fields: FieldReader): readonly Entry[] {
  // One copy for all of them: they will be kept, and the frame will not.
  const entries = decodeEntries(fields.bytes("e").slice());
  if (entries === undefined) fields.failed = true;
  return entries ?? [];
}

function readRareMessage(
  fields: FieldReader,
  head: Pick<PeerMessage, "to" | "from" | "term">,
): PeerMessage | undefined {
  const context = fields.has("o") ? fields.counter("o") : undefined;
  switch (fields.raw("k")) {
    case "heartbeat_request":
      return { kind: "heartbeat_request", ...head, commit: fields.index("c"), context };
    case "heartbeat_response":
      return { kind: "heartbeat_response", ...head, context };
    case "snapshot_request":
      return { kind: "snapshot_request", ...head, snapshot: readSnapshot(fields.record("s")) };
    case "timeout_now":
      return { kind: "timeout_now", ...head };
    case "propose_request":
      return {
        kind: "propose_request",
        ...head,
        entries: fields.list<ProposedEntry>("e", proposedFromWire),
      };
    case "read_index_request":
      return { kind: "read_index_request", ...head, context: fields.counter("o") };
    case "read_index_response":
      return {
        kind: "read_index_response",
        ...head,
        context: fields.counter("o"),
        index: fields.index("i"),
      };
    case "transfer_request":
      return { kind: "transfer_request", ...head, target: fields.nodeId("g") };
    default:
      return undefined;
  }
}

function snapshotToRecord(snapshot: Snapshot): PlainRecord {
  return {
    i: snapshot.index,
    m: snapshot.term,
    c: confStateToRecord(snapshot.confState),
    d: snapshot.data,
  };
}

function readSnapshot(fields: FieldReader): Snapshot {
  const confState = confStateFromRecord(fields.raw("c"));
  if (confState === undefined) fields.failed = true;
  return {
    index: fields.index("i"),
    term: fields.term("m"),
    confState: confState ?? NO_MEMBERS,
    data: fields.bytes("d").slice(),
  };
}

const NO_MEMBERS: ConfState = {
  voters: [],
  votersOutgoing: [],
  learners: [],
  learnersNext: [],
  autoLeave: false,
};

/** `id` as it travels. */
export function idToWire(id: EntryId): readonly number[] {
  return [id.term, id.index];
}

/** The id in the field `name`. */
export function idFromWire(fields: FieldReader, name: string): EntryId {
  const pair = new FieldReader({ ...fields.array(name) });
  const id = { term: pair.term("0"), index: pair.index("1") };
  if (pair.failed) fields.failed = true;
  return id;
}

function isAscending(ids: readonly number[]): boolean {
  return ids.every((id, position) => position === 0 || ids[position - 1]! < id);
}
