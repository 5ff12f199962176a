import { expect, test } from "bun:test";

/** What a program that restarts itself once says about itself, before and after. */
async function restartOnce(args: readonly string[]) {
  const program = `
    const { restartProgram } = await import("${import.meta.dir}/process-image.ts");
    const { readdirSync } = await import("node:fs");
    const fds = readdirSync("/proc/self/fd").length;
    const { AGAIN, HOME_TEXT } = process.env;
    const args = process.argv.slice(1);
    console.log(JSON.stringify({ pid: process.pid, args, AGAIN, HOME_TEXT, fds }));
    if (AGAIN === undefined) restartProgram({ ...process.env, AGAIN: "grün = 1", GONE: undefined });
    process.exit(7);
  `;
  const child = Bun.spawn({
    cmd: [process.execPath, "-e", program, ...args],
    env: { ...process.env, HOME_TEXT: "kept", AGAIN: undefined },
    stdout: "pipe",
    stderr: "inherit",
  });
  const lines = (await new Response(child.stdout).text()).trim().split("\n");
  return { code: await child.exited, pid: child.pid, runs: lines.map((line) => JSON.parse(line)) };
}

test("restartProgram: the same process and arguments, another environment", async () => {
  const { code, pid, runs } = await restartOnce(["a b", "ü", ""]);
  expect(runs.length).toBe(2);
  const [before, after] = runs;
  expect(code).toBe(7);
  expect([before.pid, after.pid]).toEqual([pid, pid]);
  expect(after.args).toEqual(before.args);
  expect([before.AGAIN, after.AGAIN]).toEqual([undefined, "grün = 1"]);
  expect(after.HOME_TEXT).toBe("kept");
  expect(after.fds).toBe(before.fds);
});
