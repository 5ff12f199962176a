/**
 * Entries, messages, batches and progress in the words of etcd-io/raft's data files.
 *
 * The core knows no text; this is the only place that knows how etcd writes things down.
 *
 * @module
 */
import { unreachable } from "../../src/base/assert.ts";
import type { NodeId } from "../../src/base/ids.ts";
import type { ConfChangeError } from "../../src/control/raft/conf-change.ts";
import type { ProgressStatus, ProposeError, StepError } from "../../src/control/raft/raft.ts";
import type { Ready } from "../../src/control/raft/ready.ts";
import type {
  ConfChange,
  ConfChangeSingle,
  ConfState,
  Entry,
  EntryId,
  HardState,
  PeerMessage,
  ProposedEntry,
  RoleKind,
  Snapshot,
  SnapshotMeta,
  StorageAppend,
  StorageAppendResponse,
  StorageApply,
  StorageApplyResponse,
} from "../../src/control/raft/types.ts";

/** Everything that has a line of its own in the files. */
export type AnyMessage =
  | PeerMessage
  | StorageAppend
  | StorageAppendResponse
  | StorageApply
  | StorageApplyResponse;

/** A message with both its ends: storage work does not name the node that it belongs to. */
export interface Routed {
  readonly node: NodeId;
  readonly message: AnyMessage;
}

const OPERATION_LETTERS = { add_voter: "v", add_learner: "l", remove: "r", update: "u" } as const;

const ROLE_NAMES = {
  follower: "StateFollower",
  pre_candidate: "StatePreCandidate",
  candidate: "StateCandidate",
  leader: "StateLeader",
} as const satisfies Record<RoleKind, string>;

const PROGRESS_NAMES = {
  probe: "StateProbe",
  replicate: "StateReplicate",
  snapshot: "StateSnapshot",
} as const satisfies Record<ProgressStatus["kind"], string>;

const CONF_CHANGE_ERRORS = {
  already_joint: "config is already joint",
  no_voters_to_join: "can't make a zero-voter config joint",
  not_joint: "can't leave a non-joint config",
  simple_while_joint: "can't apply simple config change in joint config",
  several_voters_changed: "more than one voter changed without entering joint config",
  no_voters_left: "removed all voters",
} as const satisfies Record<ConfChangeError["kind"], string>;

/** A node id in log lines and messages: hexadecimal, 0 for nobody. */
export function hex(node: NodeId | undefined): string {
  return node === undefined ? "0" : node.toString(16);
}

export function describeRole(role: RoleKind): string {
  return ROLE_NAMES[role];
}

/** etcd's name of a message. */
export function messageName(message: AnyMessage): string {
  switch (message.kind) {
    case "vote_request":
      return message.round === "vote" ? "MsgVote" : "MsgPreVote";
    case "vote_response":
      return message.round === "vote" ? "MsgVoteResp" : "MsgPreVoteResp";
    case "append_request":
      return "MsgApp";
    case "append_response":
      return "MsgAppResp";
    case "heartbeat_request":
      return "MsgHeartbeat";
    case "heartbeat_response":
      return "MsgHeartbeatResp";
    case "snapshot_request":
      return "MsgSnap";
    case "timeout_now":
      return "MsgTimeoutNow";
    case "propose_request":
      return "MsgProp";
    case "read_index_request":
      return "MsgReadIndex";
    case "read_index_response":
      return "MsgReadIndexResp";
    case "transfer_request":
      return "MsgTransferLeader";
    case "storage_append":
      return "MsgStorageAppend";
    case "storage_append_response":
      return "MsgStorageAppendResp";
    case "storage_apply":
      return "MsgStorageApply";
    case "storage_apply_response":
      return "MsgStorageApplyResp";
    default:
      return unreachable(message);
  }
}

/** One message, in one line unless it carries several entries, a snapshot or responses. */
export function describeMessage(routed: Routed, indent = ""): string {
  const text = describeWithoutResponses(routed, indent);
  const responses = responsesOf(routed.message).map((message) =>
    describeMessage({ node: routed.node, message }, `${indent}  `),
  );
  return responses.length === 0 ? text : `${text} Responses:[\n${responses.join("\n")}\n${indent}]`;
}

/** Storage work as its thread shows it. */
export function describeWithoutResponses({ node, message }: Routed, indent = ""): string {
  const [from, to] = endsOf(node, message);
  const log = logOf(message);
  let text = `${indent}${from}->${to} ${messageName(message)} Term:${termOf(message)}`;
  text += ` Log:${log.term}/${log.index}${describeRejection(message)}`;

  const commit = commitOf(message);
  if (commit !== 0) text += ` Commit:${commit}`;
  if (message.kind === "storage_append" && message.hardState?.vote !== undefined) {
    text += ` Vote:${message.hardState.vote}`;
  }
  const entries = entriesOf(message);
  if (entries.length === 1) text += ` Entries:[${entries[0]}]`;
  else if (entries.length > 1) {
    text += ` Entries:[${entries.map((entry) => `\n${indent}  ${entry}`).join("")}\n${indent}]`;
  }
  const snapshot = snapshotOf(message);
  if (snapshot !== undefined) text += `\n${indent}  Snapshot: ${describeSnapshot(snapshot)}`;
  return text;
}

/** The responses that a storage thread delivers after its work. */
export function responsesOf(message: AnyMessage): readonly AnyMessage[] {
  if (message.kind === "storage_append") return message.responses;
  return message.kind === "storage_apply" ? [message.response] : [];
}

/** A batch, as `process-ready` prints it. */
export function describeReady(node: NodeId, ready: Ready): string {
  const { softState, hardState, snapshot } = ready;
  let text = "";
  if (softState !== undefined) {
    text += `Lead:${softState.leader ?? 0} State:${describeRole(softState.role)}\n`;
  }
  if (hardState !== undefined) text += `HardState ${describeHardState(hardState)}\n`;
  if (ready.readStates.length > 0) {
    const states = ready.readStates.map(({ index, context }) => `{${index} ${context}}`);
    text += `ReadStates [${states.join(" ")}]\n`;
  }
  if (ready.entries.length > 0) text += `Entries:\n${describeEntries(ready.entries)}`;
  if (snapshot !== undefined) text += `Snapshot ${describeSnapshot(snapshot)}\n`;
  if (ready.committedEntries.length > 0) {
    text += `CommittedEntries:\n${describeEntries(ready.committedEntries)}`;
  }
  if (ready.messages.length > 0) {
    const lines = ready.messages.map((message) => `${describeMessage({ node, message })}\n`);
    text += `Messages:\n${lines.join("")}`;
  }
  return text === "" ? "<empty Ready>" : `Ready MustSync=${ready.mustSync}:\n${text}`;
}

/** Entries, one a line. */
export function describeEntries(entries: readonly Entry[]): string {
  return entries.map((entry) => `${describeEntry(entry)}\n`).join("");
}

export function describeConfState(config: ConfState): string {
  const list = (nodes: readonly NodeId[]) => `[${nodes.join(" ")}]`;
  return (
    `Voters:${list(config.voters)} VotersOutgoing:${list(config.votersOutgoing)}` +
    ` Learners:${list(config.learners)} LearnersNext:${list(config.learnersNext)}` +
    ` AutoLeave:${config.autoLeave}`
  );
}

/** A configuration as log lines and the confchange files show it. */
export function describeConfig(config: ConfState): string {
  const set = (nodes: readonly NodeId[]) => `(${nodes.join(" ")})`;
  let text = `voters=${set(config.voters)}`;
  if (config.votersOutgoing.length > 0) text += `&&${set(config.votersOutgoing)}`;
  if (config.learners.length > 0) text += ` learners=${set(config.learners)}`;
  if (config.learnersNext.length > 0) text += ` learners_next=${set(config.learnersNext)}`;
  return config.autoLeave ? `${text} autoleave` : text;
}

/** One member's progress. */
export function describeProgress(progress: ProgressStatus): string {
  let text = `${PROGRESS_NAMES[progress.kind]} match=${progress.match} next=${progress.next}`;
  if (progress.isLearner) text += " learner";
  if (progress.paused) text += " paused";
  const pending = progress.pendingSnapshotIndex ?? 0;
  if (pending > 0) text += ` pendingSnap=${pending}`;
  if (!progress.recentActive) text += " inactive";
  if (progress.inflightCount > 0) {
    text += ` inflight=${progress.inflightCount}${progress.inflightFull ? "[full]" : ""}`;
  }
  return text;
}

/** All members' progress, one a line, ascending. */
export function describeProgressMap(progress: ReadonlyMap<NodeId, ProgressStatus>): string {
  const nodes = [...progress.keys()].sort((a, b) => a - b);
  return nodes.map((node) => `${node}: ${describeProgress(progress.get(node)!)}\n`).join("");
}

/** A membership change as etcd's protobuf text shows it. */
export function describeConfChange(change: ConfChange): string {
  const context = change.context.length > 0 ? [`context:${quote(change.context)}`] : [];
  const singles = change.changes.map(describeSingle);
  if (change.version === 1) return [...singles, ...context].join(" ");
  const transition = {
    auto: "ConfChangeTransitionAuto",
    implicit: "ConfChangeTransitionJointImplicit",
    explicit: "ConfChangeTransitionJointExplicit",
  }[change.transition];
  const changes = singles.map((single) => `changes:{${single}}`);
  return [`transition:${transition}`, ...changes, ...context].join(" ");
}

/** The text of an expected failure. */
export function describeError(error: StepError | ProposeError | ConfChangeError): string {
  switch (error.kind) {
    case "no_leader":
    case "dropped":
      return "raft proposal dropped";
    case "unknown_peer":
      return "raft: cannot step as peer not found";
    case "malformed":
      return "malformed message";
    default:
      return CONF_CHANGE_ERRORS[error.kind];
  }
}

/** Bytes as Go's `%q` writes them. */
export function quote(bytes: Uint8Array): string {
  let text = '"';
  for (let at = 0; at < bytes.length; ) {
    const length = Math.min(sequenceLength(bytes[at]!), bytes.length - at);
    const character = decodeCharacter(bytes.subarray(at, at + length));
    if (character === undefined) {
      text += `\\x${bytes[at]!.toString(16).padStart(2, "0")}`;
      at++;
    } else {
      text += quoteCharacter(character);
      at += length;
    }
  }
  return `${text}"`;
}

const ESCAPES: Record<string, string> = {
  "\x07": "\\a",
  "\b": "\\b",
  "\f": "\\f",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
  "\v": "\\v",
  "\\": "\\\\",
  '"': '\\"',
};

function quoteCharacter(character: string): string {
  const escaped = ESCAPES[character];
  if (escaped !== undefined) return escaped;
  const code = character.codePointAt(0)!;
  if (character === " " || /[\p{L}\p{M}\p{N}\p{P}\p{S}]/u.test(character)) return character;
  if (code < 0x80) return `\\x${code.toString(16).padStart(2, "0")}`;
  const digits = code.toString(16);
  return code > 0xffff ? `\\U${digits.padStart(8, "0")}` : `\\u${digits.padStart(4, "0")}`;
}

function sequenceLength(lead: number): number {
  if (lead < 0xc0) return 1;
  return lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

function decodeCharacter(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined; // Not UTF-8: the byte is shown by its number.
  }
}

function describeSingle({ operation, node }: ConfChangeSingle): string {
  const type = {
    add_voter: "ConfChangeAddNode",
    add_learner: "ConfChangeAddLearnerNode",
    remove: "ConfChangeRemoveNode",
    update: "ConfChangeUpdateNode",
  }[operation];
  return `type:${type} node_id:${node}`;
}

function describeEntry(entry: Entry | ProposedEntry): string {
  const id = "index" in entry ? `${entry.term}/${entry.index}` : "0/0";
  if (entry.kind === "normal") return `${id} EntryNormal ${quote(entry.data)}`;
  const { change } = entry;
  const name = change.version === 1 ? "EntryConfChange" : "EntryConfChangeV2";
  const changes = change.changes.map((each) => ` ${OPERATION_LETTERS[each.operation]}${each.node}`);
  return `${id} ${name}${changes.join("")}`;
}

function describeHardState({ term, vote, commit }: HardState): string {
  return `Term:${term}${vote === undefined ? "" : ` Vote:${vote}`} Commit:${commit}`;
}

function describeSnapshot(snapshot: SnapshotMeta): string {
  const { index, term, confState } = snapshot;
  return `Index:${index} Term:${term} ConfState:${describeConfState(confState)}`;
}

function describeRejection(message: AnyMessage): string {
  if (message.kind === "vote_response" && message.rejected) return " Rejected (Hint: 0)";
  if (message.kind !== "append_response" || message.rejected === undefined) return "";
  return ` Rejected (Hint: ${message.rejected.hint.index})`;
}

function endsOf(node: NodeId, message: AnyMessage): [from: string, to: string] {
  switch (message.kind) {
    case "storage_append":
      return [hex(node), "AppendThread"];
    case "storage_append_response":
      return ["AppendThread", hex(node)];
    case "storage_apply":
      return [hex(node), "ApplyThread"];
    case "storage_apply_response":
      return ["ApplyThread", hex(node)];
    case "transfer_request":
      // etcd names the target as the sender.
      return [hex(message.target), hex(message.to)];
    default:
      return [hex(message.from), hex(message.to)];
  }
}

function termOf(message: AnyMessage): number {
  if (message.kind === "storage_append") return message.hardState?.term ?? 0;
  if (message.kind === "storage_apply" || message.kind === "storage_apply_response") return 0;
  return message.term;
}

function logOf(message: AnyMessage): EntryId | { readonly term: number; readonly index: number } {
  switch (message.kind) {
    case "vote_request":
      return message.last;
    case "append_request":
      return message.previous;
    case "append_response":
      return { term: message.rejected?.hint.term ?? 0, index: message.index };
    case "read_index_response":
      return { term: 0, index: message.index };
    case "storage_append_response":
      return message.last ?? { term: 0, index: 0 };
    default:
      return { term: 0, index: 0 };
  }
}

function commitOf(message: AnyMessage): number {
  if (message.kind === "append_request" || message.kind === "heartbeat_request") {
    return message.commit;
  }
  return message.kind === "storage_append" ? (message.hardState?.commit ?? 0) : 0;
}

function entriesOf(message: AnyMessage): string[] {
  return "entries" in message ? message.entries.map(describeEntry) : [];
}

function snapshotOf(message: AnyMessage): Snapshot | undefined {
  return "snapshot" in message ? message.snapshot : undefined;
}
