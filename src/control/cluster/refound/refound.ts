/**
 * A state that was, as the beginning of another cluster: after a restore, or when the majority of
 * the voters is lost for good.
 *
 *     state (a backup, or what a survivor has) --reshape--> the same without members
 *       --found--> log of a new cluster, this node its only voter --node.json--> it counts
 *
 * The new cluster has an id of its own, so that two survivors that both go on make two clusters
 * which never mix, and no message, disk or snapshot of the old one is taken for one of the new.
 * Revisions go on far ahead of all that anybody may have seen: whoever watched is told `compacted`
 * and looks again, instead of missing what took the place of lost writes (as `--bump-revision` in
 * etcd).
 *
 * Nothing here touches the old cluster's files.
 *
 * @module
 */
import {
  decodeIndex,
  decodeRevision,
  decodeTerm,
  formatNodeId,
  type NodeId,
  type Term,
} from "../../../base/ids.ts";
import type { LogStore } from "../../../host/ports.ts";
import { clusterVersion } from "../../kv/cluster-version.ts";
import { type Operation, systemTxn } from "../../kv/txn.ts";
import type { Command, KvMachine, KvReader } from "../../kv/types.ts";
import { encodeSnapshotBody, encodeSnapshotHeader } from "../codec/snapshot-codec.ts";
import {
  LIVES_PREFIX,
  MEMBERS_PREFIX,
  TOKENS_PREFIX,
  VERSIONS_PREFIX,
} from "../members/system-record.ts";
import { type ClusterRef, EMPTY_CONF_STATE } from "../recovery.ts";
import { type Former, formerOf, putFormer } from "./former.ts";

/** More writes than a cluster makes between a backup and its end (etcd's advice). */
export const REVISION_STEP = 1_000_000_000;

/** Clusters that are remembered, so that their nodes can be told. */
const FORMER_MAX = 8;
/** What a new cluster does not know of its nodes until they join it. */
const NODE_PREFIXES = [MEMBERS_PREFIX, VERSIONS_PREFIX, LIVES_PREFIX];
/** What hangs on the CA. */
const TRUST_PREFIXES = [TOKENS_PREFIX, "/overlay/trust/"];

/** How a state goes on. */
export interface Reshaping {
  readonly nodeId: NodeId;
  readonly former: Former;
  /** Whether the CA is another one: what was signed and promised with the old one is void. */
  readonly hasNewCa: boolean;
  /** What else is to be done to the state, in order. */
  readonly commands: readonly Command[];
  readonly term: Term;
  readonly wallMs: number;
}

/** Makes the state of `machine`, which nobody else has, that of a cluster of one node. */
export function reshapeState(machine: KvMachine, reshaping: Reshaping): void {
  const { nodeId, former, hasNewCa, commands, term, wallMs } = reshaping;
  const own = machine.reader.get(`${MEMBERS_PREFIX}${formatNodeId(nodeId)}`);
  const prefixes = hasNewCa ? [...NODE_PREFIXES, ...TRUST_PREFIXES] : NODE_PREFIXES;
  const success: Operation[] = prefixes.map((prefix) => ({ kind: "delete_prefix", prefix }));
  if (own !== undefined) success.push({ kind: "put", key: own.key, value: own.value });
  success.push(...forgetEldest(machine.reader), putFormer(former));
  for (const command of [...commands, systemTxn({ success })]) {
    const index = decodeIndex(machine.appliedIndex + 1);
    machine.apply(command, { index, term, proposedAtMs: wallMs, request: undefined });
  }
  machine.advance(decodeRevision(machine.reader.revision + REVISION_STEP));
}

/** Fills the unused `store` with the state of `machine`, as that of a cluster of one voter. */
export async function foundStore(
  store: LogStore,
  machine: KvMachine,
  founder: ClusterRef & { readonly nodeId: NodeId; readonly term: Term },
): Promise<void> {
  const { clusterId, generation, nodeId, term } = founder;
  const index = machine.appliedIndex;
  const confState = { ...EMPTY_CONF_STATE, voters: [nodeId] };
  const { revision } = machine.reader;
  const version = clusterVersion(machine.reader);
  const header = encodeSnapshotHeader({ clusterId, generation, confState, revision, version });
  await store.saveSnapshot({ index, term, header }, encodeSnapshotBody(machine.snapshot()));
  await store.append({ hardState: { term, vote: 0, commit: index }, entries: [] });
}

/** A term that nobody of the old cluster can have voted in with this node. */
export function nextTerm(term: number): Term {
  return decodeTerm(term + 1);
}

/** Makes room for one more cluster to remember. */
function forgetEldest(reader: KvReader): readonly Operation[] {
  const known = formerOf(reader);
  return known.length < FORMER_MAX ? [] : [{ kind: "delete", key: known[0]!.key }];
}
