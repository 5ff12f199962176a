/**
 * A .deb by dpkg-deb, the same bytes whenever it is made of the same files.
 *
 * Source: deb(5), deb-control(5), Debian Policy 4.7 (6 maintainer scripts, 9.1 file system, 10.7
 * configuration files, 12 documentation).
 *
 * @module
 */
import { chmodSync, copyFileSync, lstatSync } from "node:fs";
import { join } from "node:path";
import { mustRun } from "../../tests/lab/run.ts";
import { inRoot } from "../lib/root.ts";
import { gzip, type PackageOptions, put, settleTree, writeTree, writeZsh } from "./tree.ts";

const MAINTAINER = "The overlay authors <overlay@localhost>";
const SCRIPTS = ["postinst", "prerm", "postrm"] as const;
const DOC = "usr/share/doc/overlay";
const MS_PER_SECOND = 1000;

/** Makes the package and gives its path. */
export async function buildDeb(options: PackageOptions): Promise<string> {
  const { version, arch, epoch, speaker, out, level } = options;
  const tree = join(options.folder, "tree");
  await writeTree(tree, options);
  await writeZsh(tree, "usr/share/zsh/vendor-completions/_overlay", speaker);
  put(tree, `${DOC}/copyright`, await Bun.file(inRoot("packaging/copyright")).text());
  const overrides = await Bun.file(inRoot("packaging/deb/lintian-overrides")).text();
  put(tree, "usr/share/lintian/overrides/overlay", overrides);
  put(tree, `${DOC}/changelog.gz`, gzip(changelog(version, epoch)));
  const control = [
    "Package: overlay",
    `Version: ${version}`,
    `Architecture: ${arch}`,
    `Maintainer: ${MAINTAINER}`,
    `Installed-Size: ${installedKib(tree)}`,
    "Depends: libc6 (>= 2.17)",
    "Section: net",
    "Priority: optional",
    "Description: network over networks, with a store of its own",
    " Gives each node a subnet out of one network, keeps who owns what in a store",
    " replicated among the nodes, and carries packets between them. Takes flannel's",
    " place without etcd.",
    "",
  ];
  put(tree, "DEBIAN/control", control.join("\n"));
  put(tree, "DEBIAN/conffiles", "/etc/overlay/overlay.env\n");
  put(tree, "DEBIAN/md5sums", md5sums(tree));
  for (const name of SCRIPTS) {
    copyFileSync(inRoot("packaging/deb", name), join(tree, "DEBIAN", name));
    chmodSync(join(tree, "DEBIAN", name), 0o755);
  }
  await settleTree(tree, epoch);
  const path = join(out, `overlay_${version}_${arch}.deb`);
  const pack = ["--root-owner-group", "-Zgzip", `-z${level}`, "--build", tree, path];
  await mustRun(["dpkg-deb", ...pack], { env: { SOURCE_DATE_EPOCH: `${epoch}` } });
  return path;
}

/** Paths of files below `tree` that go onto the machine, in one order everywhere. */
function packagedFiles(tree: string): string[] {
  const paths = [...new Bun.Glob("**").scanSync({ cwd: tree, dot: true })];
  return paths.filter((path) => !path.startsWith("DEBIAN/")).sort();
}

function installedKib(tree: string): number {
  const sizes = packagedFiles(tree).map((path) =>
    Math.ceil(lstatSync(join(tree, path)).size / 1024),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}

/** What `dpkg --verify` compares with; settings are compared otherwise. */
function md5sums(tree: string): string {
  const lines = packagedFiles(tree)
    .filter((path) => !path.startsWith("etc/"))
    .map((path) => {
      const bytes = Bun.mmap(join(tree, path));
      return `${new Bun.CryptoHasher("md5").update(bytes).digest("hex")}  ${path}\n`;
    });
  return lines.join("");
}

/** Debian's form of a changelog; what changed is told by CHANGELOG.md of the project. */
function changelog(version: string, epoch: number): string {
  const date = new Date(epoch * MS_PER_SECOND).toUTCString().replace("GMT", "+0000");
  const lines = [
    `overlay (${version}) unstable; urgency=medium`,
    "  * See CHANGELOG.md of the project.",
    ` -- ${MAINTAINER}  ${date}`,
  ];
  return `${lines.join("\n\n")}\n`;
}
