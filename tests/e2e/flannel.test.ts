/**
 * Taking the place of flannel: its network out of a real etcd, and who had which subnet has it
 * still.
 *
 * @module
 */
import { describe, expect } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { join as joinCluster, statusOf } from "../lab/cluster.ts";
import { type Etcd, startEtcd } from "../lab/etcd.ts";
import { ETCD_PROGRAMS } from "../lab/programs.ts";
import { labTest } from "../lab/requirements.ts";
import { waitFor } from "../lab/wait.ts";

const PREFIX = "/coreos.com/network";
const SUBNETS = ["10.5.34.0/24", "10.5.7.0/24", "10.5.200.0/24"];

/** What three nodes of flannel v0.20 leave: two with leases, and one pinned to its subnet. */
async function fillEtcd(etcd: Etcd, addresses: readonly string[]): Promise<void> {
  const must = async (...words: string[]) => {
    const { code, stderr, stdout } = await etcd.ctl(words);
    if (code !== 0) throw new Error(`etcdctl ${words[0]}: ${stderr}`);
    return stdout;
  };
  const config = { Network: "10.5.0.0/16", Backend: { Type: "vxlan", VNI: 1 } };
  await must("put", `${PREFIX}/config`, JSON.stringify(config));
  const lease = /lease ([0-9a-f]+) /.exec(await must("lease", "grant", "86400"))?.[1] ?? "";
  for (const [index, address] of addresses.entries()) {
    const key = `${PREFIX}/subnets/${SUBNETS[index]?.replace("/", "-")}`;
    const attributes = {
      ...{ PublicIP: address, PublicIPv6: null, BackendType: "vxlan" },
      BackendData: { VNI: 1, VtepMAC: `b2:2a:04:63:64:0${index}` },
    };
    const pinned = index === 2 ? [] : [`--lease=${lease}`];
    await must("put", ...pinned, key, JSON.stringify(attributes));
  }
}

describe("import flannel", () => {
  labTest(
    "from etcd by TLS and password, and every node keeps its subnet",
    { hosts: 3, docker: false, programs: ETCD_PROGRAMS },
    async (lab) => {
      const [first, ...others] = lab.hosts;
      if (first === undefined) throw new Error("The lab has no hosts");
      const etcd = await startEtcd(first);
      await fillEtcd(
        etcd,
        lab.hosts.map(({ address }) => address),
      );
      await Promise.all(lab.hosts.map((host) => host.startHealthyAgent()));

      const file = join(first.folder, "flanneld");
      writeFileSync(file, 'FLANNELD_ETCD_USERNAME=root\nFLANNELD_IFACE="eth0"\n');
      const words = ["import", "flannel", "--etcd", etcd.url, "--etcd-cafile", etcd.cafile];
      const asRoot = [...words, "--options-file", file];
      const refused = await first.cli([...asRoot, "--yes"]);
      expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining("HTTP 400") });

      writeFileSync(file, `FLANNELD_ETCD_PASSWORD='${etcd.password}'\n`, { flag: "a" });
      const shown = await first.cli(asRoot);
      expect(shown.code).toBe(1);
      expect(shown.stderr).toContain("Nothing was written; repeat it with --yes");
      expect(shown.stdout).toContain("3 leases, 1 of them without an end");
      const config = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","VNI":1}}';
      expect(shown.stdout).toContain(`Config: ${config}`);
      expect(shown.stdout).toContain("OVERLAY_IFACE=eth0");
      expect((await first.api("/config")).status).toBe(404);

      // What flannel leaves on a host whose link was forgotten.
      await first.mustRun([
        ...["ip", "link", "add", "flannel.1", "type", "vxlan"],
        ...["id", "1", "dstport", "8472", "nolearning"],
      ]);
      expect(await first.mustCli([...asRoot, "--yes"])).toContain("3 subnets kept");
      for (const other of others) await joinCluster(other, first);
      for (const [index, host] of lab.hosts.entries()) {
        const { subnet } = await host.waitLease();
        expect(subnet).toBe(SUBNETS[index]?.replace(".0/", ".1/") ?? "");
      }

      const { warnings } = await statusOf(first);
      expect(warnings.join("\n")).toContain("flannel.1 has the same VNI and port; delete it");
      await first.mustRun(["ip", "link", "delete", "flannel.1"]);
      await waitFor(async () => (await statusOf(first)).warnings.length === 0, {
        describe: "the link in flannel's place",
      });
      for (const host of lab.hosts) {
        const { dataplane, peers } = await statusOf(host);
        expect(dataplane).toMatchObject({ mtu: 1450, interface: "overlay.1" });
        for (const { subnet } of peers) {
          await host.mustRun(["ping", "-c", "1", "-W", "2", subnet.replace("/24", "")]);
        }
      }

      // The same out of a dump, and once more: there is nothing left to do.
      const { stdout: dump } = await etcd.ctl(["get", "--prefix", PREFIX, "-w", "json"]);
      const path = join(first.folder, "dump.json");
      writeFileSync(path, dump);
      const again = await first.mustCli(["import", "flannel", "--file", path, "--yes", "--json"]);
      expect(JSON.parse(again)).toMatchObject({
        plan: { effect: "keep" },
        reservations: [{ held: true }, { held: true }, { held: true }],
      });
    },
  );
});
