/**
 * From a node's identity and its log store to a recovered state, or the refusal to go on.
 *
 * A log that is empty although it was not before is the worst case: this node may have voted or
 * acknowledged writes that it no longer knows, and taking part again could undo them. It refuses.
 *
 * @module
 */
import { HostError } from "../../base/host-error.ts";
import type { LogStore } from "../../host/ports.ts";
import type { StateMachine } from "../kv/types.ts";
import { bootstrapStore, isUnused, type Recovered, recoverStore } from "./recovery.ts";
import { clusterPaths, type Identity, type IdentityStore } from "./trust/identity.ts";

/** Recovers the state, or makes it on a first start. Throws `HostError` when it is not usable. */
export async function recoverNode(options: {
  readonly identity: Identity;
  readonly identityStore: IdentityStore;
  readonly logStore: LogStore;
  readonly machine: StateMachine;
}): Promise<Recovered> {
  const { identity, identityStore, logStore, machine } = options;
  const { nodeId, clusterId, generation, logState } = identity;
  const wasUnused = isUnused(logStore);
  if (wasUnused && logState === "started") {
    throw new HostError({
      operation: "start with",
      object: clusterPaths(clusterId).wal,
      reason: "the log of this node is gone, and with it what this node has promised",
      next: "restore it, or move the data directory away and join the cluster again as a new node",
    });
  }
  const cluster = { clusterId, generation };
  const recovered =
    wasUnused && logState === "bootstrap"
      ? await bootstrapStore(logStore, machine, { ...cluster, nodeId })
      : await recoverStore(logStore, machine, cluster);
  if (wasUnused && logState === "joining") {
    // Something must be there before "started" is, or a crash in between would look like a loss.
    await logStore.append({ hardState: { term: 0, vote: 0, commit: 0 }, entries: [] });
  }
  await identityStore.markStarted(clusterId);
  return recovered;
}
