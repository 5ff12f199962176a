/**
 * Another process by a handle that can never mean a third one: pidfd_open(2), pidfd_getfd(2).
 *
 * Linux 5.6. Taking a descriptor needs the right to trace the process: root has it.
 *
 * @module
 */
import { Descriptor, PollSet } from "./descriptor.ts";
import { libc, syscallNumbers } from "./libc.ts";

const SIGKILL = 9;

/** A process that may have ended. */
export interface ProcessHandle extends Disposable {
  /** For a program that shall notice when the process ends: readable from then on. */
  readonly fd: number;
  /** A copy of its descriptor `fd`, closed on exec; undefined when it is not to be had. */
  take(fd: number): number | undefined;
  /** Ends it and waits until what it held is closed; false when that took longer. */
  end(timeoutMs: number): boolean;
  close(): void;
}

/** A handle on the process that has the id now; undefined when there is none. */
export function openProcess(pid: number): ProcessHandle | undefined {
  const numbers = syscallNumbers();
  const fd = libc().syscall(numbers.pidfd_open, pid, 0, 0, 0, 0, 0);
  if (fd < 0) return undefined;
  const descriptor = new Descriptor(fd);
  return {
    fd,
    take(other) {
      const taken = libc().syscall(numbers.pidfd_getfd, fd, other, 0, 0, 0, 0);
      return taken < 0 ? undefined : taken;
    },
    end(timeoutMs) {
      libc().syscall(numbers.pidfd_send_signal, fd, SIGKILL, 0, 0, 0, 0);
      return new PollSet([fd]).wait(timeoutMs) > 0;
    },
    close: () => descriptor.close(),
    [Symbol.dispose]: () => descriptor.close(),
  };
}
