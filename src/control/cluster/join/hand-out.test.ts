/**
 * What is handed out on the cluster port, over real TLS on loopback.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { connect, type TLSSocket } from "node:tls";
import { err, ok } from "../../../base/result.ts";
import { MemoryFiles, realClock, realRandom } from "../real-node.fake.ts";
import { type Listener, openListener } from "../transport/listener.ts";
import { createPeerCounters } from "../transport/peer-counters.ts";
import { Credentials } from "../trust/credentials.ts";
import { IdentityStore } from "../trust/identity.ts";
import { type HandOut, type HandOutRequest, HandOutServer } from "./hand-out.ts";

const CHUNK_COUNT = 40;
const CHUNK = new Uint8Array(64 * 1024).fill(0x5a);
const asked: HandOutRequest[] = [];
/** What "/slow" waits for. */
let release = Promise.withResolvers<void>();

const handOut: HandOut = {
  async find(request) {
    asked.push(request);
    if (request.path === "/slow") await release.promise;
    if (request.path === "/none") return err("Cannot hand out that: there is none");
    return ok({
      type: "application/octet-stream",
      sizeBytes: CHUNK_COUNT * CHUNK.length,
      async *chunks() {
        // The same memory again and again, as a reader of a file has it.
        const buffer = new Uint8Array(CHUNK.length);
        for (let i = 0; i < CHUNK_COUNT; i++) {
          buffer.fill(i);
          yield buffer;
          if (request.path === "/broken" && i === 2) throw new Error("the disk is gone");
        }
      },
    });
  },
};

let server: HandOutServer;
let listener: Listener;

beforeAll(async () => {
  const options = { name: "a", clock: realClock, random: realRandom };
  const { keys } = await new IdentityStore(new MemoryFiles()).create(options);
  server = new HandOutServer({ clock: realClock, handOut });
  listener = await openListener({
    listen: { host: "127.0.0.1", port: 0 },
    credentials: new Credentials(keys, realClock),
    counters: createPeerCounters(),
    onPeer: (socket) => socket.destroy(),
    onJoin: (socket) => socket.destroy(),
    onHttp: (socket) => server.accept(socket),
  });
});

afterAll(async () => {
  server.close();
  await listener.close();
});

function open(text: string): TLSSocket {
  const socket = connect({ host: "127.0.0.1", port: listener.port, rejectUnauthorized: false });
  socket.on("error", () => undefined);
  socket.write(text);
  return socket;
}

/** Everything that comes back until the connection ends. */
async function exchange(text: string): Promise<{ head: string; body: Buffer }> {
  return await answerOf(open(text));
}

async function answerOf(socket: TLSSocket): Promise<{ head: string; body: Buffer }> {
  const chunks: Buffer[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  socket.on("data", (chunk: Buffer) => void chunks.push(chunk));
  socket.on("close", () => resolve());
  await promise;
  const all = Buffer.concat(chunks);
  const end = all.indexOf("\r\n\r\n");
  return { head: all.subarray(0, end).toString(), body: all.subarray(end + 4) };
}

const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: 192.0.2.1:8286\r\n\r\n`;

describe("the cluster port over plain HTTPS", () => {
  test("hands out a body, whole and in order, at the address it was asked for", async () => {
    const { head, body } = await exchange(get("/overlay?x=1"));
    expect(head).toStartWith("HTTP/1.1 200 OK\r\n");
    expect(head).toContain(`content-length: ${CHUNK_COUNT * CHUNK.length}`);
    const wanted = createHash("sha256");
    for (let i = 0; i < CHUNK_COUNT; i++) wanted.update(new Uint8Array(CHUNK.length).fill(i));
    expect(createHash("sha256").update(body).digest("hex")).toBe(wanted.digest("hex"));
    expect(asked.at(-1)).toEqual({ path: "/overlay", host: "192.0.2.1:8286" });
  });

  test("says why there is none", async () => {
    const { head, body } = await exchange(get("/none"));
    expect(head).toStartWith("HTTP/1.1 404 Not Found\r\n");
    expect(body.toString()).toBe("Cannot hand out that: there is none\n");
  });

  test("cuts off a body whose source fails: shorter than announced", async () => {
    const { head, body } = await exchange(get("/broken"));
    expect(head).toStartWith("HTTP/1.1 200 OK\r\n");
    expect(body.length).toBeLessThan(CHUNK_COUNT * CHUNK.length);
  });

  for (const [what, text] of [
    ["another method", "POST /overlay HTTP/1.1\r\nHost: a\r\n\r\n"],
    ["no host", "GET /overlay HTTP/1.1\r\n\r\n"],
    ["a host that is shell", "GET /overlay HTTP/1.1\r\nHost: a'$(id)\r\n\r\n"],
    ["a host in two lines", "GET /overlay HTTP/1.1\r\nHost: a;\r\n b\r\n\r\n"],
    ["a path with a blank", "GET /over lay HTTP/1.1\r\nHost: a\r\n\r\n"],
    ["no HTTP at all", "x".repeat(20_000)],
  ] as const) {
    test(`only says what it is to ${what}`, async () => {
      const before = asked.length;
      const { head, body } = await exchange(text);
      expect(head).toStartWith("HTTP/1.1 404 Not Found\r\n");
      expect(body.toString()).toBe("overlay node, cluster port\n");
      expect(asked.length).toBe(before);
    });
  }

  test("one address gets four at a time; the fifth is told to try again", async () => {
    release = Promise.withResolvers<void>();
    const before = asked.length;
    const waiting = [1, 2, 3, 4].map(() => answerOf(open(get("/slow"))));
    while (asked.length < before + 4) await new Promise((resolve) => setImmediate(resolve));
    const fifth = await exchange(get("/slow"));
    expect(fifth.head).toStartWith("HTTP/1.1 503 Service Unavailable\r\n");
    expect(fifth.head).toContain("retry-after: 5");
    release.resolve();
    for (const each of await Promise.all(waiting)) expect(each.head).toStartWith("HTTP/1.1 200");
    expect((await exchange(get("/overlay"))).head).toStartWith("HTTP/1.1 200");
  });
});
