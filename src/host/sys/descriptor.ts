/**
 * File descriptors that close themselves, and the two used for waiting: eventfd and poll.
 *
 * @module
 */
import { assert } from "../../base/assert.ts";
import { checkCall, EAGAIN, EINTR } from "./errno.ts";
import { lastErrno, libc } from "./libc.ts";
import { type KernelMemory, kernelBytes, putAddress } from "./memory.ts";

export const POLLIN = 0x001;
export const POLLOUT = 0x004;
export const POLLERR = 0x008;
export const POLLHUP = 0x010;
export const POLLNVAL = 0x020;

const EFD_NONBLOCK = 0o4000;
const EFD_CLOEXEC = 0o2000000;
const EVENTFD_VALUE_SIZE = 8;
const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
/** struct pollfd: fd 4, events 2, revents 2 (poll.h). */
const POLLFD_SIZE = 8;

/** An open file descriptor and its owner: closed once, by `close` or at the end of `using`. */
export class Descriptor implements Disposable {
  readonly fd: number;
  #open = true;

  /** Takes over `fd`. Asserts that it is one. */
  constructor(fd: number) {
    assert(fd >= 0, "a descriptor is not negative");
    this.fd = fd;
  }

  /** Closes the descriptor; later calls do nothing. Errors of close(2) cannot be acted on. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    libc().close(this.fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** A wake-up that crosses threads: one side signals, the other polls `fd` and clears it. */
export function openEventDescriptor(): Descriptor {
  const fd = libc().eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  return new Descriptor(checkCall(fd, "open", "eventfd"));
}

/** Makes `fd`, an eventfd, readable. Any thread may call this. */
export function signalEvent(fd: number): void {
  const value = kernelBytes(EVENTFD_VALUE_SIZE);
  putAddress(value.view, 0, 1);
  libc().write(fd, value.address, EVENTFD_VALUE_SIZE);
}

/** Makes `fd`, an eventfd, not readable until the next signal. */
export function clearEvent(fd: number): void {
  const value = kernelBytes(EVENTFD_VALUE_SIZE);
  libc().read(fd, value.address, EVENTFD_VALUE_SIZE);
}

/** Two ends of a channel that keeps messages apart (socketpair(2)); neither end blocks. */
export function openMessagePair(): [Descriptor, Descriptor] {
  const fds = kernelBytes(8);
  const type = SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
  checkCall(libc().socketpair(AF_UNIX, type, 0, fds.address), "open", "message pair");
  return [new Descriptor(fds.view.getInt32(0, true)), new Descriptor(fds.view.getInt32(4, true))];
}

/** A fixed set of descriptors to wait for; positions are those given to the constructor. */
export class PollSet {
  readonly #memory: KernelMemory;
  readonly #count: number;
  readonly #libc = libc();

  constructor(fds: readonly number[]) {
    this.#count = fds.length;
    this.#memory = kernelBytes(fds.length * POLLFD_SIZE);
    for (const [position, fd] of fds.entries()) {
      this.#memory.view.setInt32(position * POLLFD_SIZE, fd, true);
      this.watch(position, POLLIN);
    }
  }

  /** Waits for `events` at `position` from the next `wait` on. */
  watch(position: number, events: number): void {
    this.#memory.view.setInt16(position * POLLFD_SIZE + 4, events, true);
  }

  /** Never looks at `position` again (a negative descriptor is ignored by poll(2)). */
  forget(position: number): void {
    this.#memory.view.setInt32(position * POLLFD_SIZE, -1, true);
  }

  /** What happened at `position` in the last `wait`: POLLIN, POLLERR, … or 0. */
  events(position: number): number {
    return this.#memory.view.getInt16(position * POLLFD_SIZE + 6, true);
  }

  /**
   * Blocks the thread until something happens; at most `timeoutMs`, for ever when that is -1.
   * Returns how many positions have events; 0 after the timeout and after a signal.
   */
  wait(timeoutMs: number): number {
    const ready = this.#libc.poll(this.#memory.address, this.#count, timeoutMs);
    if (ready >= 0) return ready;
    for (let position = 0; position < this.#count; position++) {
      this.#memory.view.setInt16(position * POLLFD_SIZE + 6, 0, true);
    }
    const errno = lastErrno();
    if (errno === EINTR || errno === EAGAIN) return 0;
    return checkCall(ready, "wait for", "descriptors");
  }
}
