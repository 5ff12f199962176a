/**
 * Docker on the nodes' subnets: two dockerd of Debian's, with the options that `overlay docker-env`
 * writes.
 *
 * @module
 */
import { describe, expect } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { startTeller } from "../lab/address-teller.ts";
import { formCluster, mustPutConfig, NETWORK_CONFIG, statusOf } from "../lab/cluster.ts";
import { Docker, type DockerContainer } from "../lab/docker.ts";
import { type Host, OVERLAY_PATH } from "../lab/host.ts";
import { RUNTIME_PROGRAMS } from "../lab/programs.ts";
import { labTest } from "../lab/requirements.ts";
import { waitFor } from "../lab/wait.ts";

const OUTSIDE = "192.168.77.1";
const PING = ["ping", "-c", "1", "-W", "1"];

/** What `overlay docker-env` writes and says on `host`. */
async function dockerEnv(host: Host): Promise<{ options: string[]; said: string }> {
  const target = join(host.folder, "docker.env");
  const words = ["docker-env", "--wait", "10", "-c", "-f", host.subnetFile, "-d", target];
  const { code, stderr } = await host.run([OVERLAY_PATH, ...words]);
  expect(code).toBe(0);
  const options = /^DOCKER_OPTS="(.*)"$/m.exec(readFileSync(target, "utf8"))?.[1] ?? "";
  return { options: options.trim().split(" "), said: stderr };
}

/** Who a server thinks that `from` is. */
async function seenAs(from: DockerContainer, server: string): Promise<string> {
  return await from.exec(["nc", "-w", "2", server, "7"]);
}

/** Waits until `from` reaches `to` again. */
async function waitPing(from: DockerContainer, to: string): Promise<void> {
  await waitFor(async () => (await from.exec([...PING, to])) !== "", {
    describe: `${to} to answer`,
  });
}

describe("Docker", () => {
  labTest(
    "two dockerd, one of which was there first and drops what it does not know",
    { hosts: 2, docker: false, programs: RUNTIME_PROGRAMS },
    async (lab) => {
      const [a, b] = [lab.host(0), lab.host(1)];
      await using dockerA = new Docker(a);
      await using dockerB = new Docker(b);
      // On a host that forwards nothing yet, Docker has everything forwarded dropped.
      await dockerA.start();
      expect(await a.mustRun(["iptables", "-S", "FORWARD"])).toStartWith("-P FORWARD DROP");
      await formCluster(lab);
      await mustPutConfig(a, NETWORK_CONFIG);
      const leases = [await a.waitLease(), await b.waitLease()];

      // Its bridge has another address: told where people look, with what to do.
      const fix = /^docker0 is in 172\.17\.0\.0\/16 and not at 10\.0\.\d+\.1\/24: restart Docker /;
      expect((await statusOf(a)).warnings).toContainEqual(expect.stringMatching(fix));
      const [envA, envB] = [await dockerEnv(a), await dockerEnv(b)];
      expect([envA.said, envB.said]).toEqual([expect.stringMatching(fix), ""]);
      expect(envA.options).toEqual([
        ...[`--bip=${leases[0]?.subnet}`, "--ip-masq=false", `--mtu=${leases[0]?.mtu}`],
      ]);
      await dockerA.stop();
      await Promise.all([dockerA.start(envA.options), dockerB.start(envB.options)]);
      expect((await statusOf(a)).warnings).toEqual([]);

      const [one, two] = await Promise.all([dockerA.run("one"), dockerB.run("two")]);
      expect(one.address).toBe(leases[0]?.gateway.replace(/1$/, "2") ?? "");
      await waitPing(one, two.address);
      await waitPing(two, one.address);
      await Promise.all([startTeller(one), startTeller(two), startTeller(lab.switch)]);
      expect(await seenAs(one, two.address)).toBe(one.address);
      expect(await seenAs(two, one.address)).toBe(two.address);
      expect(await seenAs(one, OUTSIDE)).toBe(a.address);
      expect(await seenAs(two, OUTSIDE)).toBe(b.address);

      // Somebody flushes the rules, Docker's and ours.
      await a.mustRun(["iptables", "-F", "FORWARD"]);
      await a.mustRun(["nft", "delete", "table", "inet", "overlay"]);
      await waitPing(two, one.address);
      await waitFor(async () => (await seenAs(one, OUTSIDE)) === a.address, {
        describe: "the container to be masqueraded again",
      });
      const rules = (await a.mustRun(["iptables", "-S", "FORWARD"])).split("\n");
      expect(rules.filter((rule) => rule.includes("overlay: "))).toHaveLength(2);

      // What was Docker's stays; what was ours goes.
      const theirs = async () =>
        (await b.mustRun(["iptables-save"])).split("\n").filter((line) => {
          return /^[:-]/.test(line) && !line.includes("overlay: ");
        });
      const before = await theirs();
      await b.mustCli(["leave"]);
      expect(await b.mustRun(["nft", "list", "ruleset"])).not.toContain("overlay");
      const withoutCounts = (line: string) => line.replace(/ \[.*\]$/, "");
      expect((await theirs()).map(withoutCounts)).toEqual(before.map(withoutCounts));
    },
  );
});
