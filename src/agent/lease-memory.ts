/**
 * When the cluster last confirmed this node's subnet, kept in a file over a restart.
 *
 * A file that is damaged is as good as none: the subnet is then suspect until the cluster answers.
 *
 * @module
 */
import { readFileIfAny, writeFileAtomic } from "../host/files/atomic-file.ts";
import { decodeHold, encodeHold, type HoldRecord } from "./lease-hold.ts";

const LEASE_FILE_MODE = 0o600;

/** What is kept in one file. */
export interface LeaseMemory {
  /** As it was when the file was opened. */
  readonly recalled: HoldRecord | undefined;
  /** Replaces it; the last of several calls wins. Throws `HostError`. */
  keep(record: HoldRecord): Promise<void>;
}

/** The memory in the file at `path`, which is made when something is kept. Throws `HostError`. */
export async function openLeaseMemory(path: string): Promise<LeaseMemory> {
  const bytes = await readFileIfAny(path);
  let writing: Promise<unknown> = Promise.resolve();
  return {
    recalled: bytes === undefined ? undefined : decodeHold(new TextDecoder().decode(bytes)),
    async keep(record) {
      const write = () => writeFileAtomic(path, encodeHold(record), { mode: LEASE_FILE_MODE });
      writing = writing.then(write, write);
      await writing;
    },
  };
}
