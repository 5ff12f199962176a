/**
 * The keeper on this machine: real processes, real descriptors.
 *
 * Taking descriptors of another process needs root; elsewhere there is nothing to see.
 */
import { afterEach, describe, expect, test } from "bun:test";
import fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createSilentLog } from "../../base/log.ts";
import { Descriptor } from "../sys/descriptor.ts";
import { createSharedMemory, openSharedMemory } from "../sys/shared-memory.ts";
import type { KeptName } from "./keep.ts";
import { openKeeper } from "./keeper.ts";
import { KEEPER_NAME, keeperProgram } from "./keeper-program.ts";

const SIZE = 4096;
const LOG = createSilentLog();
const folder = fs.mkdtempSync(join(tmpdir(), "overlay-keeper-"));
const file = join(folder, "keeper.json");
const keeper = () => openKeeper(folder, LOG);
const isRoot = process.getuid?.() === 0;

afterEach(() => keeper().drop());

/** Memory that says `text`, as a descriptor. */
function sayingMemory(text: string): Descriptor {
  const memory = createSharedMemory("test", SIZE);
  new Uint8Array(memory.buffer).set(new TextEncoder().encode(text));
  return new Descriptor(memory.fd);
}

/** What the memories of `taken` say; closes them. */
function said(taken: ReadonlyMap<KeptName, number>): Record<string, string> {
  const texts = [...taken].map(([name, fd]) => {
    using descriptor = new Descriptor(fd);
    const bytes = new Uint8Array(openSharedMemory(descriptor.fd, SIZE)!.buffer);
    return [name, new TextDecoder().decode(bytes.subarray(0, bytes.indexOf(0)))];
  });
  return Object.fromEntries(texts);
}

function hold(texts: Partial<Record<KeptName, string>>, holder = keeper()) {
  const held = Object.entries(texts).map(([name, text]) => [name, sayingMemory(text)] as const);
  holder.hold(new Map(held.map(([name, { fd }]) => [name as KeptName, fd])));
  for (const [, descriptor] of held) descriptor.close();
  return holder;
}

const recordOf = () => JSON.parse(fs.readFileSync(file, "utf8")) as { pid: number; start: string };
const linkOf = (pid: number, fd: number) => fs.readlinkSync(`/proc/${pid}/fd/${fd}`);

describe.skipIf(!isRoot)("the keeper", () => {
  test("holds what it was given and nothing else; the next process takes all of it", () => {
    hold({ tun: "one", udp: "two", seal: "three" });
    const { pid } = recordOf();
    expect(fs.readdirSync(`/proc/${pid}/fd`).length).toBe(7);
    expect([0, 1, 2].map((fd) => linkOf(pid, fd))).toEqual(Array(3).fill("/dev/null"));
    expect(fs.readlinkSync(`/proc/${pid}/cwd`)).toBe("/");
    expect(fs.readFileSync(`/proc/${pid}/comm`, "utf8")).toBe(`${KEEPER_NAME}\n`);
    expect(fs.readFileSync(`/proc/${pid}/environ`, "utf8")).toBe("");
    expect(fs.statSync(file).mode & 0o777).toBe(0o600);
    const resident = /VmRSS:\s+(\d+) kB/.exec(fs.readFileSync(`/proc/${pid}/status`, "utf8"));
    expect(Number(resident?.[1])).toBeLessThan(1024);
    const next = keeper();
    expect(said(next.takeAll())).toEqual({ tun: "one", udp: "two", seal: "three" });
    // Another one may still take them: who takes them does not end the keeper.
    expect(said(keeper().takeAll())).toEqual({ tun: "one", udp: "two", seal: "three" });
  });

  test("other descriptors: another keeper, and the old one has ended", () => {
    const holder = hold({ tun: "old" });
    const { pid } = recordOf();
    hold({ seal: "new" }, holder);
    expect(fs.existsSync(`/proc/${pid}`)).toBe(false);
    const next = keeper();
    expect(said(next.takeAll())).toEqual({ seal: "new" });
    // Taken over: a keeper that this process did not start ends all the same.
    const second = recordOf().pid;
    hold({ udp: "newest" }, next);
    expect(said(keeper().takeAll())).toEqual({ udp: "newest" });
    expect(recordOf().pid).not.toBe(second);
  });

  test("drop: no process, no file", () => {
    const holder = hold({ tun: "x" });
    const { pid } = recordOf();
    holder.drop();
    expect([fs.existsSync(file), fs.existsSync(`/proc/${pid}`)]).toEqual([false, false]);
    expect(keeper().takeAll().size).toBe(0);
    holder.drop();
  });

  test("a process that was killed: what it held is there", async () => {
    const program = `
      const { openKeeper } = await import("${import.meta.dir}/keeper.ts");
      const { createSharedMemory } = await import("${import.meta.dir}/../sys/shared-memory.ts");
      const memory = createSharedMemory("test", ${SIZE});
      new Uint8Array(memory.buffer).set(new TextEncoder().encode("from the dead"));
      openKeeper(${JSON.stringify(folder)}, console).hold(new Map([["seal", memory.fd]]));
      process.kill(process.pid, "SIGKILL");`;
    const child = Bun.spawn([process.execPath, "-e", program], { stdio: ["ignore", 2, 2] });
    await child.exited;
    expect(child.signalCode).toBe("SIGKILL");
    const next = keeper();
    expect(said(next.takeAll())).toEqual({ seal: "from the dead" });
    const { pid } = recordOf();
    next.drop();
    const state = () => /^State:\s+(\S)/m.exec(fs.readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
    // Whoever inherits orphans may take a while to reap this one.
    expect(fs.existsSync(`/proc/${pid}`) ? state() : "gone").toBeOneOf(["Z", "X", "gone"]);
  });

  test("a file that names a process that is no keeper, or another one: nothing is taken", () => {
    hold({ seal: "mine" });
    const right = recordOf();
    const start = fs.readFileSync("/proc/self/stat", "latin1").split(") ")[1]!.split(" ")[19]!;
    for (const wrong of [
      // The id has been used again: by a process that began at another time, or by this one.
      { ...right, start: String(Number(right.start) + 1) },
      { ...right, pid: process.pid, start },
      { ...right, pid: 2 ** 22 + 1 },
      { ...right, pid: 1 },
      { ...right, pid: -right.pid },
      { ...right, pid: "1" },
      { ...right, names: ["seal", "tun"] },
      { ...right, names: ["shadow"] },
      [],
      null,
    ]) {
      fs.writeFileSync(file, JSON.stringify(wrong));
      expect(keeper().takeAll().size).toBe(0);
    }
    for (const text of ["", "{", "\0", " ".repeat(2000) + JSON.stringify(right)]) {
      fs.writeFileSync(file, text);
      expect(keeper().takeAll().size).toBe(0);
    }
    fs.writeFileSync(file, JSON.stringify(right));
    fs.chownSync(file, 65_534, 65_534);
    expect(keeper().takeAll().size).toBe(0);
    fs.chownSync(file, 0, 0);
    const next = keeper();
    expect(said(next.takeAll())).toEqual({ seal: "mine" });
    next.drop();
  });
});

describe("keeperProgram", () => {
  test("has the size of nothing, on both architectures, and on no other", () => {
    const sizes = ["x64", "arm64"].map((name) => keeperProgram(name, 3)!.length);
    expect(Math.max(...sizes)).toBeLessThan(400);
    expect(keeperProgram("riscv64", 3)).toBeUndefined();
  });

  test("arm64: as an assembler has it", () => {
    // llvm-mc 14 disassembles these words to what the source says; the first differs by the count.
    const bytes = Buffer.from(keeperProgram("arm64", 3)!.subarray(176));
    expect(bytes.subarray(0, 36).toString("hex")).toBe(
      "e00080d201008012020080d2883680d2010000d4e00180d221040010e81480d2010000d4",
    );
    expect(bytes.subarray(36, 48).toString("hex")).toBe("20040070280680d2010000d4");
    expect(bytes.subarray(96, 104).toString("hex")).toBe("1f0000718dfeff54");
    expect(bytes.subarray(-17).toString("latin1")).toBe(`${KEEPER_NAME}\0/\0`);
  });
});
