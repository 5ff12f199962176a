/**
 * The executable as CNI plugin, over Debian's `bridge` and `host-local`: called by hand as the
 * specification says, and by podman.
 *
 * @module
 */
import { describe, expect } from "bun:test";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { startTeller } from "../lab/address-teller.ts";
import { formCluster, mustPutConfig, NETWORK_CONFIG } from "../lab/cluster.ts";
import { type Host, OVERLAY_PATH } from "../lab/host.ts";
import type { Namespace } from "../lab/namespace.ts";
import { Podman } from "../lab/podman.ts";
import { RUNTIME_PROGRAMS } from "../lab/programs.ts";
import { labTest } from "../lab/requirements.ts";
import type { Finished } from "../lab/run.ts";

const DELEGATES = "/usr/lib/cni";
const QUICK = { count: 3, intervalSeconds: 0.01, waitSeconds: 0.5 };

/** A network of `host`, in folders of its own. */
function networkOf(host: Host): Record<string, unknown> {
  return {
    ...{ name: "net1", type: "overlay", waitSeconds: 5 },
    ...{ subnetFile: host.subnetFile, socket: host.socket, dataDir: join(host.folder, "cni") },
    ipam: { dataDir: join(host.folder, "ipam") },
    delegate: { isDefaultGateway: true },
  };
}

/** Calls the plugin as a runtime does. */
async function call(
  host: Host,
  sandbox: Namespace,
  command: string,
  config: Record<string, unknown>,
): Promise<Finished> {
  const variables = [
    ...[`CNI_COMMAND=${command}`, "CNI_CONTAINERID=c1", "CNI_IFNAME=eth0"],
    ...[`CNI_NETNS=/run/netns/${sandbox.id}`, `CNI_PATH=${DELEGATES}`],
  ];
  return await host.run(["env", ...variables, OVERLAY_PATH], { stdin: JSON.stringify(config) });
}

/** Like `call`, for what must succeed; gives the result, if it has one. */
async function must(
  ...[host, sandbox, command, config]: Parameters<typeof call>
): Promise<Record<string, unknown>> {
  const { code, stdout } = await call(host, sandbox, command, config);
  if (code !== 0) throw new Error(`${command} ended with code ${code}: ${stdout}`);
  return stdout === "" ? {} : (JSON.parse(stdout) as Record<string, unknown>);
}

/** Addresses that host-local has handed out. */
function handedOut(host: Host, folder = join(host.folder, "ipam", "net1")): string[] {
  return existsSync(folder) ? readdirSync(folder).filter((name) => /^\d/.test(name)) : [];
}

const TWO = { hosts: 2, docker: false, programs: RUNTIME_PROGRAMS } as const;

describe("CNI", () => {
  labTest("called by hand and by podman, across nodes", TWO, async (lab) => {
    const [a, b] = [lab.host(0), lab.host(1)];
    await formCluster(lab);
    const sandbox = await a.addSandbox();
    const network = networkOf(a);
    // Asked before there is a lease: the plugin waits for it.
    const early = must(a, sandbox, "ADD", { ...network, cniVersion: "0.3.1" });
    await mustPutConfig(a, NETWORK_CONFIG);
    const lease = await a.waitLease();
    const result = await early;
    const address = lease.gateway.replace(/1$/, "2");
    expect(result).toMatchObject({
      cniVersion: "0.3.1",
      ips: [{ version: "4", address: `${address}/24`, gateway: lease.gateway }],
      routes: [{ dst: lease.network }, { dst: "0.0.0.0/0", gw: lease.gateway }],
    });

    const binDir = join(b.folder, "bin");
    const confDir = join(b.folder, "net.d");
    await b.waitLease();
    const folders = ["--bin-dir", binDir, "--conf-dir", confDir];
    await b.mustRun([
      ...[OVERLAY_PATH, "cni", "install", ...folders, "--subnet-file", b.subnetFile],
    ]);
    await using podman = await Podman.open(b, { binDir, confDir });
    const far = await podman.start("far", "overlay");
    expect(far.split(".").slice(0, 3)).toEqual(b.subnetEnv()?.gateway.split(".").slice(0, 3) ?? []);
    expect((await sandbox.ping(far, QUICK)).received).toBe(3);
    const mtu = JSON.parse(await sandbox.mustRun(["ip", "-j", "link", "show", "eth0"]))[0].mtu;
    expect(mtu).toBe(lease.mtu);
    // The far side sees the container itself: nothing is masqueraded inside the network.
    await startTeller(sandbox);
    const seen = await podman.must(["exec", "far", "/bin/busybox", "nc", "-w", "2", address, "7"]);
    expect(seen).toBe(far);

    await podman.must(["rm", "--force", "--time", "0", "far"]);
    expect(handedOut(b, "/var/lib/cni/networks/overlay")).not.toContain(far);
    await b.mustRun([OVERLAY_PATH, "cni", "uninstall", ...folders]);
    expect(existsSync(join(binDir, "overlay"))).toBe(false);
    expect(existsSync(join(confDir, "10-overlay.conflist"))).toBe(false);
  });

  labTest("every command in every version that has it", { ...TWO, hosts: 1 }, async (lab) => {
    const host = lab.host(0);
    await host.startHealthyAgent();
    const sandbox = await host.addSandbox();
    const base = networkOf(host);
    const latest = { ...base, cniVersion: "1.1.0" };
    const none = await call(host, sandbox, "STATUS", latest);
    expect(JSON.parse(none.stdout)).toMatchObject({ code: 50, details: "no network config yet" });
    const late = await call(host, sandbox, "ADD", { ...latest, waitSeconds: 0.1 });
    expect(JSON.parse(late.stdout)).toMatchObject({ code: 11 });

    await mustPutConfig(host, NETWORK_CONFIG);
    await host.waitLease();
    await must(host, sandbox, "STATUS", latest);
    for (const cniVersion of ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]) {
      const network = { ...base, cniVersion };
      const prevResult = await must(host, sandbox, "ADD", network);
      expect(prevResult["cniVersion"]).toBe(cniVersion);
      const after = { ...network, prevResult };
      if (cniVersion >= "0.4.0") await must(host, sandbox, "CHECK", after);
      await must(host, sandbox, "DEL", after);
      await must(host, sandbox, "DEL", after);
      expect(handedOut(host)).toEqual([]);
    }

    const prevResult = await must(host, sandbox, "ADD", latest);
    const valid = [{ containerID: "c1", ifname: "eth0" }];
    await must(host, sandbox, "GC", { ...latest, "cni.dev/valid-attachments": valid });
    expect(handedOut(host)).toHaveLength(1);
    await sandbox.mustRun(["ip", "link", "delete", "eth0"]);
    const broken = await call(host, sandbox, "CHECK", { ...latest, prevResult });
    expect(broken.code).toBe(1);
    await must(host, sandbox, "GC", { ...latest, "cni.dev/valid-attachments": [] });
    expect(handedOut(host)).toEqual([]);
    expect(readdirSync(join(host.folder, "cni"))).toEqual([]);

    await host.agent.terminate();
    const alone = JSON.parse((await call(host, sandbox, "STATUS", latest)).stdout);
    expect(alone.code).toBe(existsSync(host.subnetFile) ? 51 : 50);
  });
});
