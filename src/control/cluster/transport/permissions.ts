/**
 * Who may send what on the cluster port: the one table.
 *
 * A certificate proves which node is on the other side and that it was let in; what it may do
 * follows from the replicated membership as this node has it. Roles are not in certificates: they
 * change within seconds, by themselves, and a node that is needed as a voter must not wait for
 * somebody to sign. Each node therefore judges by what it has applied, and a node that cannot know
 * (`PeerDirectory.standing`) gives the benefit of the doubt.
 *
 * @module
 */
import type { CallMethod } from "./peer-port.ts";

/**
 * What a node is to this one. `member`: a voter or a standby. `spare`: in the members table only.
 * `leaving`: removed, but the Raft membership cannot do without it yet. `removed`: let in once, and
 * never again: its certificate is revoked. `unknown`: in no table as this node has them.
 */
export type Standing = "member" | "spare" | "leaving" | "removed" | "unknown";

/** Kinds of frames that a node sends on a connection that it opened. */
export type FrameKind =
  | "hello"
  | "ping"
  | "raft"
  | "snapshot"
  | "chunk"
  | "done"
  | "follow"
  | "fed"
  | "call";

const ALL: readonly Standing[] = ["member", "spare", "leaving"];
const RAFT: readonly Standing[] = ["member", "leaving"];
const CLUSTER: readonly Standing[] = ["member", "spare"];
const MEMBERS: readonly Standing[] = ["member"];

/** Others get no further than the handshake. */
const FRAMES: Readonly<Record<FrameKind, readonly Standing[]>> = {
  hello: ALL,
  ping: ALL,
  // A removed voter counts until the others can do without it: else they could be left without
  // the quorum that lets it go.
  raft: RAFT,
  // From a leader to its followers, and from whoever feeds a spare.
  snapshot: RAFT,
  chunk: RAFT,
  done: RAFT,
  follow: CLUSTER,
  fed: CLUSTER,
  // Each call has a line of its own below.
  call: ALL,
};

const CALLS: Readonly<Record<CallMethod, readonly Standing[]>> = {
  propose: CLUSTER,
  // Who leaves waits until it has seen that it is removed.
  read_index: ALL,
  // A join comes to any node, which passes it on.
  join: CLUSTER,
  member: CLUSTER,
  ca_key: MEMBERS,
  renew: CLUSTER,
  rotate_ca: CLUSTER,
};

/** Whether a node of that standing may be connected at all. */
export function mayConnect(standing: Standing): boolean {
  return ALL.includes(standing);
}

/** Whether a frame of `kind` may come from a node of that standing; unknown kinds may. */
export function maySend(standing: Standing, kind: unknown): boolean {
  return !isFrameKind(kind) || FRAMES[kind].includes(standing);
}

/** Whether a node of that standing may ask for `method`. */
export function mayCall(standing: Standing, method: CallMethod): boolean {
  return CALLS[method].includes(standing);
}

/** The method that `value` names. */
export function parseMethod(value: unknown): CallMethod | undefined {
  return typeof value === "string" && isMethod(value) ? value : undefined;
}

function isMethod(value: string): value is CallMethod {
  return Object.hasOwn(CALLS, value);
}

function isFrameKind(kind: unknown): kind is FrameKind {
  return typeof kind === "string" && Object.hasOwn(FRAMES, kind);
}
