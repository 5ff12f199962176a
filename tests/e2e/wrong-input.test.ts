/**
 * Wrong input: the message a user reads, and that nothing was changed by it.
 *
 * @module
 */
import { expect } from "bun:test";
import {
  createToken,
  formCluster,
  join,
  mustPutConfig,
  NETWORK_CONFIG,
  putConfig,
  statusOf,
} from "../lab/cluster.ts";
import { type Host, OVERLAY_PATH } from "../lab/host.ts";
import { labGroup } from "../lab/requirements.ts";
import type { Finished } from "../lab/run.ts";
import { waitFor } from "../lab/wait.ts";
import { startIntruder } from "./intruder.ts";
import { expectRefusal, expectSentence } from "./messages.ts";

const TOKEN_LIFE_MIN_SECONDS = 60;
const MEBIBYTE = 1024 * 1024;

interface Problem {
  readonly type: string;
  readonly status: number;
  readonly detail: string;
  readonly errors?: readonly { readonly path: string; readonly message: string }[];
}

/** A config that must be refused, and what the refusal must say. */
interface BadConfig {
  readonly why: string;
  readonly config: unknown;
  readonly words: readonly (string | RegExp)[];
}

const BAD_CONFIGS: readonly BadConfig[] = [
  { why: "broken JSON", config: '{"Network":', words: [/JSON/] },
  { why: "no object", config: '["10.0.0.0/16"]', words: [/object/i] },
  { why: "no Network", config: {}, words: ["Network"] },
  { why: "a Network that is none", config: { Network: "10.0.0.0" }, words: ["Network"] },
  { why: "a Network too small", config: { Network: "10.0.0.0/29" }, words: ["Network", "/28"] },
  {
    why: "SubnetMin over SubnetMax",
    config: { Network: "10.0.0.0/16", SubnetMin: "10.0.9.0", SubnetMax: "10.0.5.0" },
    words: ["SubnetMin", "SubnetMax"],
  },
  {
    why: "SubnetMin outside the Network",
    config: { Network: "10.0.0.0/16", SubnetMin: "10.1.0.0" },
    words: ["SubnetMin", "10.0.0.0/16"],
  },
  {
    why: "a SubnetLen that leaves no room",
    config: { Network: "10.0.0.0/24", SubnetLen: 25 },
    words: ["SubnetLen"],
  },
  { why: "an unknown key", config: { Netwrk: "10.0.0.0/16" }, words: ["Netwrk", "Network"] },
  {
    why: "an unknown key in Backend",
    config: { Network: "10.0.0.0/16", Backend: { Typ: "udp" } },
    words: ["Typ", "Type"],
  },
  {
    why: "an unknown backend",
    config: { Network: "10.0.0.0/16", Backend: { Type: "pigeon" } },
    words: ["pigeon", "udp"],
  },
  {
    why: "a Network over the underlay",
    config: { Network: "192.168.0.0/16" },
    words: ["192.168.0.0/16", "192.168.77.0/24"],
  },
  {
    why: "a Network over another route",
    config: { Network: "172.20.0.0/16" },
    words: ["172.20.0.0/16", "172.20.7.0/24"],
  },
];

labGroup("network config that is wrong", { hosts: 1, prepare: startOne }, (test) => {
  for (const { why, config, words } of BAD_CONFIGS) {
    test(`${why}: told over HTTP and by the command, nothing changed`, async (lab) => {
      const host = lab.host(0);
      const answer = await putConfig(host, config);
      const problem = answer.json<Problem>();
      expect(answer.headers.get("content-type")).toStartWith("application/problem+json");
      expect([400, 409, 422]).toContain(answer.status);
      expect(problem.status).toBe(answer.status);
      expect(problem.type).toStartWith("urn:overlay:");
      const text = [problem.detail, ...(problem.errors ?? []).map(pathAndMessage)].join(", ");
      for (const word of words) expect(text).toMatch(word);

      const argument = typeof config === "string" ? config : JSON.stringify(config);
      const finished = await host.cli(["config", "set", argument]);
      expectRefusal(finished, words, { next: false });
      expect((await host.api("/config")).status).toBe(404);
      expect((await statusOf(host)).lease).toBeNull();
    });
  }

  test("a body over the limit: 413 that names the limit", async (lab) => {
    const body = JSON.stringify({ Network: "x".repeat(2 * MEBIBYTE) });
    const answer = await putConfig(lab.host(0), body);
    expect(answer.status).toBe(413);
    expect(answer.json<Problem>().detail).toMatch(/1\.5 MiB|1572864/);
    expect((await statusOf(lab.host(0))).network).toBeNull();
  });

  test("a deep body: an answer, not a crash", async (lab) => {
    const answer = await putConfig(lab.host(0), `${"[".repeat(200_000)}${"]".repeat(200_000)}`);
    expect([400, 413, 422]).toContain(answer.status);
    expect((await statusOf(lab.host(0))).network).toBeNull();
  });

  test("wrong usage: code 2 and where to read on", async (lab) => {
    for (const words of [["config", "set"], ["frobnicate"], ["status", "--bogus"]]) {
      const finished = await lab.host(0).run([OVERLAY_PATH, ...words]);
      expect(finished.code).toBe(2);
      expect(finished.stdout).toBe("");
      expect(finished.stderr).toContain("--help");
    }
  });
});

/** One agent without a network, and a route for a network to be in the way of. */
async function startOne(lab: { host(index: number): Host }): Promise<void> {
  const host = lab.host(0);
  await host.mustRun(["ip", "route", "add", "172.20.7.0/24", "via", "192.168.77.1"]);
  await host.startHealthyAgent();
}

function pathAndMessage(issue: { readonly path: string; readonly message: string }): string {
  return `${issue.path}: ${issue.message}`;
}

labGroup("a join that is refused", { hosts: 3, prepare: startTwo }, (test) => {
  /** Joins h2 to h1 with `token`, and expects it to stay what it was. */
  async function refusedJoin(
    lab: { host(index: number): Host },
    token: string,
    peer = lab.host(0).address,
  ): Promise<Finished> {
    const joiner = lab.host(1);
    const before = (await statusOf(joiner)).cluster;
    const finished = await joiner.cli(["join", peer, "--token", token]);
    const after = (await statusOf(joiner)).cluster;
    expect([after.id, after.members]).toEqual([before.id, before.members]);
    return finished;
  }

  // First, so that it can expire while the others run.
  let expiring: { readonly token: string; readonly expiresAt: string } | undefined;
  test("a token with a short life can be made", async (lab) => {
    expiring = await createToken(lab.host(0), ["--life", `${TOKEN_LIFE_MIN_SECONDS}s`]);
    expect(expiring.token).toStartWith("OVL1.");
  });

  test("no token at all, away from a terminal", async (lab) => {
    const finished = await lab.host(1).cli(["join", lab.host(0).address]);
    expectRefusal(finished, ["overlay token", "--token"], { code: finished.code });
    expect([1, 2]).toContain(finished.code);
  });

  test("a token that is none", async (lab) => {
    expectRefusal(await refusedJoin(lab, "letmein"), [/token/]);
  });

  test("a token with one letter wrong", async (lab) => {
    const { token } = await createToken(lab.host(0));
    const at = token.length - 12;
    // Case does not count in a token: "A" in place of "a" would be no damage.
    const wrong = token[at]?.toLowerCase() === "a" ? "b" : "a";
    const damaged = token.slice(0, at) + wrong + token.slice(at + 1);
    expectRefusal(await refusedJoin(lab, damaged), [/token/]);
  });

  test("a token of another cluster", async (lab) => {
    const { token } = await createToken(lab.host(2));
    expectRefusal(await refusedJoin(lab, token), [lab.host(0).address]);
  });

  test("a token that was revoked", async (lab) => {
    const { id, token } = await createToken(lab.host(0));
    await lab.host(0).mustCli(["token", "revoke", id]);
    expectRefusal(await refusedJoin(lab, token), [/token/, /revoked/]);
  });

  test("a peer that is down", async (lab) => {
    const { token } = await createToken(lab.host(0));
    expectRefusal(await refusedJoin(lab, token, "192.168.77.99"), ["192.168.77.99"]);
  });

  test("a peer without an overlay", async (lab) => {
    const { token } = await createToken(lab.host(0));
    // The switch answers, and refuses the connection.
    expectRefusal(await refusedJoin(lab, token, "192.168.77.1"), ["192.168.77.1", "8286"]);
  });

  test("something else on the port of the peer", async (lab) => {
    const { token } = await createToken(lab.host(0));
    await using intruder = await startIntruder(lab.switch, { port: 9999, mode: "plain" });
    const finished = await refusedJoin(lab, token, "192.168.77.1:9999");
    expectRefusal(finished, ["192.168.77.1:9999"]);
    expect(intruder.received()).not.toContain(token.slice(0, 20));
  });

  test("somebody in between: told, and the secret is not sent", async (lab) => {
    const { token } = await createToken(lab.host(0));
    await using intruder = await startIntruder(lab.switch, { port: 8286, mode: "tls" });
    const finished = await refusedJoin(lab, token, "192.168.77.1");
    expectRefusal(finished, ["192.168.77.1", /token|certificate|pin|key/]);
    const secret = token.split(".")[2] ?? "";
    expect(secret.length).toBeGreaterThan(20);
    expect(intruder.received()).not.toContain(secret);
    expect(intruder.connections()).toBeGreaterThan(0);
  });

  test("a token that was used up", async (lab) => {
    const { token } = await createToken(lab.host(0), ["--uses", "1"]);
    await join(lab.host(2), lab.host(0), token);
    expectRefusal(await refusedJoin(lab, token), [/token/, /used/]);
  });

  test("a node that is in a cluster already", async (lab) => {
    if ((await statusOf(lab.host(2))).cluster.members === 1) await join(lab.host(2), lab.host(0));
    const { token } = await createToken(lab.host(1));
    const before = (await statusOf(lab.host(2))).cluster.id;
    const finished = await lab.host(2).cli(["join", lab.host(1).address, "--token", token]);
    expectRefusal(finished, ["--reset", /member/]);
    expect((await statusOf(lab.host(2))).cluster.id).toBe(before);
  });

  test("a token that has expired", async (lab) => {
    const { token, expiresAt } = expiring ?? { token: "", expiresAt: "" };
    await waitFor(() => Date.now() > Date.parse(expiresAt), {
      timeoutMs: (TOKEN_LIFE_MIN_SECONDS + 10) * 1000,
      describe: "the end of the token's life",
    });
    expectRefusal(await refusedJoin(lab, token), [/token/, /expired/]);
  }, 100_000);
});

/** Three agents that know nothing of each other; the second is the one that tries to join. */
async function startTwo(lab: { readonly hosts: readonly Host[] }): Promise<void> {
  await Promise.all(lab.hosts.map((host) => host.startHealthyAgent()));
}

labGroup("the admin API from elsewhere", { hosts: 1, prepare: startOne }, (test) => {
  const local = "http://127.0.0.1:8287";

  test("reads on loopback are open, writes need the token", async (lab) => {
    const host = lab.host(0);
    const read = await host.curl([`${local}/status`]);
    expect(JSON.parse(read.stdout).node.name).toBe("h1");
    const put = ["-X", "PUT", "-H", "content-type: application/json"];
    const body = ["-d", JSON.stringify(NETWORK_CONFIG), "-w", "\n%{http_code}"];
    const refused = await host.curl([...put, ...body, `${local}/config`]);
    expect(refused.stdout.trimEnd()).toEndWith("401");
    expect((await host.api("/config")).status).toBe(404);
    const token = (await Bun.file(`${host.dataDir}/admin-token`).text()).trim();
    const bearer = ["-H", `authorization: Bearer ${token}`];
    const taken = await host.curl([...put, ...bearer, ...body, `${local}/config`]);
    expect(taken.stdout.trimEnd()).toEndWith("200");
    expect((await host.api("/config")).status).toBe(200);
  });

  test("a Host header that is not loopback's is refused", async (lab) => {
    const words = ["-o", "/dev/null", "-w", "%{http_code}", "-H", "host: evil.example"];
    const { stdout } = await lab.host(0).curl([...words, `${local}/status`]);
    expect(Number(stdout)).toBeGreaterThanOrEqual(400);
  });

  test("nobody listens beyond loopback", async (lab) => {
    const host = lab.host(0);
    const { code } = await host.curl([`http://${host.address}:8287/status`]);
    expect(code).toBe(7); // curl's "could not connect".
  });

  test("If-Match: a revision that has moved is 412", async (lab) => {
    const host = lab.host(0);
    const revision = await mustPutConfig(host, NETWORK_CONFIG);
    const stale = await host.api("/config", {
      method: "PUT",
      headers: { "content-type": "application/json", "if-match": `"${revision + 7}"` },
      body: JSON.stringify(NETWORK_CONFIG),
    });
    expect(stale.status).toBe(412);
    const dry = await putConfig(host, { ...NETWORK_CONFIG, SubnetLen: 25 }, "?dryRun=true");
    expect(dry.status).toBe(200);
    const config = (await host.api("/config")).json<{ revision: number; config: object }>();
    expect(config.revision).toBe(revision);
  });

  test("a config that would renumber is 409 with who, and 200 when it is wanted", async (lab) => {
    const host = lab.host(0);
    await host.waitLease();
    const moved = { Network: "10.9.0.0/16" };
    const refused = await putConfig(host, moved);
    expect(refused.status).toBe(409);
    expect(refused.text).toContain("would_renumber");
    expect(refused.text).toContain("h1");
    expectRefusal(await host.cli(["config", "set", JSON.stringify(moved)]), ["h1", "--renumber"]);
    expect((await putConfig(host, moved, "?renumber=true")).status).toBe(200);
    await waitFor(() => host.subnetEnv()?.subnet.startsWith("10.9.") === true, {
      describe: "a lease of the new network",
    });
  });
});

labGroup("no agent", { hosts: 1, prepare: async () => undefined }, (test) => {
  test("every command that needs one: code 3 and what to do", async (lab) => {
    for (const words of [["status"], ["token"], ["config", "get"], ["lease", "list"], ["leave"]]) {
      const finished = await lab.host(0).cli(words);
      expectRefusal(finished, ["agent"], { code: 3 });
    }
  });

  test("version and help need none", async (lab) => {
    for (const words of [["version"], ["--help"], ["join", "--help"]]) {
      const finished = await lab.host(0).run([OVERLAY_PATH, ...words]);
      expect(finished.code).toBe(0);
      expect(finished.stderr).toBe("");
    }
  });
});

labGroup("a config from a node that follows", { hosts: 2, prepare: formCluster }, (test) => {
  test("a refusal of the leader reaches the user of another node", async (lab) => {
    for (const host of lab.hosts) {
      const finished = await host.cli(["config", "set", '{"Network":"10.0.0.0/29"}']);
      expectSentence(finished.stderr.trim(), ["/28"], false);
    }
  });
});
