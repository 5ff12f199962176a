/**
 * What a node says that meets something of a cluster version which it does not read.
 *
 * @module
 */
import { HostError } from "../../../base/host-error.ts";
import { CLUSTER_VERSION_NEWEST } from "../../kv/cluster-version.ts";

/** What helps a node whose own state is of no use. */
export const REJOIN = "move the data directory away and join the cluster again as a new node";

/** This program is too old for what `call` names. */
export function tooOld(
  call: { readonly operation: string; readonly object: string },
  version: number,
): HostError {
  return new HostError({
    ...call,
    reason:
      `it is of cluster version ${version}, ` +
      `and this program reads versions up to ${CLUSTER_VERSION_NEWEST}`,
    next: "install the version of overlay that the other members run",
  });
}
