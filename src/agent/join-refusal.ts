/**
 * What a node would lose by joining another cluster, in words: it does so only when told to.
 *
 * @module
 */
import { SYSTEM_PREFIX } from "../control/kv/txn.ts";
import type { KvReader } from "../control/kv/types.ts";
import type { NetworkView } from "../control/network/view.ts";

/** What is in a node's own cluster. */
export interface OwnCluster {
  /** Members beside this node. */
  readonly otherCount: number;
  readonly network: Pick<NetworkView, "config" | "leases">;
  readonly store: Pick<KvReader, "list">;
}

/** Why this node does not join another cluster unasked; undefined when it loses nothing. */
export function joinRefusal({ otherCount, network, store }: OwnCluster): string | undefined {
  const has = [
    counted(otherCount, "other member"),
    network.config === undefined ? undefined : "a network config",
    counted(network.leases.size, "lease"),
    counted(userKeyCount(store), "key"),
  ].filter((part) => part !== undefined);
  if (has.length === 0) return undefined;
  return (
    `Cannot join: this node's own cluster has ${has.join(", ")}; ` +
    "give it up with --reset, or run `overlay leave` first"
  );
}

function counted(count: number, what: string): string | undefined {
  return count === 0 ? undefined : `${count} ${what}${count === 1 ? "" : "s"}`;
}

/** Keys that somebody has put, and not the system. */
function userKeyCount(store: Pick<KvReader, "list">): number {
  let count = 0;
  for (const { key } of store.list("")) if (!key.startsWith(SYSTEM_PREFIX)) count += 1;
  return count;
}
