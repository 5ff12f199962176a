/**
 * Which programs the network config may have this node run: those in one directory that only root
 * can write to, chosen on this node.
 *
 * The config comes from whoever may write it anywhere in the cluster. It can choose among what the
 * operator has put here, and nothing else.
 *
 * @module
 */
import { constants, realpathSync, type Stats, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { err, ok, type Result } from "../../base/result.ts";

const ROOT_UID = 0;

/**
 * The path of program `name` in `directory`, or why it may not be run. Where a link leads
 * elsewhere, that place is judged as well, and is the path.
 */
export function findProgram(directory: string, name: string): Result<string, string> {
  const path = join(directory, name);
  // Also when a config gets here that an older version has let in.
  if (name === "" || dirname(path) !== directory) return err(`"${name}" is not the name of a file`);
  const file = look(path);
  if (file === undefined) {
    return err(`there is no "${path}"; put the program there, or say another --extension-dir`);
  }
  if (!file.isFile()) return err(`"${path}" is not a file`);
  if ((file.mode & constants.S_IXUSR) === 0) return err(`"${path}" is not executable`);
  const real = attempt(() => realpathSync(path)) ?? path;
  const fault = findWriter(path) ?? findWriter(real);
  return fault === undefined ? ok(real) : err(fault);
}

/** Who beside root could put another program there, as a sentence. */
function findWriter(path: string): string | undefined {
  const stats = look(path);
  if (stats === undefined) return `there is no "${path}"`;
  const who = `, so that others could change what root runs; make it root's alone`;
  if (stats.uid !== ROOT_UID) return `"${path}" belongs to user ${stats.uid}${who}`;
  const isShared = (stats.mode & (constants.S_IWGRP | constants.S_IWOTH)) !== 0;
  if (isShared && !keepsFiles(stats)) return `"${path}" can be written to by others${who}`;
  return path === "/" ? undefined : findWriter(dirname(path));
}

/** A directory such as /tmp: who may write there cannot replace what is another's. */
function keepsFiles(stats: Stats): boolean {
  return stats.isDirectory() && (stats.mode & STICKY_BIT) !== 0;
}
/** S_ISVTX (include/uapi/linux/stat.h). */
const STICKY_BIT = 0o1000;

function look(path: string): Stats | undefined {
  return attempt(() => statSync(path));
}

/** Undefined for what is not there, just gone, or a link that leads nowhere. */
function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
