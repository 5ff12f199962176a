/**
 * From a node's identity and its log store to a recovered state, or the refusal to go on.
 *
 * A log that is empty although it was not before is the worst case: this node may have voted or
 * acknowledged writes that it no longer knows, and taking part again could undo them. It refuses.
 *
 * @module
 */
import { HostError } from "../../base/host-error.ts";
import type { LogStore, Random } from "../../host/ports.ts";
import type { StateMachine } from "../kv/types.ts";
import { formatKeptLife, type KeptLife, nextLife, parseKeptLife } from "./members/life.ts";
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

/**
 * Begins the next life of this node; on its disk before anybody hears of it. Throws `HostError`
 * when there is none to go on with.
 */
export async function beginLife(options: {
  readonly identity: Identity;
  readonly identityStore: IdentityStore;
  readonly random: Random;
}): Promise<KeptLife> {
  const { identity, identityStore, random } = options;
  const text = await identityStore.readLife(identity.clusterId);
  const kept = parseKeptLife(text);
  if (text !== "" && kept === undefined) {
    throw new HostError({
      operation: "start with",
      object: "the count of this node's starts (life.json)",
      reason: "it is not what this program wrote",
      next: "restore it, or move the data directory away and join the cluster again as a new node",
    });
  }
  const life = nextLife(kept, random);
  try {
    await identityStore.saveLife(identity.clusterId, formatKeptLife(life));
    return life;
  } catch (cause) {
    // A full disk: the recorded life goes on, which nobody else has begun to follow.
    if (kept !== undefined && cause instanceof HostError) return kept;
    throw cause;
  }
}
