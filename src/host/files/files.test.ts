/**
 * Atomic files, the directory lock and the disk port, on real files and real processes.
 *
 * @module
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { constants, promises as fs } from "node:fs";
import { tmpdir } from "node:os";
import { HostError } from "../../base/host-error.ts";
import { readFileIfAny, writeFileAtomic } from "./atomic-file.ts";
import { openDisk } from "./disk.ts";
import { LOCK_FILE_NAME, lockDirectory } from "./lock-file.ts";

let root = "";
beforeAll(async () => {
  root = await fs.mkdtemp(`${tmpdir()}/overlay-files-`);
});
afterAll(() => fs.rm(root, { recursive: true }));

const text = async (path: string) => new TextDecoder().decode(await readFileIfAny(path));

describe("writeFileAtomic", () => {
  test("writes only when content or mode differ, and says whether it did", async () => {
    const path = `${root}/a/b/one`;
    expect(await writeFileAtomic(path, "first\n", { mode: 0o600 })).toBe(true);
    const { ino } = await fs.stat(path);
    expect(await writeFileAtomic(path, Buffer.from("first\n"), { mode: 0o600 })).toBe(false);
    expect((await fs.stat(path)).ino).toBe(ino);
    expect(await writeFileAtomic(path, "first\n", { mode: 0o644 })).toBe(true);
    expect((await fs.stat(path)).mode & 0o777).toBe(0o644);
    expect(await writeFileAtomic(path, "second", { mode: 0o644 })).toBe(true);
    expect(await text(path)).toBe("second");
    expect(await fs.readdir(`${root}/a/b`)).toEqual(["one"]);
  });

  test("a mode is set whatever the umask", async () => {
    const before = process.umask(0o077);
    try {
      await writeFileAtomic(`${root}/umask`, "x", { mode: 0o666 });
    } finally {
      process.umask(before);
    }
    expect((await fs.stat(`${root}/umask`)).mode & 0o777).toBe(0o666);
  });

  test("replaces a symbolic link and leaves its target alone", async () => {
    await fs.writeFile(`${root}/target`, "theirs");
    await fs.symlink(`${root}/target`, `${root}/link`);
    await writeFileAtomic(`${root}/link`, "ours", { mode: 0o600 });
    expect(await text(`${root}/target`)).toBe("theirs");
    expect((await fs.lstat(`${root}/link`)).isSymbolicLink()).toBe(false);
  });

  test("many writers at once leave one whole content and no temporary file", async () => {
    const directory = `${root}/many`;
    const contents = Array.from({ length: 8 }, (_, i) => `${i}`.repeat(5000));
    await Promise.all(
      contents.map((content) => writeFileAtomic(`${directory}/file`, content, { mode: 0o600 })),
    );
    expect(contents).toContain(await text(`${directory}/file`));
    expect(await fs.readdir(directory)).toEqual(["file"]);
  });

  test("a failure is a HostError and leaves the old file and nothing else", async () => {
    const directory = `${root}/blocked`;
    await fs.mkdir(`${directory}/file`, { recursive: true });
    const attempt = writeFileAtomic(`${directory}/file`, "x", { mode: 0o600 });
    await expect(attempt).rejects.toBeInstanceOf(HostError);
    await expect(attempt).rejects.toThrow(`Cannot write ${directory}/file: `);
    expect(await fs.readdir(directory)).toEqual(["file"]);
  });
});

describe("readFileIfAny", () => {
  test("is undefined when there is no file, and a HostError when it cannot be read", async () => {
    expect(await readFileIfAny(`${root}/absent`)).toBeUndefined();
    expect(await readFileIfAny(`${root}/absent/deeper`)).toBeUndefined();
    await expect(readFileIfAny(root)).rejects.toThrow(`Cannot read ${root}: `);
  });

  test("refuses a file that is too large to be ours", async () => {
    await fs.writeFile(`${root}/large`, "");
    await fs.truncate(`${root}/large`, 16 * 1024 * 1024 + 1);
    await expect(readFileIfAny(`${root}/large`)).rejects.toThrow("at most 16777216 are expected");
  });
});

describe("lockDirectory", () => {
  test("makes the directory for its owner only; a second lock names the holder", async () => {
    const directory = `${root}/state/overlay`;
    const lock = await lockDirectory(directory);
    expect((await fs.stat(directory)).mode & 0o777).toBe(0o700);
    const second = lockDirectory(directory);
    await expect(second).rejects.toThrow(
      `Cannot lock ${directory}: in use by another agent (pid ${process.pid}); ` +
        "stop that agent, or choose another directory with --data-dir",
    );
    lock.release();
    lock.release();
    using again = await lockDirectory(directory);
    expect(again.directory).toBe(directory);
  });

  test("is dropped by the kernel when its holder is killed", async () => {
    const directory = `${root}/killed`;
    const source = new URL("./lock-file.ts", import.meta.url).pathname;
    const script = `
      import { lockDirectory } from ${JSON.stringify(source)};
      await lockDirectory(${JSON.stringify(directory)});
      console.log("locked");
      setInterval(() => Bun.gc(true), 1);
    `;
    const holder = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe" });
    try {
      const reader = holder.stdout.getReader();
      await reader.read();
      await expect(lockDirectory(directory)).rejects.toThrow(`(pid ${holder.pid})`);
    } finally {
      holder.kill("SIGKILL");
      await holder.exited;
    }
    (await lockDirectory(directory)).release();
  });

  test("a program that we start does not inherit the lock", async () => {
    const directory = `${root}/inherited`;
    const lock = await lockDirectory(directory);
    const child = Bun.spawn(["sh", "-c", "echo started; exec sleep 60"], { stdout: "pipe" });
    try {
      // Until its first word the child may not have got to closing what it must not keep.
      await child.stdout.getReader().read();
      lock.release();
      (await lockDirectory(directory)).release();
    } finally {
      child.kill("SIGKILL");
      await child.exited;
    }
  });

  test("says so when the lock file cannot be made", async () => {
    const directory = `${root}/odd`;
    await fs.mkdir(`${directory}/${LOCK_FILE_NAME}`, { recursive: true });
    await expect(lockDirectory(directory)).rejects.toThrow(`Cannot lock ${directory}: `);
  });
});

describe("openDisk", () => {
  const disk = openDisk();

  test("reads and writes at positions; a read stops at the end", async () => {
    const path = `${root}/positions`;
    const file = await disk.open(path, "create");
    await file.write(Buffer.from("hello"), 10);
    await file.sync();
    const into = new Uint8Array(10);
    expect(await file.read(into, 10)).toBe(5);
    expect(Buffer.from(into.subarray(0, 5)).toString()).toBe("hello");
    expect(await file.read(into, 100)).toBe(0);
    await file.close();
    expect((await fs.stat(path)).mode & 0o777).toBe(0o600);
    const durable = await disk.open(path, "durable");
    expect(durable.sizeBytes).toBe(15);
    expect((await openFlags(path)) & constants.O_DSYNC).toBe(constants.O_DSYNC);
    await durable.write(Buffer.from("J"), 10);
    await durable.close();
    expect((await readFileIfAny(path))?.at(10)).toBe(0x4a);
  });

  test("errors carry operation, path and errno", async () => {
    await expect(disk.open(`${root}/none`, "read")).rejects.toThrow(
      `Cannot open ${root}/none: it does not exist (ENOENT)`,
    );
    await expect(disk.rename(`${root}/none`, `${root}/other`)).rejects.toMatchObject({
      operation: "rename",
      errno: "ENOENT",
    });
  });

  test("finds the file system of a path", async () => {
    const { mountPoint, freeBytes } = await disk.space(root);
    expect(root.startsWith(mountPoint)).toBe(true);
    expect(freeBytes).toBeGreaterThan(0);
    expect((await disk.space("/proc/self")).mountPoint).toBe("/proc");
  });
});

/** The flags with which this process has `path` open, as the kernel knows them. */
async function openFlags(path: string): Promise<number> {
  for (const fd of await fs.readdir("/proc/self/fd")) {
    const target = await fs.readlink(`/proc/self/fd/${fd}`).catch(() => undefined);
    if (target !== path) continue;
    const info = await fs.readFile(`/proc/self/fdinfo/${fd}`, "utf8");
    return Number(`0o${/flags:\s*(\d+)/.exec(info)?.[1]}`);
  }
  return 0;
}
