/**
 * From what the log store found on the disk to a core that may go on.
 *
 * The snapshot fills the state machine; entries after it stay in the log and are applied again as
 * they become committed. Three things may look odd and are right: the stored commit lags (it is
 * not synced by itself), entries precede the snapshot (kept for slow followers), and entries that
 * contradict a snapshot received from a leader (a crash came before they were overwritten).
 *
 * @module
 */
import { HostError } from "../../base/host-error.ts";
import { decodeIndex, decodeNodeId, decodeTerm, type NodeId } from "../../base/ids.ts";
import type { LogStore, RecoveredLog, StoredSnapshotMeta } from "../../host/ports.ts";
import { CLUSTER_VERSION_NEWEST, clusterVersion } from "../kv/cluster-version.ts";
import type { StateMachine } from "../kv/types.ts";
import { MemoryLog } from "../raft/memory-log.ts";
import type { ConfState, Entry, HardState, Snapshot } from "../raft/types.ts";
import { decodeStored } from "./codec/entry-codec.ts";
import {
  decodeSnapshotHeader,
  encodeSnapshotBody,
  encodeSnapshotHeader,
  SnapshotBodyDecoder,
  type SnapshotHeader,
  versionOfSnapshot,
} from "./codec/snapshot-codec.ts";
import { TRAILING_ENTRIES } from "./limits.ts";
import { REJOIN, tooOld } from "./upgrade/too-old.ts";

/** Which cluster the stored state must belong to. */
export interface ClusterRef {
  readonly clusterId: SnapshotHeader["clusterId"];
  readonly generation: number;
}

export interface Recovered {
  readonly memoryLog: MemoryLog;
  readonly hardState: HardState | undefined;
  /** Size of the snapshot's body; undefined when there is none. */
  readonly snapshotSizeBytes?: number | undefined;
  /** Membership at the snapshot; the log's changes come on top as they are applied. */
  readonly confState: ConfState;
}

/** No members: a node that waits for its leader. */
export const EMPTY_CONF_STATE: ConfState = {
  voters: [],
  votersOutgoing: [],
  learners: [],
  learnersNext: [],
  autoLeave: false,
};

/** Whether nothing at all was ever stored. */
export function isUnused(store: LogStore): boolean {
  const { hardState, snapshot, entries } = store.recovered;
  return hardState === undefined && snapshot === undefined && entries.length === 0;
}

/**
 * Makes an unused store the beginning of a cluster: a snapshot at index 1 with this node as the
 * only voter. Followers start without it, so the leader sends it first, membership included.
 */
export async function bootstrapStore(
  store: LogStore,
  machine: StateMachine,
  founder: ClusterRef & { readonly nodeId: NodeId },
): Promise<Recovered> {
  const index = decodeIndex(1);
  const term = decodeTerm(1);
  machine.skip(index);
  const confState: ConfState = { ...EMPTY_CONF_STATE, voters: [founder.nodeId] };
  const { revision } = machine.reader;
  const version = clusterVersion(machine.reader);
  const header = encodeSnapshotHeader({ ...founder, confState, revision, version });
  await store.saveSnapshot({ index, term, header }, encodeSnapshotBody(machine.snapshot()));
  await store.append({ hardState: { term, vote: 0, commit: index }, entries: [] });
  const memoryLog = new MemoryLog();
  memoryLog.applySnapshot({ index, term, confState, data: header });
  const hardState = { term, vote: undefined, commit: index };
  return { memoryLog, hardState, confState };
}

/** Fills `machine` from the snapshot of `store`. Throws `HostError` when it is not usable. */
export async function recoverStore(
  store: LogStore,
  machine: StateMachine,
  cluster: ClusterRef,
): Promise<Recovered> {
  const { hardState: stored, snapshot: meta } = store.recovered;
  const entries = recoverEntries(store.recovered);
  const restored = meta === undefined ? undefined : await restoreSnapshot(store, machine, meta);
  const snapshot = restored?.snapshot;
  if (snapshot !== undefined) assertCluster(snapshot, cluster);
  const memoryLog = buildLog(snapshot, entries);
  // Without entries behind the snapshot the next ones would leave a gap in the stored log.
  const lastStored = entries.at(-1)?.index ?? 0;
  if (snapshot !== undefined && lastStored < snapshot.index) await store.compact(snapshot.index);
  return {
    memoryLog,
    hardState: stored === undefined ? undefined : toHardState(stored, memoryLog),
    snapshotSizeBytes: restored?.sizeBytes,
    confState: snapshot?.confState ?? EMPTY_CONF_STATE,
  };
}

/** The entries that are still wanted: of those before the snapshot, as many as the driver keeps. */
function recoverEntries({ snapshot, entries }: RecoveredLog): readonly Entry[] {
  const wantedFrom = (snapshot?.index ?? 0) - TRAILING_ENTRIES;
  return entries
    .filter((entry) => entry.index > wantedFrom)
    .map((entry) => {
      const decoded = decodeStored(entry);
      if (decoded !== undefined) return decoded;
      throw unusable(`log entry ${entry.index}`, "its payload has an unknown format");
    });
}

async function restoreSnapshot(
  store: LogStore,
  machine: StateMachine,
  meta: StoredSnapshotMeta,
): Promise<{ readonly snapshot: Snapshot; readonly sizeBytes: number }> {
  const header = decodeSnapshotHeader(meta.header);
  if (header === undefined) throw unreadable(meta.header);
  const sizeBytes = await restoreBody(store, machine);
  if (machine.appliedIndex !== meta.index) {
    throw unusable("snapshot", `its state is at ${machine.appliedIndex}, not ${meta.index}`);
  }
  const { confState } = header;
  const id = { index: decodeIndex(meta.index), term: decodeTerm(meta.term) };
  return { snapshot: { ...id, confState, data: meta.header }, sizeBytes };
}

/** Chunk by chunk: all of it at once would be several times the state in memory. Gives its size. */
async function restoreBody(store: LogStore, machine: StateMachine): Promise<number> {
  const decoder = new SnapshotBodyDecoder();
  const restoration = machine.restoration();
  let sizeBytes = 0;
  for await (const chunk of store.readSnapshot()) {
    sizeBytes += chunk.length;
    if (!decoder.push(chunk)) throw unusable("snapshot", "its body is not whole");
    for (const part of decoder.drain()) {
      const problem = restoration.take(part);
      if (problem !== undefined) throw unusable("snapshot", problem);
    }
  }
  const isWhole = decoder.finish() !== undefined;
  const problem = isWhole ? restoration.end() : "its body is not whole";
  if (problem !== undefined) throw unusable("snapshot", problem);
  return sizeBytes;
}

function buildLog(snapshot: Snapshot | undefined, entries: readonly Entry[]): MemoryLog {
  const log = new MemoryLog();
  if (snapshot === undefined) {
    log.append(entries);
    return log;
  }
  const first = entries[0];
  if (first !== undefined && first.index > snapshot.index + 1) {
    throw unusable("log", `it begins at ${first.index}, after the snapshot at ${snapshot.index}`);
  }
  const atSnapshot = entries.find((entry) => entry.index === snapshot.index);
  if (first === undefined || (atSnapshot === undefined && first.index !== snapshot.index + 1)) {
    log.applySnapshot(snapshot);
  } else if (atSnapshot !== undefined && atSnapshot.term !== snapshot.term) {
    // The snapshot came from a leader and replaced these; the crash came before the next append.
    log.applySnapshot(snapshot);
  } else if (atSnapshot === undefined || first.index === snapshot.index) {
    log.applySnapshot(snapshot);
    log.append(entries);
  } else {
    // Entries from before the snapshot are still good for followers that were away shortly.
    log.applySnapshot({ ...snapshot, index: first.index, term: first.term });
    log.append(entries.slice(1));
    log.createSnapshot(snapshot.index, snapshot.confState, snapshot.data);
  }
  return log;
}

function toHardState(
  stored: { readonly term: number; readonly vote: number; readonly commit: number },
  log: MemoryLog,
): HardState {
  const snapshotIndex = log.snapshot()?.index ?? 0;
  const lastIndex = log.lastIndex();
  if (stored.commit > lastIndex) {
    throw unusable("log", `it ends at ${lastIndex} but ${stored.commit} was committed`);
  }
  return {
    term: decodeTerm(stored.term),
    vote: stored.vote === 0 ? undefined : decodeNodeId(stored.vote),
    commit: decodeIndex(Math.max(stored.commit, snapshotIndex)),
  };
}

function assertCluster(snapshot: Snapshot, cluster: ClusterRef): void {
  const header = decodeSnapshotHeader(snapshot.data);
  if (header?.clusterId === cluster.clusterId && header.generation === cluster.generation) return;
  throw unusable("snapshot", "it belongs to another cluster or generation");
}

function unreadable(header: Uint8Array): HostError {
  const version = versionOfSnapshot(header);
  const call = { operation: "recover from", object: "snapshot" };
  if (version > CLUSTER_VERSION_NEWEST) return tooOld(call, version);
  return unusable("snapshot", "its header has an unknown format");
}

function unusable(object: string, reason: string): HostError {
  return new HostError({ operation: "recover from", object, reason, next: REJOIN });
}
