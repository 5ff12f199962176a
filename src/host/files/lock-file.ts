/**
 * One agent per data directory: an exclusive flock on `<directory>/lock`.
 *
 * The kernel drops the lock with the process, however it dies, so a stale lock file means nothing.
 * The file holds the owner's process id, for the error message of the next one only.
 *
 * @module
 */
import fs from "node:fs";
import { HostError } from "../../base/host-error.ts";
import { EAGAIN, systemError } from "../sys/errno.ts";
import { lastErrno, libc } from "../sys/libc.ts";
import { guard, openDisk } from "./disk.ts";

/** Name of the lock file inside the directory. */
export const LOCK_FILE_NAME = "lock";

const LOCK_FILE_MODE = 0o600;
const PROCESS_ID_SIZE_MAX = 16;
/** flock(2), asm-generic/fcntl.h. */
const LOCK_EX = 2;
const LOCK_NB = 4;

/** A held lock. Dropped by `release`, at the end of `using`, or by the kernel with the process. */
export interface DirectoryLock extends Disposable {
  /** The locked directory. */
  readonly directory: string;
  release(): void;
}

/**
 * Locks `directory` for this process, making it first (0700) when there is none. Throws
 * `HostError` with the holder's process id when it is held already, by this process too.
 */
export async function lockDirectory(directory: string): Promise<DirectoryLock> {
  await openDisk().makeDirectory(directory);
  return guard("lock", directory, async () => {
    const path = `${directory}/${LOCK_FILE_NAME}`;
    // A bare descriptor, not a FileHandle: a lost reference must not unlock by garbage collection.
    const fd = fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_CREAT, LOCK_FILE_MODE);
    try {
      if (libc().flock(fd, LOCK_EX | LOCK_NB) < 0) refuse(directory, fd, lastErrno());
      fs.ftruncateSync(fd, 0);
      fs.writeSync(fd, `${process.pid}\n`, 0);
    } catch (cause) {
      fs.closeSync(fd);
      throw cause;
    }
    return holdLock(directory, fd);
  });
}

function holdLock(directory: string, fd: number): DirectoryLock {
  let held = true;
  const release = () => {
    if (held) fs.closeSync(fd);
    held = false;
  };
  return { directory, release, [Symbol.dispose]: release };
}

function refuse(directory: string, fd: number, errno: number): never {
  const call = { operation: "lock", object: directory };
  if (errno !== EAGAIN) throw systemError({ ...call, errno });
  const text = Buffer.alloc(PROCESS_ID_SIZE_MAX);
  fs.readSync(fd, text, 0, text.length, 0);
  const owner = /^\d+/.exec(text.toString("latin1"))?.[0] ?? "unknown";
  throw new HostError({
    ...call,
    reason: `in use by another agent (pid ${owner})`,
    next: "stop that agent, or choose another directory with --data-dir",
  });
}
