/**
 * Snapshots: when one is made, what is kept behind it, how one goes out and one comes in.
 *
 * One is made when the schedule says so, and whenever a member joined that the newest one does not
 * know: a node takes no snapshot whose membership lacks it. While one is being sent
 * none is made, since the store reads the newest only, and for a while after a transfer has failed,
 * so that it can go on where it stopped.
 *
 * @module
 */
import { crc32c } from "../../../base/crc32c.ts";
import { HostError } from "../../../base/host-error.ts";
import { decodeIndex, decodeTerm, formatNodeId, type Index } from "../../../base/ids.ts";
import type { SnapshotStage } from "../../../host/ports.ts";
import { CLUSTER_VERSION_NEWEST, clusterVersion } from "../../kv/cluster-version.ts";
import type { Restoration } from "../../kv/types.ts";
import type { MemoryLog } from "../../raft/memory-log.ts";
import type { ConfState, LogReader, Snapshot, SnapshotRequest } from "../../raft/types.ts";
import {
  decodeSnapshotHeader,
  encodeSnapshotHeader,
  SnapshotBodyDecoder,
  versionOfSnapshot,
} from "../codec/snapshot-codec.ts";
import type { DriverOptions } from "../driver-options.ts";
import {
  SNAPSHOT_DELAY_MAX_MS,
  SNAPSHOT_ENTRIES,
  SNAPSHOT_REFUSAL_MAX_MS,
  SNAPSHOT_REFUSAL_MIN_MS,
  SNAPSHOT_RESUME_MS,
  SNAPSHOT_STOP_MAX_MS,
  TRAILING_ENTRIES,
  TRAILING_SIZE_MAX_BYTES,
} from "../limits.ts";
import { isMember, memberIds } from "../members/conf-state.ts";
import type { SnapshotBody, Transport } from "../transport/peer-port.ts";
import { tooOld } from "../upgrade/too-old.ts";
import { paceSnapshotBody } from "./snapshot-pace.ts";
import { SnapshotSchedule } from "./snapshot-schedule.ts";

export interface SnapshotsOptions
  extends Pick<
    DriverOptions,
    "cluster" | "logStore" | "staging" | "machine" | "clock" | "log" | "snapshotEntries"
  > {
  readonly memoryLog: MemoryLog;
  /** Size of the newest snapshot's body; absent: there is none. */
  readonly snapshotSizeBytes?: number | undefined;
  /** Membership at the applied index. */
  readonly confState: () => ConfState;
  readonly failed: (cause: unknown) => void;
}

/** A snapshot that came in whole. */
export interface Incoming {
  readonly snapshot: Snapshot;
  readonly body: SnapshotBody;
  /** The state that was read out of it, ready to take the place of the present one. */
  readonly state: Restoration;
}

/** What is on its way in. */
interface Staged {
  readonly key: string;
  readonly index: number;
  readonly stage: Promise<SnapshotStage>;
}

/** What came in and was of no use. */
interface Refusal {
  readonly key: string;
  readonly delayMs: number;
  readonly untilMs: number;
}

/** The snapshots of one node. */
export class Snapshots {
  readonly #options: SnapshotsOptions;
  readonly #schedule: SnapshotSchedule;
  readonly #trailingMax: number;
  #saving: Promise<void> | undefined;
  #sendingCount = 0;
  /** A transfer failed: until then it may go on. */
  #resumableUntilMs = Number.NEGATIVE_INFINITY;
  #dueSinceMs: number | undefined;
  /** What is on its way in, by the names of the snapshot and of the sender. */
  #staged: Staged | undefined;
  #refusal: Refusal | undefined;
  #incoming: Incoming | undefined;
  /** On their way to the disk, in order: a slow one may be followed by a newer. */
  #installing: readonly Incoming[] = [];
  /** The last comparison of memberships: they are replaced whole, and seldom. */
  #compared:
    | { readonly known: ConfState; readonly present: ConfState; readonly isComplete: boolean }
    | undefined;

  constructor(options: SnapshotsOptions) {
    this.#options = options;
    const entriesMax = options.snapshotEntries ?? SNAPSHOT_ENTRIES;
    this.#schedule = new SnapshotSchedule({ entriesMax, nowMs: options.clock.nowMs() });
    this.#schedule.measured(options.snapshotSizeBytes ?? 0);
    this.#trailingMax = Math.min(TRAILING_ENTRIES, entriesMax / 2);
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
    this.#schedule.counted(sizeBytes);
  }

  /** Begins a snapshot when one is due or ripe. To be called every now and then. */
  tick(): void {
    if (this.#schedule.isRipe(this.#options.clock.nowMs())) this.#begin();
    else this.maybeMake();
  }

  /** Begins a snapshot when one is due. */
  maybeMake(): void {
    if (this.#schedule.isDue || !this.#knowsAll()) this.#begin();
  }

  #begin(): void {
    if (this.#saving !== undefined || this.#sendingCount > 0 || this.#isResumable()) return;
    if (!this.#hasNews()) return;
    this.#dueSinceMs = undefined;
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

  /**
   * Makes one more snapshot, so that the next start has little to apply again; or does not, where
   * that is of little use or takes long. What is applied must be whole, and nothing be applied any
   * more.
   */
  async finish(): Promise<void> {
    await this.#saving;
    if (!this.#schedule.isWorthwhile || this.#sendingCount > 0 || !this.#hasNews()) return;
    const { clock, log } = this.#options;
    // Never taken back: it is the last.
    this.#saving = this.#make(clock.nowMs() + SNAPSHOT_STOP_MAX_MS).catch((cause: unknown) => {
      const reason = cause instanceof Error ? cause.message : String(cause);
      log.debug("no snapshot made at the end", { reason });
    });
    await this.#saving;
  }

  #hasNews(): boolean {
    const { memoryLog, machine } = this.#options;
    return machine.appliedIndex > (memoryLog.snapshot()?.index ?? 0);
  }

  /** Sends the newest snapshot. Resolves to whether it arrived. */
  async send(
    message: SnapshotRequest,
    transport: Pick<Transport, "sendSnapshot">,
  ): Promise<boolean> {
    const { logStore, memoryLog, log } = this.#options;
    // The core's picture may be older than the file by now; it will ask again.
    if (this.#saving !== undefined || this.#installing.length > 0) return false;
    if (memoryLog.snapshot()?.index !== message.snapshot.index) return false;
    this.#sendingCount += 1;
    try {
      const hasArrived = await transport.sendSnapshot({ message, body: logStore.readSnapshot() });
      if (!hasArrived) this.#resumableUntilMs = this.#options.clock.nowMs() + SNAPSHOT_RESUME_MS;
      return hasArrived;
    } catch (cause) {
      log.error("snapshot could not be read", { reason: String(cause) });
      return false;
    } finally {
      this.#sendingCount -= 1;
      this.maybeMake();
    }
  }

  /** A place for the body of `message`: what it has of it already is not sent again. */
  async stage(message: SnapshotRequest): Promise<SnapshotStage | undefined> {
    const { staging, clock, log } = this.#options;
    if (staging === undefined || !this.#isOurs(message)) return undefined;
    const key = keyOf(message);
    if (this.#refusal?.key === key && clock.nowMs() < this.#refusal.untilMs) return undefined;
    const { index } = message.snapshot;
    try {
      if (this.#staged?.key !== key) {
        const former = this.#staged;
        const open = async () => {
          await former?.stage.then((stage) => stage.discard());
          return staging.open(key);
        };
        this.#staged = { key, index, stage: open() };
      }
      return await this.#staged.stage;
    } catch (cause) {
      this.#staged = undefined;
      if (!(cause instanceof HostError)) throw cause;
      log.warn("cannot take in a snapshot", { reason: cause.message });
      return undefined;
    }
  }

  /** Reads what arrived; undefined when it is not usable. */
  async read(message: SnapshotRequest, body: SnapshotBody): Promise<Incoming | undefined> {
    this.#staged = undefined;
    const state = this.#isOurs(message) ? await this.#decode(message, body) : undefined;
    if (state !== undefined) return { snapshot: message.snapshot, body, state };
    this.#refuse(keyOf(message));
    this.#options.log.warn("snapshot refused", { from: formatNodeId(message.from) });
    await this.#discard(body);
    return undefined;
  }

  /** Keeps what arrived until the core decides. */
  offer(incoming: Incoming): void {
    this.#incoming = incoming;
  }

  /** The core decided against what was offered, or has taken it. */
  withdraw(): void {
    const incoming = this.#incoming;
    this.#incoming = undefined;
    if (incoming === undefined || this.#installing.includes(incoming)) return;
    void this.#discard(incoming.body);
  }

  /** The body of `snapshot`, which the core wants durable. It was offered just before. */
  bodyOf(snapshot: Snapshot): Iterable<Uint8Array> | AsyncIterable<Uint8Array> {
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
    return "read" in incoming.body ? incoming.body.read() : incoming.body;
  }

  /** `snapshot` is durable: it replaces log and state. */
  install(snapshot: Snapshot): void {
    const { memoryLog } = this.#options;
    const [incoming, ...later] = this.#installing;
    const isSame = incoming?.snapshot.index === snapshot.index;
    const problem = isSame ? incoming.state.end() : undefined;
    if (!isSame || problem !== undefined) {
      throw new HostError({
        operation: "install",
        object: `snapshot ${snapshot.index}`,
        reason: problem ?? "its body is gone",
        next: "update this node",
      });
    }
    this.#installing = later;
    void this.#discard(incoming.body);
    memoryLog.applySnapshot(snapshot);
    this.#schedule.begun(this.#options.clock.nowMs());
  }

  #refuse(key: string): void {
    const former = this.#refusal?.key === key ? this.#refusal.delayMs : 0;
    const delayMs = Math.min(
      Math.max(2 * former, SNAPSHOT_REFUSAL_MIN_MS),
      SNAPSHOT_REFUSAL_MAX_MS,
    );
    this.#refusal = { key, delayMs, untilMs: this.#options.clock.nowMs() + delayMs };
  }

  #isOurs({ snapshot }: SnapshotRequest): boolean {
    const { clusterId, generation } = this.#options.cluster;
    const version = versionOfSnapshot(snapshot.data);
    if (version > CLUSTER_VERSION_NEWEST) {
      const call = { operation: "take in", object: `snapshot ${snapshot.index}` };
      this.#options.failed(tooOld(call, version));
    }
    const header = decodeSnapshotHeader(snapshot.data);
    return header?.clusterId === clusterId && header.generation === generation;
  }

  /** Chunk by chunk: neither the loop nor the memory has to bear all of it at once. */
  async #decode(
    { snapshot }: SnapshotRequest,
    body: SnapshotBody,
  ): Promise<Restoration | undefined> {
    const { machine, log } = this.#options;
    const state = machine.restoration();
    try {
      const problem = await readBody(body, state, snapshot.index);
      if (problem === undefined) return state;
      log.warn("cannot use a snapshot that came in", { reason: problem });
    } catch (cause) {
      if (!(cause instanceof HostError)) throw cause;
      log.warn("cannot read a snapshot that came in", { reason: cause.message });
    }
    return undefined;
  }

  /** What cannot be given back now is at the next start. */
  async #discard(body: SnapshotBody): Promise<void> {
    if (!("read" in body)) return;
    try {
      await body.discard();
    } catch (cause) {
      if (!(cause instanceof HostError)) throw cause;
      this.#options.log.warn("cannot remove a snapshot that came in", { reason: cause.message });
    }
  }

  /** Whether a transfer that failed may go on: a snapshot that is due waits, not for ever. */
  #isResumable(): boolean {
    const nowMs = this.#options.clock.nowMs();
    this.#dueSinceMs ??= nowMs;
    return nowMs < this.#resumableUntilMs && nowMs - this.#dueSinceMs < SNAPSHOT_DELAY_MAX_MS;
  }

  async #make(endMs = Number.POSITIVE_INFINITY): Promise<void> {
    const { cluster, logStore, memoryLog, machine, clock, log } = this.#options;
    const index = machine.appliedIndex;
    const term = memoryLog.term(index) ?? decodeTerm(0);
    const confState = this.#options.confState();
    const revision = machine.reader.revision;
    const version = clusterVersion(machine.reader);
    const header = encodeSnapshotHeader({ ...cluster, confState, revision, version });
    this.#schedule.begun(clock.nowMs());
    const chunks = this.#measured(paceSnapshotBody(machine.snapshot(), clock), endMs);
    await logStore.saveSnapshot({ index, term, header }, chunks);
    // A newer one may have come from the leader meanwhile.
    if (!memoryLog.createSnapshot(index, confState, header).ok) return;
    log.debug("snapshot made", { index, revision });
    const compactIndex = this.#compactIndex(index);
    if (compactIndex >= memoryLog.firstIndex()) {
      memoryLog.compact(decodeIndex(compactIndex));
      await logStore.compact(compactIndex);
    }
    await this.#clearStaging(index);
  }

  /** Throws at the first chunk after `endMs`. */
  async *#measured(
    chunks: AsyncIterable<Uint8Array>,
    endMs: number,
  ): AsyncGenerator<Uint8Array, void, void> {
    let sizeBytes = 0;
    for await (const chunk of chunks) {
      if (this.#options.clock.nowMs() > endMs) throw new Error("it would take too long");
      sizeBytes += chunk.length;
      yield chunk;
    }
    this.#schedule.measured(sizeBytes);
  }

  /** Gives up what came in of snapshots that this node does not need any more: it has caught up. */
  async #clearStaging(index: number): Promise<void> {
    const staged = this.#staged;
    if (staged !== undefined && staged.index > index) return;
    this.#staged = undefined;
    try {
      await (await staged?.stage)?.discard();
      await this.#options.staging?.clear();
    } catch (cause) {
      if (!(cause instanceof HostError)) throw cause;
      this.#options.log.warn("cannot remove a snapshot that came in", { reason: cause.message });
    }
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

/** Names a snapshot and its sender. */
function keyOf({ from, snapshot }: SnapshotRequest): string {
  const { index, term, data } = snapshot;
  return [from, index, term, crc32c(data, 0, data.length)].join(" ");
}

/**
 * Reads `body` into `state`. Undefined, or why it is of no use: it must not get into the log. It
 * may be that of a later entry than `index`: a sender that takes in a snapshot itself has that one
 * on its disk a moment before it knows.
 */
async function readBody(
  body: SnapshotBody,
  state: Restoration,
  index: Index,
): Promise<string | undefined> {
  const decoder = new SnapshotBodyDecoder();
  for await (const chunk of "read" in body ? body.read() : body) {
    if (!decoder.push(chunk)) return "its body makes no sense";
    for (const part of decoder.drain()) {
      const problem = state.take(part);
      if (problem !== undefined) return problem;
    }
  }
  return decoder.finish() === undefined ? "its body is not whole" : state.check(index);
}
