/**
 * A network of its own for a benchmark, which ends with it: the same script again, inside.
 *
 * @module
 */

/** Says to the process inside that it is there. */
const INSIDE = "OVERLAY_BENCH_INSIDE";

/** Whether this process is the one inside. */
export function isInNamespace(): boolean {
  return process.env[INSIDE] !== undefined;
}

/** Runs `script` again, with this process's words, in a network of its own; gives its exit code. */
export async function enterNamespace(script: string): Promise<number> {
  const child = Bun.spawn({
    cmd: ["unshare", "--net", "--", process.execPath, script, ...process.argv.slice(2)],
    stdio: ["inherit", "inherit", "inherit"],
    env: { ...process.env, [INSIDE]: "1" },
  });
  process.on("SIGINT", () => undefined).on("SIGTERM", () => child.kill("SIGTERM"));
  return await child.exited;
}
