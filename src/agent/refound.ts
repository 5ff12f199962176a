/**
 * This node as the beginning of a new cluster: with what is in a backup, or with what it has itself
 * when the majority of the voters is lost. To be called while nothing of the node runs.
 *
 * The new cluster's log is written beside the old one's; replacing `node.json` is the moment that
 * counts, and the old files are removed at the next start.
 *
 * @module
 */
import { join } from "node:path";
import type { Term } from "../base/ids.ts";
import type { RefoundKind } from "../control/cluster/refound/former.ts";
import { foundStore, nextTerm, reshapeState } from "../control/cluster/refound/refound.ts";
import { readWholeState, type WholeState } from "../control/cluster/refound/whole-state.ts";
import {
  clusterPaths,
  createKeys,
  type Identity,
  type IdentityStore,
  newClusterId,
} from "../control/cluster/trust/identity.ts";
import { kvHandlers } from "../control/kv/handlers.ts";
import { createStateMachine } from "../control/kv/state-machine.ts";
import type { Command, KvMachine } from "../control/kv/types.ts";
import { networkHandlers } from "../control/network/handlers.ts";
import type { Clock, Random } from "../host/ports.ts";
import { openWal } from "../host/wal/wal.ts";

/** Where a node lives, and what it needs to write there. */
export interface NodeHome {
  readonly dataDir: string;
  readonly clock: Clock;
  readonly random: Random;
}

/** A state machine with every command of ours, empty. */
export function emptyMachine(): KvMachine {
  return createStateMachine({ ...kvHandlers, ...networkHandlers });
}

/** The log of `identity`'s cluster. Throws `HostError`. */
export function openLog({ dataDir, clock, random }: NodeHome, identity: LogOwner) {
  const paths = clusterPaths(identity.clusterId);
  return openWal({
    dir: join(dataDir, paths.wal),
    snapshotDir: join(dataDir, paths.snapshots),
    clusterId: identity.clusterId,
    nodeId: identity.nodeId,
    clock,
    random,
  });
}

type LogOwner = Pick<Identity, "clusterId" | "nodeId">;

/** What a node that does not run has of its cluster. */
export interface KnownState {
  readonly machine: KvMachine;
  readonly whole: WholeState;
}

/** Reads all that the node has. Throws `HostError` when its log is not usable. */
export async function readKnownState(home: NodeHome, identity: Identity): Promise<KnownState> {
  const { clusterId, generation } = identity;
  const machine = emptyMachine();
  const store = await openLog(home, identity);
  try {
    return { machine, whole: await readWholeState(store, machine, { clusterId, generation }) };
  } finally {
    await store.close();
  }
}

/** From what a cluster is to begin. */
export interface Origin {
  readonly how: RefoundKind;
  readonly machine: KvMachine;
  /** Of the cluster that the state was of. */
  readonly former: Pick<Identity, "clusterId" | "generation">;
  readonly term: Term;
  /** The node's own keys, if its CA is to stay; undefined: it gets new ones, of a new CA. */
  readonly keys: Identity["keys"] | undefined;
  /** What else is to be done to the state. */
  readonly commands: readonly Command[];
}

/** Makes `node` the only member of a new cluster. Throws `HostError`; then nothing has changed. */
export async function refoundNode(
  home: NodeHome,
  node: { readonly store: IdentityStore } & Pick<Identity, "nodeId" | "name">,
  origin: Origin,
): Promise<Identity> {
  const { clock, random } = home;
  const { nodeId } = node;
  const { machine, former, how } = origin;
  const wallMs = clock.wallMs();
  const term = nextTerm(origin.term);
  reshapeState(machine, {
    ...{ nodeId, commands: origin.commands, term, wallMs },
    former: { ...former, how, atMs: wallMs },
    hasNewCa: origin.keys === undefined,
  });
  const clusterId = newClusterId(random);
  const generation = former.generation + 1;
  const keys = origin.keys ?? (await createKeys({ nodeId, clusterId, clock, random }));
  const log = await openLog(home, { clusterId, nodeId });
  try {
    await foundStore(log, machine, { clusterId, generation, nodeId, term });
  } finally {
    await log.close();
  }
  return node.store.refound(node, { clusterId, generation, keys });
}

/** Goes on with what the node has: recovers a cluster whose other voters are lost. */
export async function recoverNode(
  home: NodeHome,
  store: IdentityStore,
  identity: Identity,
): Promise<{ readonly identity: Identity; readonly revision: number }> {
  const { machine, whole } = await readKnownState(home, identity);
  const { nodeId, name, clusterId, generation, keys } = identity;
  const next = await refoundNode(
    home,
    { store, nodeId, name },
    {
      ...{ how: "recovered", machine, term: whole.term, commands: [] },
      former: { clusterId, generation },
      // Without the CA's key nobody could be let in; with it, those who come back are known.
      keys: keys.caKey === undefined ? undefined : keys,
    },
  );
  return { identity: next, revision: machine.reader.revision };
}
