/**
 * Incoming connections of members: who they are, what they send, when they end.
 *
 * A connection belongs to the node that its certificate names, for as long as that node is a
 * member. Every frame must name the same node; anything wrong ends the connection and is counted,
 * nothing is repaired. The first frame says what the connection is for: `main` carries messages,
 * calls and the feed of a spare, `bulk` carries snapshots.
 *
 * @module
 */
import type { TLSSocket } from "node:tls";
import { formatNodeId, type NodeId } from "../../../base/ids.ts";
import type { Log } from "../../../base/log.ts";
import type { Clock } from "../../../host/ports.ts";
import { isRecord, type PlainRecord } from "../codec/codec.ts";
import { FieldReader } from "../codec/fields.ts";
import { FRAME_SIZE_MAX_BYTES, FrameCodec, FrameSplitter } from "../codec/frame.ts";
import { messageFromRecord } from "../codec/message-codec.ts";
import {
  FEED_QUEUE_MAX_BYTES,
  INCOMING_IDLE_MS,
  INCOMING_PER_PEER_MAX,
  SEND_QUEUE_MAX_BYTES,
} from "../limits.ts";
import type { Greeter, Objection } from "../members/greeting.ts";
import type { ClusterRef } from "../recovery.ts";
import { SnapshotIntake } from "../snapshots/snapshot-intake.ts";
import { soon } from "../soon.ts";
import type { CertificateProblem } from "../trust/certificate.ts";
import type { Credentials } from "../trust/credentials.ts";
import type { PeerCounters } from "./peer-counters.ts";
import type { CallAnswer, PeerReceiver } from "./peer-port.ts";
import { mayCall, mayConnect, maySend, parseMethod, type Standing } from "./permissions.ts";

export interface IntakeOptions {
  readonly nodeId: NodeId;
  readonly cluster: ClusterRef;
  readonly credentials: Credentials;
  readonly clock: Clock;
  readonly log: Log;
  readonly counters: PeerCounters;
  readonly standing: (node: NodeId) => Standing;
  /** Clusters that this one goes on from: their nodes are told. */
  readonly former: () => readonly ClusterRef[];
  readonly receiver: () => PeerReceiver | undefined;
  /** Called for every good frame. */
  readonly heard: (node: NodeId) => void;
  readonly greeting: Greeter;
  /** Called when a node opened a connection: it is up, and so is the path. */
  readonly greeted: (node: NodeId) => void;
}

interface Connection {
  readonly socket: TLSSocket;
  readonly node: NodeId;
  readonly splitter: FrameSplitter;
  readonly codec: FrameCodec;
  readonly snapshot: SnapshotIntake;
  /** Answers of this turn: together in one TLS record. */
  outbox: Uint8Array[];
  use: "unknown" | "main" | "bulk";
  standing: Standing;
  heardMs: number;
  /** Which process of the node is at the other end; undefined until it says so. */
  run: unknown;
  /** Whether this side ended it, so that its closing says nothing about the peer. */
  isOurs: boolean;
}

/** A process that was heard so lately runs still; one that ended had its connections closed. */
const RIVAL_HEARD_MS = 2_000;
/** How long an ended connection may take to close. */
const LINGER_MS = 1_000;

/** All incoming connections of members. */
export class PeerIntake {
  readonly #options: IntakeOptions;
  readonly #connections = new Set<Connection>();
  /** The open ones for messages and calls. */
  readonly #mains = new Map<NodeId, Connection>();

  constructor(options: IntakeOptions) {
    this.#options = options;
  }

  /** Takes over a connection whose handshake is done and whose protocol is the members'. */
  accept(socket: TLSSocket): void {
    const { counters, clock, cluster, nodeId, credentials } = this.#options;
    // Without a handler an error of a connection that is being refused would end the process.
    socket.on("error", () => socket.destroy());
    const identified = credentials.identify(socket);
    if (!identified.ok) {
      this.#turnAway(socket, identified.error);
      return;
    }
    const node = identified.value;
    const connection: Connection = {
      socket,
      node,
      splitter: new FrameSplitter(FRAME_SIZE_MAX_BYTES),
      codec: new FrameCodec(cluster, { self: nodeId, peer: node }),
      snapshot: new SnapshotIntake({
        isExpected: (message) => message.from === node && message.to === nodeId,
        stage: async (message) => this.#options.receiver()?.stageSnapshot?.(message),
        whole: async (message, stage) => {
          counters.receivedSnapshots += 1;
          await this.#options.receiver()?.receiveSnapshot(message, stage);
        },
        answer: (record) => this.#send(connection, record),
      }),
      outbox: [],
      use: "unknown",
      standing: this.#options.standing(node),
      heardMs: clock.nowMs(),
      run: undefined,
      isOurs: false,
    };
    if (!mayConnect(connection.standing)) {
      this.#refuse(connection);
      return;
    }
    this.#makeRoom(node);
    this.#connections.add(connection);
    socket.setNoDelay(true);
    socket.on("data", (chunk: Uint8Array) => this.#received(connection, chunk));
    socket.on("end", () => this.#ended(connection));
    socket.on("close", () => this.#ended(connection));
  }

  /** Members or their roles changed: ends the connections of those who are none any more. */
  recheck(): void {
    for (const connection of [...this.#connections]) {
      connection.standing = this.#options.standing(connection.node);
      if (!mayConnect(connection.standing)) this.#refuse(connection);
    }
  }

  /** Ends connections that were silent for too long. */
  check(nowMs: number): void {
    for (const connection of [...this.#connections]) {
      if (nowMs - connection.heardMs >= INCOMING_IDLE_MS) this.#end(connection);
    }
  }

  close(): void {
    for (const connection of [...this.#connections]) this.#end(connection);
  }

  /** Sends an encoded body on the connection that `node` opened last; false: there is none. */
  tell(node: NodeId, body: Uint8Array): boolean {
    const connection = this.#mains.get(node);
    if (connection === undefined) return false;
    if (connection.socket.writableLength > FEED_QUEUE_MAX_BYTES) return false;
    this.#queue(connection, connection.codec.wrap(body));
    return true;
  }

  #received(connection: Connection, chunk: Uint8Array): void {
    const { clock, counters } = this.#options;
    if (!this.#connections.has(connection)) return;
    connection.heardMs = clock.nowMs();
    const frames = connection.splitter.push(chunk);
    if (frames === undefined) {
      this.#misbehaved(connection, "malformed");
      return;
    }
    for (const bytes of frames) {
      counters.receivedFrames += 1;
      const frame = connection.codec.decode(bytes);
      if ("problem" in frame) {
        this.#misbehaved(connection, frame.problem);
        return;
      }
      this.#options.heard(connection.node);
      if (!this.#dispatch(connection, frame.record)) {
        this.#misbehaved(connection, "malformed");
        return;
      }
      if (!this.#connections.has(connection)) return; // It was refused: the rest is void.
    }
  }

  /** Carries out one frame; false when it makes no sense. */
  #dispatch(connection: Connection, record: PlainRecord): boolean {
    if (!this.#isAllowed(connection, record["k"])) return true;
    switch (record["k"]) {
      case "hello":
        return this.#greet(connection, record);
      case "ping":
        this.#send(connection, { k: "pong" });
        return true;
      case "raft":
        return this.#receive(connection, record["m"]);
      case "call":
        return this.#call(connection, record);
      case "follow":
      case "fed":
        return this.#asked(connection, record);
      case "snapshot":
      case "chunk":
      case "done":
        return connection.use === "bulk" && connection.snapshot.push(record);
      default:
        // A newer node may say more than we understand.
        return typeof record["k"] === "string";
    }
  }

  /**
   * Whether a frame of that kind may come from there. What may not is left out and counted; the
   * connection stays, since a change of role may only have come to one side so far.
   */
  #isAllowed(connection: Connection, kind: unknown): boolean {
    if (maySend(connection.standing, kind)) return true;
    connection.standing = this.#options.standing(connection.node);
    if (maySend(connection.standing, kind)) return true;
    this.#forbidden(connection, kind);
    return false;
  }

  #forbidden(connection: Connection, what: unknown): void {
    const { counters, log } = this.#options;
    const { node, standing } = connection;
    counters.refusedRoles += 1;
    log.debug("not for its role", { peer: formatNodeId(node), standing, what: String(what) });
  }

  #greet(connection: Connection, hello: PlainRecord): boolean {
    const { greeting } = this.#options;
    const use = hello["u"];
    if (connection.use !== "unknown" || (use !== "main" && use !== "bulk")) return false;
    const objection =
      this.#rivalOf(connection, hello) ?? greeting.objectionTo(connection.node, hello);
    if (objection !== undefined) {
      this.#object(connection, objection);
      return true;
    }
    connection.use = use;
    connection.run = hello["r"];
    greeting.greeted(connection.node, hello);
    if (use === "main") this.#mains.set(connection.node, connection);
    this.#options.greeted(connection.node);
    for (const other of [...this.#connections]) {
      // The peer began anew: what is left of its last connection is half open.
      const isOld = other !== connection && other.node === connection.node && other.use === use;
      if (isOld) this.#end(other);
    }
    return true;
  }

  /** Another process of the same node that was heard just now: one of the two is a copy. */
  #rivalOf({ node, socket }: Connection, { r: run }: PlainRecord): Objection | undefined {
    const { clock, greeting } = this.#options;
    const sinceMs = clock.nowMs() - RIVAL_HEARD_MS;
    const isRival = (each: Connection) =>
      each.node === node && each.run !== undefined && each.run !== run && each.heardMs > sinceMs;
    const rival = run === undefined ? undefined : [...this.#connections].find(isRival);
    const seenAt = rival?.socket.remoteAddress;
    if (seenAt === undefined) return undefined;
    greeting.doubled(node, seenAt, socket.remoteAddress ?? "an unknown address");
    return { kind: "doubled", seenAt };
  }

  #object(connection: Connection, objection: Objection): void {
    const { counters, log } = this.#options;
    const { node, socket, codec } = connection;
    const { kind: reason } = objection;
    counters.refusedCopies += 1;
    log.debug("connection refused", { peer: formatNodeId(node), reason });
    const at = objection.kind === "doubled" ? { a: objection.seenAt } : {};
    socket.write(codec.encode({ k: "refused", r: reason, ...at }));
    this.#end(connection);
  }

  #receive(connection: Connection, value: unknown): boolean {
    const message = messageFromRecord(value);
    if (message === undefined || connection.use !== "main") return false;
    const isTheirs = message.from === connection.node && message.to === this.#options.nodeId;
    if (!isTheirs || message.kind === "snapshot_request") return false;
    this.#options.receiver()?.receive(message);
    return true;
  }

  #call(connection: Connection, record: PlainRecord): boolean {
    const fields = new FieldReader(record);
    const id = fields.counter("i");
    const method = parseMethod(fields.raw("m"));
    const body = fields.raw("b");
    if (fields.failed || !isRecord(body) || connection.use !== "main") return false;
    if (method === undefined) {
      this.#send(connection, { k: "answer", i: id, r: "unknown_method", d: "update this node" });
      return true;
    }
    if (!mayCall(connection.standing, method)) {
      this.#forbidden(connection, method);
      this.#send(connection, { k: "answer", i: id, r: "not_entitled", d: "not for its role" });
      return true;
    }
    const receiver = this.#options.receiver();
    if (receiver === undefined) return true; // Stopping: the peer sees the connection end.
    void receiver
      .answer(connection.node, method, body)
      .then((answer) => this.#answer(connection, id, answer));
    return true;
  }

  #asked(connection: Connection, record: PlainRecord): boolean {
    if (connection.use !== "main") return false;
    return this.#options.receiver()?.asked(connection.node, record) ?? true;
  }

  #answer(connection: Connection, id: number, answer: CallAnswer): void {
    this.#send(
      connection,
      answer.ok
        ? { k: "answer", i: id, b: answer.value }
        : { k: "answer", i: id, r: answer.error.reason, d: answer.error.detail },
    );
  }

  #send(connection: Connection, body: PlainRecord): void {
    if (!this.#connections.has(connection)) return;
    if (connection.socket.writableLength > SEND_QUEUE_MAX_BYTES) {
      this.#end(connection); // It asks and does not read: memory is not for that.
      return;
    }
    this.#queue(connection, connection.codec.encode(body));
  }

  #queue(connection: Connection, frame: Uint8Array): void {
    if (connection.outbox.push(frame) > 1) return;
    soon(this.#options.clock, () => this.#flush(connection));
  }

  #flush(connection: Connection): void {
    const frames = connection.outbox;
    if (frames.length === 0 || !this.#connections.has(connection)) return;
    connection.outbox = [];
    connection.socket.write(frames.length === 1 ? frames[0]! : Buffer.concat(frames));
  }

  /** Tells a node that is no member so, and ends. */
  #refuse(connection: Connection): void {
    const { standing, counters, log } = this.#options;
    const { node, socket } = connection;
    const isRemoved = standing(node) === "removed";
    if (isRemoved) counters.refusedRemoved += 1;
    else counters.refusedStrangers += 1;
    log.debug("connection refused", { peer: formatNodeId(node), removed: isRemoved });
    const kind = isRemoved ? "expelled" : "stranger";
    if (!isRemoved) this.#tellFormer(connection);
    socket.write(connection.codec.encode({ k: kind }));
    this.#end(connection);
  }

  /**
   * Says to a node of a cluster that this one goes on from that there is this one now: in a frame
   * of that cluster, since the node listens to no other. Others do not listen to it.
   */
  #tellFormer({ node, socket }: Connection): void {
    for (const cluster of this.#options.former()) {
      const codec = new FrameCodec(cluster, { self: this.#options.nodeId, peer: node });
      socket.write(codec.encode({ k: "superseded" }));
    }
  }

  /** Ends a connection whose certificate is not good; a node of ours that is late is told why. */
  #turnAway(socket: TLSSocket, problem: CertificateProblem): void {
    const { counters, cluster, nodeId, clock, log } = this.#options;
    switch (problem.kind) {
      case "absent":
        counters.refusedWithoutCertificate += 1;
        break;
      case "foreign":
        counters.refusedForeign += 1;
        break;
      case "expired": {
        counters.refusedExpired += 1;
        log.debug("its certificate has expired", { peer: formatNodeId(problem.node) });
        const codec = new FrameCodec(cluster, { self: nodeId, peer: problem.node });
        socket.write(codec.encode({ k: "expired" }));
        endGently(socket, clock);
        return;
      }
    }
    socket.destroy();
  }

  #misbehaved(connection: Connection, problem: string): void {
    const { counters, log } = this.#options;
    counters.refusedFrames += 1;
    log.debug("frame refused", { peer: formatNodeId(connection.node), problem });
    if (problem === "other_cluster") this.#tellFormer(connection);
    this.#end(connection);
  }

  #end(connection: Connection): void {
    this.#flush(connection);
    connection.isOurs = true;
    this.#forget(connection);
    endGently(connection.socket, this.#options.clock);
  }

  #ended(connection: Connection): void {
    const wasOpen = this.#forget(connection);
    connection.socket.destroy();
    if (!wasOpen || connection.isOurs || connection.use !== "main") return;
    this.#options.receiver()?.closed(connection.node);
  }

  /** Whether it was open. */
  #forget(connection: Connection): boolean {
    if (this.#mains.get(connection.node) === connection) this.#mains.delete(connection.node);
    return this.#connections.delete(connection);
  }

  #makeRoom(node: NodeId): void {
    const own = [...this.#connections].filter((connection) => connection.node === node);
    const surplus = own.length + 1 - INCOMING_PER_PEER_MAX;
    for (const oldest of own.slice(0, Math.max(0, surplus))) this.#end(oldest);
  }
}

/**
 * Ends `socket` so that what was written still arrives: unread input would make the kernel reset
 * the connection, so it is read and dropped; a peer that never closes is cut off.
 */
export function endGently(socket: TLSSocket, clock: Clock): void {
  socket.removeAllListeners("data");
  socket.resume();
  socket.end();
  const cancel = clock.after(LINGER_MS, () => socket.destroy());
  socket.once("close", cancel);
}
