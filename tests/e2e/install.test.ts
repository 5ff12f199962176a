/**
 * A machine becomes a node by one line from another node, is upgraded, and is as before once
 * overlay is uninstalled: on this machine's files under a layer of their own (fresh-machine.sh).
 * systemd does not run in there; the unit itself is checked by its own tools.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join as joinPath } from "node:path";
import type { CreatedToken } from "../lab/cluster.ts";
import { mustPutConfig, NETWORK_CONFIG } from "../lab/cluster.ts";
import { type Host, OVERLAY_PATH } from "../lab/host.ts";
import { labTest } from "../lab/requirements.ts";
import { type Finished, mustRun, run } from "../lab/run.ts";

const ROOT = joinPath(import.meta.dir, "../..");
const FRESH_MACHINE = joinPath(import.meta.dir, "fresh-machine.sh");
const TWO_HOSTS = { hosts: 2, timeoutMs: 120_000 } as const;
const ONE_HOST = { hosts: 1, timeoutMs: 120_000 } as const;

/** A fresh machine in the network of `host`; the same one at each call. */
async function openMachine(host: Host) {
  const layer = joinPath(host.folder, "machine");
  await mustRun(["mkdir", "-p", layer]);
  await mustRun(["mount", "-t", "tmpfs", "tmpfs", layer]);
  const shell = (line: string): Promise<Finished> =>
    host.run(["unshare", "--mount", FRESH_MACHINE, layer, "sh", "-c", line]);
  return {
    layer,
    shell,
    /** Everything that is not a folder, below the layer. */
    async files(): Promise<string[]> {
      const words = ["find", `${layer}/upper`, `${layer}/run`, "!", "-type", "d"];
      return (await mustRun(words)).split("\n").filter(Boolean).sort();
    },
    /** Links, routes and rules. */
    async network(): Promise<string> {
      const lines = ["ip -br link", "ip -4 route show table all", "nft list ruleset", "ip rule"];
      return await host.mustRun(["sh", "-c", lines.join("; ")]);
    },
    async [Symbol.asyncDispose]() {
      await shell("systemctl stop");
      await mustRun(["umount", layer]);
    },
  };
}

describe("install.sh", () => {
  labTest(
    "one line installs and joins; upgrade; uninstall leaves nothing",
    TWO_HOSTS,
    async (lab) => {
      const [peer, host] = [lab.host(0), lab.host(1)];
      await peer.startHealthyAgent();
      await mustPutConfig(peer, NETWORK_CONFIG);
      await using machine = await openMachine(host);
      const before = await machine.network();
      const created: unknown = JSON.parse(await peer.mustCli(["token", "create", "--json"]));
      const line = (created as CreatedToken & { installCommand: string }).installCommand;

      // Another key than the one in the line: nothing is run, nothing installed.
      const wrong = line.replace(/sha256\/\/.{8}/, "sha256//AAAAAAAA");
      const refused = await machine.shell(wrong);
      expect(refused.stderr).toContain("public key");
      expect(await machine.files()).toEqual([]);

      const installed = await machine.shell(line);
      expect(installed.stderr).toContain("Installed overlay");
      expect(installed.stdout).toContain("Joined cluster");
      expect(installed.code).toBe(0);
      await mustRun(["cmp", OVERLAY_PATH, `${machine.layer}/upper/usr/local/bin/overlay`]);
      const unit = `${machine.layer}/upper/etc/systemd/system/overlay.service`;
      expect(readFileSync(unit, "utf8")).toBe(
        readFileSync(joinPath(ROOT, "packaging/overlay.service"), "utf8"),
      );

      const again = await machine.shell(line.replace(/ join .*/, ""));
      expect([again.code, again.stderr]).toEqual([0, expect.stringContaining("Installed")]);

      const gone = await machine.shell("overlay uninstall");
      expect([gone.code, gone.stderr]).toEqual([0, expect.stringContaining("Left cluster")]);
      expect(await machine.files()).toEqual([]);
      expect(await machine.network()).toBe(before);
      const members: unknown = JSON.parse(await peer.mustCli(["member", "list", "--json"]));
      expect(members).toHaveLength(1);
    },
  );

  labTest("wget serves where there is no curl, GNU's and busybox's", TWO_HOSTS, async (lab) => {
    const [peer, host] = [lab.host(0), lab.host(1)];
    await peer.startHealthyAgent();
    await using machine = await openMachine(host);
    const words = ["token", "create", "--uses", "2", "--json"];
    const created: unknown = JSON.parse(await peer.mustCli(words));
    const line = (created as CreatedToken & { installCommand: string }).installCommand;
    const [fetched, joined] = line.split(" | ") as [string, string];
    const pin = /sha256\/\/[^ ']+/.exec(fetched)![0];
    const url = /https:[^ ']+/.exec(fetched)![0];
    const noCurl = "mount --bind /dev/null /usr/bin/curl; ! command -v curl || exit 99";

    const gnu = `wget -qO- --no-check-certificate --pinnedpubkey=${pin} ${url} | ${joined}`;
    const refused = await machine.shell(`${noCurl}; ${gnu.replace("sha256//", "sha256//AAAA")}`);
    expect(refused.stdout).not.toContain("Joined");
    expect(await machine.files()).toEqual([]);
    const installed = await machine.shell(`${noCurl}; ${gnu}`);
    expect(installed.stderr).not.toContain("cannot pin");
    expect([installed.code, installed.stdout]).toEqual([
      0,
      expect.stringContaining("Joined cluster"),
    ]);
    await machine.shell("overlay uninstall");
    expect(await machine.files()).toEqual([]);

    // busybox cannot pin a key; the script that it was handed names the SHA-256.
    const small = gnu.replace(/--pinnedpubkey=[^ ]+ /, "");
    const again = await machine.shell(`${noCurl}; ln -s /usr/bin/busybox /mnt/wget; ${small}`);
    expect(again.stderr).toContain("cannot pin the key");
    expect([again.code, again.stdout]).toEqual([0, expect.stringContaining("Joined cluster")]);
  });

  labTest("what is in the way is told, and the machine stays as it was", ONE_HOST, async (lab) => {
    await using machine = await openMachine(lab.host(0));
    const script = joinPath(ROOT, "install.sh");
    const file = `--file ${OVERLAY_PATH}`;
    for (const [what, line, says] of [
      ["no source", `sh ${script}`, "no source"],
      ["a wrong sum", `sh ${script} ${file} --sha256 00`, "SHA-256 is"],
      ["no such file", `sh ${script} --file /nonexistent`, "no such file"],
      ["another version", `sh ${script} ${file} --version 0.0.0`, "the source has"],
      [
        "no systemd",
        `rmdir /run/systemd/system; sh ${script} ${file}; c=$?; mkdir /run/systemd/system; exit $c`,
        "--no-start",
      ],
      ["not root", `setpriv --reuid 65534 --clear-groups sh ${script} ${file}`, "not root"],
      [
        "no TUN",
        `mount -t tmpfs none /dev/net; PATH=/mnt:/usr/bin:/bin sh ${script} ${file}`,
        "/dev/net/tun",
      ],
      ["nobody at the URL", `sh ${script} --url http://127.0.0.1:9`, "Cannot fetch"],
      [
        "a full disk",
        `mkdir -p /mnt/full && mount -t tmpfs -o size=1m none /mnt/full && sh ${script} ${file} --prefix /mnt/full/p`,
        "make room",
      ],
      ["no executable", `printf x >/mnt/bad; sh ${script} --file /mnt/bad`, "Cannot run the new"],
      ["no such option", `sh ${script} --nope`, "unknown option"],
      [
        "another prefix",
        `sh ${script} --uninstall --force --prefix /opt/x`,
        "no /opt/x/bin/overlay",
      ],
      ["a join without a start", `sh ${script} --no-start join a`, "join needs"],
    ] as const) {
      const { code, stderr } = await machine.shell(line);
      expect([what, stderr]).toEqual([what, expect.stringContaining(says)]);
      expect([what, code === 0]).toEqual([what, false]);
      expect([what, await machine.files()]).toEqual([what, []]);
    }
  });
});

describe("the unit and the scripts", () => {
  test("the unit: nothing to complain of, score under 4", async () => {
    const unit = joinPath(ROOT, "packaging/overlay.service");
    const score = await mustRun(["systemd-analyze", "security", "--offline=true", unit]);
    expect(Number(/level for overlay.service: ([0-9.]+)/.exec(score)?.[1])).toBeLessThan(4);

    const folder = mkdtempSync(joinPath(tmpdir(), "overlay-unit-"));
    try {
      // With a program that is there: its absence would be a complaint.
      const here = joinPath(folder, "overlay.service");
      const text = readFileSync(unit, "utf8");
      writeFileSync(here, text.replace("/usr/local/bin/overlay", OVERLAY_PATH));
      const { code, stdout, stderr } = await run(["systemd-analyze", "verify", "--man=no", here]);
      expect([stdout, stderr, code]).toEqual(["", "", 0]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test("shellcheck has nothing to say", async () => {
    const { code, stdout } = await run(["shellcheck", joinPath(ROOT, "install.sh"), FRESH_MACHINE]);
    expect([stdout, code]).toEqual(["", 0]);
  });
});
