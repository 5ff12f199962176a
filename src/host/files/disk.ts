/**
 * Files as the log and the snapshots use them: positioned reads and writes, explicit syncing.
 *
 * An interface, so that tests can put a disk below the same code that loses power, fills up or
 * rots; and the real one. Nothing here blocks the event loop: every call runs on Bun's I/O threads.
 *
 * A "durable" file is opened with O_DSYNC: a write resolves once data and needed metadata are on
 * stable storage, in one trip to an I/O thread. Measured (scripts/bench wal, Bun 1.4.5, ext4):
 * one such write costs three quarters of a write followed by an fdatasync.
 *
 * @module
 */
import { constants, promises as fs } from "node:fs";
import { HostError } from "../../base/host-error.ts";

/**
 * How to open a file: `read` an existing one; `create` or empty one for writing, synced by hand;
 * `durable` opens an existing one for reading and for writes that are durable when they resolve.
 */
export type OpenMode = "read" | "create" | "durable";

/** An open file. Throws `HostError` only; after a failed write or sync its content is unknown. */
export interface DiskFile {
  readonly path: string;
  /** Size in bytes when it was opened. */
  readonly sizeBytes: number;
  /** Writes all of `bytes` at `position`. `bytes` is borrowed until the promise settles. */
  write(bytes: Uint8Array, position: number): Promise<void>;
  /** Fills `into` from `position`; the result is how many bytes there were, fewer at the end. */
  read(into: Uint8Array, position: number): Promise<number>;
  /** Puts data and metadata on stable storage. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

/** A place's disk, by the words an operator knows it under. */
export interface DiskSpace {
  readonly mountPoint: string;
  readonly freeBytes: number;
}

/** A file system. All errors are `HostError` with the kernel's errno. */
export interface Disk {
  open(path: string, mode: OpenMode): Promise<DiskFile>;
  /** Names in `directory`, in no particular order. */
  list(directory: string): Promise<readonly string[]>;
  /** Makes `directory` and what is missing above it, readable by its owner only. */
  makeDirectory(directory: string): Promise<void>;
  /** Puts `from` in the place of `to`; durable after `syncDirectory`. */
  rename(from: string, to: string): Promise<void>;
  /** Removes a file; durable after `syncDirectory`. */
  remove(path: string): Promise<void>;
  /** Puts creations, renames and removals in `directory` on stable storage. */
  syncDirectory(directory: string): Promise<void>;
  space(path: string): Promise<DiskSpace>;
}

const LARGE_TRANSFER_SIZE = 64 * 1024;

const FILE_MODE = 0o600;
const DIRECTORY_MODE = 0o700;

const OPEN_FLAGS: Readonly<Record<OpenMode, number>> = {
  read: constants.O_RDONLY,
  create: constants.O_RDWR | constants.O_CREAT | constants.O_TRUNC,
  durable: constants.O_RDWR | constants.O_DSYNC,
};

/** The file systems of this machine. */
export function openDisk(): Disk {
  return {
    async open(path, mode) {
      return guard("open", path, async () => {
        const handle = await fs.open(path, OPEN_FLAGS[mode], FILE_MODE);
        const { size } = await handle.stat();
        return new RealFile(path, size, handle);
      });
    },
    list: (directory) => guard("list", directory, () => fs.readdir(directory)),
    async makeDirectory(directory) {
      await guard("make directory", directory, () =>
        fs.mkdir(directory, { recursive: true, mode: DIRECTORY_MODE }),
      );
    },
    rename: (from, to) => guard("rename", `${from} to ${to}`, () => fs.rename(from, to)),
    remove: (path) => guard("remove", path, () => fs.unlink(path)),
    syncDirectory: (directory) => guard("sync directory", directory, () => syncPath(directory)),
    space: (path) => guard("look up the disk of", path, () => findSpace(path)),
  };
}

/** Runs `action`; what it throws becomes a `HostError` about `operation` on `object`. */
export async function guard<T>(
  operation: string,
  object: string,
  action: () => Promise<T>,
): Promise<T> {
  try {
    return await action();
  } catch (cause) {
    throw toHostError(operation, object, cause);
  }
}

class RealFile implements DiskFile {
  readonly path: string;
  readonly sizeBytes: number;
  readonly #handle: fs.FileHandle;

  constructor(path: string, sizeBytes: number, handle: fs.FileHandle) {
    this.path = path;
    this.sizeBytes = sizeBytes;
    this.#handle = handle;
  }

  async write(bytes: Uint8Array, position: number): Promise<void> {
    let done = 0;
    try {
      while (done < bytes.length) {
        const left = bytes.length - done;
        const { bytesWritten } = await this.#handle.write(bytes, done, left, position + done);
        if (bytesWritten === 0) throw new Error("the kernel wrote nothing");
        done += bytesWritten;
      }
      await yieldAfter(bytes.length);
    } catch (cause) {
      throw toHostError("write", this.path, cause);
    }
  }

  async read(into: Uint8Array, position: number): Promise<number> {
    let done = 0;
    try {
      while (done < into.length) {
        const left = into.length - done;
        const { bytesRead } = await this.#handle.read(into, done, left, position + done);
        if (bytesRead === 0) break;
        done += bytesRead;
      }
      await yieldAfter(into.length);
      return done;
    } catch (cause) {
      throw toHostError("read", this.path, cause);
    }
  }

  sync(): Promise<void> {
    return guard("sync", this.path, () => this.#handle.sync());
  }

  close(): Promise<void> {
    return guard("close", this.path, () => this.#handle.close());
  }
}

/**
 * Lets timers and sockets have their turn after a large transfer. Bun answers every transfer that
 * is done before it looks at them, so that a fast disk alone could keep the loop busy: with 1 MiB
 * chunks to checksum in between, 14 ms were seen.
 */
async function yieldAfter(transferSize: number): Promise<void> {
  if (transferSize >= LARGE_TRANSFER_SIZE) await new Promise((resolve) => setImmediate(resolve));
}

async function syncPath(path: string): Promise<void> {
  const handle = await fs.open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Free space for unprivileged writers, and where the file system of `path` begins. */
async function findSpace(path: string): Promise<DiskSpace> {
  const { bavail, bsize } = await fs.statfs(path);
  const { dev } = await fs.stat(path);
  let mountPoint = await fs.realpath(path);
  while (mountPoint !== "/") {
    const parent = mountPoint.slice(0, mountPoint.lastIndexOf("/")) || "/";
    if ((await fs.stat(parent)).dev !== dev) break;
    mountPoint = parent;
  }
  return { mountPoint, freeBytes: bavail * bsize };
}

function toHostError(operation: string, object: string, cause: unknown): HostError {
  if (cause instanceof HostError) return cause;
  const detail = { operation, object, cause };
  const reason = cause instanceof Error ? cause.message : String(cause);
  const errno = cause instanceof Error && "code" in cause ? cause.code : undefined;
  if (typeof errno !== "string") return new HostError({ ...detail, reason });
  const words = REASONS[errno];
  return new HostError({ ...detail, errno, ...(words === undefined ? {} : words) });
}

const FREE_SPACE = "free space there and start the agent again";

/** What the operator is told beside the errno. */
const REASONS: Readonly<Record<string, { readonly reason: string; readonly next?: string }>> = {
  ENOENT: { reason: "it does not exist" },
  ENOTDIR: { reason: "a part of the path is not a directory" },
  EACCES: { reason: "not permitted", next: "run the agent as the owner of that path" },
  EPERM: { reason: "not permitted", next: "run the agent as the owner of that path" },
  EROFS: { reason: "the file system is read-only", next: "mount it for writing" },
  ENOSPC: { reason: "no space left on its disk", next: FREE_SPACE },
  EDQUOT: { reason: "the disk quota is used up", next: FREE_SPACE },
  EIO: { reason: "the disk reports a failure", next: "check the disk and the kernel log" },
  EMFILE: { reason: "too many open files", next: "raise LimitNOFILE of the agent" },
};
