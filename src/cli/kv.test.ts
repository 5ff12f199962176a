/**
 * `overlay kv …` in this process, against a real server on a temporary socket with a real store of
 * one node behind it.
 *
 * @module
 */
import { afterEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FakeKv } from "../admin/kv-api.fake.ts";
import { openAdminServer } from "../admin/server.ts";
import { createFakeService } from "../admin/service.fake.ts";
import { createSilentLog } from "../base/log.ts";
import { runCli } from "./run.ts";
import { createFakeTerminal, type FakeTerminalOptions } from "./terminal.fake.ts";

const cleanups: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** An agent with a store, and a person at its command line. */
class World {
  readonly kv: FakeKv;
  readonly dir: string;
  readonly close: () => Promise<void>;
  readonly #socket: string;

  private constructor(parts: { kv: FakeKv; dir: string; close: () => Promise<void> }) {
    this.kv = parts.kv;
    this.dir = parts.dir;
    this.close = parts.close;
    this.#socket = join(parts.dir, "s");
  }

  static async open(): Promise<World> {
    const kv = new FakeKv();
    const dir = mkdtempSync(join(tmpdir(), "overlay-kv-"));
    cleanups.push(() => rmSync(dir, { recursive: true }));
    const server = await openAdminServer({
      service: createFakeService({ kv }),
      socketPath: join(dir, "s"),
      listen: { host: "127.0.0.1", port: 0 },
      adminToken: "",
      log: createSilentLog(),
    });
    const close = () => server.close();
    cleanups.push(close);
    return new World({ kv, dir, close });
  }

  async run(argv: string[], options: FakeTerminalOptions = {}): Promise<Outcome> {
    const env = { OVERLAY_SOCKET: this.#socket };
    const terminal = createFakeTerminal({ env, ...options });
    const code = await runCli(["kv", ...argv], terminal);
    return { code, out: terminal.printed(), err: terminal.told() };
  }

  /** "/a" = one, at revision 1; "/b/1" and "/b/2" at 2 and 3, the last one for 30 seconds. */
  static async filled(): Promise<World> {
    const world = await World.open();
    for (const argv of [
      ["put", "/a", "one"],
      ["put", "/b/1", "x"],
      ["put", "/b/2", "y", "--ttl", "30"],
    ]) {
      expect((await world.run(argv)).code).toBe(0);
    }
    return world;
  }
}

const done = (out: string) => ({ code: 0, out, err: "" });
const failed = (code: number, err: string) => ({ code, out: "", err: `${err}\n` });

describe("commands", () => {
  const rows: { argv: string[]; outcome: Outcome }[] = [
    { argv: ["get", "/a"], outcome: done("one") },
    { argv: ["get", "a"], outcome: done("one") },
    { argv: ["get", "/a", "--serializable"], outcome: done("one") },
    { argv: ["get", "/b/1", "--revision", "2"], outcome: done("x") },
    { argv: ["put", "/a", "two"], outcome: done("Put /a, at revision 4\n") },
    { argv: ["put", "/a", ""], outcome: done("Put /a, at revision 4\n") },
    { argv: ["put", "/c", "x", "--if-revision", "0"], outcome: done("Put /c, at revision 4\n") },
    { argv: ["put", "/a", "x", "--if-revision", "1"], outcome: done("Put /a, at revision 4\n") },
    { argv: ["delete", "/a"], outcome: done("Deleted /a, at revision 4\n") },
    {
      argv: ["delete", "--prefix", "/b/"],
      outcome: done("Deleted 2 keys under /b/, at revision 4\n"),
    },
    { argv: ["list", "--keys", "/b/"], outcome: done("/b/1\n/b/2\n") },
    { argv: ["list", "/none"], outcome: done("No keys\n") },
    {
      argv: ["list"],
      outcome: done(
        "KEY   REVISION  VERSION   TTL  VALUE\n" +
          "/a           1        1     -  one\n" +
          "/b/1         2        1     -  x\n" +
          "/b/2         3        1  30 s  y\n",
      ),
    },
    {
      argv: ["compact", "2"],
      outcome: done("Compacted; revision 2 is the oldest one kept\n"),
    },
    {
      argv: ["get", "/none"],
      outcome: failed(1, 'Cannot get "/none": there is no such key at revision 3'),
    },
    {
      argv: ["get", "/b/2", "--revision", "2"],
      outcome: failed(1, 'Cannot get "/b/2": there is no such key at revision 2'),
    },
    {
      argv: ["put", "/a", "x", "--if-revision", "2"],
      outcome: failed(1, 'Cannot change "/a": it is at revision 1 now; read it and try again'),
    },
    {
      argv: ["put", "/overlay/x", "1"],
      outcome: failed(
        1,
        'Cannot change "/overlay/x": keys under "/overlay/" belong to the system; ' +
          "choose another one",
      ),
    },
    {
      argv: ["delete", "/none"],
      outcome: failed(1, 'Cannot delete "/none": there is no such key'),
    },
    {
      argv: ["delete", "--prefix", "/b/", "--if-revision", "3"],
      outcome: failed(
        2,
        'Cannot delete "/b/": --prefix and --if-revision exclude each other; drop one',
      ),
    },
    {
      argv: ["compact", "9"],
      outcome: failed(1, "Cannot know of revision 9: the store is at revision 3"),
    },
    {
      argv: ["put", "/a", "x", "--ttl", "0"],
      outcome: failed(
        2,
        'Cannot run "overlay kv put": option "--ttl <seconds>" argument "0" is not valid: ' +
          'expected a whole number from 1 to 9007199254740991; see "overlay kv put --help"',
      ),
    },
    {
      argv: ["put", "/a", "@/nonexistent"],
      outcome: failed(
        1,
        'Cannot read file "/nonexistent": it does not exist; check the path after "@"',
      ),
    },
  ];
  for (const { argv, outcome } of rows) {
    test(`overlay kv ${argv.join(" ")}`, async () => {
      expect(await (await World.filled()).run(argv)).toEqual(outcome);
    });
  }

  test("--json prints what the API answers", async () => {
    const world = await World.filled();
    const item = { key: "/a", value: "one", createRevision: 1, modRevision: 1, version: 1 };
    const rows: [argv: string[], value: unknown][] = [
      [["get", "/a"], { revision: 3, item }],
      [["list", "/a"], { revision: 3, items: [item], more: false }],
      [["list", "--limit", "1"], { revision: 3, items: [item], more: true }],
      [["put", "/a", "x"], { revision: 4 }],
      [["txn", "{}"], { succeeded: true, revision: 4, results: [] }],
      [["delete", "/a"], { revision: 5 }],
      [["compact", "5"], { revision: 5 }],
    ];
    for (const [argv, value] of rows) {
      const { code, out, err } = await world.run([...argv, "--json"]);
      expect([code, err, JSON.parse(out)]).toEqual([0, "", value]);
    }
  });

  test("list says when there is more", async () => {
    const world = await World.filled();
    const { code, out, err } = await world.run(["list", "--keys", "--limit", "2"]);
    expect([code, out]).toEqual([0, "/a\n/b/1\n"]);
    expect(err).toContain("more keys");
  });
});

describe("values", () => {
  const binary = new Uint8Array([0, 255, 10, 27, 128]);

  test("a file goes in and comes out as it was", async () => {
    const world = await World.open();
    const path = join(world.dir, "value");
    writeFileSync(path, binary);
    await world.run(["put", "/file", `@${path}`]);
    expect(new Uint8Array(world.kv.machine.reader.get("/file")!.value)).toEqual(binary);
    const { out } = await world.run(["get", "/file"]);
    expect(new Uint8Array(Buffer.from(out, "latin1"))).toEqual(binary);
    await world.run(["put", "/input", "-"], { input: "from a pipe\n" });
    expect((await world.run(["get", "/input"])).out).toBe("from a pipe\n");
  });

  test("on a terminal nothing can move the cursor, and bytes are not shown", async () => {
    const world = await World.open();
    await world.run(["put", "/text", "-"], { input: "two\n\tlines\u001b[2J" });
    const shown = await world.run(["get", "/text"], { isTerminal: true });
    expect(shown).toEqual(done("two\n\tlines\ufffd[2J\n"));
    writeFileSync(join(world.dir, "value"), binary);
    await world.run(["put", "/bytes", `@${join(world.dir, "value")}`]);
    expect(await world.run(["get", "/bytes"], { isTerminal: true })).toEqual({
      code: 0,
      out: "",
      err: "5 bytes of no text; write them to a file, or use --json\n",
    });
    expect((await world.run(["list"])).out).toContain("5 bytes of no text");
  });
});

describe("overlay kv txn", () => {
  test("tells which list was done, and what came of it", async () => {
    const world = await World.filled();
    const body = JSON.stringify({
      compare: [{ key: "/c", target: "version", op: "=", value: 0 }],
      success: [
        { op: "put", key: "/c", value: "1" },
        { op: "renew", key: "/b/2", ttl: 60 },
        { op: "renew", key: "/a" },
        { op: "get", key: "/a" },
        { op: "get", key: "/none" },
        { op: "range", prefix: "/b/", limit: 1 },
        { op: "delete", key: "/a" },
        { op: "deletePrefix", prefix: "/b/" },
      ],
    });
    expect(await world.run(["txn", "-"], { input: body })).toEqual(
      done(
        "Done, every comparison held: success, at revision 4\n" +
          "  put\n  renew: 60 s\n  renew: nothing to renew\n  get: /a = one\n  get: no such key\n" +
          "  range: 1 key and more\n    /b/1 = x\n  delete: 1 key\n  delete: 2 keys\n",
      ),
    );
    expect(await world.run(["txn", body])).toEqual(
      done("Done, a comparison did not hold: failure, at revision 4\n"),
    );
  });

  test("what is wrong with it is told with its place", async () => {
    const world = await World.open();
    expect(await world.run(["txn", "{"])).toMatchObject({
      code: 1,
      err: expect.stringContaining("line 1, column 2"),
    });
    const success = [{ op: "put", key: "/a" }];
    expect(await world.run(["txn", JSON.stringify({ success })])).toMatchObject({
      code: 1,
      err: expect.stringContaining("success.0.value: Missing"),
    });
  });
});

describe("overlay kv watch", () => {
  test("prints changes, one a line, and ends after --count", async () => {
    const world = await World.filled();
    await world.run(["delete", "/b/1"]);
    await world.run(["put", "/b/3", "two\nlines"]);
    const { code, out } = await world.run(["watch", "/b/", "--since", "1", "--count", "4"]);
    expect([code, out]).toEqual([
      0,
      "2 put /b/1 = x\n3 put /b/2 = y\n4 delete /b/1\n5 put /b/3 = two lines\n",
    ]);
  });

  test("--json prints one object a line, bookmarks too", async () => {
    const world = await World.filled();
    const pending = world.run(["watch", "--since", "3", "--count", "1", "--json"]);
    // The bookmark first: the watch has begun.
    while (world.kv.watches.count === 0) await new Promise((turn) => setImmediate(turn));
    await world.run(["put", "/a", "two"]);
    const lines = (await pending).out.trimEnd().split("\n");
    expect(lines.map((line) => JSON.parse(line))).toContainEqual({
      ...{ event: "put", revision: 4, key: "/a", value: "two" },
      ...{ createRevision: 1, modRevision: 4, version: 2 },
    });
  });

  test("says where to go on when the agent goes away", async () => {
    const world = await World.filled();
    const printed: string[] = [];
    const gotAll = Promise.withResolvers<void>();
    const pending = world.run(["watch", "--since", "1"], {
      print: async (text) => {
        printed.push(text);
        if (printed.length === 2) gotAll.resolve();
      },
    });
    await gotAll.promise;
    await world.close();
    expect((await pending).code).toBe(3);
    expect((await pending).err).toBe(
      "Cannot watch the store: the agent ended the watch; go on with --since 3\n",
    );
  });

  test("ends when nobody reads what it prints", async () => {
    const world = await World.filled();
    const outcome = await world.run(["watch", "--since", "1"], { isReaderGone: true });
    expect(outcome.code).toBe(0);
  });

  test("a revision that is compacted, and one of the future", async () => {
    const world = await World.filled();
    await world.run(["compact", "2"]);
    expect(await world.run(["watch", "--since", "1"])).toEqual(
      failed(
        1,
        "Cannot go back to revision 1: it is compacted, the oldest one here is 2; read the " +
          "present, and watch from the revision of that",
      ),
    );
    expect((await world.run(["watch", "--since", "9"])).code).toBe(1);
  });

  test("without an agent", async () => {
    const outcome = await (await World.open()).run(["watch", "--socket", "/nonexistent/s"]);
    expect(outcome.code).toBe(3);
    expect(outcome.err).toContain("the socket does not exist");
  });
});
