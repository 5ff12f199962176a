/**
 * Starts a small program of our own that gets descriptors of this process and nothing else:
 * posix_spawn(3), in a session of its own, with no environment.
 *
 * Not for programs of others: what may start those is integrations/.
 *
 * @module
 */
import { Descriptor } from "./descriptor.ts";
import { checkCall, systemError } from "./errno.ts";
import { lastErrno, libc } from "./libc.ts";
import { cString, type KernelMemory, kernelBytes, putAddress } from "./memory.ts";

const F_DUPFD_CLOEXEC = 1030;
/** Above every number that a program of ours has its descriptors at. */
const SPARE_FD_MIN = 64;
const O_RDWR = 2;
const POSIX_SPAWN_SETSIGMASK = 0x08;
const POSIX_SPAWN_SETSID = 0x80;
/** Larger than posix_spawn_file_actions_t, posix_spawnattr_t and sigset_t of any C library. */
const OPAQUE_SIZE = 512;
const SIGKILL = 9;

export interface SpawnOptions {
  /** An executable open in this process. */
  readonly programFd: number;
  /** argv[0]. */
  readonly name: string;
  /** The program has them as 3, 4, …; 0 to 2 are /dev/null. */
  readonly descriptors: readonly number[];
}

/** Starts the program; its process id. Throws `HostError`. */
export function spawnProgram({ programFd, name, descriptors }: SpawnOptions): number {
  const object = `program "${name}"`;
  const [actions, attributes] = [kernelBytes(OPAQUE_SIZE), kernelBytes(OPAQUE_SIZE)];
  const c = libc();
  // Out of the way of the numbers that they get.
  const spares: Descriptor[] = [];
  try {
    for (const fd of descriptors) {
      const spare = checkCall(c.fcntl(fd, F_DUPFD_CLOEXEC, SPARE_FD_MIN), "copy", object);
      spares.push(new Descriptor(spare));
    }
    c.posix_spawn_file_actions_init(actions.address);
    c.posix_spawnattr_init(attributes.address);
    const none = cString("/dev/null");
    for (const fd of [0, 1, 2]) {
      c.posix_spawn_file_actions_addopen(actions.address, fd, none.address, O_RDWR, 0);
    }
    for (const [i, spare] of spares.entries()) {
      c.posix_spawn_file_actions_adddup2(actions.address, spare.fd, 3 + i);
    }
    // No signal is blocked, whatever this thread does.
    const noSignals = kernelBytes(OPAQUE_SIZE);
    c.posix_spawnattr_setsigmask(attributes.address, noSignals.address);
    const flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSID;
    c.posix_spawnattr_setflags(attributes.address, flags);
    return spawn(`/proc/self/fd/${programFd}`, name, actions, attributes);
  } finally {
    for (const spare of spares) spare.close();
    c.posix_spawn_file_actions_destroy(actions.address);
    c.posix_spawnattr_destroy(attributes.address);
  }
}

function spawn(
  path: string,
  name: string,
  actions: KernelMemory,
  attributes: KernelMemory,
): number {
  const [pid, text, argument] = [kernelBytes(4), cString(path), cString(name)];
  const args = kernelBytes(16);
  putAddress(args.view, 0, argument.address);
  const environment = kernelBytes(8);
  const errno = libc().posix_spawn(
    pid.address,
    text.address,
    actions.address,
    attributes.address,
    args.address,
    environment.address,
  );
  if (errno !== 0) throw systemError({ operation: "start", object: `program "${name}"`, errno });
  return pid.view.getInt32(0, true);
}

/** Ends a process that this one has started, and waits until all that it held is closed. */
export function endChild(pid: number): void {
  libc().kill(pid, SIGKILL);
  const status = kernelBytes(4);
  while (libc().waitpid(pid, status.address, 0) < 0 && lastErrno() === EINTR);
}

const EINTR = 4;
