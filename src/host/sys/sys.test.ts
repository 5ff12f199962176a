import { type Pointer, read } from "bun:ffi";
import { describe, expect, test } from "bun:test";
import { HostError } from "../../base/host-error.ts";
import {
  clearEvent,
  Descriptor,
  openEventDescriptor,
  POLLIN,
  POLLNVAL,
  PollSet,
  signalEvent,
} from "./descriptor.ts";
import { checkCall, EBADF, ENOENT, errnoName } from "./errno.ts";
import { lastErrno, libc } from "./libc.ts";
import { cString, IovecArray, kernelBytes, putAddress } from "./memory.ts";

describe("libc", () => {
  test("open: a missing path fails and errno names it", () => {
    const path = cString("/nonexistent/overlay");
    expect(libc().open(path.address, 0, 0)).toBe(-1);
    expect(lastErrno()).toBe(ENOENT);
  });

  test("read: bytes of a file arrive at the address given", () => {
    const path = cString("/proc/self/comm");
    using file = new Descriptor(checkCall(libc().open(path.address, 0, 0), "open", "comm"));
    const memory = kernelBytes(64);
    const count = libc().read(file.fd, memory.address, 64);
    expect(count).toBeGreaterThan(1);
    expect(memory.bytes[count - 1]).toBe(10);
    expect(memory.bytes[count]).toBe(0);
  });

  test("checkCall: a failed call becomes a HostError with the name of errno", () => {
    expect(() => checkCall(libc().close(-1), "close", "nothing")).toThrow(
      new HostError({ operation: "close", object: "nothing", errno: "EBADF" }).message,
    );
  });
});

describe("IovecArray", () => {
  const WORD = 2 ** 32;
  for (const base of [0x7f12_3456_7000, 3 * WORD - 100, 5 * WORD, 5 * WORD - 1, 4096, WORD - 8]) {
    test(`from ${base} on, addresses and lengths are exact`, () => {
      const iovecs = new IovecArray(5, base);
      const entries = [0, 1, 99, 100, 3_000_000].map((offset) => ({ offset, length: offset + 7 }));
      for (const [i, { offset, length }] of entries.entries()) iovecs.set(i, offset, length);
      const seen = entries.map((_, i) => {
        const at = (iovecs.address + i * 16) as Pointer;
        const address = read.u32(at, 0) + read.u32(at, 4) * WORD;
        return { offset: address - base, length: read.u32(at, 8) };
      });
      expect(seen).toEqual(entries);
    });
  }
});

describe("errno", () => {
  test.each([
    [1, "EPERM"],
    [98, "EADDRINUSE"],
    [77, "EBADFD"],
    [4711, "errno 4711"],
  ])("errnoName: %i is %s", (errno, name) => {
    expect(errnoName(errno)).toBe(name);
  });
});

describe("memory", () => {
  test("putAddress: low word first, high word kept", () => {
    const { view } = kernelBytes(8);
    putAddress(view, 0, 0x7f12_3456_789a);
    expect(view.getBigUint64(0, true)).toBe(0x7f12_3456_789an);
  });

  test("cString: a zero byte inside is refused", () => {
    expect(() => cString("a\0b")).toThrow("zero byte");
  });
});

describe("Descriptor", () => {
  test("close: happens once, so a reused number is never closed by mistake", () => {
    const first = openEventDescriptor();
    first.close();
    using second = openEventDescriptor();
    expect(second.fd).toBe(first.fd);
    first.close();
    expect(new PollSet([second.fd]).wait(0)).toBe(0);
    expect(libc().fcntl(second.fd, 1, 0)).toBe(1); // F_GETFD: FD_CLOEXEC
  });
});

describe("PollSet", () => {
  test("wait: sees a signal until it is cleared, at its own position only", () => {
    using quiet = openEventDescriptor();
    using loud = openEventDescriptor();
    const set = new PollSet([quiet.fd, loud.fd]);
    expect(set.wait(0)).toBe(0);
    signalEvent(loud.fd);
    signalEvent(loud.fd);
    expect(set.wait(-1)).toBe(1);
    expect([set.events(0), set.events(1)]).toEqual([0, POLLIN]);
    clearEvent(loud.fd);
    expect(set.wait(0)).toBe(0);
  });

  test("forget: a closed descriptor no longer wakes the loop", () => {
    const closed = openEventDescriptor();
    const set = new PollSet([closed.fd]);
    closed.close();
    expect(set.wait(0)).toBe(1);
    expect(set.events(0)).toBe(POLLNVAL);
    set.forget(0);
    expect(set.wait(0)).toBe(0);
    expect(libc().close(closed.fd)).toBe(-1);
    expect(lastErrno()).toBe(EBADF);
  });
});
