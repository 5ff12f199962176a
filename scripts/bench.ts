/**
 * Runs one of the benchmarks in scripts/benchmarks, with the words that follow its name.
 *
 *   scripts/bench store --quick
 *
 * Without a name it lists what there is. The exit code is the benchmark's own.
 *
 * @module
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { inRoot } from "./lib/root.ts";
import { installLibraries } from "./lib/setup.ts";

const FOLDER = inRoot("scripts", "benchmarks");
const WRONG_USAGE = 2;

async function main(words: readonly string[]): Promise<number> {
  const [name, ...rest] = words;
  const path = join(FOLDER, `${name}.ts`);
  if (name === undefined || name.startsWith("-") || !existsSync(path)) {
    const known = listBenchmarks().map((each) => `  ${each}`);
    console.error(`Usage: scripts/bench NAME [OPTION …]\n\n${known.join("\n")}`);
    return WRONG_USAGE;
  }
  await installLibraries();
  const child = Bun.spawn({
    cmd: [process.execPath, path, ...rest],
    stdio: ["inherit", "inherit", "inherit"],
  });
  // The benchmark cleans up after itself; this process only waits for it.
  const pass = (signal: NodeJS.Signals) => child.kill(signal);
  process.on("SIGINT", () => undefined).on("SIGTERM", pass);
  return await child.exited;
}

/** Each benchmark with the first sentence of its header. */
function listBenchmarks(): string[] {
  const files = readdirSync(FOLDER).filter((name) => name.endsWith(".ts"));
  return files.sort().map((file) => {
    const text = readFileSync(join(FOLDER, file), "utf8");
    const first = /^\/\*\*\s+\* (.*)/.exec(text)?.[1] ?? "";
    return `${file.replace(/\.ts$/, "").padEnd(10)} ${first}`;
  });
}

process.exit(await main(process.argv.slice(2)));
