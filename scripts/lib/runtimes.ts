/**
 * The platforms we build for, and the Bun runtime of each, taken from the npm package that has it.
 *
 * `bun build --compile --target` would fetch a runtime by itself, from a place that not every
 * machine reaches; the packages hold the same program. All our x64 builds run on any x86-64
 * processor with SSE4.2 (x86-64-v2): since Bun 1.4 the package "-baseline" is the same program as
 * the plain one, so there is no second x64 build.
 *
 * @module
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { mustRun, whichProgram } from "../../tests/lab/run.ts";
import { inRoot, TOOLS } from "./root.ts";

export interface Platform {
  /** As our files are called: "linux-x64-musl". */
  readonly name: string;
  /** As `bun build --target` calls it. */
  readonly target: string;
  /** The npm package that has its runtime. */
  readonly package: string;
}

/** Every platform of `--all`. */
export const PLATFORMS: readonly Platform[] = [
  platform("x64", "x64", ""),
  platform("arm64", "aarch64", ""),
  platform("x64", "x64", "-musl"),
  platform("arm64", "aarch64", "-musl"),
];

const INSTALL_TIMEOUT_MS = 300_000;
const RUNTIMES = join(TOOLS, "runtimes");

/** The path of a platform's runtime, installed first when it is not there. */
export async function runtimePath(platform: Platform): Promise<string> {
  const version = pinnedVersion();
  const folder = join(RUNTIMES, `${platform.name}-${version}`);
  const path = join(folder, "node_modules", platform.package, "bin", "bun");
  if (existsSync(path)) return path;
  const install = ["install", `${platform.package}@${version}`, "--prefix", folder, "--no-save"];
  // --force: npm would refuse a package for another processor; here that is the point.
  const quiet = ["--force", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
  if (whichProgram("npm") === undefined) {
    throw new Error(
      `Cannot build for ${platform.name}: its runtime comes by npm, which is not there`,
    );
  }
  await mustRun(["npm", ...install, ...quiet], { timeoutMs: INSTALL_TIMEOUT_MS });
  if (!existsSync(path))
    throw new Error(`Cannot build for ${platform.name}: no runtime at ${path}`);
  return path;
}

/** The version of Bun that package.json pins. */
export function pinnedVersion(): string {
  const manifest = JSON.parse(readFileSync(inRoot("package.json"), "utf8")) as {
    readonly devDependencies: Readonly<Record<string, string>>;
  };
  const version = manifest.devDependencies["bun"];
  if (version === undefined) throw new Error("Cannot find the version of Bun in package.json");
  return version;
}

function platform(name: string, bunName: string, libc: "" | "-musl"): Platform {
  return {
    name: `linux-${name}${libc}`,
    target: `bun-linux-${name}${libc}`,
    package: `@oven/bun-linux-${bunName}${libc}`,
  };
}
