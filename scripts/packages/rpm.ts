/**
 * An .rpm by rpmbuild, the same bytes whenever it is made of the same files.
 *
 * Source: rpm-spec(5), rpmbuild(8), Fedora Packaging Guidelines (systemd scriptlets, presets).
 *
 * @module
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { mustRun } from "../../tests/lab/run.ts";
import { inRoot } from "../lib/root.ts";
import { type PackageOptions, put, settleTree, writeTree, writeZsh } from "./tree.ts";

const RPMBUILD_TIMEOUT_MS = 300_000;

/** Makes the package and gives its path. */
export async function buildRpm(options: PackageOptions): Promise<string> {
  const { version, arch, epoch, speaker, out, level, folder } = options;
  const tree = join(folder, "tree");
  await writeTree(tree, options);
  await writeZsh(tree, "usr/share/zsh/site-functions/_overlay", speaker);
  put(tree, "usr/share/licenses/overlay/LICENSE", readFileSync(inRoot("LICENSE")));
  const preset = readFileSync(inRoot("packaging/overlay.preset"));
  put(tree, "usr/lib/systemd/system-preset/80-overlay.preset", preset);
  await settleTree(tree, epoch);
  const spec = readFileSync(inRoot("packaging/rpm/overlay.spec"), "utf8");
  const specPath = join(folder, "overlay.spec");
  writeFileSync(specPath, spec.replaceAll("@VERSION@", version).replaceAll("@TREE@", tree));
  const macros = {
    _topdir: join(folder, "rpm"),
    _rpmdir: join(folder, "made"),
    _dbpath: join(folder, "db"),
    _tmppath: folder,
    // Of the machine that builds, nothing is told.
    _buildhost: "localhost",
    use_source_date_epoch_as_buildtime: "1",
    clamp_mtime_to_source_date_epoch: "1",
    source_date_epoch_from_changelog: "0",
    _binary_payload: `w${level}.gzdio`,
  };
  for (const name of ["BUILD", "BUILDROOT"])
    mkdirSync(join(folder, "rpm", name), { recursive: true });
  const defines = Object.entries(macros).flatMap(([name, text]) => ["-D", `${name} ${text}`]);
  await mustRun(["rpmbuild", "-bb", "--quiet", `--target=${arch}-linux`, ...defines, specPath], {
    env: { SOURCE_DATE_EPOCH: `${epoch}` },
    timeoutMs: RPMBUILD_TIMEOUT_MS,
  });
  const made = join(folder, "made", arch);
  const [name, ...others] = readdirSync(made);
  if (name === undefined || others.length > 0)
    throw new Error(`rpmbuild left not one file in ${made}`);
  const path = join(out, name);
  renameSync(join(made, name), path);
  return path;
}
