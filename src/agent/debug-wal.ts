/**
 * The log of a node as records, for `overlay debug wal`: from the directory that holds its segments
 * or from the data directory above it.
 *
 * @module
 */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { HostError } from "../base/host-error.ts";
import { describeWal, type WalRecord } from "../host/wal/describe-wal.ts";

/** What the log below `directory` holds, and where it is. Throws `HostError` when there is none. */
export async function describeLog(
  directory: string,
): Promise<{ readonly directory: string; readonly records: AsyncIterable<WalRecord> }> {
  for (const place of [directory, ...(await logsBelow(directory))]) {
    const names = await namesIn(place);
    if (!names.some((name) => name.endsWith(".wal"))) continue;
    return { directory: place, records: describeWal(place) };
  }
  throw new HostError({
    operation: "read the log in",
    object: directory,
    reason: "there is none",
    next: "name the agent's data directory, or the one with the *.wal files",
  });
}

/** Where a data directory keeps its logs; a node that is moving may have two. */
async function logsBelow(dataDir: string): Promise<string[]> {
  const parent = join(dataDir, "wal");
  return (await namesIn(parent)).map((name) => join(parent, name));
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (cause) {
    const errno = cause instanceof Error && "code" in cause ? String(cause.code) : undefined;
    if (errno === "ENOENT" || errno === "ENOTDIR") return [];
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new HostError({ operation: "list", object: directory, reason, cause });
  }
}
