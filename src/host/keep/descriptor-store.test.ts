/**
 * The store against a manager that does what systemd's does: it takes notifications on a socket and
 * gives the descriptors back by number and environment.
 */
import { afterAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createSilentLog } from "../../base/log.ts";
import { Descriptor } from "../sys/descriptor.ts";
import { libc } from "../sys/libc.ts";
import { kernelBytes, putAddress } from "../sys/memory.ts";
import { createSharedMemory } from "../sys/shared-memory.ts";
import { openDescriptorStore } from "./descriptor-store.ts";

const LOG = createSilentLog();
const folder = fs.mkdtempSync(join(tmpdir(), "overlay-store-"));
afterAll(() => fs.rmSync(folder, { recursive: true }));

/** A notification: its text, and the descriptor that came with it. */
interface Notification {
  readonly text: string;
  readonly fd: number | undefined;
}

/** The manager's socket, bound to `name`: a path, or "@" and a name in the kernel. */
class Manager {
  readonly #socket: Descriptor;

  constructor(name: string) {
    this.#socket = new Descriptor(libc().socket(1, 2 | 0o4000, 0));
    const address = kernelBytes(110);
    address.view.setUint16(0, 1, true);
    address.bytes.set(new TextEncoder().encode(name), 2);
    if (name.startsWith("@")) address.bytes[2] = 0;
    expect(libc().bind(this.#socket.fd, address.address, 2 + name.length)).toBe(0);
  }

  next(): Notification | undefined {
    const [body, control] = [kernelBytes(200), kernelBytes(64)];
    const [vector, message] = [kernelBytes(16), kernelBytes(56)];
    putAddress(vector.view, 0, body.address);
    putAddress(vector.view, 8, 200);
    putAddress(message.view, 16, vector.address);
    putAddress(message.view, 24, 1);
    putAddress(message.view, 32, control.address);
    putAddress(message.view, 40, 64);
    const length = libc().recvmsg(this.#socket.fd, message.address, 0);
    if (length < 0) return undefined;
    const hasFd = message.view.getUint32(40, true) > 0;
    const text = new TextDecoder().decode(body.bytes.subarray(0, length));
    return { text, fd: hasFd ? control.view.getInt32(16, true) : undefined };
  }

  all(): Notification[] {
    const found: Notification[] = [];
    for (let one = this.next(); one !== undefined; one = this.next()) found.push(one);
    return found;
  }

  close(): void {
    this.#socket.close();
  }
}

const inodeOf = (fd: number) => fs.fstatSync(fd).ino;

describe("the descriptor store", () => {
  for (const name of [join(folder, "notify"), `@overlay-test-${process.pid}`]) {
    test(`holds and drops over ${name.startsWith("@") ? "a name" : "a path"}`, () => {
      const manager = new Manager(name);
      using one = new Descriptor(createSharedMemory("one", 4096).fd);
      using two = new Descriptor(createSharedMemory("two", 4096).fd);
      const store = openDescriptorStore({ NOTIFY_SOCKET: name }, LOG)!;
      store.hold(
        new Map([
          ["tun", one.fd],
          ["seal", two.fd],
        ]),
      );
      const removed = ["tun", "udp", "seal"].map(
        (each) => `FDSTOREREMOVE=1\nFDNAME=overlay-${each}`,
      );
      const got = manager.all();
      expect(got.map(({ text }) => text)).toEqual([
        ...removed,
        "FDSTORE=1\nFDPOLL=0\nFDNAME=overlay-tun",
        "FDSTORE=1\nFDPOLL=0\nFDNAME=overlay-seal",
      ]);
      expect(got.slice(3).map(({ fd }) => inodeOf(fd!))).toEqual(
        [one, two].map((d) => inodeOf(d.fd)),
      );
      for (const { fd } of got) if (fd !== undefined) libc().close(fd);
      store.drop();
      expect(manager.all()).toEqual(removed.map((text) => ({ text, fd: undefined })));
      manager.close();
    });
  }

  test("takes what is listed for this process by our names, and leaves the rest alone", () => {
    const env = { NOTIFY_SOCKET: join(folder, "none"), LISTEN_FDS: "3" };
    const LISTEN_FDNAMES = "http:overlay-udp:overlay-udp";
    const take = (more: Record<string, string>) =>
      openDescriptorStore({ ...env, LISTEN_FDNAMES, ...more }, LOG)!.takeAll();
    const LISTEN_PID = String(process.pid);
    expect(take({ LISTEN_PID })).toEqual(new Map([["udp", 4]]));
    expect(take({}).size).toBe(0);
    expect(take({ LISTEN_PID: String(process.pid + 1) }).size).toBe(0);
    expect(take({ LISTEN_PID, LISTEN_FDS: "1" }).size).toBe(0);
    expect(take({ LISTEN_PID, LISTEN_FDS: "no" }).size).toBe(0);
    expect(take({ LISTEN_PID, LISTEN_FDNAMES: "" }).size).toBe(0);
  });

  test("no service, or a socket of another kind: no store", () => {
    for (const NOTIFY_SOCKET of [undefined, "", "vsock:2:1", `/${"x".repeat(200)}`]) {
      expect(openDescriptorStore({ NOTIFY_SOCKET }, LOG)).toBeUndefined();
    }
  });
});
