/**
 * Collects what is due into one `Ready`, and remembers what was handed out.
 *
 * What vouches for state on disk (`messagesAfterAppend`) goes out after that state: in
 * synchronous mode by the driver's duty to write before it sends, and by `advance` for what this
 * node tells itself; in asynchronous mode as responses of the storage work.
 *
 * @module
 */
import { assert } from "../../base/assert.ts";
import { type Core, leaderOf } from "./core.ts";
import type { Ready } from "./ready.ts";
import { type StepMessage, step } from "./step.ts";
import type {
  Entry,
  HardState,
  PeerMessage,
  Snapshot,
  SoftState,
  StorageAppend,
  StorageAppendResponse,
  StorageApply,
} from "./types.ts";

/** Makes the batches of one node. */
export class ReadyBatches {
  readonly #core: Core;
  #softState: SoftState;
  #hardState: HardState;
  /** Synchronous mode: what this node tells itself once the batch was carried out. */
  #onAdvance: StepMessage[] | undefined;

  constructor(core: Core) {
    this.#core = core;
    this.#softState = softStateOf(core);
    this.#hardState = hardStateOf(core);
  }

  /** Whether `take` would hold anything. */
  hasReady(): boolean {
    const core = this.#core;
    const { log } = core;
    return (
      core.messages.length > 0 ||
      core.messagesAfterAppend.length > 0 ||
      core.readStates.length > 0 ||
      log.unstable.hasNextEntries() ||
      log.unstable.nextSnapshot() !== undefined ||
      log.hasNextCommitted(this.#mayApplyUnstable) ||
      this.#changedHardState() !== undefined ||
      this.#changedSoftState() !== undefined
    );
  }

  /** The next batch. Taking it means promising to carry it out. */
  take(): Ready {
    assert(this.#onAdvance === undefined, "the last batch must be carried out before the next");
    const core = this.#core;
    const { log } = core;
    const entries = log.unstable.nextEntries();
    const committedEntries = log.nextCommitted(this.#mayApplyUnstable);
    const snapshot = log.unstable.nextSnapshot();
    const softState = this.#changedSoftState();
    const hardState = this.#changedHardState();
    const mustSync =
      entries.length > 0 ||
      (hardState !== undefined &&
        (hardState.term !== this.#hardState.term || hardState.vote !== this.#hardState.vote));
    const readStates = core.readStates;
    const work = { hardState, entries, snapshot, committedEntries };
    const messages = core.config.asyncStorageWrites
      ? this.#withStorageWork(work)
      : this.#withVouching(work);

    if (softState !== undefined) this.#softState = softState;
    if (hardState !== undefined) this.#hardState = hardState;
    core.messages = [];
    core.messagesAfterAppend = [];
    core.readStates = [];
    log.unstable.acceptInProgress();
    if (committedEntries.length > 0) log.acceptApplying(committedEntries, this.#mayApplyUnstable);
    return {
      softState,
      hardState,
      readStates,
      entries,
      snapshot,
      committedEntries,
      messages,
      mustSync,
    };
  }

  /** Synchronous mode: the last batch was carried out. */
  advance(): void {
    assert(!this.#core.config.asyncStorageWrites, "advance is for the synchronous mode only");
    const messages = this.#onAdvance ?? [];
    this.#onAdvance = undefined;
    // The node may have been removed by what it applied: then nobody counts its word any more.
    for (const message of messages) step(this.#core, message);
  }

  /** In synchronous mode the driver writes before it applies, in the same batch. */
  get #mayApplyUnstable(): boolean {
    return !this.#core.config.asyncStorageWrites;
  }

  #changedSoftState(): SoftState | undefined {
    const { leader, role } = this.#softState;
    const core = this.#core;
    if (role === core.role.kind && leader === leaderOf(core)) return undefined;
    return softStateOf(core);
  }

  #changedHardState(): HardState | undefined {
    const { term, vote, commit } = this.#hardState;
    const core = this.#core;
    if (term === core.term && vote === core.vote && commit === core.log.committed) return undefined;
    return hardStateOf(core);
  }

  /** Synchronous mode: everything may be sent once the batch is on disk. */
  #withVouching(work: Work): PeerMessage[] {
    const core = this.#core;
    const { messages } = core;
    const toSelf: StepMessage[] = [];
    for (const message of core.messagesAfterAppend) {
      if (message.to === core.id) toSelf.push(message);
      else messages.push(message);
    }
    const response = this.#storageAppendResponse(work.snapshot);
    if (response !== undefined) toSelf.push(response);
    if (work.committedEntries.length > 0) {
      toSelf.push({ kind: "storage_apply_response", entries: work.committedEntries });
    }
    this.#onAdvance = toSelf;
    return messages;
  }

  /** Asynchronous mode: what vouches waits in the responses of the storage work. */
  #withStorageWork(work: Work): (PeerMessage | StorageAppend | StorageApply)[] {
    const core = this.#core;
    const messages: (PeerMessage | StorageAppend | StorageApply)[] = core.messages;
    const { hardState, entries, snapshot, committedEntries } = work;
    const vouching = core.messagesAfterAppend;
    if (
      entries.length > 0 ||
      hardState !== undefined ||
      snapshot !== undefined ||
      vouching.length > 0
    ) {
      const own = this.#storageAppendResponse(snapshot);
      const responses = own === undefined ? vouching : [...vouching, own];
      messages.push({ kind: "storage_append", hardState, entries, snapshot, responses });
    }
    if (committedEntries.length > 0) {
      const response = { kind: "storage_apply_response", entries: committedEntries } as const;
      messages.push({ kind: "storage_apply", entries: committedEntries, response });
    }
    return messages;
  }

  /**
   * The word on what is on disk after this batch. It is about the whole unstable log and given
   * whenever that is not empty: an earlier word may have become void with its term, and then the
   * batch that carries the new term brings another one.
   */
  #storageAppendResponse(snapshot: Snapshot | undefined): StorageAppendResponse | undefined {
    const { log, term } = this.#core;
    if (log.unstable.count === 0 && snapshot === undefined) return undefined;
    const last = log.unstable.count > 0 ? log.last() : undefined;
    return { kind: "storage_append_response", term, last, snapshot };
  }
}

interface Work {
  readonly hardState: HardState | undefined;
  readonly entries: readonly Entry[];
  readonly snapshot: Snapshot | undefined;
  readonly committedEntries: readonly Entry[];
}

function softStateOf(core: Core): SoftState {
  return { leader: leaderOf(core), role: core.role.kind };
}

function hardStateOf(core: Core): HardState {
  return { term: core.term, vote: core.vote, commit: core.log.committed };
}
