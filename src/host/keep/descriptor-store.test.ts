/**
 * The store against a manager that does what systemd's does: it takes notifications on a socket and
 * gives the descriptors back by number and environment.
 */
import { afterAll, describe, expect, test } from "bun:test";
import fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { NotifySocket } from "../../../tests/support/notify-socket.ts";
import { createSilentLog } from "../../base/log.ts";
import { Descriptor } from "../sys/descriptor.ts";
import { libc } from "../sys/libc.ts";
import { createSharedMemory } from "../sys/shared-memory.ts";
import { openDescriptorStore } from "./descriptor-store.ts";

const LOG = createSilentLog();
const folder = fs.mkdtempSync(join(tmpdir(), "overlay-store-"));
afterAll(() => fs.rmSync(folder, { recursive: true }));

const inodeOf = (fd: number) => fs.fstatSync(fd).ino;

describe("the descriptor store", () => {
  for (const name of [join(folder, "notify"), `@overlay-test-${process.pid}`]) {
    test(`holds and drops over ${name.startsWith("@") ? "a name" : "a path"}`, () => {
      const manager = new NotifySocket(name);
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
      const got = manager.takeAll();
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
      expect(manager.takeAll()).toEqual(removed.map((text) => ({ text, fd: undefined })));
      manager.close();
    });
  }

  test("takes what is listed for this process by our names and of their kind", async () => {
    const program = `
      const { openDescriptorStore, passListed } = await import("${import.meta.dir}/descriptor-store.ts");
      const env = { ...process.env, LISTEN_PID: String(process.pid) };
      passListed(env);
      const take = (more) =>
        [...openDescriptorStore({ ...env, ...more }, console).takeAll()].join(" ");
      console.log(JSON.stringify([
        take({}),
        take({ LISTEN_PID: undefined }),
        take({ LISTEN_PID: String(process.pid + 1) }),
        take({ LISTEN_FDS: "2" }),
        take({ LISTEN_FDS: "no" }),
        take({ LISTEN_FDNAMES: "" }),
        take({ LISTEN_FDNAMES: "overlay-tun:overlay-seal:overlay-seal:overlay-udp" }),
      ]));`;
    using memory = new Descriptor(createSharedMemory("test", 4096).fd);
    using socket = new Descriptor(libc().socket(1, 2, 0));
    const child = Bun.spawn([process.execPath, "-e", program], {
      env: {
        ...process.env,
        NOTIFY_SOCKET: join(folder, "none"),
        LISTEN_FDS: "4",
        LISTEN_FDNAMES: "http:overlay-udp:overlay-udp:overlay-seal",
      },
      stdio: ["ignore", "pipe", "inherit", socket.fd, memory.fd, socket.fd, memory.fd],
    });
    const said: unknown = JSON.parse(await new Response(child.stdout).text());
    expect(said).toEqual(["udp,5 seal,6", "", "", "", "", "", "seal,4"]);
  });

  test("no service, or a socket of another kind: no store", () => {
    for (const NOTIFY_SOCKET of [undefined, "", "vsock:2:1", `/${"x".repeat(200)}`]) {
      expect(openDescriptorStore({ NOTIFY_SOCKET }, LOG)).toBeUndefined();
    }
  });
});
