/**
 * Every command, in this process, against a real server with a fake service on a temporary socket.
 *
 * @module
 */
import { afterEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { REQUEST_SIZE_BYTES_MAX } from "../admin/limits.ts";
import { openAdminServer } from "../admin/server.ts";
import {
  createFakeService,
  FAKE_AUTHORITY,
  FAKE_LEASE,
  FAKE_MEMBERS,
  FAKE_PLAN,
  FAKE_RESERVATION,
  FAKE_STATUS,
  FAKE_TOKEN,
} from "../admin/service.fake.ts";
import type {
  AdminService,
  CreateTokenRequest,
  JoinRequest,
  PutConfigRequest,
} from "../admin/service.ts";
import { createSilentLog } from "../base/log.ts";
import { err, ok } from "../base/result.ts";
import { VERSION } from "../base/version.ts";
import { runCli } from "./run.ts";
import { createFakeTerminal, type FakeTerminalOptions } from "./terminal.fake.ts";

const cleanups: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function makeDir(): string {
  const dir = mkdtempSync(join(tmpdir(), "overlay-cli-"));
  cleanups.push(() => rmSync(dir, { recursive: true }));
  return dir;
}

interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

async function runWithout(argv: string[], options: FakeTerminalOptions = {}): Promise<Outcome> {
  const terminal = createFakeTerminal(options);
  const code = await runCli(argv, terminal);
  return { code, out: terminal.printed(), err: terminal.told() };
}

/** Runs `argv` where an agent with `service` answers. */
async function run(
  argv: string[],
  service: Partial<AdminService> = {},
  options: FakeTerminalOptions = {},
): Promise<Outcome> {
  const socketPath = join(makeDir(), "s");
  const server = await openAdminServer({
    service: createFakeService(service),
    socketPath,
    listen: { host: "127.0.0.1", port: 0 },
    adminToken: "",
    log: createSilentLog(),
  });
  cleanups.push(() => server.close());
  return runWithout(argv, { ...options, env: { OVERLAY_SOCKET: socketPath, ...options.env } });
}

const done = (out: string) => ({ code: 0, out, err: "" });
const failed = (code: number, line: string) => ({ code, out: "", err: `${line}\n` });
const CLUSTER_ID = "00112233445566778899aabbccddeeff";

const DONE: readonly { argv: string[]; out: string }[] = [
  { argv: ["config", "get"], out: '{\n  "Network": "10.0.0.0/16"\n}\n' },
  {
    argv: ["config", "set", "{}"],
    out: "Set 10.0.0.0/16, room for 255 subnets, at revision 13\n1 lease kept\n",
  },
  {
    argv: ["config", "plan", "{}"],
    out:
      "Would set 10.0.0.0/16, room for 255 subnets (nothing changed, still at revision 13)\n" +
      "1 lease would be kept\n",
  },
  { argv: ["token"], out: "overlay join 192.0.2.1 --token OVL1.SECRET\n" },
  { argv: ["token", "create"], out: "overlay join 192.0.2.1 --token OVL1.SECRET\n" },
  {
    argv: ["token", "list"],
    out:
      "ID    CREATED            EXPIRES            USES LEFT  STATE\n" +
      "tok1  2026-11-22 10:00Z  2026-11-23 10:00Z        any  good\n",
  },
  { argv: ["token", "revoke", "tok1"], out: "Revoked token tok1\n" },
  {
    argv: ["member", "list"],
    out:
      "NAME  ID              ROLE           ADDRESS         STATE\n" +
      "web1  0a1b2c3d4e5f60  voter, leader  192.0.2.1:8286  this node\n" +
      "web2  0b0b0b0b0b0b0b  standby        192.0.2.2:8286  -\n",
  },
  {
    argv: ["member", "promote", "web2"],
    out: "web2 (0b0b0b0b0b0b0b) is preferred as a voter; it votes within seconds\n",
  },
  {
    argv: ["member", "demote", "web1"],
    out: "web1 (0a1b2c3d4e5f60) gives its vote to another within seconds\n",
  },
  {
    argv: ["member", "target"],
    out: "3 should vote where there are as many members; these do: web1\n",
  },
  {
    argv: ["member", "target", "5"],
    out: "5 should vote where there are as many members; these do: web1\n",
  },
  { argv: ["member", "remove", "0b0b0b0b0b0b0b"], out: "Removed web2 (0b0b0b0b0b0b0b)\n" },
  { argv: ["member", "remove", "web2"], out: "Removed web2 (0b0b0b0b0b0b0b)\n" },
  {
    argv: ["lease", "list"],
    out:
      "SUBNET        NODE  PUBLIC IP  BACKEND   EXPIRES IN\n" +
      "10.0.53.0/24  web1  192.0.2.1  udp      23 h 59 min\n",
  },
  { argv: ["lease", "release", "10.0.53.0/24"], out: "Released 10.0.53.0/24 of web1\n" },
  {
    argv: ["join", "h", "--token", "t"],
    out: `Joined cluster ${CLUSTER_ID} as node 0a1b2c3d4e5f60\nSee it with "overlay status"\n`,
  },
  {
    argv: ["leave"],
    out:
      `Left cluster ${CLUSTER_ID}\n` +
      'This node is a cluster of one again; "overlay join" takes it into another\n',
  },
];

const JSON_ANSWERS: readonly { argv: string[]; value: unknown }[] = [
  { argv: ["status"], value: FAKE_STATUS },
  { argv: ["config", "get"], value: { revision: 12, config: { Network: "10.0.0.0/16" } } },
  {
    argv: ["config", "set", "{}"],
    value: { revision: 13, config: { Network: "10.0.0.0/16" }, plan: FAKE_PLAN },
  },
  {
    argv: ["token"],
    value: {
      id: "tok1",
      token: "OVL1.SECRET",
      expiresAt: "2026-11-23T10:00:00.000Z",
      joinCommand: "overlay join 192.0.2.1 --token OVL1.SECRET",
      installCommand: "curl … | sh -s -- join 192.0.2.1 --token OVL1.SECRET",
    },
  },
  { argv: ["member", "list"], value: FAKE_MEMBERS },
  { argv: ["lease", "list"], value: [FAKE_LEASE] },
  { argv: ["lease", "release", "10.0.53.0/24"], value: FAKE_LEASE },
  { argv: ["leave"], value: { clusterId: CLUSTER_ID, nodeId: "0a1b2c3d4e5f60" } },
  { argv: ["version"], value: { version: VERSION, agent: "1.2.3" } },
];

describe("commands", () => {
  for (const { argv, out } of DONE) {
    test(`overlay ${argv.join(" ")}`, async () => {
      expect(await run(argv)).toEqual(done(out));
    });
  }

  for (const { argv, value } of JSON_ANSWERS) {
    test(`overlay ${argv.join(" ")} --json is what the API answers`, async () => {
      const outcome = await run([...argv, "--json"]);
      expect([outcome.code, outcome.err]).toEqual([0, ""]);
      expect(JSON.parse(outcome.out)).toEqual(value);
    });
  }

  test("overlay status lays out for the width of the terminal", async () => {
    const peers = [{ ...FAKE_STATUS.peers[0]!, name: "x".repeat(60) }];
    const status = () => ({ ...FAKE_STATUS, peers });
    const narrow = await run(["status"], { status }, { isTerminal: true, columns: 80 });
    for (const line of narrow.out.split("\n")) expect(line.length).toBeLessThanOrEqual(80);
    expect((await run(["status"], { status })).out).toContain("x".repeat(60));
  });

  describe("overlay status --watch", () => {
    const screen = { isTerminal: true, columns: 80, rows: 30 };

    test("draws over what it drew, and stays while the agent is away", async () => {
      let looks = 0;
      const status = () => {
        looks++;
        const warnings = looks === 1 ? ["Only at first"] : [];
        return { ...FAKE_STATUS, warnings };
      };
      const { code, out } = await run(
        ["status", "--watch"],
        { status },
        { ...screen, pausesMax: 2 },
      );
      expect([code, looks]).toEqual([0, 2]);
      const frames = out.split("\u001b[H").slice(1);
      expect(frames).toHaveLength(2);
      expect(frames[0]).toStartWith("web1: 1 thing is wrong\u001b[K\n- Only at first\u001b[K\n");
      expect(frames[1]).toStartWith("web1: all is well\u001b[K\n\u001b[K\nNode ");
      for (const frame of frames) expect(frame).toEndWith("\u001b[K\n\u001b[J");

      const away = await runWithout(["status", "--watch", "--socket", "/nonexistent"], screen);
      expect([away.code, away.err]).toEqual([0, ""]);
      expect(away.out).toContain("/nonexistent");
    });

    test("into a pipe: whole pictures, JSON a line each, and an end when the agent is away", async () => {
      const text = await run(["status", "--watch", "1"], {}, { pausesMax: 2 });
      expect(text.out.match(/^web1: all is well$/gm)).toHaveLength(2);
      expect(text.out).not.toContain("\u001b");
      const json = await run(["status", "--watch", "--json"], {}, { ...screen, pausesMax: 3 });
      const lines = json.out.trimEnd().split("\n");
      expect(lines.map((line) => JSON.parse(line))).toEqual([
        FAKE_STATUS,
        FAKE_STATUS,
        FAKE_STATUS,
      ]);
      const away = await runWithout(["status", "--watch", "--socket", "/nonexistent"]);
      expect([away.code, away.out]).toEqual([3, ""]);
    });
  });

  test("overlay version: without an agent, and with one of another version", async () => {
    const none = await runWithout(["version", "--socket", "/nonexistent"]);
    expect(none).toEqual(done(`overlay ${VERSION}\n`));
    const other = await run(["version"]);
    expect(other.out).toBe(`overlay ${VERSION}\n`);
    expect(other.err).toContain("1.2.3");
    expect(await runWithout(["--version"])).toEqual(done(`overlay ${VERSION}\n`));
  });

  test("overlay token on a terminal: only the command on standard output", async () => {
    const argv = ["token", "--life", "1h", "--uses", "2"];
    const { code, out, err } = await run(argv, {}, { isTerminal: true });
    expect([code, out]).toEqual([0, "overlay join 192.0.2.1 --token OVL1.SECRET\n"]);
    expect(err).toContain("good for 1 h and 2 nodes");
    expect(err).toContain("overlay token revoke tok1");
  });

  test("overlay ca: the CAs, who is waited for, and until when certificates are good", async () => {
    const { out } = await run(["ca"]);
    expect(out).toContain("CA pin1: signing, until 2036-11-22 10:00Z\n");
    expect(out).toMatch(/web1 +0a0a0a0a0a0a0a +2027-02-20 10:00Z +signing/);
    const changing = await run(["ca", "status"], {
      authority: () => ({
        ...FAKE_AUTHORITY,
        dropsAt: "2026-12-22T10:00:00.000Z",
        waiting: [{ id: "0b0b0b0b0b0b0b", name: "web2" }],
      }),
    });
    expect(changing.out).toContain("dropped at 2026-12-22 10:00Z, or when web2 renewed");
    const asked: number[] = [];
    const rotateCa = async (keepSeconds: number) => {
      asked.push(keepSeconds);
      return ok(FAKE_AUTHORITY);
    };
    for (const keep of [[], ["--keep", "7d"]]) await run(["ca", "rotate", ...keep], { rotateCa });
    expect(asked).toEqual([30 * 86_400, 7 * 86_400]);
  });

  test("a token that nobody can join with says why", async () => {
    const good = { ...FAKE_TOKEN, usesLeft: 1 };
    const tokens = [good, { ...good, usesLeft: 0 }, { ...good, expired: true }];
    const { out } = await run(["token", "list"], {
      tokens: () => [...tokens, { ...good, expired: true, revoked: true }],
    });
    const states = out.trim().split("\n").slice(1);
    expect(states.map((line) => line.split("  ").at(-1)?.trim())).toEqual([
      "good",
      "used up",
      "expired",
      "revoked",
    ]);
  });

  test("empty lists say so", async () => {
    expect((await run(["lease", "list"], { leases: () => [] })).out).toBe("No leases\n");
    expect((await run(["token", "list"], { tokens: () => [] })).out).toContain("No tokens");
  });
});

describe("what is sent", () => {
  async function sentConfig(argv: string[], input = ""): Promise<PutConfigRequest | Outcome> {
    let seen: PutConfigRequest | undefined;
    const putConfig: AdminService["putConfig"] = async (request) => {
      seen = request;
      return ok({ revision: 1, config: {}, plan: FAKE_PLAN });
    };
    const outcome = await run(argv, { putConfig }, { input });
    return seen ?? outcome;
  }

  test("config set: flags", async () => {
    const argv = ["config", "set", "--renumber", "--dry-run", "--if-revision", "12", "[1]"];
    const seen = { body: [1], expectedRevision: 12, dryRun: true, renumber: true };
    expect(await sentConfig(argv)).toEqual(seen);
    expect(await sentConfig(["config", "plan", "[1]"])).toMatchObject({ dryRun: true });
  });

  test("config set: from standard input and from a file", async () => {
    const path = join(makeDir(), "network.json");
    writeFileSync(path, '{"Network":"10.1.0.0/16"}');
    const body = { Network: "10.1.0.0/16" };
    expect(await sentConfig(["config", "set", `@${path}`])).toMatchObject({ body });
    expect(await sentConfig(["config", "set", "-"], JSON.stringify(body))).toMatchObject({ body });
  });

  test("config set: what cannot be read is told without asking the agent", async () => {
    expect(await sentConfig(["config", "set", "@/nonexistent"])).toEqual(
      failed(1, 'Cannot read file "/nonexistent": it does not exist; check the path after "@"'),
    );
    expect(await sentConfig(["config", "set", "@/dev/zero"])).toEqual(
      failed(1, 'Cannot read file "/dev/zero": not a regular file'),
    );
    const long = " ".repeat(REQUEST_SIZE_BYTES_MAX + 1);
    expect(await sentConfig(["config", "set", "-"], long)).toEqual(
      failed(1, `Cannot read standard input: longer than ${REQUEST_SIZE_BYTES_MAX} bytes`),
    );
  });

  test("token create: life and uses", async () => {
    const seen: CreateTokenRequest[] = [];
    const createToken: AdminService["createToken"] = async (request) => {
      seen.push(request);
      return err({ kind: "timeout", detail: "d" });
    };
    for (const argv of [["token"], ["token", "create", "--life", "7d", "--uses", "3"]]) {
      await run(argv, { createToken });
    }
    expect(seen).toEqual([
      { lifeSeconds: 86_400, usesMax: undefined },
      { lifeSeconds: 604_800, usesMax: 3 },
    ]);
  });

  test("join: peer, reset, and the token from wherever it is", async () => {
    const seen: JoinRequest[] = [];
    const service: Partial<AdminService> = {
      join: async (request) => {
        seen.push(request);
        return err({ kind: "timeout", detail: "d" });
      },
    };
    const path = join(makeDir(), "token");
    writeFileSync(path, "from-file\n");
    const asked: string[] = [];
    const ask = async (question: string) => {
      asked.push(question);
      return " typed ";
    };
    await run(["join", "h:1", "--token", "t", "--reset"], service);
    await run(["join", "h", "--token", `@${path}`], service);
    await run(["join", "h", "--token", "-"], service, { input: "from-input\n" });
    const { err: told } = await run(["join", "h"], service, { canAsk: true, ask });
    expect(seen).toEqual([
      { peer: "h:1", token: "t", reset: true },
      { peer: "h", token: "from-file", reset: false },
      { peer: "h", token: "from-input", reset: false },
      { peer: "h", token: "typed", reset: false },
    ]);
    expect(asked).toEqual(["Token: "]);
    expect(told).toContain('get one with "overlay token"');
  });

  test("lease list: what is kept for nodes that are still to come", async () => {
    const { out } = await run(["lease", "list"], { reservations: () => [FAKE_RESERVATION] });
    expect(out).toEndWith("\n10.0.60.0/24 is reserved for the node at 192.0.2.9\n");
  });

  test("lease reserve and unreserve", async () => {
    const seen: unknown[] = [];
    const reserve: AdminService["reserve"] = async (...request) => {
      seen.push(request);
      return ok(FAKE_RESERVATION);
    };
    const words = ["lease", "reserve", "10.0.60.0-24"];
    const done = await run([...words, "--public-ip", "192.0.2.9"], { reserve });
    expect(done.out).toBe("Reserved 10.0.60.0/24 for the node at 192.0.2.9\n");
    await run([...words, "--node", "web2"], { reserve });
    expect(seen).toEqual([
      ["10.0.60.0/24", { publicIp: "192.0.2.9" }],
      ["10.0.60.0/24", { node: "web2" }],
    ]);
    for (const wrong of [[], ["--node", "a", "--public-ip", "192.0.2.9"]]) {
      expect((await run([...words, ...wrong], { reserve })).code).toBe(2);
    }
    const ended = await run(["lease", "unreserve", "10.0.60.0/24"]);
    expect(ended.out).toBe("10.0.60.0/24 is no longer reserved for the node at 192.0.2.9\n");
  });

  test("lease release takes the form of keys too", async () => {
    const seen: string[] = [];
    const releaseLease: AdminService["releaseLease"] = async (subnet) => {
      seen.push(subnet);
      return ok(FAKE_LEASE);
    };
    await run(["lease", "release", "10.0.53.0-24"], { releaseLease });
    expect(seen).toEqual(["10.0.53.0/24"]);
  });
});

describe("failures", () => {
  const COMMANDS: readonly string[][] = [
    ["status"],
    ["join", "h", "--token", "t"],
    ["leave"],
    ["config", "get"],
    ["config", "set", "{}"],
    ["config", "plan", "{}"],
    ["token"],
    ["token", "list"],
    ["token", "revoke", "x"],
    ["member", "list"],
    ["member", "remove", "web2"],
    ["lease", "list"],
    ["lease", "release", "10.0.53.0/24"],
  ];
  for (const argv of COMMANDS) {
    test(`overlay ${argv.join(" ")} without an agent is 3, one line that says how to start one`, async () => {
      const socket = join(makeDir(), "none");
      const { code, out, err } = await runWithout([...argv, "--socket", socket]);
      expect([code, out]).toEqual([3, ""]);
      expect(err).toMatch(/^Cannot .*: no agent answers at .*; start it with .*\n$/);
      expect(err).toContain(socket);
    });
  }

  test("no quorum is 4", async () => {
    const detail = "Cannot change the config: 1 of 3 voters is reachable";
    const putConfig: AdminService["putConfig"] = async () => err({ kind: "no_quorum", detail });
    expect(await run(["config", "set", "{}"], { putConfig })).toEqual(
      failed(4, `${detail}; try again, and see "overlay status"`),
    );
  });

  test("not in time is 4, after --timeout", async () => {
    const gate = Promise.withResolvers<void>();
    cleanups.push(() => gate.resolve());
    const leave: AdminService["leave"] = async () => {
      await gate.promise;
      return ok({ clusterId: "c", nodeId: "n" });
    };
    const { code, err } = await run(["leave", "--timeout", "0.05"], { leave });
    gate.resolve();
    expect(code).toBe(4);
    expect(err).toContain("within 0.05 s");
  });

  test("broken JSON is told with its place", async () => {
    expect(await run(["config", "set", '{"Network" 1}'])).toEqual(
      failed(
        1,
        'Cannot set the network config: not JSON at line 1, column 12: expected ":", found "1"',
      ),
    );
  });

  test("a name that no member or two members have", async () => {
    expect(await run(["member", "remove", "web9"])).toMatchObject({
      code: 1,
      err: 'Cannot remove member "web9": no member has that id or name; see "overlay member list"\n',
    });
    const members = () => [FAKE_MEMBERS[1]!, FAKE_MEMBERS[1]!];
    const twice = await run(["member", "remove", "web2"], { members });
    expect(twice.err).toContain("2 members have that name; give the id instead");
  });

  test("--socket wins over OVERLAY_SOCKET, and an empty variable is not set", async () => {
    const socket = join(makeDir(), "none");
    expect((await run(["status", "--socket", socket])).err).toContain(socket);
    const { err } = await runWithout(["status"], { env: { OVERLAY_SOCKET: "" } });
    expect(err).toContain("/run/overlay/overlay.sock");
  });
});

describe("usage", () => {
  const WRONG: readonly { argv: string[]; says: string }[] = [
    { argv: ["nope"], says: 'Cannot run "overlay": unknown command "nope"; see "overlay --help"' },
    { argv: ["statsu"], says: 'unknown command "statsu" (did you mean status?); see' },
    { argv: ["status", "--jsn"], says: 'unknown option "--jsn" (did you mean --json?); see' },
    { argv: ["status", "extra"], says: 'unexpected argument "extra"; see "overlay status --help"' },
    {
      argv: ["config", "set"],
      says: 'missing required argument "config"; see "overlay config set',
    },
    { argv: ["config", "nope"], says: 'Cannot run "overlay config": unknown command "nope"' },
    { argv: ["config", "set", "{}", "--if-revision", "x"], says: "expected a whole number from 0" },
    { argv: ["join", "a", "b"], says: 'expected 1 argument and got 2 ("a, b"); see "overlay join' },
    { argv: ["token", "nope"], says: 'Cannot run "overlay token create": unexpected argument' },
    { argv: ["token", "--life", "1y"], says: "expected a time from 60s to 365d, such as 24h" },
    { argv: ["token", "--life", "59s"], says: '"59s" is not valid' },
    { argv: ["ca", "rotate", "--keep", "91d"], says: "a time from 60s to 90d, such as 7d" },
    { argv: ["token", "--uses", "0"], says: "expected a whole number from 1" },
    { argv: ["status", "--watch", "0"], says: "expected a whole number from 1 to 3600" },
    { argv: ["status", "--timeout", "0"], says: "expected seconds, up to 3600" },
    { argv: ["join"], says: 'missing required argument "peer"' },
    { argv: ["join", "h"], says: 'Cannot join "h": no token; get one with "overlay token" on' },
    { argv: ["lease", "release", "x"], says: 'Cannot release lease "x": not a subnet; write it' },
    { argv: ["agent", "--data-dir", "x"], says: 'Cannot start agent: --data-dir "x" is not an' },
    { argv: ["agent", "--ip-masq=no"], says: '--ip-masq "no" is not true or false' },
    {
      argv: ["agent", "--iface", "a", "--iface", "b/c"],
      says: '--iface "b/c" is not an interface',
    },
    { argv: ["agent", "--ip-masq", "--log-level", "x"], says: '--log-level "x" is not one of' },
    { argv: ["agent", "--socket", "x"], says: 'unknown option "--socket"' },
  ];
  for (const { argv, says } of WRONG) {
    test(`overlay ${argv.join(" ")} is 2: ${says}`, async () => {
      const { code, out, err } = await runWithout(argv);
      expect([code, out]).toEqual([2, ""]);
      expect(err).toMatch(/^Cannot .*; .*\n$|^Cannot start agent: .*\n$/);
      expect(err).toContain(says);
    });
  }

  test("the agent's variables are named in what is wrong with them", async () => {
    const { code, err } = await runWithout(["agent"], { env: { OVERLAY_RUN_DIR: "x" } });
    expect(code).toBe(2);
    expect(err).toContain('OVERLAY_RUN_DIR "x" is not an absolute path');
  });

  test("no command is 2 with the help on standard error", async () => {
    for (const argv of [[], ["config"], ["member"], ["lease"]]) {
      const { code, out, err } = await runWithout(argv);
      expect([code, out]).toEqual([2, ""]);
      expect(err).toStartWith("Usage: overlay");
    }
  });

  const HELP: readonly string[] = [
    "",
    ...["status", "join", "leave", "agent", "version", "config", "token", "member", "lease"],
    ...["config get", "config set", "config plan", "token create", "token list", "token revoke"],
    ...[
      "member list",
      "member remove",
      "member promote",
      "member target",
      "lease list",
      "lease release",
    ],
    ...["lease reserve", "lease unreserve", "docker-env", "cni", "cni install", "cni uninstall"],
    ...["import", "import flannel", "completion", "uninstall", "ca", "ca status", "ca rotate"],
  ];
  for (const name of HELP) {
    test(`overlay ${name} --help: usage, options and an example, on 80 columns`, async () => {
      const argv = name === "" ? [] : name.split(" ");
      const { code, out, err } = await runWithout([...argv, "--help"]);
      expect([code, err]).toEqual([0, ""]);
      expect(out).toStartWith(`Usage: ${["overlay", ...argv].join(" ")} `);
      expect(out).toMatch(/\nExamples?:\n {2}(\S+=\S+ )?overlay/);
      const asksAgent =
        !/^($|agent|docker-env|cni|completion|uninstall)/.test(name) &&
        !out.includes("\nCommands:");
      if (asksAgent)
        for (const option of ["--socket", "--timeout", "--json"]) expect(out).toContain(option);
      for (const line of out.split("\n")) expect(line.length).toBeLessThanOrEqual(88);
    });
  }

  test("overlay help <command> is its help", async () => {
    const asked = await runWithout(["help", "status"]);
    expect(asked).toEqual(await runWithout(["status", "--help"]));
  });
});
