/**
 * The files of a package, as they lie on a machine: the executable, what it prints about itself
 * (unit, man page, completion), settings to fill in, and papers.
 *
 * @module
 */
import {
  chmodSync,
  copyFileSync,
  cpSync,
  mkdirSync,
  readFileSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import { mustRun } from "../../tests/lab/run.ts";
import { inRoot } from "../lib/root.ts";

/** Of every package. */
export interface PackageOptions {
  /** The executable that goes into it. */
  readonly executable: string;
  /** One that runs here, of the same version: it prints the texts. */
  readonly speaker: string;
  /** As package managers write it. */
  readonly version: string;
  /** "amd64", "arm64" in Debian's words; "x86_64", "aarch64" in Fedora's. */
  readonly arch: string;
  /** The time of everything inside, in seconds since 1970. */
  readonly epoch: number;
  /** How hard gzip tries, 0 to 9. */
  readonly level: number;
  /** Where the package goes. */
  readonly out: string;
  /** An empty folder to work in; the caller removes it. */
  readonly folder: string;
}

const SHARE = "usr/share";
const DOC = `${SHARE}/doc/overlay`;
const PROGRAM_MODE = 0o755;
const FILE_MODE = 0o644;

/** Writes the files that both kinds of package have below `tree`. */
export async function writeTree(tree: string, options: PackageOptions): Promise<void> {
  const { executable, speaker } = options;
  const program = place(tree, "usr/bin/overlay");
  copyFileSync(executable, program);
  chmodSync(program, PROGRAM_MODE);
  const say = async (path: string, words: readonly string[]) => {
    const text = await mustRun([speaker, ...words]);
    put(tree, path, path.endsWith(".gz") ? gzip(text) : text);
  };
  await say("usr/lib/systemd/system/overlay.service", ["unit", "--executable", "/usr/bin/overlay"]);
  await say(`${SHARE}/man/man8/overlay.8.gz`, ["man"]);
  await say(`${SHARE}/bash-completion/completions/overlay`, ["completion", "bash"]);
  await say(`${SHARE}/fish/vendor_completions.d/overlay.fish`, ["completion", "fish"]);
  put(tree, "etc/overlay/overlay.env", readFileSync(inRoot("packaging/overlay.env")));
  put(tree, `${DOC}/README.md`, readFileSync(inRoot("README.md")));
  // An example: in place by itself, it would keep Docker waiting on machines without a network.
  cpSync(inRoot("packaging/docker.service.d"), join(tree, `${DOC}/examples/docker.service.d`), {
    recursive: true,
  });
}

/** Writes the zsh completion, which distributions keep in folders of different names. */
export async function writeZsh(tree: string, path: string, speaker: string): Promise<void> {
  put(tree, path, await mustRun([speaker, "completion", "zsh"]));
}

/** Writes one file below `tree`, and the folders above it. */
export function put(tree: string, path: string, content: string | Uint8Array): void {
  const target = place(tree, path);
  writeFileSync(target, content);
  chmodSync(target, FILE_MODE);
}

/** gzip as it must be in packages: hard, and without name and time. */
export function gzip(text: string): Uint8Array {
  return gzipSync(text, { level: 9 });
}

/** Gives everything below `tree` the time `epoch` and modes that do not hang on a umask. */
export async function settleTree(tree: string, epoch: number): Promise<void> {
  for (const path of new Bun.Glob("**").scanSync({ cwd: tree, onlyFiles: false, dot: true })) {
    utimesSync(join(tree, path), epoch, epoch);
  }
  utimesSync(tree, epoch, epoch);
  await mustRun(["chmod", "-R", "u=rwX,go=rX", tree]);
}

function place(tree: string, path: string): string {
  const target = join(tree, path);
  mkdirSync(dirname(target), { recursive: true });
  return target;
}
