/**
 * Packages under a real systemd: installed, restarted and upgraded under pings, removed, purged.
 * The machine is booted in namespaces (booted-machine.sh); the other host of the lab is its peer.
 *
 * @module
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { copyFileSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join as joinPath } from "node:path";
import { type BootedMachine, bootMachine, controlGroups } from "../lab/booted-machine.ts";
import { createToken, mustPutConfig, NETWORK_CONFIG, waitReaches } from "../lab/cluster.ts";
import { type Container, type Host, OVERLAY_PATH } from "../lab/host.ts";
import type { Lab } from "../lab/lab.ts";
import { PACKAGE_PROGRAMS } from "../lab/programs.ts";
import { labObstacle, labTest } from "../lab/requirements.ts";
import { pingThrough } from "../lab/restarts.ts";
import { mustRun } from "../lab/run.ts";
import { waitFor } from "../lab/wait.ts";

const ROOT = joinPath(import.meta.dir, "../..");
const TWO_HOSTS = { hosts: 2, timeoutMs: 120_000, programs: PACKAGE_PROGRAMS } as const;
const PACK_TIMEOUT_MS = 120_000;
const OLD = "0.9.0-rc.1";
const NEW = "0.9.0";
/** Read from the socket by the process that ends, and not handed on. */
const LOST_MAX = 1;

/** Half a minute each, most of it in dpkg and in waiting for a settled cluster: by hand. */
const isSlowWanted = process.env["OVERLAY_SLOW"] === "1";

const obstacle =
  labObstacle(PACKAGE_PROGRAMS) ??
  (controlGroups() === undefined ? "needs a mounted cgroup2" : undefined);
const folder = mkdtempSync(joinPath(tmpdir(), "overlay-packages-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** Makes packages of the executable under test; lightly compressed, which is fast. */
async function makePackages(kind: "deb" | "rpm", version: string, out = folder): Promise<string> {
  const words = [`--${kind}`, "--version", version, "--level", "0", "--out", out];
  const script = [
    process.execPath,
    joinPath(ROOT, "scripts/package.ts"),
    "--program",
    OVERLAY_PATH,
  ];
  await mustRun([...script, ...words], {
    env: { SOURCE_DATE_EPOCH: "1700000000" },
    timeoutMs: PACK_TIMEOUT_MS,
  });
  const name = readdirSync(out).find((each) => each.endsWith(kind) && isOf(each, version));
  if (name === undefined) throw new Error(`No ${kind} of ${version} was made in ${out}`);
  return joinPath(out, name);
}

function slowTest(name: string, body: (lab: Lab) => Promise<void>): void {
  if (isSlowWanted) labTest(name, TWO_HOSTS, body);
  else test.skip(`${name} [skipped: takes half a minute, OVERLAY_SLOW=1 runs it]`, () => undefined);
}

function isOf(name: string, version: string): boolean {
  return new RegExp(`^overlay[-_]${version.replace("-", "~")}[-_]`).test(name);
}

/** Copies a file to where the machine sees it, and gives its path there. */
function share(machine: BootedMachine, path: string): string {
  copyFileSync(path, joinPath(machine.share, basename(path)));
  return `/mnt/${basename(path)}`;
}

/** Links, routes and rules, without what the lab itself makes for containers. */
async function network(host: Host): Promise<string> {
  const lines = ["ip -br link", "ip -4 route show table all", "nft list ruleset", "ip rule"];
  const text = await host.mustRun(["sh", "-c", lines.join("; ")]);
  return text.replace(/^.*\b(docker0|veth\d+)\b.*\n/gm, "");
}

/** Joins the booted machine to `peer`'s cluster; resolves to a container on each, in touch. */
async function connect(
  machine: BootedMachine,
  host: Host,
  peer: Host,
): Promise<readonly [Container, Container]> {
  const { token } = await createToken(peer);
  await machine.mustShell(`overlay join ${peer.address} --token ${token}`);
  const ends = [
    await peer.addContainer(await peer.waitLease()),
    await host.addContainer(await machine.waitLease()),
  ] as const;
  await waitReaches(...ends);
  return ends;
}

async function expectNoLoss(
  ends: readonly [Container, Container],
  change: () => Promise<unknown>,
): Promise<void> {
  for (const { lost, sent } of await pingThrough(ends, change)) {
    expect(lost.length, `lost of ${sent}`).toBeLessThanOrEqual(LOST_MAX);
  }
}

describe.skipIf(obstacle !== undefined)(
  `packages${obstacle ? ` [skipped: ${obstacle}]` : ""}`,
  () => {
    let older = "";
    let newer = "";
    beforeAll(async () => {
      [older, newer] = [await makePackages("deb", OLD), await makePackages("deb", NEW)];
    }, PACK_TIMEOUT_MS);

    test("the same bytes twice", async () => {
      const again = mkdtempSync(joinPath(folder, "again-"));
      await mustRun(["cmp", newer, await makePackages("deb", NEW, again)]);
      rmSync(again, { recursive: true });
    });

    slowTest("the .deb: installed, restarted, upgraded, removed, purged", async (lab) => {
      const [peer, host] = [lab.host(0), lab.host(1)];
      await peer.startHealthyAgent();
      await mustPutConfig(peer, NETWORK_CONFIG);
      await using machine = await bootMachine(host);
      const before = { files: await machine.files(), network: await network(host) };

      await machine.mustShell(`dpkg --install ${share(machine, older)}`);
      expect(await machine.mustShell("systemctl is-active overlay")).toBe("active");
      expect(await machine.mustShell("systemctl is-enabled overlay")).toBe("enabled");
      expect(await machine.service("StatusText")).toStartWith("No network config yet");
      expect((await machine.service("Before")).split(" ")).toContain("docker.service");

      const ends = await connect(machine, host, peer);
      await waitFor(async () => (await machine.service("StatusText")).startsWith("Lease 10.0."), {
        describe: "the lease in the status line",
        timeoutMs: 20_000,
      });
      const first = await machine.service("MainPID");
      expect(await machine.service("NFileDescriptorStore")).not.toBe("0");
      await expectNoLoss(ends, () => machine.mustShell("systemctl restart overlay"));
      const second = await machine.service("MainPID");
      await expectNoLoss(ends, () => machine.mustShell(`dpkg --install ${share(machine, newer)}`));
      expect(new Set([first, second, await machine.service("MainPID")]).size).toBe(3);
      expect(await machine.mustShell("journalctl --unit overlay --output cat")).toContain("10.0.");

      const id = await machine.mustShell("overlay status --json");
      await machine.mustShell("dpkg --remove overlay");
      expect(await network(host)).not.toContain("overlay0");
      await machine.mustShell(`dpkg --install ${share(machine, newer)}`);
      expect(nodeId(await machine.mustShell("overlay status --json"))).toBe(nodeId(id));
      await machine.mustShell("dpkg --purge overlay");
      expect(await machine.files()).toEqual(before.files);
      expect(await network(host)).toBe(before.network);
    });

    slowTest("install.sh: watchdog, upgrade, uninstall --force", async (lab) => {
      const [peer, host] = [lab.host(0), lab.host(1)];
      await peer.startHealthyAgent();
      await mustPutConfig(peer, NETWORK_CONFIG);
      await using machine = await bootMachine(host);
      const before = await machine.files();
      const program = share(machine, OVERLAY_PATH);
      const script = share(machine, joinPath(ROOT, "install.sh"));
      const install = `sh ${script} --file ${program}`;
      await machine.mustShell(install);
      const ends = await connect(machine, host, peer);
      await expectNoLoss(ends, () => machine.mustShell(install));

      // An agent that hangs is noticed, ended, and back with its packets.
      const dropIn = "/run/systemd/system/overlay.service.d";
      await machine.mustShell(
        `mkdir ${dropIn}; printf '[Service]\nWatchdogSec=1\n' >${dropIn}/soon.conf;
      systemctl daemon-reload; systemctl restart overlay`,
      );
      await machine.mustShell(`kill -STOP ${await machine.service("MainPID")}`);
      await waitFor(async () => (await machine.service("NRestarts")) === "1", {
        describe: "a restart by the watchdog",
      });
      await waitReaches(...ends);
      await machine.mustShell(`rm -r ${dropIn}; systemctl daemon-reload`);

      await peer.agent.kill();
      const gone = await machine.shell(`sh ${script} --uninstall --force --prefix /usr/local`);
      expect([gone.code, gone.stderr]).toEqual([0, ""]);
      expect(await machine.files()).toEqual(before);
    });

    labTest("the .rpm: installed, upgraded, erased", { ...TWO_HOSTS, hosts: 1 }, async (lab) => {
      await using machine = await bootMachine(lab.host(0));
      // Folders that belong to Fedora's base system.
      await machine.mustShell("mkdir -p /usr/share/licenses /usr/share/zsh/site-functions");
      const before = await machine.files();
      const [first, next] = [await makePackages("rpm", OLD), await makePackages("rpm", NEW)];
      // A database of its own, without the packages of this machine, which are Debian's.
      const rpm = "rpm --nodeps --dbpath /tmp/rpm";
      await machine.mustShell(`${rpm} --install ${share(machine, first)}`);
      expect(await machine.mustShell("systemctl is-active overlay")).toBe("active");
      const pid = await machine.service("MainPID");
      await machine.mustShell(`${rpm} --upgrade ${share(machine, next)}`);
      expect(await machine.mustShell("systemctl is-active overlay")).toBe("active");
      expect(await machine.service("MainPID")).not.toBe(pid);
      await machine.mustShell("overlay uninstall");
      await machine.mustShell(`${rpm} --erase overlay`);
      expect(await machine.files()).toEqual(before);
    });
  },
);

function nodeId(status: string): string {
  return (JSON.parse(status) as { readonly node: { readonly id: string } }).node.id;
}
