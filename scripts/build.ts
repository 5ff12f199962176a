/**
 * Makes the one executable: `dist/overlay` for this machine, or with `--all` one for each platform
 * beside it (`dist/overlay-linux-arm64-musl`, …), and `dist/SHA256SUMS` over all it made.
 *
 *   scripts/build [--all] [--version TEXT] [--entry FILE] [--cluster-version N]
 *
 * Each file holds the Bun runtime, the program as bytecode and source, its source map, and the
 * packet loop's Worker as a second entry point. It reads no .env or bunfig.toml of the folder that
 * it happens to be started in.
 *
 * Bytecode: 27 ms from start to exit in place of 66 ms for our libraries alone, for 3.5 MB more on
 * disk and no more memory. Source map: traces of a crash name our files and lines, for 0.5 MB. Not
 * minified: 0.4 MB less, and neither faster nor smaller in memory (Bun 1.4.5, mean of 10).
 *
 * ES modules, said outright: bytecode alone would make CommonJS of them, where `import.meta.url` is
 * the path of a source file on the machine that built it, and the Worker is looked for there.
 *
 * `--cluster-version` is for tests of upgrades only: a program that knows one cluster version more.
 *
 * The musl builds need musl's libstdc++ (Alpine: `apk add libstdc++`), as Bun itself does.
 *
 * @module
 */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";
import { mustRun, run } from "../tests/lab/run.ts";
import { Progress } from "./lib/progress.ts";
import { DIST, inRoot, ROOT } from "./lib/root.ts";
import { PLATFORMS, type Platform, runtimePath } from "./lib/runtimes.ts";
import { installLibraries } from "./lib/setup.ts";

const ENTRY = "src/main.ts";
/** Resolved by the program as "./agent/packet-worker.ts", relative to its main entry. */
const WORKER_ENTRY = "src/agent/packet-worker.ts";
const BUILD_TIMEOUT_MS = 300_000;

interface BuildOptions {
  readonly outfile: string;
  readonly version: string;
  /** This machine's when undefined. */
  readonly platform: Platform | undefined;
  readonly entry: string;
  /** Newest cluster version that the program is to know; its own when undefined. */
  readonly clusterVersion: string | undefined;
}

/** Builds what the arguments ask for. Throws with the bundler's words when it fails. */
export async function build(args: readonly string[], progress: Progress): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      all: { type: "boolean", default: false },
      version: { type: "string" },
      entry: { type: "string", default: ENTRY },
      "cluster-version": { type: "string" },
    },
  });
  const version = values.version ?? (await describeVersion());
  mkdirSync(DIST, { recursive: true });
  const made: string[] = [];
  for (const platform of values.all ? [undefined, ...PLATFORMS] : [undefined]) {
    const name = platform === undefined ? "overlay" : `overlay-${platform.name}`;
    await progress.step(`build dist/${name}`, async (notes) => {
      const outfile = join(DIST, name);
      const clusterVersion = values["cluster-version"];
      await compile({ outfile, version, platform, entry: values.entry, clusterVersion });
      made.push(outfile);
      notes.result(`${version}, ${(statSync(outfile).size / 1e6).toFixed(0)} MB`);
    });
  }
  writeFileSync(join(DIST, "SHA256SUMS"), checksums(made));
}

/**
 * One executable, which takes the place of an older one at once: who runs that is not disturbed. A
 * failed build leaves none, rather than an old one that seems to be new.
 */
async function compile(options: BuildOptions): Promise<void> {
  const folder = mkdtempSync(join(DIST, ".build-"));
  const fresh = join(folder, basename(options.outfile));
  const runtime = options.platform === undefined ? [] : await runtimeWords(options.platform);
  const command = [
    ...[process.execPath, "build", "--compile", "--bytecode", "--format=esm"],
    "--sourcemap=inline",
    ...["--no-compile-autoload-dotenv", "--no-compile-autoload-bunfig"],
    ...["--define", `OVERLAY_VERSION=${JSON.stringify(options.version)}`],
    ...clusterVersionWords(options),
    ...runtime,
    ...["--outfile", fresh, options.entry],
    ...(existsSync(inRoot(WORKER_ENTRY)) ? [WORKER_ENTRY] : []),
  ];
  try {
    await mustRun(command, { cwd: ROOT, timeoutMs: BUILD_TIMEOUT_MS });
    renameSync(fresh, options.outfile);
  } catch (error) {
    rmSync(options.outfile, { force: true });
    throw error;
  } finally {
    rmSync(folder, { recursive: true }); // With source maps, which are inside the program too.
  }
}

/** For tests of upgrades: the same tree as if it knew another version (cluster-version.ts). */
function clusterVersionWords({ clusterVersion }: BuildOptions): readonly string[] {
  return clusterVersion === undefined
    ? []
    : ["--define", `OVERLAY_CLUSTER_VERSION=${Number(clusterVersion)}`];
}

async function runtimeWords(platform: Platform): Promise<string[]> {
  const path = await runtimePath(platform);
  return ["--target", platform.target, "--compile-executable-path", path];
}

/** "v0.1.0-3-g1a2b3c4" by the last tag, or the version of package.json and the commit. */
async function describeVersion(): Promise<string> {
  const manifest = JSON.parse(readFileSync(inRoot("package.json"), "utf8")) as { version: string };
  const tag = await git(["describe", "--tags", "--match", "v*"]);
  if (tag !== undefined) return tag;
  const commit = await git(["rev-parse", "--short", "HEAD"]);
  return commit === undefined ? manifest.version : `${manifest.version}+g${commit}`;
}

async function git(words: readonly string[]): Promise<string | undefined> {
  try {
    const { code, stdout } = await run(["git", ...words], { cwd: ROOT });
    return code === 0 ? stdout.trim() : undefined;
  } catch {
    return undefined; // A source tree without git, or a machine without it.
  }
}

/** The lines that `sha256sum --check` reads. */
function checksums(paths: readonly string[]): string {
  const lines = paths.map((path) => {
    const hash = new Bun.CryptoHasher("sha256").update(readFileSync(path)).digest("hex");
    return `${hash}  ${basename(path)}\n`;
  });
  return lines.join("");
}

if (import.meta.main) {
  const progress = new Progress();
  try {
    await progress.step("libraries", async (notes) => notes.result(await installLibraries()));
    await build(process.argv.slice(2), progress);
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exit(1);
  }
}
