/**
 * The agent's line to the service manager, against a socket as systemd has it.
 */
import { expect, test } from "bun:test";
import { ManualClock } from "../../tests/support/manual-clock.ts";
import { createSilentLog } from "../base/log.ts";
import { Descriptor } from "../host/sys/descriptor.ts";
import { libc } from "../host/sys/libc.ts";
import { kernelBytes } from "../host/sys/memory.ts";
import { openServiceNotice, type ServiceState } from "./service-notice.ts";

const AF_UNIX = 1;
const DATAGRAM_NONBLOCK = 2 | 0o4000;

/** What a service manager hears on a name in the kernel. */
class Manager implements Disposable {
  readonly name: string;
  readonly #socket = new Descriptor(libc().socket(AF_UNIX, DATAGRAM_NONBLOCK, 0));

  constructor(name: string) {
    this.name = `@overlay-notice-${process.pid}-${name}`;
    const address = kernelBytes(110);
    address.view.setUint16(0, AF_UNIX, true);
    address.bytes.set(new TextEncoder().encode(`\0${this.name.slice(1)}`), 2);
    expect(libc().bind(this.#socket.fd, address.address, 2 + this.name.length)).toBe(0);
  }

  heard(): string[] {
    const bytes = kernelBytes(500);
    const all: string[] = [];
    for (;;) {
      const length = libc().read(this.#socket.fd, bytes.address, 500);
      if (length < 0) return all;
      all.push(new TextDecoder().decode(bytes.bytes.subarray(0, length)));
    }
  }

  [Symbol.dispose](): void {
    this.#socket.close();
  }
}

function start(manager: Manager, state: { now: ServiceState }, env = {}) {
  const clock = new ManualClock();
  const notice = openServiceNotice({
    env: { NOTIFY_SOCKET: manager.name, ...env },
    clock,
    log: createSilentLog(),
    read: () => state.now,
  });
  return { clock, notice };
}

test("waits for the lease, says why meanwhile, and is ready once", async () => {
  using manager = new Manager("lease");
  const state = { now: { ready: false, text: "no lease yet: no leader" } };
  const { clock, notice } = start(manager, state);
  expect(manager.heard()).toEqual(["WATCHDOG=1\nSTATUS=no lease yet: no leader"]);
  await clock.advance(1000);
  expect(manager.heard()).toEqual([]);
  state.now = { ready: true, text: "lease 10.0.53.0/24" };
  await clock.advance(200);
  expect(manager.heard()).toEqual(["WATCHDOG=1\nSTATUS=lease 10.0.53.0/24\nREADY=1"]);
  await clock.advance(15_000);
  expect(manager.heard()).toEqual(["WATCHDOG=1"]);
  notice.stop();
  await clock.advance(60_000);
  expect(manager.heard()).toEqual(["STOPPING=1\nSTATUS=Stopping"]);
});

test("is ready after a minute, whatever is missing", async () => {
  using manager = new Manager("minute");
  const { clock } = start(manager, { now: { ready: false, text: "no leader" } });
  await clock.advance(59_800);
  expect(manager.heard().join()).not.toContain("READY");
  await clock.advance(200);
  expect(manager.heard()).toEqual(["WATCHDOG=1\nREADY=1"]);
});

test("feeds the watchdog three times in its time, and not that of another process", async () => {
  using manager = new Manager("watchdog");
  const state = { now: { ready: true, text: "" } };
  for (const [env, count] of [
    [{ WATCHDOG_USEC: "9000000" }, 5],
    [{ WATCHDOG_USEC: "9000000", WATCHDOG_PID: String(process.pid) }, 5],
    [{ WATCHDOG_USEC: "9000000", WATCHDOG_PID: "1" }, 1],
  ] as const) {
    const { clock, notice } = start(manager, state, env);
    manager.heard();
    await clock.advance(15_000);
    expect(manager.heard()).toEqual(Array(count).fill("WATCHDOG=1"));
    notice.stop();
    manager.heard();
  }
});

test("nobody listens, and no service at all: nothing happens", () => {
  const read = () => ({ ready: true, text: "" });
  const options = { clock: new ManualClock(), log: createSilentLog(), read };
  for (const NOTIFY_SOCKET of ["/nonexistent/notify", "vsock:2:1", "", undefined]) {
    openServiceNotice({ ...options, env: { NOTIFY_SOCKET } }).stop();
  }
});
