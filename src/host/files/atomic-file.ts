/**
 * Small files that are either the old or the new one, never a mixture, whatever crashes.
 *
 * New content goes to a temporary file beside the target, is synced, renamed over it, and the
 * directory is synced. For identities, keys, subnet.env and the like; not for logs.
 *
 * @module
 */
import { constants, promises as fs } from "node:fs";
import { HostError } from "../../base/host-error.ts";
import { guard, openDisk } from "./disk.ts";

/** Far above every file that is kept this way; a larger one is not ours. */
export const ATOMIC_FILE_SIZE_BYTES_MAX = 16 * 1024 * 1024;

const PARENT_MODE = 0o755;

export interface AtomicFileOptions {
  /** Permission bits of the file, whatever the umask: 0o600 for secrets. */
  readonly mode: number;
}

/**
 * Makes `content` the content of the file at `path`, and `mode` its permissions. False when both
 * were so already (the file is then untouched, its time stamps too). On stable storage in either
 * case. Missing directories are made (0755). A symbolic link is replaced, not followed. Throws
 * `HostError`; the old file is then still whole.
 */
export async function writeFileAtomic(
  path: string,
  content: Uint8Array | string,
  options: AtomicFileOptions,
): Promise<boolean> {
  const bytes = typeof content === "string" ? Buffer.from(content) : Buffer.from(content);
  return guard("write", path, async () => {
    const directory = path.slice(0, path.lastIndexOf("/") + 1) || ".";
    if (await isAlready(path, bytes, options.mode)) {
      // Whoever wrote it may have been killed before this.
      await openDisk().syncDirectory(directory);
      return false;
    }
    await fs.mkdir(directory, { recursive: true, mode: PARENT_MODE });
    // A name of its own: two writers of one path then leave the one or the other content.
    const temporary = `${path}.${crypto.randomUUID()}.tmp`;
    try {
      await writeSynced(temporary, bytes, options.mode);
      await fs.rename(temporary, path);
    } catch (cause) {
      await fs.rm(temporary, { force: true });
      throw cause;
    }
    await openDisk().syncDirectory(directory);
    return true;
  });
}

/** The content of the file at `path`; undefined when there is none. Throws `HostError`. */
export async function readFileIfAny(path: string): Promise<Uint8Array | undefined> {
  return guard("read", path, async () => {
    try {
      const { size } = await fs.stat(path);
      if (size > ATOMIC_FILE_SIZE_BYTES_MAX) {
        const reason = `it has ${size} bytes, at most ${ATOMIC_FILE_SIZE_BYTES_MAX} are expected`;
        throw new HostError({ operation: "read", object: path, reason });
      }
      return new Uint8Array(await fs.readFile(path));
    } catch (cause) {
      if (cause instanceof Error && "code" in cause && cause.code === "ENOENT") return undefined;
      throw cause;
    }
  });
}

async function isAlready(path: string, bytes: Uint8Array, mode: number): Promise<boolean> {
  try {
    const stat = await fs.lstat(path);
    if (!stat.isFile() || stat.size !== bytes.length || (stat.mode & 0o7777) !== mode) return false;
    return (await fs.readFile(path)).equals(bytes);
  } catch {
    // Not there or not readable: writing will succeed or say why not.
    return false;
  }
}

async function writeSynced(path: string, bytes: Uint8Array, mode: number): Promise<void> {
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL;
  const handle = await fs.open(path, flags, mode);
  try {
    await handle.writeFile(bytes);
    await handle.chmod(mode); // The umask may have taken bits away.
    await handle.sync();
  } finally {
    await handle.close();
  }
}
