/**
 * Moves between clusters: what a node leaves behind, in the cluster and on its own machine.
 *
 * @module
 */
import { describe, expect } from "bun:test";
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import {
  createToken,
  formCluster,
  join as joinCluster,
  mustPutConfig,
  NETWORK_CONFIG,
  statusOf,
} from "../lab/cluster.ts";
import type { Host } from "../lab/host.ts";
import { labTest } from "../lab/requirements.ts";
import { waitFor } from "../lab/wait.ts";
import { withMounts } from "../lab/wrap.ts";

/** Names of the members as `host` knows them. */
async function membersOf(host: Host): Promise<string[]> {
  const members = (await host.api("/members")).json<readonly { readonly name: string }[]>();
  return members.map(({ name }) => name).sort();
}

/**
 * Until all that `leader` has committed so far is known as such on the disk of `follower`: the
 * commit index is stored with the next entry, and an entry was stored before it is applied.
 */
async function knowsOnDisk(leader: Host, follower: Host): Promise<void> {
  const key = "/settled";
  await leader.mustCli(["kv", "put", key, "1"]);
  const read = ["kv", "get", key, "--serializable"];
  await waitFor(async () => (await follower.cli(read)).code === 0, { describe: "an entry more" });
}

describe("moves", () => {
  labTest("join --reset: nothing of the old network stays", { hosts: 2 }, async (lab) => {
    const [peer, joiner] = [lab.host(0), lab.host(1)];
    await Promise.all(lab.hosts.map((host) => host.startHealthyAgent()));
    await mustPutConfig(peer, NETWORK_CONFIG);
    await mustPutConfig(joiner, { Network: "10.9.0.0/16" });
    await joiner.waitLease();
    const { token } = await createToken(peer);
    await joiner.mustCli(["join", peer.address, "--token", token, "--reset"]);
    await waitFor(() => joiner.subnetEnv()?.network === NETWORK_CONFIG.Network, {
      describe: "a lease of the new network",
    });
    const kernel = [
      await joiner.mustRun(["ip", "address", "show", "dev", "overlay0"]),
      await joiner.mustRun(["ip", "route", "show"]),
      await joiner.mustRun(["nft", "list", "ruleset"]),
    ].join("");
    expect(kernel).toContain("10.0.0.0/16");
    expect(kernel).not.toContain("10.9.");
  });

  labTest(
    "a node that leaves right after its join is a member no more",
    { hosts: 2 },
    async (lab) => {
      const [peer, joiner] = [lab.host(0), lab.host(1)];
      await Promise.all(lab.hosts.map((host) => host.startHealthyAgent()));
      await joinCluster(joiner, peer);
      await joiner.mustCli(["leave"]);
      expect(await membersOf(peer)).toEqual(["h1"]);
    },
  );

  labTest("a removed member's subnet is free at once", { hosts: 3 }, async (lab) => {
    await formCluster(lab);
    await mustPutConfig(lab.host(0), NETWORK_CONFIG);
    for (const host of lab.hosts) await host.waitLease();
    await lab.host(2).agent.kill();
    await lab.host(0).mustCli(["member", "remove", "h3"]);
    const leasesAt = async (host: Host) => (await host.api("/leases")).json<readonly unknown[]>();
    expect(await leasesAt(lab.host(0))).toHaveLength(2);
    // The others are told when the leader has done it, and read what they have.
    await waitFor(async () => (await leasesAt(lab.host(1))).length === 2, {
      describe: "two leases on another node",
    });
    await waitFor(async () => (await statusOf(lab.host(1))).warnings.length === 0, {
      describe: "no complaint of the removed node",
    });
  });

  labTest(
    "a node that starts without its cluster has its subnet at once",
    { hosts: 2 },
    async (lab) => {
      const [voter, standby] = [lab.host(0), lab.host(1)];
      await formCluster(lab, [voter, standby]);
      await mustPutConfig(voter, NETWORK_CONFIG);
      const before = await standby.waitLease();
      await waitFor(async () => (await statusOf(standby)).peers.length === 1, {
        describe: "the voter as a peer",
      });
      await knowsOnDisk(voter, standby);
      await voter.agent.kill();
      await standby.agent.kill();
      rmSync(standby.subnetFile);
      await standby.startHealthyAgent();
      // Its own store may be old; that the cluster confirmed the lease a moment ago is not.
      expect(await standby.waitLease()).toEqual(before);
      const status = await statusOf(standby);
      expect(status.cluster.quorum).toBeFalse();
      expect(status.peers).toHaveLength(1);
      const kept = readFileSync(join(standby.dataDir, "lease", status.cluster.id), "utf8");
      expect(JSON.parse(kept).subnet).toBe(status.lease?.subnet);
    },
  );

  labTest("leave with a full disk: said, and the node goes on", { hosts: 1 }, async (lab) => {
    const host = lab.host(0);
    mkdirSync(host.dataDir);
    const wrap = withMounts(`mount -t tmpfs -o size=64m tmpfs ${host.dataDir}`);
    const agent = await host.startHealthyAgent({ wrap });
    await mustPutConfig(host, NETWORK_CONFIG);
    const { subnet } = await host.waitLease();
    const ballast = join(host.dataDir, "ballast");
    const inside = ["nsenter", `--target=${agent.pid}`, "--mount", "sh", "-c"];
    await host.run([...inside, `dd if=/dev/zero of=${ballast} bs=1k 2>/dev/null`]);
    const failed = await host.cli(["leave"]);
    expect(failed.code).toBe(1);
    expect(failed.stderr).toMatch(/space/);
    await waitFor(async () => (await statusOf(host)).dataplane !== null, {
      describe: "packets to go on",
    });
    expect((await host.waitLease()).subnet).toBe(subnet);
    await host.mustRun([...inside, `rm ${ballast}`]);
    await host.mustCli(["leave"]);
    expect((await statusOf(host)).network).toBeNull();
  });
});
