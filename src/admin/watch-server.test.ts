/**
 * `GET /watch` on a real socket: what the runtime does when a client does not read, or goes away.
 *
 * @module
 */
import { afterEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createSilentLog } from "../base/log.ts";
import { WATCH_STEP_SIZE_BYTES } from "../control/kv/limits.ts";
import { txn } from "../control/kv/txn.ts";
import { FakeKv } from "./kv-api.fake.ts";
import { type AdminServer, openAdminServer } from "./server.ts";
import { createFakeService } from "./service.fake.ts";

const cleanups: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const VALUE_SIZE = 50_000;
const WRITE_COUNT = 300;
/** Generous for what the kernel's and the runtime's own buffers take. */
const STEPS_AHEAD_MAX = 12;

interface World {
  readonly kv: FakeKv;
  readonly server: AdminServer;
  /** A client that has asked for everything and reads nothing yet. */
  readonly client: Socket;
  /** How often the watch was asked for more. */
  readonly asked: () => number;
}

async function openWorld(): Promise<World> {
  const kv = new FakeKv();
  let count = 0;
  const open = kv.watch.bind(kv);
  kv.watch = (cursor) => {
    const watch = open(cursor);
    if (!watch.ok) return watch;
    const next = () => {
      count += 1;
      return watch.value.next();
    };
    return { ok: true, value: { next, close: () => watch.value.close() } };
  };
  const dir = mkdtempSync(join(tmpdir(), "overlay-watch-"));
  cleanups.push(() => rmSync(dir, { recursive: true }));
  const socketPath = join(dir, "s");
  const server = await openAdminServer({
    service: createFakeService({ kv }),
    socketPath,
    listen: { host: "127.0.0.1", port: 0 },
    adminToken: "",
    log: createSilentLog(),
  });
  cleanups.push(() => server.close());
  const client = connect(socketPath);
  client.on("error", () => undefined);
  cleanups.push(() => void client.destroy());
  client.pause();
  client.write("GET /watch?since=0 HTTP/1.1\r\nHost: localhost\r\n\r\n");
  return { kv, server, client, asked: () => count };
}

function write(kv: FakeKv, n: number): void {
  const value = new Uint8Array(VALUE_SIZE).fill(120);
  kv.apply(txn({ success: [{ kind: "put", key: `/${n}`, value }] }));
}

/** Turns of the event loop until `condition` holds. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((turn) => setImmediate(turn));
}

/** Turns of the event loop until `value` stays as it is for many of them. */
async function untilStable(value: () => number): Promise<void> {
  let last = value();
  for (let same = 0; same < 300; same++) {
    await new Promise((turn) => setImmediate(turn));
    if (value() !== last) same = 0;
    last = value();
  }
}

test("a client that does not read is not read ahead for, and misses nothing later", async () => {
  const { kv, client, asked } = await openWorld();
  for (let n = 0; n < WRITE_COUNT; n++) write(kv, n);
  await until(() => asked() > 0);
  await untilStable(asked);
  const stepCount = (WRITE_COUNT * VALUE_SIZE) / WATCH_STEP_SIZE_BYTES;
  expect(stepCount).toBeGreaterThan(3 * STEPS_AHEAD_MAX);
  expect(asked()).toBeLessThan(STEPS_AHEAD_MAX);
  let text = "";
  client.on("data", (chunk) => {
    text += chunk.toString("latin1");
  });
  client.resume();
  await until(() => text.includes("event: bookmark"));
  const ids = [...text.matchAll(/^id: (\d+)$/gm)].map((match) => Number(match[1]));
  expect(ids).toEqual([...Array.from({ length: WRITE_COUNT }, (_, i) => i + 1), WRITE_COUNT]);
});

test("a client that goes away ends its watch", async () => {
  const { kv, client, asked } = await openWorld();
  await until(() => asked() > 1);
  expect(kv.watches.count).toBe(1);
  client.destroy();
  // The runtime may notice only when it has something to send.
  let n = 0;
  await until(() => {
    write(kv, n++);
    return kv.watches.count === 0;
  });
});

test("closing the server ends watches, it does not cut them off", async () => {
  const { kv, server, client, asked } = await openWorld();
  await until(() => asked() > 1);
  let text = "";
  client.on("data", (chunk) => {
    text += chunk.toString("latin1");
  });
  client.resume();
  await server.close();
  expect(kv.watches.count).toBe(0);
  await until(() => text.endsWith("\r\n0\r\n\r\n")); // RFC 9112 §7.1: the last chunk.
});
