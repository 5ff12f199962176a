/**
 * The append thread of the core: makes batches durable, then delivers what had to wait for that.
 *
 * Batches are handed to the log store at once, without waiting for the one before: the store syncs
 * them together. Responses come back strictly in order. A batch that changes only the commit index
 * is not written: the commit may lag after a crash, and the next batch carries it. When none comes
 * it is written after a while (`tick`), since a start without a quorum has what it knows to be
 * committed and no more; whoever must find it again after a crash asks for it (`pushCommit`).
 *
 * A failed write is the end: what is on the disk is then unknown, nothing more is acknowledged.
 *
 * @module
 */
import { assert } from "../../../base/assert.ts";
import type { LogStore, StoredHardState } from "../../../host/ports.ts";
import type { HardState, Snapshot, StorageAppend } from "../../raft/types.ts";
import { encodeStored } from "../codec/entry-codec.ts";

/** What is done around the disk. */
export interface AppendHost {
  /** The body of `snapshot`, which is to be made durable, in chunks of at most 1 MiB. */
  snapshotBody(snapshot: Snapshot): Iterable<Uint8Array> | AsyncIterable<Uint8Array>;
  /** The batch is durable: take it over into memory, then deliver its responses. */
  durable(work: StorageAppend): void;
  /** The disk cannot be trusted any more. */
  failed(cause: unknown): void;
}

/** Batches on their way to the disk, first in, first out. */
export class AppendQueue {
  readonly #store: LogStore;
  readonly #host: AppendHost;
  #tail: Promise<void> = Promise.resolve();
  #failed = false;
  /** Sequence of the last batch handed in. Invariant: durable <= handed. */
  #handed = 0;
  /** Sequence of the last batch whose responses were delivered. */
  #durable = 0;
  /** As last written, and as it is now; they differ in the commit only. */
  #written: HardState | undefined;
  #current: HardState | undefined;
  /** Committed entries that a restart would know to be committed. */
  #durableCommit: number;
  #commitAtTick: number | undefined;
  /** Last index in the stored log once all batches handed in are written. */
  #lastIndex: number;

  constructor(
    store: LogStore,
    host: AppendHost,
    start: { readonly hardState: HardState | undefined; readonly lastIndex: number },
  ) {
    this.#store = store;
    this.#host = host;
    this.#written = start.hardState;
    this.#current = start.hardState;
    this.#lastIndex = start.lastIndex;
    this.#durableCommit = start.hardState?.commit ?? 0;
  }

  /** How many batches wait for the disk. */
  get pendingCount(): number {
    return this.#handed - this.#durable;
  }

  /** Batches that became durable so far. */
  get durableCount(): number {
    return this.#durable;
  }

  /** Up to where a restart would know at once that entries are committed. */
  get durableCommit(): number {
    return this.#durableCommit;
  }

  /** Hands in the next batch. */
  push(work: StorageAppend): void {
    this.#push(work, false);
  }

  /** Has the commit index written for its own sake, behind everything handed in so far. */
  pushCommit(): void {
    this.#push(NOTHING, true);
  }

  /** Called at intervals: writes a commit index that has not moved since the last call. */
  tick(): void {
    const commit = this.#current?.commit;
    if (commit !== this.#written?.commit && commit === this.#commitAtTick) this.pushCommit();
    this.#commitAtTick = commit;
  }

  /** Resolves when everything handed in so far is durable, or has failed. */
  settled(): Promise<void> {
    return this.#tail;
  }

  #push(work: StorageAppend, isCommitWanted: boolean): void {
    const sequence = ++this.#handed;
    // Begins to write now; `all` also sees to it that no rejection is left unheard.
    const writing = this.#write(work, isCommitWanted);
    const commit = Math.max(this.#written?.commit ?? 0, work.snapshot?.index ?? 0);
    this.#tail = Promise.all([this.#tail, writing]).then(
      () => this.#deliver(work, { sequence, commit }),
      (cause: unknown) => this.#fail(cause),
    );
  }

  #deliver(work: StorageAppend, at: { readonly sequence: number; readonly commit: number }): void {
    if (this.#failed) return;
    assert(at.sequence === this.#durable + 1, "batches must become durable in order");
    this.#durable = at.sequence;
    this.#durableCommit = Math.max(this.#durableCommit, at.commit);
    this.#host.durable(work);
  }

  #fail(cause: unknown): void {
    if (this.#failed) return;
    this.#failed = true;
    this.#host.failed(cause);
  }

  async #write(work: StorageAppend, isCommitWanted: boolean): Promise<void> {
    const { hardState, entries, snapshot } = work;
    if (hardState !== undefined) this.#current = hardState;
    const isVoteOrTerm =
      this.#current?.term !== this.#written?.term || this.#current?.vote !== this.#written?.vote;
    const isNeeded = entries.length > 0 || snapshot !== undefined || isVoteOrTerm;
    if (!isNeeded && !(isCommitWanted && this.#current?.commit !== this.#written?.commit)) return;
    const steps: Promise<void>[] = [];
    if (snapshot !== undefined) {
      const { index, term } = snapshot;
      const body = this.#host.snapshotBody(snapshot);
      steps.push(this.#store.saveSnapshot({ index, term, header: snapshot.data }, body));
      // What we had ends before the snapshot: without this the next entry would leave a gap. When
      // it ends later it contradicts the snapshot, and the next entry replaces it.
      if (this.#lastIndex < index) steps.push(this.#store.compact(index));
      this.#lastIndex = index;
    }
    const current = this.#current;
    const isHardStateNew = current !== undefined && current !== this.#written;
    if (entries.length > 0 || isHardStateNew) {
      const batch = { entries: entries.map(encodeStored) };
      steps.push(
        this.#store.append(isHardStateNew ? { ...batch, hardState: toStored(current) } : batch),
      );
      this.#written = current;
      this.#lastIndex = entries.at(-1)?.index ?? this.#lastIndex;
    }
    await Promise.all(steps);
  }
}

/** A batch that changes nothing. */
const NOTHING: StorageAppend = {
  kind: "storage_append",
  hardState: undefined,
  entries: [],
  snapshot: undefined,
  responses: [],
};

function toStored(state: HardState): StoredHardState {
  return { term: state.term, vote: state.vote ?? 0, commit: state.commit };
}
