/**
 * Real programs in a directory of the test's own, run as the agent runs those of the operator.
 *
 * @module
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openSystemClock } from "../../host/clock/system-clock.ts";
import { findProgram } from "./find-program.ts";
import { PROGRAM_TIMEOUT_MS, type ProgramCall, runProgram } from "./run-program.ts";

let root = "";
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "overlay-extension-"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

function place(name: string, body: string, mode = 0o755): string {
  const path = join(root, name);
  writeFileSync(path, `#!/bin/sh\n${body}\n`);
  chmodSync(path, mode);
  return path;
}

function makeLoop(path: string): void {
  rmSync(path);
  symlinkSync(path, path);
}

/** The call of a script, with time standing still unless the test says otherwise. */
function call(body: string, change: Partial<ProgramCall> = {}) {
  const program = place("program", body);
  const { signal } = new AbortController();
  const clock = openSystemClock();
  return runProgram({ program, args: [], env: {}, input: "", clock, signal, ...change });
}

describe("a program", () => {
  test("gets its words, its variables and its input, and nothing else", async () => {
    process.env["OVERLAY_TEST_SECRET"] = "s";
    const change = { args: ["a b", "$HOME;"], env: { SUBNET: "10.0.7.0/24" }, input: "data\n" };
    const body = 'printf "%s|%s|" "$1" "$2"; cat; pwd; env | cut -d= -f1 | sort | tr "\\n" " "';
    const done = await call(body, change);
    expect(done).toEqual({ ok: true, value: "a b|$HOME;|data\n/\nPATH PWD SUBNET" });
  });

  test("that fails is told by its code and its words, on one line", async () => {
    const done = await call('echo out; printf "no\\033[31m\\nway\\n" >&2; exit 3');
    expect(done).toEqual({ ok: false, error: "exit code 3: no [31m way out" });
    const words = await call("seq 1000 >&2; exit 1");
    expect(words.ok ? "" : words.error).toMatch(/^exit code 1: …901 .* 1000$/);
  });

  test("that hangs is killed with all that it has started", async () => {
    const { promise, resolve } = Promise.withResolvers<() => void>();
    const after = (delayMs: number, task: () => void) => {
      if (delayMs === PROGRAM_TIMEOUT_MS) resolve(task);
      return () => undefined;
    };
    const done = call("sleep 1000 & wait", { clock: { after } });
    (await promise)();
    expect(await done).toEqual({ ok: false, error: "it was killed after 30 s" });
  });

  test("that prints without end is killed", async () => {
    const done = await call("yes");
    expect(done.ok ? "" : done.error).toStartWith("it was killed after printing 65536 bytes: …y");
  });

  test("may leave something behind that holds on to its output", async () => {
    expect(await call("sleep 3 & echo up")).toEqual({ ok: true, value: "up" });
  });

  test("ends with the agent", async () => {
    const stopping = new AbortController();
    const done = call("sleep 1000", { signal: stopping.signal });
    stopping.abort();
    expect(await done).toMatchObject({ ok: false, error: "it was stopped with the agent" });
  });

  test("whose interpreter is not there is told of", async () => {
    const program = join(root, "strange");
    writeFileSync(program, "#!/nowhere/sh\n", { mode: 0o755 });
    const done = await call("", { program });
    expect(done.ok ? "" : done.error).toContain("ENOENT");
  });
});

describe.skipIf(process.getuid?.() !== 0)("programs that may be run", () => {
  test("are root's files in the directory, by name", () => {
    const path = place("good", "");
    expect(findProgram(root, "good")).toEqual({ ok: true, value: path });
  });

  const rows: { name: string; make?: (path: string) => void; says: string }[] = [
    { name: "absent", says: "there is no" },
    { name: "loop", make: makeLoop, says: "there is no" },
    { name: "../good", says: "is not the name of a file" },
    { name: "", says: "is not the name of a file" },
    { name: "..", says: "is not the name of a file" },
    { name: "folder", make: (path) => mkdirSync(path), says: "is not a file" },
    { name: "plain", make: (path) => chmodSync(path, 0o644), says: "is not executable" },
    { name: "shared", make: (path) => chmodSync(path, 0o777), says: "can be written to by others" },
    { name: "group", make: (path) => chmodSync(path, 0o775), says: "can be written to by others" },
    { name: "foreign", make: (path) => chownSync(path, 65_534, 0), says: "belongs to user 65534" },
  ];
  for (const { make, name, says } of rows) {
    test(`not "${name}": ${says}`, () => {
      if (make !== undefined && name !== "folder") place(name, "");
      make?.(join(root, name));
      const found = findProgram(root, name);
      expect(found.ok ? "" : found.error).toContain(says);
    });
  }

  test("not those in a directory where others write", () => {
    const open = join(root, "open", "inner");
    mkdirSync(open, { recursive: true });
    writeFileSync(join(open, "tool"), "", { mode: 0o755 });
    expect(findProgram(open, "tool").ok).toBe(true);
    chmodSync(join(root, "open"), 0o777);
    const found = findProgram(open, "tool");
    expect(found.ok ? "" : found.error).toContain(`"${join(root, "open")}" can be written to`);
  });

  test("by a link, if where it leads is root's alone as well", () => {
    const elsewhere = join(root, "elsewhere");
    mkdirSync(elsewhere);
    writeFileSync(join(elsewhere, "tool"), "", { mode: 0o755 });
    symlinkSync(join(elsewhere, "tool"), join(root, "linked"));
    expect(findProgram(root, "linked")).toEqual({ ok: true, value: join(elsewhere, "tool") });
    chmodSync(elsewhere, 0o777);
    const found = findProgram(root, "linked");
    expect(found.ok ? "" : found.error).toContain(`"${elsewhere}" can be written to`);
  });
});
