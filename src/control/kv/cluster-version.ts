/**
 * The cluster version: what all members of a cluster can read, so that nobody writes what somebody
 * does not know.
 *
 *     every node says which versions it reads --> the least of the newest --> the leader raises it
 *     command that `needs` version N --> refused before it is written while the cluster is older
 *     log entry, snapshot of version N --> a node that reads less stops, and says what to do
 *
 * It is no release number: it goes up by one when commands, or what they write, change in a way
 * that an older program would get wrong. It never goes down, so what this node knows of it is true
 * for ever, however far it is behind. Pure; who publishes and raises it is in
 * `cluster/upgrade/version-keeper.ts`.
 *
 * What each version brought:
 *
 * 1. everything up to program version 0.1
 * 2. the cluster version itself; nodes publish which versions they read; leases that a new network
 *    makes invalid drain; a lease that was restored returns to its node also when it is kept for
 *    the address that the node had
 * 3. the backend "auto": leases of the udp backend that say by which other ways their node is
 *    reached
 * 4. the backend "extension"
 *
 * @module
 */
import type { KvReader } from "./types.ts";

declare const OVERLAY_CLUSTER_VERSION: number | undefined;

/** The first: of a cluster in whose store no version is. */
export const CLUSTER_VERSION_FIRST = 1;
/** The oldest cluster that this program can be in. */
export const CLUSTER_VERSION_OLDEST = 1;
/**
 * The newest. The define is for tests of upgrades: it makes a program that knows a version more of
 * what is else the same tree (`scripts/build --cluster-version`).
 */
export const CLUSTER_VERSION_NEWEST: number =
  typeof OVERLAY_CLUSTER_VERSION === "number" ? OVERLAY_CLUSTER_VERSION : 4;

/** `{"version":2}`; absent: the first. */
export const CLUSTER_VERSION_KEY = "/overlay/version";

/** The version of the cluster whose state `reader` reads. */
export function clusterVersion(reader: Pick<KvReader, "get">): number {
  const pair = reader.get(CLUSTER_VERSION_KEY);
  if (pair === undefined) return CLUSTER_VERSION_FIRST;
  // What cannot be read here was written by a program that this one must not follow.
  return parseVersion(pair.value) ?? Number.POSITIVE_INFINITY;
}

/** The bytes of the record that says `version`. */
export function encodeClusterVersion(version: number): Uint8Array {
  return new TextEncoder().encode(JSON.stringify({ version }));
}

function parseVersion(bytes: Uint8Array): number | undefined {
  const match = /^\{"version":([1-9][0-9]{0,5})[,}]/.exec(new TextDecoder().decode(bytes));
  return match === null ? undefined : Number(match[1]);
}
