/**
 * The program as a process: exit codes, streams, pipes, a terminal. What commands say is in
 * `cli/run.test.ts`.
 *
 * @module
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type AdminServer, openAdminServer } from "./admin/server.ts";
import { createFakeService, FAKE_STATUS } from "./admin/service.fake.ts";
import type { PutConfigRequest } from "./admin/service.ts";
import { createSilentLog } from "./base/log.ts";
import { ok } from "./base/result.ts";

const MAIN = join(import.meta.dir, "main.ts");
/** More than a pipe holds, so that an answer cut off at exit would be noticed. */
const PEER_COUNT = 2_000;

let dir: string;
let socketPath: string;
let server: AdminServer;
const puts: PutConfigRequest[] = [];

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), "overlay-main-"));
  socketPath = join(dir, "s");
  const peers = Array.from({ length: PEER_COUNT }, () => FAKE_STATUS.peers[0]!);
  const service = createFakeService({
    status: () => ({ ...FAKE_STATUS, peers }),
    putConfig: async (request) => {
      puts.push(request);
      return ok({
        revision: 1,
        config: {},
        plan: { effect: "none", kept: [], renumbered: [], capacity: 1 },
      });
    },
  });
  const listen = { host: "127.0.0.1", port: 0 };
  const log = createSilentLog();
  server = await openAdminServer({ service, socketPath, listen, adminToken: "", log });
});

afterAll(async () => {
  await server.close();
  rmSync(dir, { recursive: true });
});

function environment(extra: Record<string, string> = {}): Record<string, string> {
  return { PATH: process.env["PATH"] ?? "", OVERLAY_SOCKET: socketPath, ...extra };
}

async function overlay(argv: string[], input = ""): Promise<[number, string, string]> {
  const child = Bun.spawn([process.execPath, MAIN, ...argv], {
    env: environment(),
    stdin: Buffer.from(input),
    stdout: "pipe",
    stderr: "pipe",
  });
  const out = new Response(child.stdout).text();
  const err = new Response(child.stderr).text();
  return [await child.exited, await out, await err];
}

/** Runs on a terminal of 80 columns; types `line` when `prompt` appears. Gives what it showed. */
async function onTerminal(
  argv: string[],
  options: { prompt?: string; line?: string; env?: Record<string, string> } = {},
): Promise<[number, string]> {
  let shown = "";
  let answered = false;
  const child = Bun.spawn([process.execPath, MAIN, ...argv], {
    env: environment({ TERM: "xterm", ...options.env }),
    terminal: {
      cols: 80,
      rows: 24,
      data: (terminal, bytes) => {
        shown += Buffer.from(bytes).toString();
        if (answered || options.prompt === undefined || !shown.includes(options.prompt)) return;
        answered = true;
        terminal.write(options.line ?? "");
      },
    },
  });
  const code = await child.exited;
  return [code, shown];
}

describe("overlay as a process", () => {
  test("data on standard output, whole, however long; exit code 0", async () => {
    const [code, out, err] = await overlay(["status", "--json"]);
    expect([code, err]).toEqual([0, ""]);
    expect(JSON.parse(out).peers).toHaveLength(PEER_COUNT);
  });

  test("exit codes 2 and 3, with nothing on standard output", async () => {
    expect((await overlay(["nope"])).slice(0, 2)).toEqual([2, ""]);
    const [code, out, err] = await overlay(["status", "--socket", join(dir, "none")]);
    expect([code, out]).toEqual([3, ""]);
    expect(err).toStartWith("Cannot show the status: no agent answers at");
  });

  test("a config comes from standard input", async () => {
    const [code] = await overlay(["config", "set", "-"], '{"Network":"10.1.0.0/16"}');
    expect(code).toBe(0);
    expect(puts.at(-1)?.body).toEqual({ Network: "10.1.0.0/16" });
  });

  test("join without a token and without a terminal is wrong usage, not a wait", async () => {
    const [code, out, err] = await overlay(["join", "192.0.2.1"]);
    expect([code, out]).toEqual([2, ""]);
    expect(err).toContain('get one with "overlay token"');
  });

  test("a reader that goes away early is not an error", async () => {
    const shell = `"$0" "$1" status --all | head -n 1; echo "$?"`;
    const child = Bun.spawn(["bash", "-c", `set -o pipefail; ${shell}`, process.execPath, MAIN], {
      env: environment(),
      stdout: "pipe",
      stderr: "pipe",
    });
    const err = new Response(child.stderr).text();
    expect(await new Response(child.stdout).text()).toBe("web1: all is well\n0\n");
    expect(await err).toBe("");
  });

  test("a full disk behind standard output is told", async () => {
    const child = Bun.spawn([process.execPath, MAIN, "version"], {
      env: environment(),
      stdout: Bun.file("/dev/full"),
      stderr: "pipe",
    });
    const err = new Response(child.stderr).text();
    expect(await child.exited).toBe(1);
    expect(await err).toBe("Cannot write standard output: ENOSPC\n");
  });
});

describe("overlay on a terminal", () => {
  test("join asks for the token and says how to get one", async () => {
    const [code, shown] = await onTerminal(["join", "192.0.2.1"], {
      prompt: "Token: ",
      line: "OVL1.X\n",
    });
    expect(code).toBe(0);
    expect(shown).toContain('get one with "overlay token" on a node of that cluster');
    expect(shown).toContain("Joined cluster 00112233445566778899aabbccddeeff");
  });

  test("no answer to the question is wrong usage", async () => {
    const [code, shown] = await onTerminal(["join", "192.0.2.1"], {
      prompt: "Token: ",
      line: "\u0004",
    });
    expect(code).toBe(2);
    expect(shown).toContain('Cannot join "192.0.2.1": no token');
  });

  test("color, and none with NO_COLOR or a dumb terminal", async () => {
    expect((await onTerminal(["status"]))[1]).toContain("\u001b[32mweb1: all is well");
    for (const env of [{ NO_COLOR: "1" }, { TERM: "dumb" }]) {
      expect((await onTerminal(["status"], { env }))[1]).not.toContain("\u001b");
    }
  });
});
