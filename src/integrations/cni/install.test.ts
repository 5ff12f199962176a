import { expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { formatConflist, installCni, type NetworkOptions, uninstallCni } from "./install.ts";

const NETWORK: NetworkOptions = {
  name: "overlay",
  version: "1.0.0",
  subnetFile: "/run/overlay/subnet.env",
};

function openFolder() {
  const path = mkdtempSync(join(tmpdir(), "overlay-cni-install-"));
  const folders = { binDir: join(path, "bin"), confDir: join(path, "net.d") };
  const options = { ...folders, ...NETWORK, program: "/usr/local/bin/overlay", replace: false };
  return { path, folders, options, [Symbol.dispose]: () => rmSync(path, { recursive: true }) };
}

test("formatConflist: our plugin, then port mappings", () => {
  expect(JSON.parse(formatConflist(NETWORK))).toEqual({
    cniVersion: "1.0.0",
    name: "overlay",
    plugins: [
      { type: "overlay", delegate: { isDefaultGateway: true, hairpinMode: true } },
      { type: "portmap", capabilities: { portMappings: true } },
    ],
  });
  const moved = JSON.parse(formatConflist({ ...NETWORK, subnetFile: "/x/subnet.env" }));
  expect(moved.plugins[0].subnetFile).toBe("/x/subnet.env");
});

test("installCni and uninstallCni: twice each, nothing left", async () => {
  using folder = openFolder();
  const link = join(folder.folders.binDir, "overlay");
  const conf = join(folder.folders.confDir, "10-overlay.conflist");
  for (let round = 0; round < 2; round++) {
    const done = await installCni(folder.options);
    expect(done).toMatchObject({ ok: true });
    expect(readlinkSync(link)).toBe("/usr/local/bin/overlay");
    expect(readFileSync(conf, "utf8")).toBe(formatConflist(NETWORK));
  }
  expect(await uninstallCni(folder.folders)).toEqual([link, conf]);
  expect([existsSync(link), existsSync(conf)]).toEqual([false, false]);
  expect(await uninstallCni(folder.folders)).toEqual([]);
});

test("installCni: an old link is moved, plugins that are missing are told", async () => {
  using folder = openFolder();
  await installCni({ ...folder.options, program: "/opt/old" });
  const done = await installCni(folder.options);
  expect(readlinkSync(join(folder.folders.binDir, "overlay"))).toBe("/usr/local/bin/overlay");
  expect(done).toMatchObject({
    value: [/^Linked/, /^Wrote/, /has no bridge, host-local, portmap: /].map(expect.stringMatching),
  });
});

test("installCni: what others made is left alone", async () => {
  using folder = openFolder();
  const { binDir, confDir } = folder.folders;
  for (const each of [binDir, confDir]) mkdirSync(each);
  const conf = join(confDir, "10-overlay.conflist");
  writeFileSync(conf, "{}");
  const refused = await installCni(folder.options);
  expect(refused).toMatchObject({ ok: false, error: expect.stringContaining("--replace") });
  expect(await uninstallCni(folder.folders)).toEqual([]);
  expect(await installCni({ ...folder.options, replace: true })).toMatchObject({ ok: true });

  rmSync(join(binDir, "overlay"));
  writeFileSync(join(binDir, "overlay"), "another program");
  const foreign = await installCni(folder.options);
  expect(foreign).toMatchObject({ ok: false, error: expect.stringContaining("is no link") });
  // The executable itself may live there.
  const program = join(binDir, "overlay");
  expect(await installCni({ ...folder.options, program })).toMatchObject({ ok: true });
  expect(await uninstallCni(folder.folders)).toEqual([conf]);
});
