/**
 * A cluster that looks after itself, from outside: it grows and shrinks under load, takes orders
 * about who votes, and refuses who is not the node that it knows. `scripts/history --grow` does the
 * first for longer.
 *
 * @module
 */
import { describe, expect } from "bun:test";
import { cpSync, rmSync } from "node:fs";
import {
  GROWTH_HOSTS,
  membersOf,
  ROLES_TIMEOUT_MS,
  runGrowth,
  waitRoles,
} from "../history/growth.ts";
import { createToken, formCluster, statusOf } from "../lab/cluster.ts";
import type { Host } from "../lab/host.ts";
import { labTest } from "../lab/requirements.ts";
import { waitFor } from "../lab/wait.ts";

const SEED = 7;

labTest(
  "1, 2, 3, 5, 7 and 3 nodes under writes: roles as said, one leader a term, nothing lost",
  { hosts: GROWTH_HOSTS, docker: false, timeoutMs: 280_000 },
  async (lab) => {
    const lines: string[] = [];
    const say = (line: string) => lines.push(line);
    const { findings, written } = await runGrowth(lab, { seed: SEED, rounds: 1, say });
    if (findings.length > 0) console.error(lines.join("\n"));
    expect(findings).toEqual([]);
    expect(written).toBeGreaterThan(100);
  },
);

describe("orders and refusals", () => {
  labTest("promote, demote and how many vote", { hosts: 4, docker: false }, async (lab) => {
    await formCluster(lab);
    const [host] = lab.hosts as [Host];
    await waitRoles(host, "3 1 0");
    const standby = (await membersOf(host)).find(({ role }) => role === "standby")!;
    // Refused until it has caught up.
    await waitFor(async () => (await host.cli(["member", "promote", standby.name])).code === 0, {
      describe: "the order to be taken",
    });
    await waitFor(
      async () =>
        (await membersOf(host)).some(({ id, role }) => id === standby.id && role === "voter"),
      { describe: "its vote" },
    );
    const demote = () => host.api(`/members/${standby.id}/demote`, { method: "POST" });
    await waitFor(async () => (await demote()).status === 200, {
      describe: "another standby to be ready",
    });
    await waitFor(
      async () =>
        (await membersOf(host)).some(({ id, role }) => id === standby.id && role === "standby"),
      { describe: "another to vote" },
    );
    const dead = lab.hosts.find(({ name }) => name === standby.name)!;
    await dead.agent.kill();
    const asked = lab.hosts.find((each) => each !== dead)!;
    const refused = await waitFor(
      async () => {
        const each = await asked.cli(["member", "promote", standby.name]);
        return each.code !== 0 && each;
      },
      { describe: "a refusal" },
    );
    expect(refused.stderr).toContain("does not answer");
    await asked.mustCli(["member", "target", "1"]);
    await waitRoles(asked, "1 3 0");
  });

  labTest(
    "a removed node that comes back is told so, and what to do",
    { hosts: 3 },
    async (lab) => {
      await formCluster(lab);
      const [host, , gone] = lab.hosts as [Host, Host, Host];
      await waitRoles(host, "3 0 0");
      await gone.agent.kill();
      await host.mustCli(["member", "remove", gone.name]);
      await waitRoles(host, "1 1 0");
      const { term } = (await statusOf(host)).cluster;
      await gone.startHealthyAgent();
      await waitFor(async () => (await statusOf(gone)).warnings.join().includes("was removed"), {
        describe: "the removed node to be told",
      });
      expect((await statusOf(gone)).warnings.join()).toContain("--reset");
      expect((await gone.cli(["kv", "put", "/x", "1"])).code).not.toBe(0);
      expect((await statusOf(host)).cluster.term).toBe(term);
      const { token } = await createToken(host);
      await gone.mustCli(["join", host.address, "--token", token, "--reset"]);
      await waitRoles(host, "3 0 0");
    },
  );

  labTest("an old copy of a disk is refused with the reason", { hosts: 3 }, async (lab) => {
    await formCluster(lab);
    const [host, , node] = lab.hosts as [Host, Host, Host];
    await waitRoles(host, "3 0 0");
    const backup = `${node.dataDir}-backup`;
    await node.agent.terminate();
    cpSync(node.dataDir, backup, { recursive: true });
    await node.startHealthyAgent();
    for (let i = 0; i < 5; i++) await host.mustCli(["kv", "put", `/key-${i}`, "1"]);
    await waitFor(
      async () => (await node.cli(["kv", "get", "/key-4", "--serializable"])).code === 0,
      {
        describe: "the node to have them",
      },
    );
    await node.agent.kill();
    rmSync(node.dataDir, { recursive: true });
    cpSync(backup, node.dataDir, { recursive: true });
    await node.startHealthyAgent();
    await waitFor(async () => (await statusOf(node)).warnings.join().includes("old copy"), {
      describe: "the refusal",
    });
    await host.mustCli(["kv", "put", "/after", "1"]);
    const { token } = await createToken(host);
    await node.mustCli(["join", host.address, "--token", token, "--reset"]);
    await waitFor(async () => (await node.cli(["kv", "get", "/after"])).code === 0, {
      describe: "the node to be back as a new one",
    });
  });

  labTest("two of three that move at the same time are found again", { hosts: 3 }, async (lab) => {
    await formCluster(lab);
    const [host, ...moved] = lab.hosts as [Host, Host, Host];
    await waitRoles(host, "3 0 0");
    await Promise.all(moved.map((each) => each.agent.kill()));
    const args = ["--cluster-listen", "0.0.0.0:9286"];
    await Promise.all(moved.map((each) => each.startHealthyAgent({ args })));
    const addresses = async (at: Host) =>
      (await at.api("/members")).json<readonly { readonly address: string }[]>();
    for (const each of lab.hosts) {
      await waitFor(
        async () =>
          (await addresses(each)).filter((one) => one.address.endsWith(":9286")).length === 2,
        { timeoutMs: ROLES_TIMEOUT_MS, describe: `${each.name} to know where they are` },
      );
    }
    await moved[0]!.mustCli(["kv", "put", "/moved", "1"]);
  });
});
