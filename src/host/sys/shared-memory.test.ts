import { describe, expect, test } from "bun:test";
import fs from "node:fs";
import { Descriptor } from "./descriptor.ts";
import { libc } from "./libc.ts";
import { memoryAt } from "./memory.ts";
import { createSharedMemory, openSharedMemory } from "./shared-memory.ts";

const SIZE = 8192;

describe("shared memory", () => {
  test("zeroed; all that map it see the same, by descriptor and by address", () => {
    const memory = createSharedMemory("test", SIZE);
    using descriptor = new Descriptor(memory.fd);
    const bytes = new Uint8Array(memory.buffer);
    expect([bytes.length, bytes.every((byte) => byte === 0)]).toEqual([SIZE, true]);
    bytes[SIZE - 1] = 7;
    expect(new Uint8Array(openSharedMemory(descriptor.fd, SIZE)!.buffer)[SIZE - 1]).toBe(7);
    expect(new Uint8Array(memoryAt(memory.address, SIZE))[SIZE - 1]).toBe(7);
  });

  test("nobody makes it smaller or larger, and nobody else can", () => {
    const { fd } = createSharedMemory("test", SIZE);
    using descriptor = new Descriptor(fd);
    for (const size of [0, SIZE - 1, SIZE + 1]) {
      expect(libc().ftruncate(descriptor.fd, size)).toBe(-1);
    }
    expect(fs.fstatSync(descriptor.fd).size).toBe(SIZE);
  });

  test("another size, a file, a socket: not opened", () => {
    const { fd } = createSharedMemory("test", SIZE);
    using descriptor = new Descriptor(fd);
    using file = new Descriptor(fs.openSync(import.meta.path, "r"));
    using none = new Descriptor(fs.openSync("/dev/null", "r+"));
    expect(openSharedMemory(descriptor.fd, SIZE + 4096)).toBeUndefined();
    expect(openSharedMemory(file.fd, fs.fstatSync(file.fd).size)).toBeUndefined();
    expect(openSharedMemory(none.fd, 0)).toBeUndefined();
  });

  test("in no core dump", () => {
    const { fd, address } = createSharedMemory("test", SIZE);
    using _ = new Descriptor(fd);
    const maps = fs.readFileSync("/proc/self/smaps", "utf8");
    const at = maps.indexOf(`${address.toString(16)}-`);
    expect(at).toBeGreaterThanOrEqual(0);
    expect(/^VmFlags:.*$/m.exec(maps.slice(at))?.[0]).toContain(" dd");
  });
});
