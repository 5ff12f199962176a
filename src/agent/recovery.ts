/**
 * Recovery as users meet it: what a node would go on with alone, why it does not, and doing it
 * where no agent runs. What is done is in `refound.ts`.
 *
 * @module
 */
import type { RecoveredView, RecoveryFailure, RecoveryView } from "../admin/service.ts";
import { HostError } from "../base/host-error.ts";
import { formatNodeId, type NodeId } from "../base/ids.ts";
import { listMembers } from "../control/cluster/members/member-table.ts";
import { type Identity, IdentityStore } from "../control/cluster/trust/identity.ts";
import type { Cluster } from "../control/cluster/types.ts";
import type { KvReader } from "../control/kv/types.ts";
import { readNetwork } from "../control/network/view.ts";
import { openSystemClock } from "../host/clock/system-clock.ts";
import { type DirectoryLock, lockDirectory } from "../host/files/lock-file.ts";
import { openSystemRandom } from "../host/random/system-random.ts";
import { openIdentityFiles } from "./identity-files.ts";
import { type NodeHome, readKnownState, recoverNode } from "./refound.ts";
import type { Session } from "./session.ts";

/** A node that does not run, and cannot be started as long as this is open. */
export interface StoppedNode extends Disposable {
  readonly home: NodeHome;
  readonly store: IdentityStore;
  /** Undefined: no agent ever ran here. */
  readonly identity: Identity | undefined;
}

/** Opens the node in `dataDir`. Throws `HostError` when an agent runs there. */
export async function openStoppedNode(dataDir: string): Promise<StoppedNode> {
  const lock = await lockDirectory(dataDir);
  try {
    const store = new IdentityStore(openIdentityFiles(dataDir));
    const loaded = await store.load();
    if (!loaded.ok) {
      const reason = loaded.error.detail;
      throw new HostError({ operation: "use the node in", object: dataDir, reason });
    }
    const home = { dataDir, clock: openSystemClock(), random: openSystemRandom() };
    return stopped(lock, { home, store, identity: loaded.value });
  } catch (cause) {
    lock.release();
    throw cause;
  }
}

function stopped(
  lock: DirectoryLock,
  node: Pick<StoppedNode, "home" | "store" | "identity">,
): StoppedNode {
  return { ...node, [Symbol.dispose]: () => lock.release() };
}

/** What the node would go on with. Throws `HostError` when there is nothing of use. */
export async function planRecovery(node: StoppedNode): Promise<RecoveryView> {
  const identity = existing(node);
  const { machine, whole } = await readKnownState(node.home, identity);
  return recoveryView(identity, machine.reader, {
    voters: whole.voters,
    index: whole.lastIndex,
    quorum: null,
    leaderlessSeconds: null,
  });
}

/** Makes the node the only member of a new cluster with what it has. */
export async function recoverStopped(node: StoppedNode): Promise<RecoveredView> {
  return recoveredView(await recoverNode(node.home, node.store, existing(node)));
}

/** What the running node of `session` would go on with. */
export function runningRecovery({ identity, cluster }: Running): RecoveryView {
  const { applied, hasQuorum, leaderless } = cluster.status();
  const voters = cluster.members().filter(({ role }) => role === "voter");
  return recoveryView(identity, cluster.reader, {
    voters: voters.map(({ id }) => id),
    index: applied,
    quorum: hasQuorum,
    leaderlessSeconds: leaderless === undefined ? null : Math.floor(leaderless.forMs / 1000),
  });
}

/** Why the running node of `session` does not recover cluster `clusterId`. */
export function recoveryRefusal(
  { identity, cluster }: Running,
  clusterId: string,
): RecoveryFailure | undefined {
  if (identity.clusterId !== clusterId) {
    const detail = `Cannot recover cluster ${clusterId}: this node is in ${identity.clusterId} now`;
    return { kind: "has_quorum", detail };
  }
  if (!cluster.status().hasQuorum) return undefined;
  const detail =
    `Cannot recover cluster ${clusterId}: it has a leader with a quorum; ` +
    'take lost nodes out with "overlay member remove"';
  return { kind: "has_quorum", detail };
}

type Running = Pick<Session, "identity"> & {
  readonly cluster: Pick<Cluster, "status" | "members" | "reader">;
};

/** The new cluster in the words of the API. */
export function recoveredView(recovered: Awaited<ReturnType<typeof recoverNode>>): RecoveredView {
  const { identity, revision } = recovered;
  const { clusterId, generation, nodeId } = identity;
  return { clusterId, generation, nodeId: formatNodeId(nodeId), revision };
}

/** What `reader` has, in the words of the API. */
export function recoveryView(
  identity: Pick<Identity, "clusterId" | "generation" | "nodeId" | "name">,
  reader: KvReader,
  known: Pick<RecoveryView, "index" | "quorum" | "leaderlessSeconds"> & {
    readonly voters: readonly NodeId[];
  },
): RecoveryView {
  const { voters, ...rest } = known;
  const network = readNetwork(reader);
  return {
    cluster: { id: identity.clusterId, generation: identity.generation },
    node: { id: formatNodeId(identity.nodeId), name: identity.name },
    members: listMembers(reader).map(({ id, name }) => ({
      ...{ id: formatNodeId(id), name },
      voter: voters.includes(id),
      self: id === identity.nodeId,
    })),
    ...rest,
    revision: reader.revision,
    leases: network.leases.size,
  };
}

function existing(node: StoppedNode): Identity {
  if (node.identity !== undefined) return node.identity;
  throw new HostError({
    operation: "recover",
    object: node.home.dataDir,
    reason: "no agent ever ran there",
    next: 'name the folder with --data-dir, or use "overlay snapshot restore"',
  });
}
