/**
 * Kernel settings below /proc/sys/net, by path: `net/ipv4/ip_forward`.
 *
 * The path form, not the dotted one, since a link name may hold a dot. Values are per network
 * namespace, that of the thread which opens the file. Synchronous: these files answer from memory.
 *
 * @module
 */
import { readFileSync, writeFileSync } from "node:fs";
import { assert } from "../../base/assert.ts";
import { HostError } from "../../base/host-error.ts";

const ROOT = "/proc/sys";
const PATH_PATTERN = /^net(\/[^/\s]+)+$/;

/** The value at `path` without its line end, or undefined when the kernel has no such setting. */
export function readSysctl(path: string): string | undefined {
  const file = sysctlFile(path);
  try {
    return readFileSync(file, "utf8").trimEnd();
  } catch (cause) {
    const errno = errnoOf(cause);
    if (errno === "ENOENT") return undefined;
    throw new HostError({ operation: "read", object: file, ...(errno && { errno }), cause });
  }
}

/** Sets the value at `path`. Throws `HostError` when there is none or the kernel refuses. */
export function writeSysctl(path: string, value: string): void {
  const file = sysctlFile(path);
  try {
    // No O_CREAT and no O_TRUNC: a setting is written, never made.
    writeFileSync(file, `${value}\n`, { flag: "r+" });
  } catch (cause) {
    const errno = errnoOf(cause);
    const object = `${file} to ${value}`;
    const next =
      errno === "EROFS" ? "mount /proc/sys writable, or set it on the machine itself" : undefined;
    throw new HostError({
      operation: "set",
      object,
      ...(errno && { errno }),
      ...(next && { next }),
      cause,
    });
  }
}

function sysctlFile(path: string): string {
  assert(PATH_PATTERN.test(path) && !path.includes(".."), "sysctl path must be below net/");
  return `${ROOT}/${path}`;
}

function errnoOf(cause: unknown): string | undefined {
  return cause instanceof Error && "code" in cause && typeof cause.code === "string"
    ? cause.code
    : undefined;
}
