/**
 * Memory behind a descriptor (memfd_create(2)), so that another process can go on with it.
 *
 * Its size is sealed: nobody who holds the descriptor can cut it off under a reader. It is in no
 * core dump, and it ends with the last descriptor of it.
 *
 * @module
 */
import { Descriptor } from "./descriptor.ts";
import { checkCall } from "./errno.ts";
import { libc, syscallNumbers } from "./libc.ts";
import { cString, memoryAt } from "./memory.ts";

const MFD_CLOEXEC = 1;
const MFD_ALLOW_SEALING = 2;
const F_GETFD = 1;
const F_SETFD = 2;
const FD_CLOEXEC = 1;
const F_ADD_SEALS = 1033;
const F_GET_SEALS = 1034;
const F_SEAL_SEAL = 1;
const F_SEAL_SHRINK = 2;
const F_SEAL_GROW = 4;
const SIZE_SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW;
const SEEK_END = 2;
const PROT_READ_WRITE = 3;
const MAP_SHARED = 1;
const MADV_DONTDUMP = 16;

/** Memory that outlives the process for as long as somebody holds its descriptor. */
export interface SharedMemory {
  readonly fd: number;
  /** Where it lies in this process, for all its threads, until the process ends. */
  readonly address: number;
  readonly buffer: ArrayBuffer;
}

/** `size` zeroed bytes. `name` is what /proc shows. Throws `HostError`. */
export function createSharedMemory(name: string, size: number): SharedMemory {
  const text = cString(name);
  const flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  const made = libc().syscall(syscallNumbers().memfd_create, text.address, flags, 0, 0, 0, 0);
  const descriptor = new Descriptor(checkCall(made, "make", `memory "${name}"`));
  try {
    const { fd } = descriptor;
    checkCall(libc().ftruncate(fd, size), "size", `memory "${name}"`);
    checkCall(libc().fcntl(fd, F_ADD_SEALS, SIZE_SEALS), "seal", `memory "${name}"`);
    return map(fd, size);
  } catch (error) {
    descriptor.close();
    throw error;
  }
}

/**
 * The memory behind `fd`, which another process made; undefined when it is none of `createShared-
 * Memory` and that size. The caller keeps `fd` open or closes it; throws `HostError`.
 */
export function openSharedMemory(fd: number, size: number): SharedMemory | undefined {
  const seals = libc().fcntl(fd, F_GET_SEALS, 0);
  if (seals < 0 || (seals & SIZE_SEALS) !== SIZE_SEALS) return undefined;
  if (libc().lseek(fd, 0, SEEK_END) !== size) return undefined;
  setCloseOnExec(fd);
  return map(fd, size);
}

/** Has `fd` closed when this process becomes another program. */
export function setCloseOnExec(fd: number): void {
  const flags = libc().fcntl(fd, F_GETFD, 0);
  if (flags >= 0) libc().fcntl(fd, F_SETFD, flags | FD_CLOEXEC);
}

function map(fd: number, size: number): SharedMemory {
  const address = Number(libc().mmap(0, size, PROT_READ_WRITE, MAP_SHARED, fd, 0));
  checkCall(address < 0 ? -1 : 0, "map", "shared memory");
  // Private keys lie in here; where the kernel does not know the advice it changes nothing else.
  libc().madvise(address, size, MADV_DONTDUMP);
  return { fd, address, buffer: memoryAt(address, size) };
}
