/**
 * Makes packages of what `scripts/build` made: `overlay_VERSION_ARCH.deb` and
 * `overlay-VERSION-1.ARCH.rpm`, and PACKAGES.sha256 over them.
 *
 *   scripts/package [--deb] [--rpm] [--arch x64|arm64 …] [--out dist] [--program FILE]
 *                   [--version TEXT] [--level 0-9]
 *
 * Both kinds for this machine when nothing is chosen. For an architecture that is named,
 * dist/overlay-linux-ARCH is taken (`scripts/build --all`), for this machine without a name
 * dist/overlay. Equal files give equal bytes: times are SOURCE_DATE_EPOCH, or the commit's.
 *
 * @module
 */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { PACKAGE_PROGRAMS } from "../tests/lab/programs.ts";
import { mustRun, run } from "../tests/lab/run.ts";
import { Progress } from "./lib/progress.ts";
import { DIST, ROOT } from "./lib/root.ts";
import { installPrograms } from "./lib/setup.ts";
import { runScript, UsageError, wholeCount } from "./lib/usage.ts";
import { buildDeb } from "./packages/deb.ts";
import { buildRpm } from "./packages/rpm.ts";
import { packageVersion } from "./packages/version.ts";

/** What the two worlds call an architecture. */
const ARCHES = {
  x64: { deb: "amd64", rpm: "x86_64" },
  arm64: { deb: "arm64", rpm: "aarch64" },
} as const;
type Arch = keyof typeof ARCHES;
const KINDS = { deb: buildDeb, rpm: buildRpm } as const;
type Kind = keyof typeof KINDS;
const LEVEL_DEFAULT = 6;
const LEVEL_MAX = 9;

/** Makes the packages that the arguments ask for. Gives their paths. */
export async function makePackages(args: readonly string[], progress: Progress): Promise<string[]> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      deb: { type: "boolean", default: false },
      rpm: { type: "boolean", default: false },
      arch: { type: "string", multiple: true },
      out: { type: "string", default: DIST },
      program: { type: "string", default: join(DIST, "overlay") },
      version: { type: "string" },
      level: { type: "string" },
    },
  });
  const level = wholeCount(values.level, "level") ?? LEVEL_DEFAULT;
  if (level > LEVEL_MAX) throw new UsageError(`Cannot compress at level ${level}: 9 is the most`);
  const speaker = resolve(values.program);
  const text = values.version ?? (await versionOf(speaker));
  const version = packageVersion(text);
  if (version === undefined) {
    throw new UsageError(`Cannot package version "${text}": give one like 1.2.0 or 1.2.0-rc.1`);
  }
  const out = resolve(values.out);
  mkdirSync(out, { recursive: true });
  const epoch = await sourceDateEpoch();
  const kinds: Kind[] = [];
  if (values.deb || !values.rpm) kinds.push("deb");
  if (values.rpm || !values.deb) kinds.push("rpm");
  const made: string[] = [];
  for (const name of values.arch ?? [undefined]) {
    const arch = parseArch(name ?? process.arch);
    const executable = name === undefined ? speaker : join(DIST, `overlay-linux-${arch}`);
    checkExecutable(executable, await versionOf(speaker));
    for (const kind of kinds) {
      const common = { executable, speaker, version, arch: ARCHES[arch][kind], epoch, level, out };
      await progress.step(`package ${kind} for ${arch}`, async (notes) => {
        const path = await inFolder((folder) => KINDS[kind]({ ...common, folder }));
        made.push(path);
        notes.result(`${path}, ${(Bun.file(path).size / 1e6).toFixed(0)} MB`);
      });
    }
  }
  writeFileSync(join(out, "PACKAGES.sha256"), made.map(sumLine).join(""));
  return made;
}

async function inFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), "overlay-package-"));
  try {
    return await work(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function parseArch(name: string): Arch {
  if (name === "x64" || name === "arm64") return name;
  throw new UsageError(`Cannot package for "${name}": there are x64 and arm64`);
}

/** Refuses an executable that is not there, or of another version than its unit and man page. */
function checkExecutable(path: string, version: string): void {
  if (!existsSync(path)) throw new UsageError(`Cannot package ${path}: run "scripts/build --all"`);
  if (!readFileSync(path).includes(version)) {
    throw new UsageError(`Cannot package ${path}: it is not version ${version}; build both anew`);
  }
}

/** What the executable says it is. */
async function versionOf(path: string): Promise<string> {
  if (!existsSync(path)) throw new UsageError(`Cannot package ${path}: run "scripts/build" first`);
  return (await mustRun([path, "--version"])).trim().replace(/^overlay /, "");
}

/** The agreed variable, or the time of the commit; reproducible-builds.org has the why. */
async function sourceDateEpoch(): Promise<number> {
  const given = process.env["SOURCE_DATE_EPOCH"];
  if (given !== undefined) return wholeCount(given, "SOURCE_DATE_EPOCH") ?? 0;
  const { code, stdout } = await run(["git", "log", "-1", "--format=%ct"], { cwd: ROOT });
  if (code === 0) return Number(stdout.trim());
  throw new UsageError("Cannot date the package: no git history here; set SOURCE_DATE_EPOCH");
}

function sumLine(path: string): string {
  const hash = new Bun.CryptoHasher("sha256").update(readFileSync(path)).digest("hex");
  return `${hash}  ${basename(path)}\n`;
}

async function main(): Promise<number> {
  const progress = new Progress();
  await progress.step("programs that make packages", async (notes) => {
    const outcome = await installPrograms(PACKAGE_PROGRAMS);
    notes.result(outcome.text);
    if (outcome.kind === "missing") throw new Error(`Cannot make packages: ${outcome.text}`);
  });
  await makePackages(process.argv.slice(2), progress);
  return 0;
}

if (import.meta.main) await runScript(main);
