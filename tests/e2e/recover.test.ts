/**
 * Bad days, by the page that says what to do on them (docs/OPERATING.md): all nodes lost, and most
 * voters lost. Its blocks are run word for word.
 *
 * @module
 */
import { describe, expect } from "bun:test";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import {
  addContainers,
  formCluster,
  mustPutConfig,
  NETWORK_CONFIG,
  statusOf,
  waitReaches,
  waitSettled,
} from "../lab/cluster.ts";
import type { Host } from "../lab/host.ts";
import { pageBlocks, runBlock } from "../lab/page.ts";
import { labTest } from "../lab/requirements.ts";
import { waitFor } from "../lab/wait.ts";

const PAGE = "OPERATING.md";
/** Until a cluster without a quorum says so to who writes. */
const ANSWER_LIMIT_MS = 15_000;

/** The token in what `overlay token` printed. */
function tokenIn(text: string): string {
  const token = /OVL1\.\S+/.exec(text)?.[0];
  if (token === undefined) throw new Error(`No token was printed:\n${text}`);
  return token;
}

async function put(host: Host, key: string, value: string): Promise<number> {
  const answer = await host.api(`/kv${key}`, { method: "PUT", body: value });
  expect([answer.status, answer.text]).toEqual([200, answer.text]);
  return answer.json<{ revision: number }>().revision;
}

async function subnetsOf(hosts: readonly Host[]): Promise<string[]> {
  return await Promise.all(hosts.map(async (host) => (await host.waitLease()).subnet));
}

/** Waits until each of `hosts` has the subnet that it had. */
async function waitSubnets(hosts: readonly Host[], subnets: readonly string[]): Promise<void> {
  let last: (string | undefined)[] = [];
  await waitFor(
    async () => {
      const all = await Promise.all(hosts.map(statusOf));
      last = all.map(({ lease }) => lease?.subnet);
      return last.every((each, i) => each?.split("/")[0] === networkOf(subnets[i]!));
    },
    { timeoutMs: 20_000, describe: `${subnets.join(", ")} again`, details: () => last.join(", ") },
  );
}

/** "10.0.53.1/24" is in "10.0.53.0". */
function networkOf(gateway: string): string {
  return gateway.replace(/\d+\/\d+$/, "0");
}

describe("docs/OPERATING.md", () => {
  labTest(
    "Backup, Restore: all nodes are lost, and all get back what they had",
    { hosts: 2, docker: false, timeoutMs: 90_000 },
    async (lab) => {
      const [first, second] = lab.hosts as [Host, Host];
      await formCluster(lab);
      await mustPutConfig(first, NETWORK_CONFIG);
      const subnets = await subnetsOf(lab.hosts);
      const revision = await put(first, "/app/color", "blue");
      const before = await statusOf(first);
      const backup = pageBlocks(PAGE, "Backup");
      expect(backup.length).toBe(1);
      const said = await runBlock(backup[0]!, first);
      expect(said).toContain(`revision ${revision}`);
      expect(said).toContain("whole and as it was saved");
      const file = join(first.folder, "overlay.backup");
      expect(readFileSync(file, "latin1")).not.toContain("PRIVATE KEY");

      for (const host of lab.hosts) {
        await host.agent.kill();
        rmSync(host.dataDir, { recursive: true });
        rmSync(host.subnetFile, { force: true });
        rmSync(join(host.runDir, "subnet.env"), { force: true });
        await host.startHealthyAgent();
      }
      const [restore, joining] = pageBlocks(PAGE, "Restore");
      const token = tokenIn(await runBlock(restore!, first));
      await runBlock(joining!, second, { peer: first.address, token });
      await waitSettled(lab.hosts);
      await waitSubnets(lab.hosts, subnets);
      const after = await statusOf(first);
      expect(after.cluster.id).not.toBe(before.cluster.id);
      expect((await second.api("/kv/app/color")).text).toBe("blue");
      // Who watched the old store must look again, and misses nothing.
      expect(await put(second, "/app/color", "green")).toBeGreaterThan(revision + 1_000_000_000);
      const watch = await first.api(`/watch?prefix=/app/&since=${revision}`);
      expect([watch.status, watch.json<{ type: string }>().type]).toEqual([
        410,
        "urn:overlay:compacted",
      ]);
    },
  );

  labTest(
    "Most voters are lost: packets go on, one goes on alone, the others come back to it",
    { hosts: 4, timeoutMs: 120_000 },
    async (lab) => {
      await formCluster(lab);
      await mustPutConfig(lab.host(0), NETWORK_CONFIG);
      const containers = await addContainers(lab);
      const subnets = await subnetsOf(lab.hosts);
      await put(lab.host(0), "/app/color", "blue");
      const { left, lost } = await loseVoters(lab.hosts);
      const [survivor, other] = left as [Host, Host];
      const ends = left.map((host) => containers[lab.hosts.indexOf(host)]!);

      await expectNoQuorum(survivor, lost);
      await waitReaches(ends[0]!, ends[1]!);
      const blocks = pageBlocks(PAGE, "Most voters are lost");
      expect(blocks.map(({ where }) => where)).toEqual([
        "on a node that is left",
        "on a node that is left",
        "on each other node",
      ]);
      expect(await runBlock(blocks[0]!, survivor)).toContain("/app/color");
      const ping = ends[0]!.startPing(ends[1]!.address, { intervalSeconds: 0.02 });
      const token = tokenIn(await runBlock(blocks[1]!, survivor));
      const recovered = await statusOf(survivor);
      expect(recovered.cluster).toMatchObject({ members: 1, quorum: true });

      // A voter that comes back is not heard, and what it makes of itself is another cluster.
      const [back] = lost as [Host, Host];
      const recover = ["recover", "--force-new-cluster", "--yes", "--data-dir", back.dataDir];
      await back.mustCli(recover);
      await back.startHealthyAgent();
      const apart = await statusOf(back);
      expect(apart.cluster.id).not.toBe(recovered.cluster.id);
      expect((await statusOf(survivor)).cluster.members).toBe(1);

      const late = lost[1]!;
      await late.startHealthyAgent();
      await waitFor(
        async () => {
          const said = (await statusOf(late)).warnings.join("\n");
          return said.includes(`overlay join ${survivor.address}`) && said.includes("--reset");
        },
        { describe: `${late.name} to be told of the new cluster` },
      );
      const place = { peer: survivor.address, token };
      for (const host of [other, ...lost]) await runBlock(blocks[2]!, host, place);
      await waitSettled(lab.hosts);
      await waitSubnets(lab.hosts, subnets);
      expect((await ping.stop()).received).toBeGreaterThan(0);
      expect((await other.api("/kv/app/color")).text).toBe("blue");
      await put(back, "/app/color", "green");
    },
  );
});

/** Kills all voters but one: a voter and a standby are left. */
async function loseVoters(
  hosts: readonly Host[],
): Promise<{ readonly left: readonly Host[]; readonly lost: readonly Host[] }> {
  const all = await Promise.all(hosts.map(statusOf));
  const voters = hosts.filter((_, i) => all[i]!.node.role === "voter");
  expect(voters.length).toBe(3);
  const lost = voters.slice(1);
  for (const host of lost) await host.agent.kill();
  return { left: [voters[0]!, ...hosts.filter((host) => !voters.includes(host))], lost };
}

/** What a node without a quorum says, and does. */
async function expectNoQuorum(host: Host, lost: readonly Host[]): Promise<void> {
  const names = lost.map(({ name }) => name);
  await waitFor(
    async () => {
      const { warnings } = await statusOf(host);
      const said = warnings.find((each) => each.includes("no leader with a quorum")) ?? "";
      return names.every((name) => said.includes(name)) && said.includes("overlay recover");
    },
    { describe: `${host.name} to miss ${names.join(", ")}` },
  );
  const ready = await host.api("/readyz");
  expect([ready.status, ready.text]).toEqual([503, expect.stringContaining(names[0]!)]);
  const begunMs = performance.now();
  const write = await host.api("/kv/app/color", { method: "PUT", body: "red" });
  expect(performance.now() - begunMs).toBeLessThan(ANSWER_LIMIT_MS);
  expect([write.status, write.json<{ type: string }>().type]).toEqual([
    503,
    "urn:overlay:no_quorum",
  ]);
  expect(Number(write.headers.get("retry-after"))).toBeGreaterThan(0);
  const read = await host.api("/kv/app/color?consistency=serializable");
  expect([read.status, read.text]).toEqual([200, "blue"]);
  expect((await statusOf(host)).cluster.quorum).toBe(false);
}
