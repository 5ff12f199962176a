/**
 * Snapshots: when one is made, what is kept behind it, how one goes out and one comes in.
 *
 * One is made every so many entries or bytes of log, and whenever a member joined that the newest
 * one does not know: a node takes no snapshot whose membership lacks it. While one is being sent
 * none is made, since the store reads the newest only.
 *
 * @module
 */
import { HostError } from "../../base/host-error.ts";
import { decodeIndex, decodeTerm } from "../../base/ids.ts";
import type { Log } from "../../base/log.ts";
import type { LogStore } from "../../host/ports.ts";
import type { SnapshotPart, StateMachine } from "../kv/types.ts";
import type { MemoryLog } from "../raft/memory-log.ts";
import type { ConfState, LogReader, Snapshot, SnapshotRequest } from "../raft/types.ts";
import { isMember, memberIds } from "./conf-state.ts";
import {
  SNAPSHOT_ENTRIES,
  SNAPSHOT_LOG_SIZE_BYTES,
  TRAILING_ENTRIES,
  TRAILING_SIZE_MAX_BYTES,
} from "./limits.ts";
import type { Transport } from "./peer-port.ts";
import type { ClusterRef } from "./recovery.ts";
import {
  decodeSnapshotBody,
  decodeSnapshotHeader,
  encodeSnapshotBody,
  encodeSnapshotHeader,
} from "./snapshot-codec.ts";

export interface SnapshotsOptions {
  readonly cluster: ClusterRef;
  readonly store: LogStore;
  readonly memoryLog: MemoryLog;
  readonly machine: StateMachine;
  readonly log: Log;
  /** Membership at the applied index. */
  readonly confState: () => ConfState;
  readonly failed: (cause: unknown) => void;
  /** Entries between snapshots; smaller in tests. */
  readonly entriesMax?: number;
}

interface Incoming {
  readonly snapshot: Snapshot;
  readonly body: readonly Uint8Array[];
  readonly parts: readonly SnapshotPart[];
}

/** The snapshots of one node. */
export class Snapshots {
  readonly #options: SnapshotsOptions;
  readonly #entriesMax: number;
  readonly #trailingMax: number;
  /** Applied entries since the newest snapshot. */
  #entryCount = 0;
  #entrySizeBytes = 0;
  #saving: Promise<void> | undefined;
  #sendingCount = 0;
  #incoming: Incoming | undefined;
  /** On their way to the disk, in order: a slow one may be followed by a newer. */
  #installing: readonly Incoming[] = [];
  /** The last comparison of memberships: they are replaced whole, and seldom. */
  #compared:
    | { readonly known: ConfState; readonly present: ConfState; readonly isComplete: boolean }
    | undefined;

  constructor(options: SnapshotsOptions) {
    this.#options = options;
    this.#entriesMax = options.entriesMax ?? SNAPSHOT_ENTRIES;
    this.#trailingMax = Math.min(TRAILING_ENTRIES, this.#entriesMax / 2);
  }

  /** The log as the core reads it: without a snapshot while the newest lacks a member. */
  reader(): LogReader {
    const { memoryLog } = this.#options;
    return {
      firstIndex: () => memoryLog.firstIndex(),
      lastIndex: () => memoryLog.lastIndex(),
      term: (index) => memoryLog.term(index),
      entries: (low, high, sizeMaxBytes) => memoryLog.entries(low, high, sizeMaxBytes),
      snapshot: () => (this.#knowsAll() ? memoryLog.snapshot() : undefined),
    };
  }

  /** An entry of so many bytes was applied. */
  counted(sizeBytes: number): void {
    this.#entryCount += 1;
    this.#entrySizeBytes += sizeBytes;
  }

  /** Begins a snapshot when one is due. */
  maybeMake(): void {
    const isDue =
      this.#entryCount >= this.#entriesMax || this.#entrySizeBytes >= SNAPSHOT_LOG_SIZE_BYTES;
    if (!isDue && this.#knowsAll()) return;
    if (this.#saving !== undefined || this.#sendingCount > 0) return;
    const { memoryLog, machine } = this.#options;
    if (machine.appliedIndex <= (memoryLog.snapshot()?.index ?? 0)) return;
    this.#saving = this.#make().then(
      () => {
        this.#saving = undefined;
        this.maybeMake();
      },
      (cause: unknown) => this.#options.failed(cause),
    );
  }

  /** Resolves when no snapshot is being made. */
  async settled(): Promise<void> {
    await this.#saving;
  }

  /** Sends the newest snapshot. Resolves to whether it arrived. */
  async send(message: SnapshotRequest, transport: Transport): Promise<boolean> {
    const { store, memoryLog, log } = this.#options;
    // The core's picture may be older than the file by now; it will ask again.
    if (this.#saving !== undefined) return false;
    if (memoryLog.snapshot()?.index !== message.snapshot.index) return false;
    this.#sendingCount += 1;
    try {
      return await transport.sendSnapshot({ message, body: store.readSnapshot() });
    } catch (cause) {
      log.error("snapshot could not be read", { reason: String(cause) });
      return false;
    } finally {
      this.#sendingCount -= 1;
      this.maybeMake();
    }
  }

  /** Keeps what arrived until the core decides; false when it is not usable. */
  offer(message: SnapshotRequest, body: readonly Uint8Array[]): boolean {
    const { cluster } = this.#options;
    const header = decodeSnapshotHeader(message.snapshot.data);
    const isOurs =
      header?.clusterId === cluster.clusterId && header.generation === cluster.generation;
    const parts = isOurs ? decodeSnapshotBody(body) : undefined;
    if (parts === undefined) return false;
    this.#incoming = { snapshot: message.snapshot, body, parts };
    return true;
  }

  /** The core decided against what was offered, or has taken it. */
  withdraw(): void {
    this.#incoming = undefined;
  }

  /** The body of `snapshot`, which the core wants durable. It was offered just before. */
  bodyOf(snapshot: Snapshot): readonly Uint8Array[] {
    const incoming = this.#incoming;
    if (incoming?.snapshot.index !== snapshot.index || incoming.snapshot.term !== snapshot.term) {
      throw new HostError({
        operation: "install",
        object: `snapshot ${snapshot.index}`,
        reason: "its body is gone",
        next: "restart this node",
      });
    }
    this.#installing = [...this.#installing, incoming];
    return incoming.body;
  }

  /** `snapshot` is durable: it replaces log and state. */
  install(snapshot: Snapshot): void {
    const { machine, memoryLog } = this.#options;
    const [incoming, ...later] = this.#installing;
    const isSame = incoming?.snapshot.index === snapshot.index;
    const problem = isSame ? machine.restore(incoming.parts) : undefined;
    if (!isSame || problem !== undefined) {
      throw new HostError({
        operation: "install",
        object: `snapshot ${snapshot.index}`,
        reason: problem ?? "its body is gone",
        next: "update this node",
      });
    }
    this.#installing = later;
    memoryLog.applySnapshot(snapshot);
    this.#entryCount = 0;
    this.#entrySizeBytes = 0;
  }

  async #make(): Promise<void> {
    const { cluster, store, memoryLog, machine, log } = this.#options;
    const index = machine.appliedIndex;
    const term = memoryLog.term(index) ?? decodeTerm(0);
    const confState = this.#options.confState();
    const revision = machine.reader.revision;
    const { clusterId, generation } = cluster;
    const header = encodeSnapshotHeader({ clusterId, generation, confState, revision });
    this.#entryCount = 0;
    this.#entrySizeBytes = 0;
    await store.saveSnapshot({ index, term, header }, encodeSnapshotBody(machine.snapshot()));
    // A newer one may have come from the leader meanwhile.
    if (!memoryLog.createSnapshot(index, confState, header).ok) return;
    log.debug("snapshot made", { index, revision });
    const compactIndex = this.#compactIndex(index);
    if (compactIndex < memoryLog.firstIndex()) return;
    memoryLog.compact(decodeIndex(compactIndex));
    await store.compact(compactIndex);
  }

  /** The last entry that need not be kept behind a snapshot at `index`. */
  #compactIndex(index: number): number {
    const { memoryLog } = this.#options;
    const low = Math.max(index - this.#trailingMax, memoryLog.firstIndex());
    if (low > index) return 0;
    const span = memoryLog.entries(decodeIndex(low), decodeIndex(index + 1), Infinity) ?? [];
    let sizeBytes = 0;
    for (let i = span.length - 1; i >= 0; i--) {
      const entry = span[i]!;
      sizeBytes += entry.kind === "normal" ? entry.data.length : 0;
      if (sizeBytes > TRAILING_SIZE_MAX_BYTES) return entry.index;
    }
    return low - 1;
  }

  /** Whether the newest snapshot's membership has every present member. Asked for each batch. */
  #knowsAll(): boolean {
    const known = this.#options.memoryLog.snapshot()?.confState;
    if (known === undefined) return true;
    const present = this.#options.confState();
    if (this.#compared?.known !== known || this.#compared.present !== present) {
      const isComplete = memberIds(present).every((id) => isMember(known, id));
      this.#compared = { known, present, isComplete };
    }
    return this.#compared.isComplete;
  }
}
