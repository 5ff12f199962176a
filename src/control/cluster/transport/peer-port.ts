/**
 * How the consensus driver reaches other nodes, and how they reach it.
 *
 * The real implementation is `transport.ts` (mutual TLS); the simulator has another. Messages may
 * be lost, repeated by the core and reordered across reconnects; calls end exactly once with an
 * answer or a failure. Types only.
 *
 * @module
 */
import type { NodeId } from "../../../base/ids.ts";
import type { Result } from "../../../base/result.ts";
import type { SnapshotStage } from "../../../host/ports.ts";
import type { PeerMessage, SnapshotRequest } from "../../raft/types.ts";
import type { PlainRecord } from "../codec/codec.ts";

/**
 * What one member may ask of another. `propose`: take in writes, or pass them on to the
 * leader. `read_index`: what a linearizable read must have seen. `join`: take a node in (leader
 * only). `member`: decide an order about a member (leader only). `ca_key`: the key of a CA of the
 * cluster. `renew`: a new certificate. `rotate_ca`: begin with a new CA (leader only). Who may ask:
 * `permissions.ts`.
 */
export type CallMethod =
  | "propose"
  | "read_index"
  | "join"
  | "member"
  | "ca_key"
  | "renew"
  | "rotate_ca";

/**
 * Why a call has no answer. `unreachable`: never arrived, or the connection broke: undetermined.
 * `timeout`: undetermined. `refused`: the other side says no, with a kind of its own and a
 * sentence.
 */
export type CallFailure =
  /** There was no connection: the other side knows nothing of the call. */
  | { readonly kind: "not_sent" }
  /** The connection was lost while the call was on its way: it may have been carried out. */
  | { readonly kind: "unreachable" }
  | { readonly kind: "timeout" }
  | { readonly kind: "refused"; readonly reason: string; readonly detail: string };

/** The refusing answer to a call. */
export interface CallRefusal {
  readonly reason: string;
  readonly detail: string;
}

export type CallAnswer = Result<PlainRecord, CallRefusal>;

/** One snapshot on its way to one member. */
export interface SnapshotTransfer {
  readonly message: SnapshotRequest;
  /** Read once, in order; each chunk is at most 1 MiB. */
  readonly body: AsyncIterable<Uint8Array>;
}

/** A body that came in: on the disk, or in memory where a transport has no use for the disk. */
export type SnapshotBody = SnapshotStage | readonly Uint8Array[];

/** The way out. */
export interface Transport {
  /** Names the receiver of everything that comes in; called once, before anything is sent. */
  attach(receiver: PeerReceiver): void;
  /** Hands over a message to `message.to`. It may be lost; a known loss is reported. */
  send(message: PeerMessage): void;
  /** Resolves to whether the other side has the whole snapshot. Never rejects. */
  sendSnapshot(transfer: SnapshotTransfer): Promise<boolean>;
  call(call: {
    readonly target: NodeId;
    readonly method: CallMethod;
    readonly body: PlainRecord;
    readonly timeoutMs: number;
  }): Promise<Result<PlainRecord, CallFailure>>;

  // The feed (spares/feed.ts). In order on one connection; lost with it.

  /** To the node that feeds this one, or is to; false: not now. */
  ask(source: NodeId, record: PlainRecord): boolean;
  /**
   * To a node that asked, on the connection that it opened: an encoded body, not copied before it
   * leaves. False: there is no such connection, or too much waits on it.
   */
  tell(spare: NodeId, body: Uint8Array): boolean;
  /** The connection to `source` is not needed any more; calls on it end. */
  part(source: NodeId): void;
}

/** The way in. `from` is authenticated: the other side proved to be that node. */
export interface PeerReceiver {
  receive(message: PeerMessage): void;
  /** A place for the body of `message`; undefined when it is not wanted, or there is no room. */
  stageSnapshot?(message: SnapshotRequest): Promise<SnapshotStage | undefined>;
  /** A whole snapshot arrived; `body` is the receiver's to keep. Resolves when it is decided on. */
  receiveSnapshot(message: SnapshotRequest, body: SnapshotBody): Promise<void>;
  /** Messages to `node` were lost. */
  unreachable(node: NodeId): void;
  /** The other side closed the connection on which `node` sends: it ended, or restarts. */
  closed(node: NodeId): void;
  /** The other side says that this node is no member (any more). */
  expelled(): void;
  answer(from: NodeId, method: CallMethod, body: PlainRecord): Promise<CallAnswer>;
  /** A node that this one feeds, or is to, says `record`; false when that makes no sense. */
  asked(from: NodeId, record: PlainRecord): boolean;
  /** A node that this one asked says `record`, in a frame of so many bytes. */
  told(from: NodeId, record: PlainRecord, sizeBytes: number): void;
}
