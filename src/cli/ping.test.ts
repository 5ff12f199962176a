/**
 * `overlay ping` against a real server with a fake service.
 *
 * @module
 */
import { afterEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openAdminServer } from "../admin/server.ts";
import { createFakeService, FAKE_PING } from "../admin/service.fake.ts";
import type { AdminService, PingRequest } from "../admin/service.ts";
import { createSilentLog } from "../base/log.ts";
import { err, ok } from "../base/result.ts";
import { runCli } from "./run.ts";
import { createFakeTerminal } from "./terminal.fake.ts";

const cleanups: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function run(argv: string[], ping: AdminService["ping"]) {
  const dir = mkdtempSync(join(tmpdir(), "overlay-ping-"));
  cleanups.push(() => rmSync(dir, { recursive: true }));
  const socketPath = join(dir, "s");
  const server = await openAdminServer({
    service: createFakeService({ ping }),
    socketPath,
    listen: { host: "127.0.0.1", port: 0 },
    adminToken: "t",
    log: createSilentLog(),
  });
  cleanups.push(() => server.close());
  const terminal = createFakeTerminal();
  const code = await runCli(["ping", ...argv, "--socket", socketPath], terminal);
  return { code, out: terminal.printed(), err: terminal.told() };
}

describe("overlay ping", () => {
  test("each answer as it comes, then the sum; the pauses are the agent's", async () => {
    const asked: PingRequest[] = [];
    const outcome = await run(["web2", "-c", "3", "-i", "200"], async (request) => {
      asked.push(request);
      const rttMs = [0.4, null, 0.6][asked.length - 1]!;
      const reason = rttMs === null ? "no answer within 1 s" : null;
      return ok({ results: [{ ...FAKE_PING, rttMs, reason }] });
    });
    expect(outcome).toEqual({
      code: 0,
      out: [
        "web2 (192.0.2.2:8285): answered in 0.40 ms, MTU 1472",
        "web2 (192.0.2.2:8285): no answer within 1 s",
        "web2 (192.0.2.2:8285): answered in 0.60 ms, MTU 1472",
        "--- web2: 2 of 3 answered, 33 % lost, min/avg/max 0.40/0.50/0.60 ms",
        "",
      ].join("\n"),
      err: "",
    });
    expect(asked.map(({ delayMs }) => delayMs)).toEqual([0, 200, 200]);
    expect(asked[0]).toMatchObject({ target: "web2", through: "underlay", raiseMtu: false });
  });

  test("options reach the agent", async () => {
    let asked: PingRequest | undefined;
    await run(["all", "-c", "1", "-W", "50", "--overlay", "--raise-mtu"], async (request) => {
      asked = request;
      return ok({ results: [] });
    });
    expect(asked).toEqual({
      target: "all",
      through: "overlay",
      timeoutMs: 50,
      delayMs: 0,
      raiseMtu: true,
    });
  });

  test("a peer that never answers is a failure; the others are told all the same", async () => {
    const other = { ...FAKE_PING, id: "0c", name: "web3", rttMs: null, mtu: null, reason: "gone" };
    const results = [FAKE_PING, other];
    const outcome = await run(["all", "-c", "2"], async () => ok({ results }));
    expect(outcome.code).toBe(1);
    expect(outcome.out).toContain("web3 (192.0.2.2:8285): gone");
    expect(outcome.out).toEndWith("--- web3: 0 of 2 answered, 100 % lost\n");
  });

  test("--json: the sums only", async () => {
    const outcome = await run(["all", "-c", "2", "--json"], async () =>
      ok({ results: [FAKE_PING] }),
    );
    expect(JSON.parse(outcome.out)).toEqual({
      results: [
        {
          id: "0b0b0b0b0b0b0b",
          name: "web2",
          address: "192.0.2.2:8285",
          mtu: 1472,
          pathMtu: 1500,
          reason: null,
          sent: 2,
          received: 2,
          lossPercent: 0,
          rttMinMs: 0.42,
          rttAvgMs: 0.42,
          rttMaxMs: 0.42,
        },
      ],
    });
  });

  test("nobody is meant: told in one line", async () => {
    const detail = 'Cannot ping "web9": no peer has that name';
    const outcome = await run(["web9"], async () => err({ kind: "not_found", detail }));
    expect(outcome.code).toBe(1);
    expect(outcome.err).toContain("no peer has that name");
  });

  test("wrong usage: nothing is asked", async () => {
    const never: AdminService["ping"] = async () => {
      throw new Error("asked");
    };
    for (const argv of [[], ["web2", "-c", "0"], ["web2", "-i", "1"], ["web2", "-c", "x"]]) {
      expect((await run(argv, never)).code).toBe(2);
    }
  });

  test("names from elsewhere cannot move the terminal", async () => {
    const evil = { ...FAKE_PING, name: "\u001b[2J", address: "\u001b[2J" };
    const outcome = await run(["x", "-c", "1"], async () => ok({ results: [evil] }));
    expect(outcome.out).not.toContain("\u001b");
  });
});
