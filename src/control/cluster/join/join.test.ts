import {
  afterAll,
  afterEach,
  beforeAll,
  describe,
  expect,
  setDefaultTimeout,
  test,
} from "bun:test";
import { createServer as createTcpServer, type Server } from "node:net";
import { connect as connectTls, createServer as createTlsServer } from "node:tls";
import { decodeNodeId, type NodeId } from "../../../base/ids.ts";
import { encodeFrame, FrameSplitter } from "../codec/frame.ts";
import { MemoryFiles, RealNode, realClock, realRandom, until } from "../real-node.fake.ts";
import { JOIN_PROTOCOL } from "../transport/listener.ts";
import { GUESSES_PER_MINUTE_MAX } from "../trust/guess-limit.ts";
import { IdentityStore } from "../trust/identity.ts";
import { createRequest, signRequest } from "../trust/pki.ts";
import { formatToken, parseToken } from "../trust/token.ts";
import { OWN_VERSIONS } from "../upgrade/node-versions.ts";
import { decodeAnswer, requestToRecord } from "./join-protocol.ts";

setDefaultTimeout(30_000);

let host: RealNode;
let guest: RealNode;
const servers: { close(): unknown }[] = [];
beforeAll(async () => {
  host = await RealNode.start("host");
  guest = await RealNode.start("guest");
  await until(() => host.cluster.members().length === 1);
});
afterAll(async () => {
  await Promise.all([host.cluster.close(), guest.cluster.close()]);
});
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

async function listen(server: Server): Promise<number> {
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()));
  const address = server.address();
  return typeof address === "object" && address !== null ? address.port : 0;
}

/** Asks with a token of `host` at `port`; the failure, and nothing else, is expected. */
async function failure(port: number, token?: string) {
  const result = await guest.request(token ?? (await host.createToken()), port, {
    timeoutMs: 3_000,
  });
  if (result.ok) throw new Error("the join was granted");
  return result.error;
}

describe("requestJoin", () => {
  test("grants a certificate in the node's name, the CA, and the way to the others", async () => {
    const joiner = await RealNode.start("joiner");
    const result = await joiner.request(await host.createToken(), host.cluster.port);
    expect(result.ok).toBeTrue();
    if (!result.ok) return;
    const { grant } = result.value;
    expect(grant.nodeId).toBe(joiner.identity.nodeId);
    expect(grant.clusterId).toBe(host.identity.clusterId);
    expect(grant.ca).toBe(host.identity.keys.ca);
    expect(grant.peers).toEqual([
      { id: host.identity.nodeId, address: { host: "127.0.0.1", port: host.cluster.port } },
    ]);
    await joiner.cluster.close();
    await host.cluster.orderMember("remove", joiner.identity.nodeId);
  });

  test("says that a token is mistyped before anything is sent", async () => {
    const token = await host.createToken();
    const error = await failure(1, `${token.slice(0, -1)}${token.endsWith("a") ? "b" : "a"}`);
    expect(error.kind).toBe("invalid_token");
  });

  test("says that nobody listens", async () => {
    const server = createTcpServer();
    const port = await listen(server);
    server.close();
    const error = await failure(port);
    expect(error.kind).toBe("peer_unreachable");
    expect(error.detail).toBe(
      `Cannot join the cluster of 127.0.0.1:${port}: it cannot be reached (ECONNREFUSED); ` +
        "check that its agent runs and that no firewall is in between",
    );
  });

  test("says that a plain TCP service is no overlay node, whether it talks or is silent", async () => {
    const talking = createTcpServer((socket) => {
      socket.on("error", () => socket.destroy());
      socket.end("220 mail.example ESMTP\r\n");
    });
    expect((await failure(await listen(talking))).kind).toBe("peer_not_overlay");
    const silent = createTcpServer((socket) => socket.on("error", () => socket.destroy()));
    expect((await failure(await listen(silent))).kind).toBe("peer_not_overlay");
  });

  test("ends at once when the agent stops, whether it waits for an answer or tries again", async () => {
    const isAsked = Promise.withResolvers<void>();
    const port = await listen(createTcpServer(() => isAsked.resolve()));
    const stopping = new AbortController();
    const token = await host.createToken();
    const options = { timeoutMs: 600_000, signal: stopping.signal };
    const waiting = guest.request(token, port, options);
    await isAsked.promise;
    stopping.abort();
    for (const result of [await waiting, await guest.request(token, port, options)]) {
      expect(result.ok ? undefined : result.error.detail).toContain("this agent stops");
    }
  });

  test("says that an HTTPS server is no overlay node", async () => {
    const { certificate, key } = host.identity.keys;
    for (const ALPNProtocols of [["http/1.1"], undefined]) {
      const options = { cert: certificate, key };
      const server = createTlsServer(
        ALPNProtocols === undefined ? options : { ...options, ALPNProtocols },
        (socket) => socket.on("error", () => socket.destroy()),
      );
      expect((await failure(await listen(server))).kind).toBe("peer_not_overlay");
    }
  });

  test("the secret does not reach another cluster, nor somebody in between", async () => {
    const { keys } = guest.identity;
    const stranger = await new IdentityStore(new MemoryFiles()).create({
      name: "stranger",
      clock: realClock,
      random: realRandom,
    });
    const chains = [
      { why: "another cluster", cert: keys.certificate + keys.ca, key: keys.key },
      { why: "a chain without a CA", cert: keys.certificate, key: keys.key },
      {
        // The CA's certificate is no secret: anybody can show it behind a leaf of its own.
        why: "the right CA behind a stranger's leaf",
        cert: stranger.keys.certificate + host.identity.keys.ca,
        key: stranger.keys.key,
      },
    ];
    for (const { why, cert, key } of chains) {
      let received = 0;
      const server = createTlsServer({ cert, key, ALPNProtocols: [JOIN_PROTOCOL] }, (socket) => {
        socket.on("error", () => socket.destroy());
        socket.on("data", (chunk: Uint8Array) => {
          received += chunk.length;
        });
      });
      const error = await failure(await listen(server));
      expect({ why, kind: error.kind, received }).toEqual({
        why,
        kind: "pin_mismatch",
        received: 0,
      });
      expect(error.detail).toContain("somebody is in between");
    }
  });

  test("a certificate of the right CA that has expired is refused before the secret", async () => {
    const { keys, nodeId } = host.identity;
    const { csr, key } = await createRequest(nodeId);
    const past = { ...realClock, wallMs: () => Date.now() - 2 * 365 * 86_400_000 };
    const ca = { certificate: keys.ca, key: keys.caKey! };
    const signed = await signRequest({ csr, nodeId, ca, clock: past, random: realRandom });
    const cert = (signed.ok ? signed.value : "") + keys.ca;
    let received = 0;
    const server = createTlsServer({ cert, key, ALPNProtocols: [JOIN_PROTOCOL] }, (socket) => {
      socket.on("error", () => socket.destroy());
      socket.on("data", (chunk: Uint8Array) => {
        received += chunk.length;
      });
    });
    const error = await failure(await listen(server));
    expect(error.kind).toBe("join_refused");
    expect(error.detail).toContain("its certificate has expired");
    expect(received).toBe(0);
  });

  test("an answer that makes no sense is no overlay node's", async () => {
    const { keys } = host.identity;
    const options = { cert: keys.certificate + keys.ca, key: keys.key };
    const server = createTlsServer({ ...options, ALPNProtocols: [JOIN_PROTOCOL] }, (socket) => {
      socket.on("error", () => socket.destroy());
      socket.on("data", () => socket.write(encodeFrame({ v: 1, g: { nonsense: true } })));
    });
    expect((await failure(await listen(server))).kind).toBe("peer_not_overlay");
  });
});

describe("admission", () => {
  test("refuses a token that this cluster does not know", async () => {
    const parsed = parseToken(await host.createToken());
    if (!parsed.ok) throw new Error(parsed.error.detail);
    const other = formatToken({ ...parsed.value, secret: new Uint8Array(16).fill(1) });
    const error = await failure(host.cluster.port, other);
    expect(error).toEqual({
      kind: "join_refused",
      detail:
        "Cannot use the token: this cluster does not know it; " +
        'get a new one with "overlay token" on any node of the cluster',
    });
  });

  test("refuses a token that has expired, or was revoked", async () => {
    const expired = await failure(host.cluster.port, await host.createToken(undefined, 0));
    expect(expired.kind).toBe("join_refused");
    expect(expired.detail).toContain("it expired at 20");
    const token = await host.cluster.createToken({ lifeMs: 60_000, usesMax: undefined });
    if (!token.ok) throw new Error(token.error.detail);
    const revoked = await host.cluster.revokeToken(token.value.id);
    expect(revoked.ok && revoked.value.revoked).toBeTrue();
    const error = await failure(host.cluster.port, token.value.token);
    expect(error.detail).toContain("it was revoked");
    const none = await host.cluster.revokeToken("aaaaaaaaaa");
    expect(none.ok ? undefined : none.error.kind).toBe("not_found");
  });

  test("a token for one use lets one node in, however many ask at once", async () => {
    const token = await host.createToken(1);
    const ids = [1, 2, 3, 4].map((offset) => decodeNodeId(guest.identity.nodeId + offset));
    const results = await Promise.all(
      ids.map((nodeId) => guest.request(token, host.cluster.port, { nodeId })),
    );
    expect(results.filter((result) => result.ok).length).toBe(1);
    const refusals = results.flatMap((result) => (result.ok ? [] : [result.error.detail]));
    expect(
      refusals.every((detail) => detail.includes("it was used once, as often as allowed")),
    ).toBeTrue();
    for (const id of ids) await host.cluster.orderMember("remove", id);
  });

  test("the same node asking again gets in again and uses nothing up; another key does not", async () => {
    const token = await host.createToken(2);
    const nodeId = decodeNodeId(4_242);
    const { csr } = await createRequest(nodeId);
    const ask = async (request: string) => {
      const parsed = parseToken(token);
      const secret = parsed.ok ? parsed.value.secret : new Uint8Array(0);
      return rawJoin(secret, { nodeId, csr: request });
    };
    const first = await ask(csr);
    const second = await ask(csr);
    expect("grant" in first && "grant" in second).toBeTrue();
    const used = host.cluster.tokens().filter((each) => each.usesMax === 2)[0];
    expect(used?.usesCount).toBe(1);
    const other = await ask((await createRequest(nodeId)).csr);
    expect("failure" in other && other.failure.kind).toBe("already_member");
    await host.cluster.orderMember("remove", nodeId);
    const gone = await ask(csr);
    expect("failure" in gone && gone.failure.kind).toBe("already_member");
  });

  test("a node that died before its answer came joins again with the same token", async () => {
    const token = await host.createToken(1);
    const nodeId = decodeNodeId(4_343);
    const first = await guest.request(token, host.cluster.port, { nodeId });
    const again = await guest.request(token, host.cluster.port, { nodeId });
    expect([first.ok, again.ok]).toEqual([true, true]);
    await host.cluster.orderMember("remove", nodeId);
  });

  test("a request that is not signed by its key is refused", async () => {
    const parsed = parseToken(await host.createToken());
    if (!parsed.ok) throw new Error(parsed.error.detail);
    const answer = await rawJoin(parsed.value.secret, { nodeId: decodeNodeId(5), csr: "nonsense" });
    expect("failure" in answer && answer.failure.detail).toContain("malformed or not signed");
  });
});

describe("the join port", () => {
  test("survives garbage, and slows down guessing, for the guesser only", async () => {
    const node = await RealNode.start("guessed");
    await until(() => node.cluster.members().length === 1);
    const token = await node.createToken();
    const parsed = parseToken(token);
    if (!parsed.ok) throw new Error(parsed.error.detail);
    const wrong = formatToken({ ...parsed.value, secret: new Uint8Array(16).fill(9) });
    for (let i = 0; i < GUESSES_PER_MINUTE_MAX; i++) {
      const result = await guest.request(wrong, node.cluster.port);
      expect(result.ok ? undefined : result.error.kind).toBe("join_refused");
    }
    const blocked = await guest.request(token, node.cluster.port);
    expect(blocked.ok ? "" : blocked.error.detail).toContain("too many wrong tokens");
    expect(node.cluster.counters()["join_tokens_refused"]).toBe(GUESSES_PER_MINUTE_MAX + 1);
    await node.cluster.close();
  });

  test("many at once from one address, with one good token, are all let in", async () => {
    const node = await RealNode.start("asked");
    await until(() => node.cluster.members().length === 1);
    const token = await node.createToken();
    const ids = Array.from({ length: 3 * GUESSES_PER_MINUTE_MAX }, (_, i) => decodeNodeId(100 + i));
    const { applied: before } = node.cluster.status();
    const results = await Promise.all(
      ids.map((nodeId) => guest.request(token, node.cluster.port, { nodeId })),
    );
    expect(results.flatMap((each) => (each.ok ? [] : each.error.detail))).toEqual([]);
    // They do not get into each other's way: hardly more than one command for each.
    expect(node.cluster.status().applied - before).toBeLessThan(1.5 * ids.length);
    expect(node.cluster.counters()["join_tokens_refused"]).toBe(0);
    await node.cluster.close();
  });

  test("answers a browser with a short text", async () => {
    const text = await new Promise<string>((resolve, reject) => {
      const socket = connectTls({
        host: "127.0.0.1",
        port: host.cluster.port,
        rejectUnauthorized: false,
        ALPNProtocols: ["http/1.1"],
      });
      let received = "";
      socket.on("secureConnect", () => socket.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n"));
      socket.on("data", (chunk: Uint8Array) => {
        received += Buffer.from(chunk).toString();
      });
      socket.on("error", reject);
      socket.on("close", () => resolve(received));
    });
    expect(text).toStartWith("HTTP/1.1 404 Not Found\r\n");
    expect(text).toEndWith("\r\n\r\noverlay node, cluster port\n");
  });

  test("speaks TLS 1.3 only", async () => {
    const code = await new Promise<string>((resolve) => {
      const socket = connectTls({
        host: "127.0.0.1",
        port: host.cluster.port,
        rejectUnauthorized: false,
        maxVersion: "TLSv1.2",
        ALPNProtocols: [JOIN_PROTOCOL],
      });
      socket.on("secureConnect", () => resolve("connected"));
      socket.on("error", (error) => resolve(error.message));
    });
    expect(code).toContain("PROTOCOL_VERSION");
  });
});

/** One join by hand, with whatever request. */
function rawJoin(
  secret: Uint8Array,
  request: { nodeId: NodeId; csr: string },
): Promise<NonNullable<ReturnType<typeof decodeAnswer>>> {
  return new Promise((resolve, reject) => {
    const socket = connectTls({
      host: "127.0.0.1",
      port: host.cluster.port,
      rejectUnauthorized: false,
      ALPNProtocols: [JOIN_PROTOCOL],
    });
    const splitter = new FrameSplitter(65_536);
    const record = requestToRecord({
      ...{ secret, ...request },
      ...{ info: guest.info(), versions: OWN_VERSIONS, only: undefined },
    });
    socket.on("secureConnect", () => socket.write(encodeFrame(record)));
    socket.on("error", reject);
    socket.on("data", (chunk: Uint8Array) => {
      const [frame] = splitter.push(chunk) ?? [];
      const answer = frame === undefined ? undefined : decodeAnswer(frame);
      if (answer !== undefined) resolve(answer);
      socket.destroy();
    });
  });
}
