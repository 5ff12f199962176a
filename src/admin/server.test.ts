/**
 * The real server on a temporary socket and a free port, with the real client: listeners, failed
 * starts, and every method of the client against every way of not answering.
 *
 * @module
 */
import { afterEach, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HostError } from "../base/host-error.ts";
import { createSilentLog } from "../base/log.ts";
import { err, ok } from "../base/result.ts";
import { type AdminClient, createAdminClient } from "./client.ts";
import { type AdminServer, openAdminServer } from "./server.ts";
import {
  createFakeService,
  FAKE_LEASE,
  FAKE_MEMBERS,
  FAKE_PLAN,
  FAKE_STATUS,
  FAKE_VOTERS,
} from "./service.fake.ts";
import type { AdminService, PutConfigRequest } from "./service.ts";

const TOKEN = "0123456789abcdef";
/** Long enough that only a hang runs into it. */
const TIMEOUT_MS = 20_000;
const LOOPBACK = { host: "127.0.0.1", port: 0 };

const cleanups: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function makeDir(): string {
  const dir = mkdtempSync(join(tmpdir(), "overlay-admin-"));
  cleanups.push(() => rmSync(dir, { recursive: true }));
  return dir;
}

async function open(
  overrides: Partial<AdminService> = {},
  socketPath = join(makeDir(), "overlay.sock"),
  listen: { host: string; port: number } = LOOPBACK,
): Promise<AdminServer & { socketPath: string; client: AdminClient }> {
  const service = createFakeService(overrides);
  const log = createSilentLog();
  const server = await openAdminServer({ service, socketPath, listen, adminToken: TOKEN, log });
  cleanups.push(() => server.close());
  const client = createAdminClient({ kind: "socket", path: socketPath }, TIMEOUT_MS);
  return { ...server, socketPath, client };
}

/** Listens on `path` with `onConnection` until the test ends. */
async function listenRaw(path: string, answer: string): Promise<Server> {
  const server = createServer((socket) => socket.end(answer));
  await new Promise<void>((resolve) => server.listen(path, resolve));
  cleanups.push(() => void server.close());
  return server;
}

async function openFailure(socketPath: string, listen = LOOPBACK): Promise<HostError> {
  const error: unknown = await open({}, socketPath, listen).catch((thrown: unknown) => thrown);
  if (!(error instanceof HostError)) throw new Error("no HostError", { cause: error });
  return error;
}

describe("openAdminServer", () => {
  test("the socket has mode 0660 whatever the umask, and goes when the server closes", async () => {
    const umask = process.umask(0);
    const { socketPath, close } = await open().finally(() => process.umask(umask));
    expect(statSync(socketPath).mode & 0o777).toBe(0o660);
    expect(process.umask()).toBe(umask);
    await close();
    expect(existsSync(socketPath)).toBe(false);
  });

  test("what a killed agent left is replaced", async () => {
    const socketPath = join(makeDir(), "overlay.sock");
    const script = `Bun.serve({ unix: process.argv[1], fetch: () => new Response() }); console.log()`;
    const child = Bun.spawn([process.execPath, "-e", script, socketPath], { stdout: "pipe" });
    await child.stdout.getReader().read();
    child.kill("SIGKILL");
    await child.exited;
    expect(existsSync(socketPath)).toBe(true);
    const { client } = await open({}, socketPath);
    expect(await client.status()).toEqual(ok(FAKE_STATUS));
  });

  test("a live agent keeps its socket", async () => {
    const { socketPath, client } = await open();
    const error = await openFailure(socketPath);
    expect(error.message).toBe(
      `Cannot open the admin socket ${socketPath}: another agent answers there (EADDRINUSE); ` +
        "stop it first, or choose another --run-dir",
    );
    expect((await client.status()).ok).toBe(true);
  });

  test("a file that is not a socket is left alone", async () => {
    const path = join(makeDir(), "overlay.sock");
    writeFileSync(path, "mine");
    expect((await openFailure(path)).message).toContain("not a socket is there");
    expect(await Bun.file(path).text()).toBe("mine");
  });

  test("a missing directory and a path too long say so", async () => {
    const missing = join(makeDir(), "none", "overlay.sock");
    expect(await openFailure(missing)).toMatchObject({ object: missing, errno: "ENOENT" });
    const long = join(makeDir(), "x".repeat(100), "overlay.sock");
    expect((await openFailure(long)).message).toContain("longer than 107 bytes");
  });

  test("a port in use is named with its flag, and the socket is not left behind", async () => {
    const { port } = await open();
    const socketPath = join(makeDir(), "overlay.sock");
    const error = await openFailure(socketPath, { host: "127.0.0.1", port });
    expect(error.message).toBe(
      `Cannot listen on 127.0.0.1:${port}: port ${port} is in use (EADDRINUSE); ` +
        "choose another address or port with --admin-listen",
    );
    expect(existsSync(socketPath)).toBe(false);
  });

  test("the port is free again when the socket cannot be opened", async () => {
    const { port, close } = await open();
    await close();
    const missing = join(makeDir(), "none", "overlay.sock");
    await openFailure(missing, { host: "127.0.0.1", port });
    expect((await open({}, undefined, { host: "127.0.0.1", port })).port).toBe(port);
  });

  test("an address that is not loopback's is refused", async () => {
    const path = join(makeDir(), "overlay.sock");
    const error = await openFailure(path, { host: "0.0.0.0", port: 0 });
    expect(error.message).toContain("Cannot listen on 0.0.0.0:0");
    expect(error.message).toContain("needs TLS");
    expect(existsSync(path)).toBe(false);
  });

  test("close lets a request in work finish", async () => {
    const started = Promise.withResolvers<void>();
    const gate = Promise.withResolvers<void>();
    const leave: AdminService["leave"] = async () => {
      started.resolve();
      await gate.promise;
      return ok({ clusterId: "c", nodeId: "n" });
    };
    const { client, close } = await open({ leave });
    const answer = client.leave();
    await started.promise;
    const closed = close();
    gate.resolve();
    expect(await answer).toEqual(ok({ clusterId: "c", nodeId: "n" }));
    await closed;
  });

  test("over TCP: reads are open, a rebound host is not, join is not to be had", async () => {
    const { port } = await open();
    const origin = `http://127.0.0.1:${port}`;
    expect((await fetch(`${origin}/status`)).status).toBe(200);
    const rebound = await fetch(`${origin}/status`, { headers: { host: "evil.example" } });
    expect(rebound.status).toBe(421);
    const join = { method: "POST", headers: { authorization: `Bearer ${TOKEN}` }, body: "{}" };
    expect((await fetch(`${origin}/join`, join)).status).toBe(403);
  });

  test("over TCP: a body that never ends is cut off with 413", async () => {
    const { port } = await open();
    const response = await fetch(`http://127.0.0.1:${port}/config`, {
      method: "PUT",
      headers: { authorization: `Bearer ${TOKEN}` },
      body: new ReadableStream({ pull: (c) => c.enqueue(new Uint8Array(262_144)) }),
    });
    expect(response.status).toBe(413);
    expect(response.headers.get("content-type")).toBe("application/problem+json");
    await response.text();
  });
});

describe("createAdminClient", () => {
  test("every method brings the service's answer", async () => {
    const { client } = await open();
    const token = {
      id: "tok1",
      createdAt: "2026-11-22T10:00:00.000Z",
      expiresAt: "2026-11-23T10:00:00.000Z",
      usesLeft: null,
      expired: false,
    };
    const joined = { clusterId: "00112233445566778899aabbccddeeff", nodeId: "0a1b2c3d4e5f60" };
    expect(await client.getConfig()).toEqual(
      ok({ revision: 12, config: { Network: "10.0.0.0/16" } }),
    );
    expect(await client.readiness()).toEqual(ok({ ready: true, reasons: [] }));
    expect(await client.leases()).toEqual(ok([FAKE_LEASE]));
    expect(await client.releaseLease("10.0.53.0/24")).toEqual(ok(FAKE_LEASE));
    expect(await client.members()).toEqual(ok(FAKE_MEMBERS));
    expect(await client.removeMember("0b0b0b0b0b0b0b")).toEqual(ok(FAKE_MEMBERS[1]!));
    expect(await client.promoteMember("0b0b0b0b0b0b0b")).toEqual(ok(FAKE_MEMBERS[1]!));
    expect(await client.demoteMember("0a1b2c3d4e5f60")).toEqual(ok(FAKE_MEMBERS[0]!));
    expect(await client.setVoters(5)).toEqual(ok({ target: 5, voters: FAKE_VOTERS }));
    expect(await client.tokens()).toEqual(ok([{ ...token, revoked: false }]));
    expect(await client.revokeToken("tok1")).toEqual(ok({ ...token, revoked: true }));
    expect(await client.createToken({})).toMatchObject({ ok: true, value: { id: "tok1" } });
    expect(await client.join({ peer: "h", token: "t", reset: false })).toEqual(
      ok({ ...joined, peer: "h" }),
    );
    expect(await client.leave()).toEqual(ok(joined));
  });

  test("putConfig sends text, query and If-Match as they are", async () => {
    const seen: PutConfigRequest[] = [];
    const putConfig: AdminService["putConfig"] = async (request) => {
      seen.push(request);
      return ok({ revision: 1, config: {}, plan: FAKE_PLAN });
    };
    const { client } = await open({ putConfig });
    await client.putConfig('{"a":1}', { dryRun: true, renumber: true, expectedRevision: 7 });
    expect(seen).toEqual([{ body: { a: 1 }, expectedRevision: 7, dryRun: true, renumber: true }]);
    expect(await client.putConfig("{", {})).toMatchObject({
      error: { kind: "invalid_json", line: 1 },
    });
  });

  test("failures come back as the service gave them, with what they carry", async () => {
    for (const error of [
      { kind: "would_renumber", detail: "d", plan: { ...FAKE_PLAN, effect: "renumber" } },
      { kind: "invalid_config", detail: "d", errors: [{ path: "Network", message: "m" }] },
      { kind: "revision_mismatch", detail: "d", revision: 14 },
      { kind: "no_quorum", detail: "d" },
      { kind: "timeout", detail: "d" },
    ] as const) {
      const { client } = await open({ putConfig: async () => err(error) });
      expect(await client.putConfig("{}", {})).toMatchObject({ ok: false, error });
    }
    const { client } = await open({ readiness: () => ({ ready: false, reasons: ["r"] }) });
    expect(await client.readiness()).toEqual(ok({ ready: false, reasons: ["r"] }));
  });

  test("over TCP: the token opens writes", async () => {
    const { port } = await open();
    const origin = `http://127.0.0.1:${port}`;
    const without = createAdminClient({ kind: "http", origin, token: undefined }, TIMEOUT_MS);
    expect((await without.status()).ok).toBe(true);
    expect(await without.createToken({})).toMatchObject({ error: { kind: "unauthorized" } });
    const client = createAdminClient({ kind: "http", origin, token: TOKEN }, TIMEOUT_MS);
    expect((await client.createToken({})).ok).toBe(true);
  });

  test("nobody there is no_agent", async () => {
    const dir = makeDir();
    const file = join(dir, "file");
    writeFileSync(file, "");
    for (const [path, says] of [
      [join(dir, "none"), "does not exist"],
      [file, "nobody listens"],
      [join(dir, "x".repeat(200)), "ENAMETOOLONG"],
    ] as const) {
      const answer = await createAdminClient({ kind: "socket", path }, TIMEOUT_MS).status();
      if (answer.ok) throw new Error("answered");
      expect(answer.error.kind).toBe("no_agent");
      expect(answer.error.detail).toContain(says);
      expect(answer.error.detail).toContain(path);
    }
  });

  test("a connection that is closed without an answer is no_agent", async () => {
    const path = join(makeDir(), "s");
    await listenRaw(path, "");
    const answer = await createAdminClient({ kind: "socket", path }, TIMEOUT_MS).status();
    expect(answer).toMatchObject({ error: { kind: "no_agent" } });
  });

  test("no answer in time is no_answer, and says for how long it waited", async () => {
    const gate = Promise.withResolvers<void>();
    const getConfig: AdminService["getConfig"] = async () => {
      await gate.promise;
      return ok(undefined);
    };
    const { socketPath } = await open({ getConfig });
    const answer = await createAdminClient({ kind: "socket", path: socketPath }, 50).getConfig();
    gate.resolve();
    expect(answer).toMatchObject({
      error: { kind: "no_answer", detail: expect.stringContaining("within 0.05 s") },
    });
  });

  for (const [why, status, body, says] of [
    ["not JSON", "200 OK", "<h1>hello</h1>", 'at ""'],
    ["another shape", "200 OK", '{"node":{"id":1}}', 'at "node.id"'],
    ["an error of somebody else", "502 Bad Gateway", "", "status 502"],
    ["a kind of a later version", "418 No", '{"type":"urn:overlay:tea","detail":"pot"}', "pot"],
  ] as const) {
    test(`${why} is bad_answer`, async () => {
      const path = join(makeDir(), "s");
      await listenRaw(path, `HTTP/1.1 ${status}\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
      const answer = await createAdminClient({ kind: "socket", path }, TIMEOUT_MS).status();
      expect(answer).toMatchObject({
        error: { kind: "bad_answer", detail: expect.stringContaining(says) },
      });
    });
  }
});
