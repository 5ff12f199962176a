import { expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { installedFiles, removePaths } from "./installed-files.ts";
import { systemdUnit } from "./packaged.ts";

test("removePaths: files, folders with all in them, and folders that nobody else uses", () => {
  const top = mkdtempSync(join(tmpdir(), "overlay-files-"));
  const share = join(top, "prefix/share");
  const man = join(share, "man/man8/overlay.8");
  const fish = join(share, "fish/vendor_completions.d/overlay.fish");
  const zsh = join(share, "zsh/site-functions/_overlay");
  for (const path of [man, zsh, fish, join(share, "fish/vendor_completions.d/other.fish")]) {
    mkdirSync(join(path, ".."), { recursive: true });
    writeFileSync(path, "");
  }
  expect(removePaths([man, zsh, fish, join(top, "absent")])).toEqual([man, zsh, fish]);
  expect(existsSync(join(share, "man/man8"))).toBeFalse();
  expect(existsSync(join(share, "zsh"))).toBeFalse();
  expect(existsSync(join(share, "fish/vendor_completions.d/other.fish"))).toBeTrue();
  rmSync(top, { recursive: true });
});

test("removePaths: refuses what whole machines live in, and removes nothing then", () => {
  const top = mkdtempSync(join(tmpdir(), "overlay-files-"));
  const path = join(top, "a/b");
  mkdirSync(path, { recursive: true });
  for (const shallow of ["/", "/var", "/var/lib", "/etc", "/etc/systemd", "a/b/c/d"]) {
    expect(() => removePaths([path, shallow])).toThrow(`Cannot remove ${shallow}: it is too much`);
  }
  expect(existsSync(path)).toBeTrue();
  rmSync(top, { recursive: true });
});

test("installedFiles: beside the executable, which goes last", () => {
  const files = installedFiles("/opt/overlay/bin/overlay");
  expect(files).toContain("/opt/overlay/share/man/man8/overlay.8");
  expect(files.at(-1)).toBe("/opt/overlay/bin/overlay");
});

test("systemdUnit: starts the executable that it is told, by a path that a unit can hold", () => {
  expect(systemdUnit("/usr/bin/overlay")).toContain("\nExecStart=/usr/bin/overlay agent\n");
  for (const path of ["overlay", "/a b", "/a%n", "/a\nExecStartPre=/b"]) {
    expect(systemdUnit(path)).toBeUndefined();
  }
});
