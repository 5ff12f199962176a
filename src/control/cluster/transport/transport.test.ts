import { afterEach, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { connect as connectTcp, createServer as createTcpServer, type Socket } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";
import {
  decodeIndex,
  decodeNodeId,
  decodeTerm,
  type NodeId,
  parseClusterId,
} from "../../../base/ids.ts";
import { createSilentLog } from "../../../base/log.ts";
import { err, ok } from "../../../base/result.ts";
import type { SnapshotStage } from "../../../host/ports.ts";
import type { PeerMessage, SnapshotRequest } from "../../raft/types.ts";
import type { PlainRecord } from "../codec/codec.ts";
import { encodePeerFrame } from "../codec/frame.ts";
import { SNAPSHOT_CHUNK_SIZE_BYTES } from "../codec/snapshot-codec.ts";
import { SNAPSHOT_WINDOW_BYTES } from "../limits.ts";
import type { Greeter } from "../members/greeting.ts";
import { realClock, realRandom, until } from "../real-node.fake.ts";
import { type ClusterRef, EMPTY_CONF_STATE } from "../recovery.ts";
import { MemoryStage } from "../snapshots/memory-staging.fake.ts";
import { parseCertificate } from "../trust/certificate.ts";
import { type CredentialKeys, Credentials } from "../trust/credentials.ts";
import {
  type CertifiedKey,
  createCa,
  createRequest,
  NODE_LIFE_MS,
  signAgain,
  signRequest,
} from "../trust/pki.ts";
import type { HostPort } from "../types.ts";
import { type Listener, openListener } from "./listener.ts";
import { createPeerCounters, type PeerCounters } from "./peer-counters.ts";
import { PEER_PROTOCOL } from "./peer-link.ts";
import type { CallAnswer, CallMethod, PeerReceiver } from "./peer-port.ts";
import type { Standing } from "./permissions.ts";
import { PeerTransport } from "./transport.ts";

setDefaultTimeout(30_000);

const A = decodeNodeId(1);
const B = decodeNodeId(2);
const cluster = { clusterId: parseClusterId("a".repeat(32))!, generation: 1 };

let ca: CertifiedKey;
let otherCa: CertifiedKey;
let strangerKeys: CredentialKeys;
const keysOf = new Map<NodeId, CredentialKeys>();
beforeAll(async () => {
  const base = { clusterId: cluster.clusterId, clock: realClock, random: realRandom };
  [ca, otherCa] = await Promise.all([createCa(base), createCa(base)]);
  for (const id of [A, B]) keysOf.set(id, await createKeys(id, ca));
  strangerKeys = { ...(await createKeys(A, otherCa)), ca: ca.certificate };
});

async function createKeys(nodeId: NodeId, by: CertifiedKey): Promise<CredentialKeys> {
  const { csr, key } = await createRequest(nodeId);
  const signed = await signRequest({
    csr,
    nodeId,
    ca: by,
    clock: realClock,
    random: realRandom,
  });
  return { ca: by.certificate, certificate: signed.ok ? signed.value : "", key };
}

/** As a version that says nothing of itself. */
const SILENT: Greeter = {
  hello: () => ({}),
  objectionTo: () => undefined,
  greeted: () => undefined,
  doubled: () => undefined,
  refused: () => undefined,
};

/** One end: a transport with its listener, and what it received. */
class End implements PeerReceiver {
  readonly id: NodeId;
  readonly counters: PeerCounters = createPeerCounters();
  readonly credentials: Credentials;
  readonly transport: PeerTransport;
  readonly messages: PeerMessage[] = [];
  readonly snapshots: { message: SnapshotRequest; body: Uint8Array[] }[] = [];
  /** What came in of the snapshot that is under way. */
  stage = new MemoryStage();
  /** Chunks that waited for their place in it, at most. */
  stageCountMax = 0;
  readonly unreachables: NodeId[] = [];
  readonly closings: NodeId[] = [];
  readonly addresses = new Map<NodeId, HostPort>();
  readonly standings = new Map<NodeId, Standing>([
    [A, "member"],
    [B, "member"],
  ]);
  isExpelled = false;
  former: readonly ClusterRef[] = [];
  readonly supersededBy: NodeId[] = [];
  readonly asks: { from: NodeId; record: PlainRecord }[] = [];
  readonly news: { from: NodeId; record: PlainRecord; sizeBytes: number }[] = [];
  keptOpen: readonly NodeId[] = [];
  listener!: Listener;
  reply: (method: CallMethod) => Promise<CallAnswer> = () => Promise.resolve(ok({ hello: 1 }));

  constructor(id: NodeId) {
    this.id = id;
    this.credentials = new Credentials(keysOf.get(id)!, realClock);
    this.transport = new PeerTransport({
      nodeId: id,
      cluster,
      credentials: this.credentials,
      clock: realClock,
      random: realRandom,
      log: createSilentLog(),
      counters: this.counters,
      greeting: SILENT,
      addressOf: (node) => this.addresses.get(node),
      standing: (node) => this.standings.get(node) ?? "unknown",
      former: () => this.former,
      superseded: (by) => this.supersededBy.push(by),
      keptOpen: () => this.keptOpen,
    });
    this.transport.attach(this);
  }

  async listen(port = 0): Promise<void> {
    this.listener = await openListener({
      listen: { host: "127.0.0.1", port },
      credentials: this.credentials,
      counters: this.counters,
      onPeer: (socket) => this.transport.accept(socket),
      onJoin: (socket) => socket.destroy(),
      onHttp: (socket) => socket.destroy(),
    });
  }

  receive(message: PeerMessage): void {
    this.messages.push(message);
  }
  stageSnapshot(): Promise<SnapshotStage> {
    return Promise.resolve(this.stage);
  }
  async receiveSnapshot(message: SnapshotRequest): Promise<void> {
    const body: Uint8Array[] = [];
    for await (const chunk of this.stage.read()) body.push(chunk);
    this.stageCountMax = this.stage.waitingCountMax;
    this.stage = new MemoryStage();
    this.snapshots.push({ message, body });
  }
  unreachable(node: NodeId): void {
    this.unreachables.push(node);
  }
  closed(node: NodeId): void {
    this.closings.push(node);
  }
  expelled(): void {
    this.isExpelled = true;
  }
  answer(_from: NodeId, method: CallMethod): Promise<CallAnswer> {
    return this.reply(method);
  }

  asked(from: NodeId, record: PlainRecord): boolean {
    this.asks.push({ from, record });
    return record["i"] !== "nonsense";
  }

  told(from: NodeId, record: PlainRecord, sizeBytes: number): void {
    this.news.push({ from, record, sizeBytes });
  }
}

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

/** A way to `port` that breaks when `afterBytes()` bytes have passed, again until `untilBytes`. */
async function breakingProxy(
  port: number,
  { untilBytes, afterBytes }: { readonly untilBytes: number; readonly afterBytes: () => number },
) {
  let passedBytes = 0;
  let breakCount = 0;
  let leftBytes = afterBytes();
  const server = createTcpServer((near) => {
    const far = connectTcp({ host: "127.0.0.1", port });
    const end = () => {
      near.destroy();
      far.destroy();
    };
    near.on("error", end).on("close", end);
    far.on("error", end).on("close", end);
    far.on("data", (bytes) => near.write(bytes));
    near.on("data", (bytes: Uint8Array) => {
      passedBytes += bytes.length;
      leftBytes -= bytes.length;
      far.write(bytes);
      if (leftBytes > 0) return;
      leftBytes = passedBytes < untilBytes ? afterBytes() : Number.POSITIVE_INFINITY;
      breakCount += 1;
      end();
    });
  });
  cleanups.push(() => server.close());
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()));
  const address = server.address();
  const own = typeof address === "object" && address !== null ? address.port : 0;
  return { port: own, passedBytes: () => passedBytes, breakCount: () => breakCount };
}

async function startPair(): Promise<[End, End]> {
  const ends: [End, End] = [new End(A), new End(B)];
  for (const end of ends) {
    await end.listen();
    cleanups.push(() => {
      end.transport.close();
      void end.listener.close();
    });
  }
  const [a, b] = ends;
  a.addresses.set(B, { host: "127.0.0.1", port: b.listener.port });
  b.addresses.set(A, { host: "127.0.0.1", port: a.listener.port });
  return ends;
}

function heartbeat(from: NodeId, to: NodeId, commit = 0): PeerMessage {
  const term = decodeTerm(1);
  return {
    kind: "heartbeat_request",
    from,
    to,
    term,
    commit: decodeIndex(commit),
    context: undefined,
  };
}

function snapshotTo(to: NodeId, chunks: readonly Uint8Array[]) {
  const message: SnapshotRequest = {
    kind: "snapshot_request",
    from: A,
    to,
    term: decodeTerm(1),
    snapshot: {
      index: decodeIndex(5),
      term: decodeTerm(1),
      confState: EMPTY_CONF_STATE,
      data: new Uint8Array([1]),
    },
  };
  async function* body() {
    yield* chunks;
  }
  return { message, body: body() };
}

/** A TCP relay that can stop to relay, without closing anything. */
class Relay {
  readonly #sockets = new Set<Socket>();
  #server = createTcpServer();
  isStuck = false;
  connectionCount = 0;
  port = 0;

  async open(targetPort: number): Promise<void> {
    this.#server = createTcpServer((inner) => {
      this.connectionCount += 1;
      const outer = connectTcp(targetPort, "127.0.0.1");
      for (const [source, target] of [
        [inner, outer],
        [outer, inner],
      ] as const) {
        this.#sockets.add(source);
        source.on("data", (chunk: Uint8Array) => {
          if (!this.isStuck) target.write(chunk);
        });
        source.on("error", () => source.destroy());
        source.on("close", () => {
          if (!this.isStuck) target.destroy();
        });
      }
    });
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", () => resolve()));
    const address = this.#server.address();
    this.port = typeof address === "object" && address !== null ? address.port : 0;
    cleanups.push(() => {
      this.#server.close();
      for (const socket of this.#sockets) socket.destroy();
    });
  }
}

/** A raw TLS connection with the members' protocol; resolves when it is closed again. */
function intrude(
  port: number,
  keys: Partial<CredentialKeys>,
  onOpen: (socket: TLSSocket) => void = () => undefined,
): Promise<Uint8Array> {
  return new Promise((resolve) => {
    const identity = keys.key === undefined ? {} : { key: keys.key, cert: keys.certificate ?? "" };
    const socket = connectTls({
      host: "127.0.0.1",
      port,
      ...identity,
      rejectUnauthorized: false,
      ALPNProtocols: [PEER_PROTOCOL],
    });
    const chunks: Uint8Array[] = [];
    socket.on("secureConnect", () => onOpen(socket));
    socket.on("data", (chunk: Uint8Array) => chunks.push(chunk));
    socket.on("error", () => undefined);
    socket.on("close", () => resolve(new Uint8Array(Buffer.concat(chunks))));
  });
}

describe("messages", () => {
  test("arrive, in order, over one connection", async () => {
    const [a, b] = await startPair();
    for (let commit = 1; commit <= 100; commit++) a.transport.send(heartbeat(A, B, commit));
    await until(() => b.messages.length === 100);
    expect(b.messages).toEqual(
      Array.from({ length: 100 }, (_, position) => heartbeat(A, B, position + 1)),
    );
    expect(a.counters.droppedMessages).toBe(0);
  });

  test("to a peer that is down are dropped and reported; later ones arrive", async () => {
    const [a, b] = await startPair();
    const { port } = b.listener;
    b.transport.close();
    await b.listener.close();
    a.transport.send(heartbeat(A, B));
    await until(() => a.unreachables.length > 0);
    const again = new End(B);
    await again.listen(port);
    cleanups.push(() => {
      again.transport.close();
      void again.listener.close();
    });
    await until(() => {
      a.transport.send(heartbeat(A, B));
      return again.messages.length > 0;
    });
  });

  test("to an unknown address are dropped and reported", async () => {
    const [a] = await startPair();
    a.transport.send(heartbeat(A, decodeNodeId(77)));
    expect(a.unreachables).toContain(decodeNodeId(77));
    expect(a.counters.droppedMessages).toBe(1);
  });

  test("do not go to another node at the right address", async () => {
    const [a, b] = await startPair();
    const other = decodeNodeId(3);
    a.addresses.set(other, { host: "127.0.0.1", port: b.listener.port });
    a.transport.send(heartbeat(A, other));
    await until(() => a.unreachables.includes(other));
    expect(b.messages).toEqual([]);
  });

  test("find a peer at its new address", async () => {
    const [a, b] = await startPair();
    a.transport.send(heartbeat(A, B, 1));
    await until(() => b.messages.length === 1);
    const moved = new End(B);
    await moved.listen();
    cleanups.push(() => {
      moved.transport.close();
      void moved.listener.close();
    });
    a.addresses.set(B, { host: "127.0.0.1", port: moved.listener.port });
    await until(() => {
      a.transport.send(heartbeat(A, B, 2));
      return moved.messages.length > 0;
    });
  });

  test("find a connection that was opened ahead of them, again after it broke", async () => {
    const [a, b] = await startPair();
    a.keptOpen = [B];
    // A pong: nobody has sent anything.
    await until(() => a.counters.receivedFrames > 0);
    expect(b.messages).toEqual([]);
    const { port } = b.listener;
    const heardCount = a.counters.receivedFrames;
    b.transport.close();
    await b.listener.close();
    await until(() => a.unreachables.length > 0);
    const again = new End(B);
    cleanups.push(() => {
      again.transport.close();
      void again.listener.close();
    });
    await again.listen(port);
    await until(() => a.counters.receivedFrames > heardCount);
    expect(again.messages).toEqual([]);
  });

  test("a path that swallows everything is given up within seconds, then found again", async () => {
    const [a, b] = await startPair();
    const relay = new Relay();
    await relay.open(b.listener.port);
    a.addresses.set(B, { host: "127.0.0.1", port: relay.port });
    a.transport.send(heartbeat(A, B));
    await until(() => b.messages.length === 1);
    relay.isStuck = true;
    await until(() => {
      a.transport.send(heartbeat(A, B));
      return a.unreachables.length > 0;
    });
    relay.isStuck = false;
    await until(() => {
      a.transport.send(heartbeat(A, B));
      return b.messages.length > 1;
    });
    expect(relay.connectionCount).toBeGreaterThan(1);
  });
});

describe("the end of a connection", () => {
  test("is told to the other side when a process ends", async () => {
    const [a, b] = await startPair();
    a.transport.send(heartbeat(A, B));
    await until(() => b.messages.length === 1);
    a.transport.close();
    await until(() => b.closings.length > 0);
    expect(b.closings).toEqual([A]);
  });

  test("is no news when the peer only began anew", async () => {
    const [a, b] = await startPair();
    a.transport.send(heartbeat(A, B));
    await until(() => b.messages.length === 1);
    const again = new End(A);
    again.addresses.set(B, { host: "127.0.0.1", port: b.listener.port });
    cleanups.push(() => again.transport.close());
    again.transport.send(heartbeat(A, B));
    await until(() => b.messages.length === 2);
    await until(() => a.unreachables.length > 0);
    expect(b.closings).toEqual([]);
  });
});

describe("calls", () => {
  const call = { target: B, method: "propose", body: { x: 1 }, timeoutMs: 3_000 } as const;

  test("are answered, with a value or a refusal", async () => {
    const [a, b] = await startPair();
    expect(await a.transport.call(call)).toEqual({ ok: true, value: { hello: 1 } });
    b.reply = () => Promise.resolve(err({ reason: "not_leader", detail: "no" }));
    expect(await a.transport.call(call)).toEqual({
      ok: false,
      error: { kind: "refused", reason: "not_leader", detail: "no" },
    });
  });

  test("end when the peer does not answer, or goes away", async () => {
    const [a, b] = await startPair();
    b.reply = () => new Promise(() => undefined);
    const slow = await a.transport.call({ ...call, timeoutMs: 50 });
    expect(slow).toEqual({ ok: false, error: { kind: "timeout" } });
    const cut = a.transport.call(call);
    b.transport.close();
    expect(await cut).toEqual({ ok: false, error: { kind: "unreachable" } });
  });

  test("that wait for a connection which never comes about were not sent", async () => {
    const [a, b] = await startPair();
    await b.listener.close();
    const outcome = await a.transport.call(call);
    expect(outcome).toEqual({ ok: false, error: { kind: "not_sent" } });
  });
});

describe("snapshots", () => {
  test("arrive whole, while heartbeats go on beside them", async () => {
    const [a, b] = await startPair();
    const chunks = Array.from({ length: 64 }, (_, i) => new Uint8Array(1_000_000).fill(i));
    const sent = a.transport.sendSnapshot(snapshotTo(B, chunks));
    let beats = 0;
    const stop = realClock.every(5, () => {
      a.transport.send(heartbeat(A, B, ++beats));
    });
    expect(await sent).toBeTrue();
    stop();
    const [snapshot] = b.snapshots;
    expect(snapshot?.message).toEqual(snapshotTo(B, []).message);
    const body = Buffer.concat([...(snapshot?.body ?? [])]);
    expect(body.equals(Buffer.concat(chunks))).toBeTrue();
    expect(b.messages.length).toBeGreaterThan(0);
  });

  test("end with false when the peer goes away, or is not there", async () => {
    const [a, b] = await startPair();
    const chunks = Array.from({ length: 40 }, () => new Uint8Array(1_000_000));
    const sent = a.transport.sendSnapshot(snapshotTo(B, chunks));
    await until(() => b.counters.receivedFrames > 3);
    b.transport.close();
    expect(await sent).toBeFalse();
    expect(b.snapshots).toEqual([]);
    expect(await a.transport.sendSnapshot(snapshotTo(decodeNodeId(9), chunks))).toBeFalse();
  });

  test("go on where they stopped, however often the connection breaks", async () => {
    const [a, b] = await startPair();
    const body = Buffer.concat(Array.from({ length: 64 }, () => realRandom.bytes(128 * 1024)));
    const parts = Array.from({ length: 16 }, (_, i) => body.subarray(i << 19, (i + 1) << 19));
    // Not after the body may be there: an answer that gets lost means to send all of it again.
    const proxy = await breakingProxy(b.listener.port, {
      untilBytes: body.length - 2_000_000,
      afterBytes: () => 100_000 + realRandom.below(1_400_000),
    });
    a.addresses.set(B, { host: "127.0.0.1", port: proxy.port });
    while (!(await a.transport.sendSnapshot(snapshotTo(B, parts)))) {
      // As the core does: it asks again, and is refused at once while the link backs off.
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(Buffer.concat(b.snapshots[0]!.body).equals(body)).toBeTrue();
    expect(b.snapshots.length).toBe(1);
    expect(proxy.breakCount()).toBeGreaterThan(3);
    const lostMax = SNAPSHOT_WINDOW_BYTES + 2 * SNAPSHOT_CHUNK_SIZE_BYTES;
    // Records, frames and handshakes come on top of the body.
    expect(proxy.passedBytes()).toBeLessThan(body.length * 1.05 + proxy.breakCount() * lostMax);
    expect(b.stageCountMax * SNAPSHOT_CHUNK_SIZE_BYTES).toBeLessThanOrEqual(lostMax);
  });

  test("one at a time for each peer; another one afterwards", async () => {
    const [a, b] = await startPair();
    const first = a.transport.sendSnapshot(snapshotTo(B, [new Uint8Array(10)]));
    expect(await a.transport.sendSnapshot(snapshotTo(B, [new Uint8Array(10)]))).toBeFalse();
    expect(await first).toBeTrue();
    expect(await a.transport.sendSnapshot(snapshotTo(B, [new Uint8Array(20)]))).toBeTrue();
    expect(b.snapshots.map(({ body }) => body[0]?.length)).toEqual([10, 20]);
  });
});

describe("strangers", () => {
  test("without a certificate, or with another cluster's: refused and counted", async () => {
    const [, b] = await startPair();
    expect((await intrude(b.listener.port, {})).length).toBe(0);
    expect(b.counters.refusedWithoutCertificate).toBe(1);
    // In the name of a member, but signed by another CA of the same name.
    expect((await intrude(b.listener.port, strangerKeys)).length).toBe(0);
    expect(b.counters.refusedForeign).toBe(1);
    // A good key of the cluster, and a certificate that it made for itself.
    const { key } = keysOf.get(A)!;
    const own = { certificate: keysOf.get(A)!.certificate, key };
    const signed = await signAgain({
      ...{ certificate: parseCertificate(own.certificate)!, ca: own, nodeId: B },
      ...{ clock: realClock, random: realRandom },
    });
    expect((await intrude(b.listener.port, { certificate: signed, key })).length).toBe(0);
    const chained = { certificate: signed + own.certificate, key };
    expect((await intrude(b.listener.port, chained)).length).toBe(0);
    expect(b.counters.refusedForeign).toBe(3);
    expect(b.messages).toEqual([]);
  });

  test("with a certificate that is over: refused, counted and told so", async () => {
    const [a, b] = await startPair();
    const past = { ...realClock, wallMs: () => Date.now() - NODE_LIFE_MS - 60_000 };
    const certificate = await signAgain({
      ...{ certificate: a.credentials.certificate, ca, nodeId: A },
      ...{ clock: past, random: realRandom },
    });
    expect(a.credentials.isOver).toBeFalse();
    a.credentials.replace({ certificate });
    a.transport.send(heartbeat(A, B));
    await until(() => b.counters.refusedExpired > 0);
    expect(a.credentials.isOver).toBeTrue();
    expect(b.messages).toEqual([]);
    const answer = await intrude(b.listener.port, { ...keysOf.get(A)!, certificate });
    expect(Buffer.from(answer).toString("latin1")).toContain("expired");
  });

  test("a clock that is behind locks nobody out", async () => {
    const [a, b] = await startPair();
    const future = { ...realClock, wallMs: () => Date.now() + NODE_LIFE_MS };
    const certificate = await signAgain({
      ...{ certificate: a.credentials.certificate, ca, nodeId: A },
      ...{ clock: future, random: realRandom },
    });
    a.credentials.replace({ certificate });
    a.transport.send(heartbeat(A, B));
    await until(() => b.messages.length === 1);
  });

  test("that are no members any more are told so; unknown ones are refused", async () => {
    const [a, b] = await startPair();
    b.standings.set(A, "removed");
    await until(() => {
      a.transport.send(heartbeat(A, B));
      return a.isExpelled;
    });
    expect(b.counters.refusedRemoved).toBeGreaterThan(0);
    expect(b.messages).toEqual([]);
    b.standings.set(A, "unknown");
    const answer = await intrude(b.listener.port, keysOf.get(A)!);
    expect(Buffer.from(answer).toString("latin1")).toContain("stranger");
    expect(b.counters.refusedStrangers).toBe(1);
  });

  test("a node of the cluster that this one goes on from is told so", async () => {
    const [a, b] = await startPair();
    b.standings.delete(A);
    b.former = [{ ...cluster, generation: 9 }, cluster];
    await until(() => {
      a.transport.send(heartbeat(A, B));
      return a.supersededBy.length > 0;
    });
    expect(a.supersededBy[0]).toBe(B);
    expect(a.isExpelled).toBeFalse();
    expect(b.messages).toEqual([]);
  });

  test("a spare may not speak Raft: what it says is left out and counted", async () => {
    const [a, b] = await startPair();
    b.standings.set(A, "spare");
    a.transport.send(heartbeat(A, B));
    await until(() => b.counters.refusedRoles === 1);
    const ask = (method: CallMethod) =>
      a.transport.call({ target: B, method, body: {}, timeoutMs: 5_000 });
    expect((await ask("propose")).ok).toBeTrue();
    const refused = await ask("ca_key");
    expect(!refused.ok && refused.error.kind === "refused" && refused.error.reason).toBe(
      "not_entitled",
    );
    expect(b.counters.refusedRoles).toBe(2);
    expect(b.messages).toEqual([]);
    // Its part in the membership came to this side: from then on it may, on the same connection.
    b.standings.set(A, "member");
    a.transport.send(heartbeat(A, B, 7));
    await until(() => b.messages.length === 1);
    expect(b.messages).toEqual([heartbeat(A, B, 7)]);
  });

  test("a removed voter speaks Raft while it is needed, and asks for nothing", async () => {
    const [a, b] = await startPair();
    b.standings.set(A, "leaving");
    a.transport.send(heartbeat(A, B));
    await until(() => b.messages.length === 1);
    for (const method of ["propose", "join", "ca_key", "renew", "rotate_ca"] as const) {
      const result = await a.transport.call({ target: B, method, body: {}, timeoutMs: 5_000 });
      expect(result.ok).toBeFalse();
    }
    expect(b.counters.refusedRoles).toBe(5);
  });

  test("a new certificate is shown from the next connection on; open ones go on", async () => {
    const [a, b] = await startPair();
    a.transport.send(heartbeat(A, B));
    await until(() => b.messages.length === 1);
    const before = b.credentials.certificate.serialNumber;
    const shown = () =>
      new Promise<string>((resolve) => {
        void intrude(b.listener.port, keysOf.get(A)!, (socket) => {
          resolve(socket.getPeerCertificate().serialNumber);
          socket.destroy();
        });
      });
    expect(await shown()).toBe(before);
    const next = await signAgain({
      ...{ certificate: b.credentials.certificate, ca, nodeId: B },
      ...{ clock: realClock, random: realRandom },
    });
    b.credentials.replace({ certificate: next });
    expect(await shown()).toBe(parseCertificate(next)!.serialNumber);
    a.transport.send(heartbeat(A, B, 2));
    await until(() => b.messages.length === 2);
    expect(b.closings).toEqual([]);
    expect(a.unreachables).toEqual([]);
  });

  test("a member that is removed loses its open connection", async () => {
    const [a, b] = await startPair();
    a.transport.send(heartbeat(A, B));
    await until(() => b.messages.length === 1);
    b.standings.set(A, "removed");
    b.transport.membersChanged();
    await until(() => a.isExpelled);
    expect(b.closings).toEqual([]);
  });

  const wrong: { why: string; bytes: (port: number) => Uint8Array }[] = [
    { why: "garbage", bytes: () => new Uint8Array(64).fill(0xaa) },
    { why: "a length beyond the limit", bytes: () => new Uint8Array([0x7f, 0xff, 0xff, 0xff]) },
    { why: "a length of 0", bytes: () => new Uint8Array(4) },
    {
      why: "another generation",
      bytes: () =>
        encodePeerFrame(
          { cluster: { ...cluster, generation: 2 }, from: A, to: B },
          { k: "hello", u: "main" },
        ),
    },
    {
      why: "another node's name",
      bytes: () => encodePeerFrame({ cluster, from: B, to: B }, { k: "hello", u: "main" }),
    },
    {
      why: "a message before the greeting",
      bytes: () => encodePeerFrame({ cluster, from: A, to: B }, { k: "raft", m: {} }),
    },
    {
      why: "a greeting for nothing",
      bytes: () => encodePeerFrame({ cluster, from: A, to: B }, { k: "hello", u: "else" }),
    },
  ];
  for (const { why, bytes } of wrong) {
    test(`that send ${why}: closed and counted`, async () => {
      const [, b] = await startPair();
      const { port } = b.listener;
      await intrude(port, keysOf.get(A)!, (socket) => socket.write(bytes(port)));
      expect(b.counters.refusedFrames).toBe(1);
      expect(b.messages).toEqual([]);
      expect(b.closings).toEqual([]);
    });
  }

  test("a port that is taken is said so", async () => {
    const [, b] = await startPair();
    const { port } = b.listener;
    const error = await new End(A).listen(port).catch((cause: unknown) => String(cause));
    expect(error).toContain(`Cannot listen on 127.0.0.1:${port} (TCP): EADDRINUSE; stop the`);
  });
});
