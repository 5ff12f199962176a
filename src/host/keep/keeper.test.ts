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
import type { DescriptorHolder, KeptName } from "./keep.ts";
import { openKeeper } from "./keeper.ts";
import { KEEPER_NAME, keeperProgram } from "./keeper-program.ts";

const SIZE = 4096;
const LOG = createSilentLog();
const folder = fs.mkdtempSync(join(tmpdir(), "overlay-keeper-"));
const file = join(folder, "keeper.json");
const keeper = () => openKeeper(folder, LOG);
const isRoot = process.getuid?.() === 0;

afterEach(() => {
  const last = keeper();
  for (const fd of last.takeAll().values()) new Descriptor(fd).close();
  last.drop();
  fs.rmSync(file, { force: true });
});

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

type Texts = Partial<Record<KeptName, string>>;

function hold(texts: Texts, holder = keeper()): DescriptorHolder {
  const held = Object.entries(texts).map(([name, text]) => [name, sayingMemory(text)] as const);
  holder.hold(new Map(held.map(([name, { fd }]) => [name as KeptName, fd])));
  for (const [, descriptor] of held) descriptor.close();
  return holder;
}

/** The same by another process, which is killed as soon as it has said so. */
async function holdAndDie(texts: Texts): Promise<void> {
  const program = `
    const { openKeeper } = await import("${import.meta.dir}/keeper.ts");
    const { createSharedMemory } = await import("${import.meta.dir}/../sys/shared-memory.ts");
    const held = Object.entries(${JSON.stringify(texts)}).map(([name, text]) => {
      const memory = createSharedMemory("test", ${SIZE});
      new Uint8Array(memory.buffer).set(new TextEncoder().encode(text));
      return [name, memory.fd];
    });
    openKeeper(${JSON.stringify(folder)}, console).hold(new Map(held));
    process.kill(process.pid, "SIGKILL");`;
  const child = Bun.spawn([process.execPath, "-e", program], { stdio: ["ignore", 2, 2] });
  await child.exited;
  expect(child.signalCode).toBe("SIGKILL");
}

const recordOf = () => JSON.parse(fs.readFileSync(file, "utf8")) as { pid: number; start: string };
const linkOf = (pid: number, fd: number) => fs.readlinkSync(`/proc/${pid}/fd/${fd}`);

/** Whether a process has ended; whoever inherits orphans may take a while to reap it. */
function hasEnded(pid: number): boolean {
  try {
    return /^State:\s+[ZX]/m.test(fs.readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return true;
  }
}

describe.skipIf(!isRoot)("the keeper", () => {
  test("holds what it was given and nothing else; the next process takes all of it", async () => {
    await holdAndDie({ tun: "one", udp: "two", seal: "three" });
    const { pid } = recordOf();
    expect(fs.readdirSync(`/proc/${pid}/fd`).length).toBe(7);
    expect([0, 1, 2].map((fd) => linkOf(pid, fd))).toEqual(Array(3).fill("/dev/null"));
    expect(fs.readlinkSync(`/proc/${pid}/cwd`)).toBe("/");
    expect(fs.readFileSync(`/proc/${pid}/comm`, "utf8")).toBe(`${KEEPER_NAME}\n`);
    expect(fs.readFileSync(`/proc/${pid}/environ`, "utf8")).toBe("");
    expect(fs.statSync(file).mode & 0o777).toBe(0o600);
    const resident = /VmRSS:\s+(\d+) kB/.exec(fs.readFileSync(`/proc/${pid}/status`, "utf8"));
    expect(Number(resident?.[1])).toBeLessThan(1024);
    expect(said(keeper().takeAll())).toEqual({ tun: "one", udp: "two", seal: "three" });
    // A process that ends before it holds anything itself leaves them to the next one.
    expect(said(keeper().takeAll())).toEqual({ tun: "one", udp: "two", seal: "three" });
  });

  test("taken over: another keeper, and the old one has ended", async () => {
    await holdAndDie({ tun: "old" });
    const { pid } = recordOf();
    const next = keeper();
    expect(said(next.takeAll())).toEqual({ tun: "old" });
    expect(hasEnded(pid)).toBe(false);
    hold({ seal: "new" }, next);
    expect(hasEnded(pid)).toBe(true);
    const second = recordOf().pid;
    hold({ udp: "newest" }, next);
    expect(fs.existsSync(`/proc/${second}`)).toBe(false);
    next.drop();
  });

  test("a process that still runs keeps what is its own, and its keeper", () => {
    const holder = hold({ seal: "mine" });
    const other = keeper();
    expect(other.takeAll().size).toBe(0);
    other.drop();
    expect(hasEnded(recordOf().pid)).toBe(false);
    holder.drop();
  });

  test("drop: no process, no file", async () => {
    const holder = hold({ tun: "x" });
    const { pid } = recordOf();
    holder.drop();
    expect([fs.existsSync(file), fs.existsSync(`/proc/${pid}`)]).toEqual([false, false]);
    holder.drop();
    await holdAndDie({ tun: "y" });
    const second = recordOf().pid;
    const next = keeper();
    expect(said(next.takeAll())).toEqual({ tun: "y" });
    next.drop();
    expect([fs.existsSync(file), hasEnded(second)]).toEqual([false, true]);
  });

  test("a file that names a process that is no keeper, or another one: nothing is taken", async () => {
    await holdAndDie({ seal: "mine" });
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
    expect(said(keeper().takeAll())).toEqual({ seal: "mine" });
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
