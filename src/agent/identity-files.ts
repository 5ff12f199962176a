/**
 * The identity's files below the data directory, on the real disk.
 *
 * @module
 */
import { mkdir, readdir, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { HostError } from "../base/host-error.ts";
import type { IdentityFiles } from "../control/cluster/trust/identity.ts";
import { readFileIfAny, writeFileAtomic } from "../host/files/atomic-file.ts";

const PRIVATE_DIRECTORY_MODE = 0o700;

/** Files of `dataDir`, which exists already. */
export function openIdentityFiles(dataDir: string): IdentityFiles {
  return {
    read: (path) => readFileIfAny(join(dataDir, path)),
    async writeAtomic(path, content, mode) {
      const full = join(dataDir, path);
      await attempt("create directory", dirname(full), () =>
        mkdir(dirname(full), { recursive: true, mode: PRIVATE_DIRECTORY_MODE }),
      );
      await writeFileAtomic(full, content, { mode });
    },
    async list(path) {
      const full = join(dataDir, path);
      return (await attempt("list", full, () => readdirIfAny(full))) ?? [];
    },
    async removeTree(path) {
      const full = join(dataDir, path);
      await attempt("remove", full, () => rm(full, { recursive: true, force: true }));
    },
  };
}

async function readdirIfAny(path: string): Promise<string[] | undefined> {
  try {
    return await readdir(path);
  } catch (cause) {
    if (cause instanceof Error && "code" in cause && cause.code === "ENOENT") return undefined;
    throw cause;
  }
}

async function attempt<T>(operation: string, object: string, task: () => Promise<T>): Promise<T> {
  try {
    return await task();
  } catch (cause) {
    const errno = cause instanceof Error && "code" in cause ? String(cause.code) : undefined;
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new HostError({ operation, object, reason, cause, ...(errno && { errno }) });
  }
}
