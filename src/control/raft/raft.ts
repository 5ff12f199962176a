/**
 * The consensus core of one node, as its driver sees it.
 *
 * Source: Ongaro, "Consensus: Bridging Theory and Practice"; behaviour follows etcd's raft.
 * Pure: no clock, no I/O, no randomness but the injected one. One thread, one `Ready` at a time.
 *
 * @module
 */
import { assert } from "../../base/assert.ts";
import type { NodeId } from "../../base/ids.ts";
import type { Result } from "../../base/result.ts";
import { assertConfig, type RaftConfig, type RandomSource } from "./config.ts";
import type { ProposeError, RaftStatus, Ready, StepError } from "./ready.ts";
import type { TraceSink } from "./trace.ts";
import type {
  ConfChange,
  ConfState,
  LogReader,
  PeerMessage,
  ProposedEntry,
  StorageAppendResponse,
  StorageApplyResponse,
} from "./types.ts";

export type { RaftConfig, RandomSource } from "./config.ts";
export type { ProgressStatus, ProposeError, RaftStatus, Ready, StepError } from "./ready.ts";
export type { TraceEvent, TraceSink } from "./trace.ts";

/** One node of a Raft group. */
export class Raft {
  readonly #config: RaftConfig;
  readonly #log: LogReader;

  constructor(config: RaftConfig, log: LogReader, _random: RandomSource, _trace?: TraceSink) {
    assertConfig(config);
    this.#config = config;
    this.#log = log;
  }

  /** One tick of the driver's clock. */
  tick(): void {
    this.#todo();
  }

  /** Starts an election now, unless this node leads already or could not win. */
  campaign(): void {
    this.#todo();
  }

  /** Takes in a message from another node, or a response of a storage thread. */
  step(
    _message: PeerMessage | StorageAppendResponse | StorageApplyResponse,
  ): Result<void, StepError> {
    return this.#todo();
  }

  /** Proposes entries; success means taken in or forwarded, not committed. */
  propose(_entries: readonly ProposedEntry[]): Result<void, ProposeError> {
    return this.#todo();
  }

  /** Puts a committed membership change into effect; returns the membership after it. */
  applyConfChange(_change: ConfChange): ConfState {
    return this.#todo();
  }

  /** Asks for a read index; the answer comes as a read state with the same `context`. */
  readIndex(_context: number): void {
    this.#todo();
  }

  /** Asks the leader to hand over to `target`. */
  transferLeadership(_target: NodeId): void {
    this.#todo();
  }

  /** Makes a follower forget who leads, so that it grants votes at once. */
  forgetLeader(): void {
    this.#todo();
  }

  /** A message to `node` could not be delivered. */
  reportUnreachable(_node: NodeId): void {
    this.#todo();
  }

  /** How sending a snapshot to `node` ended. */
  reportSnapshot(_node: NodeId, _ok: boolean): void {
    this.#todo();
  }

  /** Whether `ready()` would hold anything. */
  hasReady(): boolean {
    return this.#todo();
  }

  /** The next batch of effects; taking it means promising to carry it out. */
  ready(): Ready {
    return this.#todo();
  }

  /** Synchronous mode only: the last batch was carried out. */
  advance(): void {
    this.#todo();
  }

  /** A consistent picture of this node. */
  status(): RaftStatus {
    return this.#todo();
  }

  #todo(): never {
    assert(this.#config.id === undefined && this.#log === undefined, "not implemented yet");
    throw new Error("not implemented yet");
  }
}
