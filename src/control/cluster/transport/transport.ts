/**
 * The way to other members over mutual TLS 1.3: messages, calls, snapshots.
 *
 * Each direction has its own connections. To each peer there is one for messages and calls and,
 * while it is needed, a second one for snapshots, so that heartbeats never wait behind megabytes.
 * Where a peer is comes from the members table, looked up at each connect.
 *
 * @module
 */
import type { TLSSocket } from "node:tls";
import { formatNodeId, type NodeId } from "../../../base/ids.ts";
import type { Log } from "../../../base/log.ts";
import { err, ok, type Result } from "../../../base/result.ts";
import type { Clock, Random } from "../../../host/ports.ts";
import type { PeerMessage } from "../../raft/types.ts";
import { isRecord, type PlainRecord } from "../codec/codec.ts";
import { FrameCodec } from "../codec/frame.ts";
import { messageToRecord } from "../codec/message-codec.ts";
import { CALLS_PENDING_MAX, LINK_CHECK_MS } from "../limits.ts";
import type { Greeter } from "../members/greeting.ts";
import type { ClusterRef } from "../recovery.ts";
import { SnapshotSender } from "../snapshots/snapshot-sender.ts";
import type { Credentials } from "../trust/credentials.ts";
import type { HostPort } from "../types.ts";
import type { PeerCounters } from "./peer-counters.ts";
import { PeerIntake } from "./peer-intake.ts";
import { PeerLink } from "./peer-link.ts";
import type { CallFailure, PeerReceiver, SnapshotTransfer, Transport } from "./peer-port.ts";
import type { Standing } from "./permissions.ts";

export interface PeerTransportOptions {
  readonly nodeId: NodeId;
  readonly cluster: ClusterRef;
  readonly credentials: Credentials;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly counters: PeerCounters;
  /** What is said at the beginning of a connection. */
  readonly greeting: Greeter;
  readonly addressOf: (node: NodeId) => HostPort | undefined;
  readonly standing: (node: NodeId) => Standing;
  /** Clusters that this one goes on from. */
  readonly former: () => readonly ClusterRef[];
  /** `by` goes on in another cluster, which began with the state of this one. */
  readonly superseded: (by: NodeId) => void;
  /**
   * Whom connections are kept open to before there is anything to say: an election must not wait
   * for handshakes.
   */
  readonly keptOpen: () => readonly NodeId[];
}

interface PendingCall {
  readonly resolve: (result: Result<PlainRecord, CallFailure>) => void;
  readonly cancel: () => void;
}

interface Peer {
  readonly main: PeerLink;
  readonly bulk: PeerLink;
  /** Calls that wait for their answer, by id. */
  readonly calls: Map<number, PendingCall>;
  /** The snapshot under way. */
  snapshot: SnapshotSender | undefined;
}

/** Of a refusal's reason and sentence. */
const TEXT_LENGTH_MAX = 500;

type Call = Parameters<Transport["call"]>[0];

/** Connections to and from all members. */
export class PeerTransport implements Transport {
  readonly #options: PeerTransportOptions;
  readonly #peers = new Map<NodeId, Peer>();
  readonly #codecs = new Map<NodeId, FrameCodec>();
  readonly #intake: PeerIntake;
  readonly #cancelChecks: () => void;
  #receiver: PeerReceiver | undefined;
  #lastId = 0;
  #isClosed = false;

  constructor(options: PeerTransportOptions) {
    this.#options = options;
    const { nodeId, cluster, credentials, clock, log, counters, standing, former } = options;
    this.#intake = new PeerIntake({
      ...{ nodeId, cluster, credentials, clock, log, counters, standing, former },
      receiver: () => this.#receiver,
      heard: (node) => this.#heard(node),
      greeting: options.greeting,
      greeted: (node) => this.#peers.get(node)?.main.retryNow(),
    });
    this.#cancelChecks = clock.every(LINK_CHECK_MS, () => this.#check());
  }

  attach(receiver: PeerReceiver): void {
    this.#receiver = receiver;
  }

  /** Takes over an incoming connection of the members' protocol. */
  accept(socket: TLSSocket): void {
    if (this.#isClosed) socket.destroy();
    else this.#intake.accept(socket);
  }

  /** The members table or membership changed. */
  membersChanged(): void {
    this.#intake.recheck();
    for (const [node, peer] of this.#peers) {
      if (this.#options.standing(node) !== "removed") continue;
      this.#peers.delete(node);
      this.#codecs.delete(node);
      this.#closePeer(peer);
    }
  }

  send(message: PeerMessage): void {
    const { counters } = this.#options;
    const frame = this.#codec(message.to).encode({ k: "raft", m: messageToRecord(message) });
    if (!this.#isClosed && this.#peer(message.to).main.send(frame)) {
      counters.sentFrames += 1;
      return;
    }
    counters.droppedMessages += 1;
    this.#receiver?.unreachable(message.to);
  }

  call(call: Call): Promise<Result<PlainRecord, CallFailure>> {
    const { target, method, body, timeoutMs } = call;
    if (this.#isClosed) return Promise.resolve(err({ kind: "not_sent" }));
    const peer = this.#peer(target);
    const id = ++this.#lastId;
    const frame = this.#codec(target).encode({ k: "call", i: id, m: method, b: body });
    if (peer.calls.size >= CALLS_PENDING_MAX || !peer.main.send(frame)) {
      return Promise.resolve(err({ kind: "not_sent" }));
    }
    this.#options.counters.sentFrames += 1;
    return new Promise((resolve) => {
      const cancel = this.#options.clock.after(timeoutMs, () => {
        peer.calls.delete(id);
        resolve(err({ kind: "timeout" }));
      });
      peer.calls.set(id, { resolve, cancel });
    });
  }

  async sendSnapshot(transfer: SnapshotTransfer): Promise<boolean> {
    const node = transfer.message.to;
    if (this.#isClosed) return false;
    const peer = this.#peer(node);
    if (peer.snapshot !== undefined) return false;
    const send = (record: PlainRecord) => peer.bulk.send(this.#codec(node).encode(record));
    const { clock } = this.#options;
    const sender = new SnapshotSender({ id: ++this.#lastId, transfer, send, clock });
    peer.snapshot = sender;
    try {
      const hasArrived = await sender.run();
      if (hasArrived) this.#options.counters.sentSnapshots += 1;
      return hasArrived;
    } finally {
      peer.snapshot = undefined;
      peer.bulk.rest();
    }
  }

  ask(source: NodeId, record: PlainRecord): boolean {
    if (this.#isClosed || !this.#peer(source).main.send(this.#codec(source).encode(record))) {
      return false;
    }
    this.#options.counters.sentFrames += 1;
    return true;
  }

  tell(spare: NodeId, body: Uint8Array): boolean {
    if (!this.#intake.tell(spare, body)) return false;
    this.#options.counters.sentFrames += 1;
    return true;
  }

  part(source: NodeId): void {
    const peer = this.#peers.get(source);
    if (peer === undefined || this.#options.keptOpen().includes(source)) return;
    peer.main.rest();
    this.#failCalls(peer, "unreachable");
  }

  /** Closes every connection. What was handed in before still leaves where it can. */
  close(): void {
    this.#isClosed = true;
    this.#receiver = undefined;
    this.#cancelChecks();
    this.#intake.close();
    for (const peer of this.#peers.values()) this.#closePeer(peer);
    this.#peers.clear();
  }

  #peer(node: NodeId): Peer {
    const known = this.#peers.get(node);
    if (known !== undefined) return known;
    const peer: Peer = {
      main: this.#link(node, "main"),
      bulk: this.#link(node, "bulk"),
      calls: new Map(),
      snapshot: undefined,
    };
    this.#peers.set(node, peer);
    return peer;
  }

  #link(node: NodeId, use: "main" | "bulk"): PeerLink {
    const { credentials, clock, random, addressOf, greeting, log } = this.#options;
    return new PeerLink({
      peer: node,
      credentials,
      clock,
      random,
      address: () => addressOf(node),
      hello: () => this.#codec(node).encode({ k: "hello", u: use, ...greeting.hello() }),
      ping: () => this.#codec(node).encode({ k: "ping" }),
      onFrame: (bytes) => this.#received(node, bytes),
      onDown: (reason, wasOpen) => {
        log.debug("connection lost", { peer: formatNodeId(node), use, reason });
        this.#lost(node, { use, wasOpen });
      },
    });
  }

  #lost(node: NodeId, link: { readonly use: "main" | "bulk"; readonly wasOpen: boolean }): void {
    const peer = this.#peers.get(node);
    if (peer === undefined) return;
    if (link.use === "bulk") {
      peer.snapshot?.end(false);
      return;
    }
    // What waited for a connection that never came about has not left this node.
    this.#failCalls(peer, link.wasOpen ? "unreachable" : "not_sent");
    this.#receiver?.unreachable(node);
  }

  /** A frame on a connection that this node opened: an answer of some kind. */
  #received(node: NodeId, bytes: Uint8Array): void {
    const { counters } = this.#options;
    const frame = this.#codec(node).decode(bytes);
    const peer = this.#peers.get(node);
    if ("problem" in frame) counters.refusedFrames += 1;
    if ("problem" in frame || peer === undefined) return;
    counters.receivedFrames += 1;
    this.#heard(node);
    const { record } = frame;
    if (record["k"] === "answer") this.#answered(peer, record);
    else if (record["k"] === "expelled") this.#receiver?.expelled();
    else if (record["k"] === "refused") this.#options.greeting.refused(node, record);
    else if (record["k"] === "superseded") this.#options.superseded(node);
    else if (record["k"] === "expired") this.#options.credentials.refused();
    else if (record["k"] === "feed" || record["k"] === "unfed") {
      this.#receiver?.told(node, record, bytes.length);
    } else peer.snapshot?.received(record);
  }

  #answered(peer: Peer, record: PlainRecord): void {
    const id = record["i"];
    const call = typeof id === "number" ? peer.calls.get(id) : undefined;
    if (typeof id !== "number" || call === undefined) return;
    peer.calls.delete(id);
    call.cancel();
    const { b: body, r: reason, d: detail } = record;
    if (isRecord(body)) call.resolve(ok(body));
    else call.resolve(err({ kind: "refused", reason: asText(reason), detail: asText(detail) }));
  }

  #heard(node: NodeId): void {
    const peer = this.#peers.get(node);
    peer?.main.heard();
    peer?.bulk.heard();
  }

  #check(): void {
    const nowMs = this.#options.clock.nowMs();
    this.#intake.check(nowMs);
    for (const node of this.#options.keptOpen()) this.#peer(node).main.open();
    for (const peer of this.#peers.values()) {
      peer.main.check(nowMs);
      peer.bulk.check(nowMs);
    }
  }

  #closePeer(peer: Peer): void {
    peer.main.close();
    peer.bulk.close();
    this.#failCalls(peer, "unreachable");
    peer.snapshot?.end(false);
  }

  #failCalls(peer: Peer, kind: "unreachable" | "not_sent"): void {
    for (const { resolve, cancel } of peer.calls.values()) {
      cancel();
      resolve(err({ kind }));
    }
    peer.calls.clear();
  }

  #codec(peer: NodeId): FrameCodec {
    const known = this.#codecs.get(peer);
    if (known !== undefined) return known;
    const { cluster, nodeId } = this.#options;
    const codec = new FrameCodec(cluster, { self: nodeId, peer });
    this.#codecs.set(peer, codec);
    return codec;
  }
}

/** What a peer says in words, cut to what a log line or an answer may hold. */
function asText(value: unknown): string {
  return typeof value === "string" ? value.slice(0, TEXT_LENGTH_MAX) : "";
}
