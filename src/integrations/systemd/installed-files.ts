/**
 * The files that `install.sh` and the walk-throughs of docs/ put on a machine, and how they go.
 *
 * @module
 */
import { existsSync, readFileSync, rmdirSync, rmSync } from "node:fs";
import { basename, dirname } from "node:path";
import { HostError } from "../../base/host-error.ts";

const DOCKER_DROP_IN = "/etc/systemd/system/docker.service.d/overlay.conf";
/** Stands in that file if it is ours. */
const DROP_IN_MARK = "overlay docker-env";

/** Files beside the executable at PREFIX/bin/overlay, the executable last. */
export function installedFiles(executable: string): readonly string[] {
  const share = `${dirname(dirname(executable))}/share`;
  return [
    "/etc/systemd/system/overlay.service",
    `${share}/man/man8/overlay.8`,
    `${share}/bash-completion/completions/overlay`,
    `${share}/zsh/site-functions/_overlay`,
    `${share}/fish/vendor_completions.d/overlay.fish`,
    executable,
  ];
}

/** Drop-ins for other services that run our program, and would fail without it. */
export function dropIns(): readonly string[] {
  const isOurs =
    existsSync(DOCKER_DROP_IN) && readFileSync(DOCKER_DROP_IN, "utf8").includes(DROP_IN_MARK);
  return isOurs ? [DOCKER_DROP_IN] : [];
}

/**
 * Removes files, or folders with all that is in them, and the folders above them that are empty
 * then, if only programs like this one make them. Gives those that were there. Throws `HostError`,
 * before anything is removed, when a path is one that whole machines live in.
 */
export function removePaths(paths: readonly string[]): string[] {
  const shallow = paths.find((path) => !DEEP_PATTERN.test(path));
  if (shallow !== undefined) {
    const next = "remove by hand what is overlay's in it";
    throw new HostError({ operation: "remove", object: shallow, reason: "it is too much", next });
  }
  const there = paths.filter((path) => existsSync(path));
  for (const path of there) {
    try {
      rmSync(path, { recursive: true, force: true });
    } catch (cause) {
      throw new HostError({ operation: "remove", object: path, reason: String(cause), cause });
    }
  }
  for (const path of paths) removeEmpty(dirname(path));
  return there;
}

/** "/var/lib/overlay" yes, "/var/lib" no: a mistyped setting must not cost the machine. */
const DEEP_PATTERN = /^(\/etc\/overlay|\/run\/[^/]+|\/[^/]+\/[^/]+\/.+)$/;

/** Folders that only programs like this one make; what a distribution brings stays, if empty. */
const MADE_FOLDERS: ReadonlySet<string> = new Set([
  ...["docker.service.d", "flannel", "man8", "bash-completion", "completions"],
  ...["fish", "vendor_completions.d", "zsh", "site-functions"],
]);

function removeEmpty(folder: string): void {
  if (!MADE_FOLDERS.has(basename(folder))) return;
  try {
    rmdirSync(folder);
  } catch {
    return; // Others have something in it.
  }
  removeEmpty(dirname(folder));
}
