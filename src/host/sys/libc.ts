/**
 * The C library, as far as this program calls it. The only importer of `bun:ffi`.
 *
 * Works with glibc and musl: both export these names, and what they disagree on is avoided.
 * musl's `sendmmsg` is a loop over `sendmsg`, so that call goes through `syscall` by its number.
 * Addresses are plain numbers (user space ends at 2^47, far below 2^53), made by `addressOf`.
 * Results are 32-bit: no single transfer here comes near 2^31 bytes.
 * A call returns -1 on failure; read `lastErrno()` at once, before any other call.
 *
 * Cost: about 6 ns a call beside the work of the kernel (scripts/bench packets).
 *
 * @module
 */
import { dlopen, FFIType, read } from "bun:ffi";
import { assert } from "../../base/assert.ts";

const { i32, u32, i64_fast, u64_fast, ptr } = FFIType;

const SYMBOLS = {
  // Files and descriptors.
  open: { args: [u64_fast, i32, i32], returns: i32 },
  close: { args: [i32], returns: i32 },
  read: { args: [i32, u64_fast, u64_fast], returns: i32 },
  write: { args: [i32, u64_fast, u64_fast], returns: i32 },
  writev: { args: [i32, u64_fast, i32], returns: i32 },
  ioctl: { args: [i32, u64_fast, u64_fast], returns: i32 },
  fcntl: { args: [i32, i32, u64_fast], returns: i32 },
  flock: { args: [i32, i32], returns: i32 },
  fsync: { args: [i32], returns: i32 },
  fdatasync: { args: [i32], returns: i32 },
  fallocate: { args: [i32, i32, i64_fast, i64_fast], returns: i32 },
  poll: { args: [u64_fast, u64_fast, i32], returns: i32 },
  eventfd: { args: [u32, i32], returns: i32 },
  // Sockets.
  socket: { args: [i32, i32, i32], returns: i32 },
  socketpair: { args: [i32, i32, i32, u64_fast], returns: i32 },
  bind: { args: [i32, u64_fast, u32], returns: i32 },
  connect: { args: [i32, u64_fast, u32], returns: i32 },
  getsockname: { args: [i32, u64_fast, u64_fast], returns: i32 },
  getsockopt: { args: [i32, i32, i32, u64_fast, u64_fast], returns: i32 },
  setsockopt: { args: [i32, i32, i32, u64_fast, u32], returns: i32 },
  send: { args: [i32, u64_fast, u64_fast, i32], returns: i32 },
  sendto: { args: [i32, u64_fast, u64_fast, i32, u64_fast, u32], returns: i32 },
  recv: { args: [i32, u64_fast, u64_fast, i32], returns: i32 },
  recvmsg: { args: [i32, u64_fast, i32], returns: i32 },
  recvmmsg: { args: [i32, u64_fast, u32, i32, u64_fast], returns: i32 },
  sendmsg: { args: [i32, u64_fast, i32], returns: i32 },
  // Processes and memory.
  posix_spawn: {
    args: [u64_fast, u64_fast, u64_fast, u64_fast, u64_fast, u64_fast],
    returns: i32,
  },
  posix_spawn_file_actions_init: { args: [u64_fast], returns: i32 },
  posix_spawn_file_actions_addopen: {
    args: [u64_fast, i32, u64_fast, i32, u32],
    returns: i32,
  },
  posix_spawn_file_actions_adddup2: { args: [u64_fast, i32, i32], returns: i32 },
  posix_spawn_file_actions_destroy: { args: [u64_fast], returns: i32 },
  posix_spawnattr_init: { args: [u64_fast], returns: i32 },
  posix_spawnattr_setflags: { args: [u64_fast, i32], returns: i32 },
  posix_spawnattr_setsigmask: { args: [u64_fast, u64_fast], returns: i32 },
  posix_spawnattr_destroy: { args: [u64_fast], returns: i32 },
  waitpid: { args: [i32, u64_fast, i32], returns: i32 },
  kill: { args: [i32, i32], returns: i32 },
  ftruncate: { args: [i32, i64_fast], returns: i32 },
  lseek: { args: [i32, i64_fast, i32], returns: i64_fast },
  mmap: { args: [u64_fast, u64_fast, i32, i32, i32, i64_fast], returns: i64_fast },
  madvise: { args: [u64_fast, u64_fast, i32], returns: i32 },
  clock_gettime: { args: [i32, u64_fast], returns: i32 },
  // Everything else, by number.
  syscall: {
    args: [i64_fast, i64_fast, i64_fast, i64_fast, i64_fast, i64_fast, i64_fast],
    returns: i32,
  },
  __errno_location: { args: [], returns: ptr },
} as const;

/** Names under which a dynamic loader may know the C library; musl answers to the first, too. */
const LIBRARY_NAMES = ["libc.so.6", "libc.so", `libc.musl-${muslArchitecture()}.so.1`] as const;

/** Numbers of the system calls that go through `syscall` (asm/unistd.h of each architecture). */
export interface SyscallNumbers {
  readonly sendmmsg: number;
  readonly setns: number;
  readonly bpf: number;
  readonly prlimit64: number;
  readonly sched_setscheduler: number;
  readonly memfd_create: number;
  readonly pidfd_open: number;
  readonly pidfd_getfd: number;
  readonly pidfd_send_signal: number;
}

const SYSCALL_NUMBERS: Readonly<Record<string, SyscallNumbers>> = {
  x64: {
    ...{ sendmmsg: 307, setns: 308, bpf: 321, prlimit64: 302, sched_setscheduler: 144 },
    ...{ memfd_create: 319, pidfd_open: 434, pidfd_getfd: 438, pidfd_send_signal: 424 },
  },
  arm64: {
    ...{ sendmmsg: 269, setns: 268, bpf: 280, prlimit64: 261, sched_setscheduler: 119 },
    ...{ memfd_create: 279, pidfd_open: 434, pidfd_getfd: 438, pidfd_send_signal: 424 },
  },
};

/** The functions of the C library, by name. Arguments and results are numbers. */
export type Libc = ReturnType<typeof load>;

let loaded: Libc | undefined;

/** The loaded C library of this thread. Keep the result in hot code: this is a memoized lookup. */
export function libc(): Libc {
  loaded ??= load();
  return loaded;
}

/** `errno` of the last failed call of this thread, as a positive number. */
export function lastErrno(): number {
  const location = libc().__errno_location();
  assert(location !== null, "errno must have an address");
  return read.i32(location, 0);
}

/** System call numbers of this machine. Asserts on an architecture that is not built for. */
export function syscallNumbers(): SyscallNumbers {
  const numbers = SYSCALL_NUMBERS[process.arch];
  assert(numbers !== undefined, "only x64 and arm64 are built for");
  return numbers;
}

function load() {
  let failure: unknown;
  for (const name of LIBRARY_NAMES) {
    try {
      return dlopen(name, SYMBOLS).symbols;
    } catch (cause) {
      failure = cause;
    }
  }
  throw new Error("Cannot load the C library: no known name was found", { cause: failure });
}

function muslArchitecture(): string {
  return process.arch === "arm64" ? "aarch64" : "x86_64";
}
