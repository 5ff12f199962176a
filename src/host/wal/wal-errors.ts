/**
 * The errors of the log and of snapshots, worded for the operator who must act.
 *
 * @module
 */
import { HostError } from "../../base/host-error.ts";
import type { WalIdentity } from "./segment-header.ts";

/** What to do about data that was on stable storage and is not there any more. */
const REJOIN =
  "this node can no longer prove what it promised: remove it from the cluster, remove its data " +
  "directory, and join again as a new node";

/** Data that had been synced is wrong or gone. `at` names the file, and the byte where known. */
export function damaged(at: string, reason: string, cause?: unknown): HostError {
  return new HostError({ operation: "read", object: at, reason, next: REJOIN, cause });
}

/** The file at `path` is another node's or another cluster's. */
export function foreign(path: string, found: WalIdentity, wanted: WalIdentity): HostError {
  const name = (id: WalIdentity) => `node ${formatId(id.nodeId)} of cluster ${id.clusterId}`;
  return new HostError({
    operation: "open",
    object: path,
    reason: `it belongs to ${name(found)}, this is ${name(wanted)}`,
    next: "start the agent with the data directory that is its own",
  });
}

/** The file at `path` has a format of another version. */
export function unknownVersion(path: string, version: number, known: number): HostError {
  return new HostError({
    operation: "open",
    object: path,
    reason: `its format is version ${version}, this program knows version ${known}`,
    next: "start a newer version of the agent",
  });
}

function formatId(nodeId: number): string {
  return nodeId.toString(16).padStart(14, "0");
}
