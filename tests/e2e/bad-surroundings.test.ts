/**
 * Bad surroundings: a machine that lacks what an agent needs. The agent says what, in words, and
 * leaves the machine and its own files as they were.
 *
 * @module
 */
import { describe, expect } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { mustPutConfig, NETWORK_CONFIG, statusOf } from "../lab/cluster.ts";
import type { AgentOptions, Host } from "../lab/host.ts";
import { labTest } from "../lab/requirements.ts";
import { waitFor } from "../lab/wait.ts";
import { withMounts } from "../lab/wrap.ts";
import { expectSentence } from "./messages.ts";

const ONE = { hosts: 1 } as const;
const FREE_PORTS = ["--cluster-listen", "0.0.0.0:8296", "--admin-listen", "127.0.0.1:8297"];

/** Starts an agent that must end by itself, and expects the reason in its last line. */
async function expectNoStart(
  host: Host,
  options: AgentOptions,
  words: readonly (string | RegExp)[],
  next = true,
): Promise<void> {
  const agent = host.startAgent(options);
  const code = await agent.waitExit();
  const line = agent.tail(1);
  expect({ code, line }).toEqual({ code: expect.any(Number), line });
  expect([1, 2]).toContain(code);
  expectSentence(reasonOf(line), words, next);
}

/** The sentence in a log line, `… reason="Cannot …"`, or the line itself. */
function reasonOf(line: string): string {
  const quoted = /\breason=("(?:[^"\\]|\\.)*")/.exec(line)?.[1];
  return quoted === undefined ? line : (JSON.parse(quoted) as string);
}

/** Links, addresses and routes of a host: what a failed start must not have touched. */
async function networkOf(host: Host): Promise<string> {
  const link = await host.mustRun(["ip", "-o", "-br", "link", "show"]);
  const address = await host.mustRun(["ip", "-o", "-br", "address", "show"]);
  return `${link}${address}${await host.mustRun(["ip", "route", "show"])}`;
}

/** Waits for a warning in the status that has `words` in it, and gives it. */
async function waitWarning(host: Host, words: RegExp): Promise<string> {
  let last: readonly string[] = [];
  return await waitFor(
    async () => {
      last = (await statusOf(host)).warnings;
      return last.find((warning) => words.test(warning));
    },
    { describe: `a warning like ${words}`, details: () => JSON.stringify(last) },
  );
}

describe("an agent that cannot start", () => {
  labTest("cluster port taken", ONE, async (lab) => {
    const host = lab.host(0);
    await host.start(["iperf3", "-s", "-p", "8286"]).waitListening(8286);
    await expectNoStart(host, {}, ["8286", /in use|taken|EADDRINUSE/, "--cluster-listen"]);
  });

  labTest("admin port taken", ONE, async (lab) => {
    const host = lab.host(0);
    await host.start(["iperf3", "-s", "-p", "8287"]).waitListening(8287);
    await expectNoStart(host, {}, ["8287", /in use|taken/]);
  });

  labTest("data directory on a read-only file system", ONE, async (lab) => {
    const host = lab.host(0);
    mkdirSync(host.dataDir);
    const script =
      `mount --bind ${host.dataDir} ${host.dataDir}\n` + `mount -o remount,bind,ro ${host.dataDir}`;
    const before = await networkOf(host);
    await expectNoStart(host, { wrap: withMounts(script) }, [host.dataDir, /read-only|writ/]);
    expect(await networkOf(host)).toBe(before);
  });

  labTest("data directory on a full file system", ONE, async (lab) => {
    const host = lab.host(0);
    mkdirSync(host.dataDir);
    const script = `mount -t tmpfs -o size=64k tmpfs ${host.dataDir}`;
    await expectNoStart(host, { wrap: withMounts(script) }, [/space|full/]);
  });

  labTest("data directory that is a file", ONE, async (lab) => {
    const host = lab.host(0);
    writeFileSync(host.dataDir, "");
    await expectNoStart(host, {}, [host.dataDir, /director/], false);
  });

  labTest("data directory in use by another agent, which goes on", ONE, async (lab) => {
    const host = lab.host(0);
    const first = await host.startHealthyAgent();
    const runDir = join(host.folder, "run2");
    const args = [...FREE_PORTS, "--run-dir", runDir, "--subnet-file", "none"];
    await expectNoStart(host, { args }, [host.dataDir, /in use|another/]);
    expect(first.running).toBe(true);
    expect((await host.api("/healthz")).status).toBe(200);
  });

  labTest("host name that is not a label", ONE, async (lab) => {
    const host = lab.host(0);
    // Not by the program "hostname", which would refuse it.
    const script = 'echo Not_A_Label >/proc/sys/kernel/hostname\nexec "$@"';
    const wrap = ["unshare", "--uts", "sh", "-e", "-c", script, "sh"];
    await expectNoStart(host, { wrap, nodeName: "" }, ["Not_A_Label", "--node-name"]);
  });

  labTest("flags that make no sense", ONE, async (lab) => {
    const host = lab.host(0);
    const cases: readonly (readonly [string, string])[] = [
      ["--cluster-listen", "everywhere"],
      ["--log-level", "loud"],
      ["--iface", "nothere0"],
      ["--public-ip", "10.0.0.300"],
      ["--admin-listen", "0.0.0.0:8287"],
    ];
    for (const [flag, value] of cases) {
      await expectNoStart(host, { args: [flag, value] }, [value], false);
    }
  });

  labTest("no link to find the underlay by", ONE, async (lab) => {
    const host = lab.host(0);
    await host.mustRun(["ip", "link", "set", "dev", "eth0", "down"]);
    await expectNoStart(host, {}, ["--iface"]);
  });

  labTest("damaged identity: refused, not made anew", ONE, async (lab) => {
    const host = lab.host(0);
    await host.startHealthyAgent();
    const { node } = await statusOf(host);
    await host.agent.terminate();
    const files = (await host.mustRun(["find", host.dataDir, "-name", "*.json"])).split("\n");
    const identity = files.find((path) => /identity|node/.test(path));
    expect(identity).toBeDefined();
    const text = await Bun.file(identity!).text();
    writeFileSync(identity!, text.slice(0, text.length / 2));
    await expectNoStart(host, {}, [/identity/]);
    writeFileSync(identity!, text);
    await host.startHealthyAgent();
    expect((await statusOf(host)).node.id).toBe(node.id);
  });
});

describe("an agent without what packets need", () => {
  const CASES = [
    {
      name: "no /dev/net/tun",
      wrap: withMounts("mount -t tmpfs tmpfs /dev/net"),
      words: /\/dev\/net\/tun/,
    },
    {
      name: "no CAP_NET_ADMIN",
      wrap: ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"],
      words: /CAP_NET_ADMIN/,
    },
  ] as const;

  for (const { name, wrap, words } of CASES) {
    labTest(`${name}: said at start or in the status, in words`, ONE, async (lab) => {
      const host = lab.host(0);
      const agent = host.startAgent({ wrap });
      const outcome = await waitFor(
        async () => {
          if (!agent.running) return "ended";
          return (await host.api("/healthz")).status === 200 && "running";
        },
        { describe: "the agent to end or to answer" },
      );
      if (outcome === "ended") {
        expectSentence(reasonOf(agent.tail(1)), [words]);
        return;
      }
      // It may run as a member of the cluster; then it must say that it carries no packets.
      await mustPutConfig(host, NETWORK_CONFIG);
      expectSentence(await waitWarning(host, words), [words]);
      expect((await host.cli(["status"])).stdout).toMatch(words);
      expect((await host.api("/readyz")).status).toBe(503);
    });
  }

  labTest("packet port taken: said in the status, works once it is free", ONE, async (lab) => {
    const host = lab.host(0);
    const program = "require('node:dgram').createSocket('udp4').bind(8285)";
    const squatter = host.start([process.execPath, "-e", program]);
    await waitFor(async () => (await host.mustRun(["cat", "/proc/net/udp"])).includes(":205D "), {
      describe: "the packet port to be taken",
    });
    await host.startHealthyAgent();
    await mustPutConfig(host, NETWORK_CONFIG);
    expectSentence(await waitWarning(host, /8285/), ["8285", /in use|taken/]);
    await squatter.kill();
    await waitFor(async () => (await statusOf(host)).warnings.length === 0, {
      timeoutMs: 30_000,
      describe: "the warning to go",
    });
    expect((await host.waitLease()).mtu).toBe(1472);
  });
});

describe("a disk that fills up", () => {
  labTest("nothing acknowledged is lost, and it is said", ONE, async (lab) => {
    const host = lab.host(0);
    await host.startHealthyAgent();
    await mustPutConfig(host, NETWORK_CONFIG);
    const config = (await host.api("/config")).text;
    const { subnet } = await host.waitLease();
    await host.agent.kill();

    // The same files on a file system with no byte left.
    const script =
      `cp -a ${host.dataDir} ${host.folder}/copy\n` +
      `size=$(du -sk ${host.folder}/copy | cut -f1)\n` +
      `mount -t tmpfs -o size=$((size + 64))k tmpfs ${host.dataDir}\n` +
      `cp -a ${host.folder}/copy/. ${host.dataDir}/\n` +
      `dd if=/dev/zero of=${host.dataDir}/ballast bs=1k 2>/dev/null || true`;
    const agent = host.startAgent({ wrap: withMounts(script) });
    const state = await waitFor(
      async () => {
        if (!agent.running) return "ended";
        return (await host.api("/healthz")).status === 200 && "running";
      },
      { describe: "the agent to end or to answer" },
    );
    if (state === "ended") expectSentence(reasonOf(agent.tail(1)), [/space|full/]);
    else await agent.kill();

    await host.startHealthyAgent();
    await waitFor(async () => (await host.api("/config")).text === config, {
      describe: "the config that was acknowledged",
    });
    expect((await host.waitLease()).subnet).toBe(subnet);
  });
});
