/**
 * What a fresh machine lacks: the libraries of bun.lock, and the programs of the lab from Debian.
 *
 * Does nothing, quickly, when everything is there. The pinned Bun itself is bootstrap.sh's work,
 * since this needs it to run. Imports nothing from node_modules, which may not be there yet.
 *
 * @module
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { LAB_PROGRAMS } from "../../tests/lab/programs.ts";
import { run, whichProgram } from "../../tests/lab/run.ts";
import { inRoot, ROOT } from "./root.ts";

/** Says which libraries node_modules holds; inside it, so that it goes when that goes. */
const STAMP_PATH = inRoot("node_modules", ".overlay-setup");
const INSTALL_TIMEOUT_MS = 600_000;

/** Installs the libraries that bun.lock names, unless they are there. Gives what it did. */
export async function installLibraries(): Promise<string> {
  const wanted = librariesWanted();
  if (existsSync(STAMP_PATH) && readFileSync(STAMP_PATH, "utf8") === wanted) return "there already";
  const { code, stdout, stderr } = await run([process.execPath, "install", "--frozen-lockfile"], {
    cwd: ROOT,
    timeoutMs: INSTALL_TIMEOUT_MS,
  });
  if (code !== 0) {
    throw new Error(
      "Cannot install libraries: bun install failed; check that this machine reaches its npm " +
        `registry\n${stderr || stdout}`,
    );
  }
  writeFileSync(STAMP_PATH, wanted);
  return "installed";
}

/** Everything that decides what `bun install` makes, as one text. */
function librariesWanted(): string {
  const hash = new Bun.CryptoHasher("sha256");
  for (const name of ["package.json", "bun.lock"]) hash.update(readFileSync(inRoot(name)));
  return hash.digest("hex");
}

/** What became of the lab's programs. */
export type ToolsOutcome =
  | { readonly kind: "ready"; readonly text: string }
  /** Not to be had: why, and what a person can do. */
  | { readonly kind: "missing"; readonly text: string };

/** Installs the Debian packages of those of `programs` (name to package) that are missing. */
export async function installPrograms(
  programs: Readonly<Record<string, string>> = LAB_PROGRAMS,
): Promise<ToolsOutcome> {
  const packages = missingPackages(programs);
  if (packages.length === 0) return { kind: "ready", text: "there already" };
  const command = `apt-get install ${packages.join(" ")}`;
  if (process.getuid?.() !== 0) {
    return { kind: "missing", text: `needs root for "${command}"` };
  }
  if (whichProgram("apt-get") === undefined) {
    return {
      kind: "missing",
      text: `needs ${packages.join(", ")}, and this machine has no apt-get`,
    };
  }
  const failure = (await aptGet(["update"])) ?? (await aptGet(installWords(packages)));
  if (failure !== undefined) return { kind: "missing", text: `"${command}" failed: ${failure}` };
  const still = missingPackages(programs);
  if (still.length > 0) return { kind: "missing", text: `still lacks ${still.join(", ")}` };
  return { kind: "ready", text: `installed ${packages.join(", ")}` };
}

function missingPackages(programs: Readonly<Record<string, string>>): string[] {
  const missing = Object.entries(programs)
    .filter(([program]) => whichProgram(program) === undefined)
    .map(([, name]) => name);
  return [...new Set(missing)];
}

function installWords(packages: readonly string[]): string[] {
  return ["install", "-y", "-q", "--no-install-recommends", ...packages];
}

/** Runs apt-get without questions; gives the last of what it said when it fails. */
async function aptGet(words: readonly string[]): Promise<string | undefined> {
  const { code, stdout, stderr } = await run(["apt-get", ...words], {
    env: { DEBIAN_FRONTEND: "noninteractive" },
    timeoutMs: INSTALL_TIMEOUT_MS,
  });
  if (code === 0) return undefined;
  return (stderr || stdout).trim().split("\n").slice(-3).join("; ");
}
