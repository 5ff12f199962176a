/**
 * How far one member's log is, as its leader sees it, and what may be sent to it now.
 *
 *   probe -----append accepted-----> replicate     probe: one append per heartbeat, to find out
 *   replicate --append rejected----> probe                 where the logs agree
 *   replicate --unreachable--------> probe         replicate: appends are pipelined
 *   any ------log was compacted----> snapshot      snapshot: nothing until the snapshot is in
 *   snapshot -append accepted------> replicate
 *   snapshot -reported-------------> probe
 *
 * Source: thesis §3.5, §5.1, §10.2.1 (pipelining). Pure; owned by the leader's role.
 *
 * @module
 */
import { assert } from "../../base/assert.ts";
import { decodeIndex, type Index, type NodeId } from "../../base/ids.ts";
import { membersOf } from "./conf-change.ts";
import { type InflightLimits, InflightWindow } from "./inflight-window.ts";
import type { ProgressStatus } from "./ready.ts";
import type { ConfState } from "./types.ts";

/** What the leader is doing about this member. */
export type ProgressState =
  | { readonly kind: "probe"; paused: boolean }
  | { readonly kind: "replicate"; paused: boolean; readonly inflight: InflightWindow }
  | { readonly kind: "snapshot"; pendingIndex: Index };

/** Where a new `Progress` starts. */
export interface ProgressStart {
  readonly match: Index;
  readonly next: Index;
  readonly isLearner: boolean;
  readonly recentActive: boolean;
}

/** One member's progress. Invariant: match < next. */
export class Progress {
  #match: Index;
  #next: Index;
  #sentCommit: Index = decodeIndex(0);
  #state: ProgressState = { kind: "probe", paused: false };
  readonly #limits: InflightLimits;
  isLearner: boolean;
  /** Heard from since the last quorum check; always true for the leader itself. */
  recentActive: boolean;

  constructor(start: ProgressStart, limits: InflightLimits) {
    assert(start.match < start.next, "match must stay below next");
    this.#match = start.match;
    this.#next = start.next;
    this.isLearner = start.isLearner;
    this.recentActive = start.recentActive;
    this.#limits = limits;
  }

  /** Last index known to be on that member's disk. */
  get match(): Index {
    return this.#match;
  }

  /** First index to send next; everything between `match` and it is on its way. */
  get next(): Index {
    return this.#next;
  }

  get kind(): ProgressState["kind"] {
    return this.#state.kind;
  }

  /** Whether no append message may leave now. */
  get paused(): boolean {
    return this.#state.kind === "snapshot" || this.#state.paused;
  }

  /** Whether the window admits no message with entries; empty ones may still go. */
  get inflightFull(): boolean {
    return this.#state.kind === "replicate" && this.#state.inflight.full;
  }

  /** Starts over from what is known for sure, or from a snapshot believed to have arrived. */
  becomeProbe(): void {
    const pending = this.#state.kind === "snapshot" ? this.#state.pendingIndex : 0;
    this.#state = { kind: "probe", paused: false };
    this.#next = decodeIndex(Math.max(this.#match, pending) + 1);
    this.#capSentCommit();
  }

  becomeReplicate(): void {
    this.#state = { kind: "replicate", paused: false, inflight: new InflightWindow(this.#limits) };
    this.#next = decodeIndex(this.#match + 1);
  }

  becomeSnapshot(snapshotIndex: Index): void {
    this.#state = { kind: "snapshot", pendingIndex: snapshotIndex };
    this.#next = decodeIndex(snapshotIndex + 1);
    this.#sentCommit = snapshotIndex;
  }

  /** The outcome of sending a snapshot is known; wait for the member's word before appending. */
  snapshotEnded(arrived: boolean): void {
    if (this.#state.kind !== "snapshot") return;
    if (!arrived) this.#state.pendingIndex = decodeIndex(0);
    this.becomeProbe();
  }

  /** Nothing more in `probe` until the next heartbeat answer. */
  pauseProbe(): void {
    if (this.#state.kind === "probe") this.#state.paused = true;
  }

  /** A heartbeat answer came: one more append may go, even an empty one through a full window. */
  resume(): void {
    if (this.#state.kind !== "snapshot") this.#state.paused = false;
  }

  /** Accounts for an append message with `count` entries that hold `sizeBytes`. */
  sentEntries(count: number, sizeBytes: number): void {
    const state = this.#state;
    assert(state.kind !== "snapshot", "no append message while a snapshot is under way");
    if (state.kind === "probe") {
      if (count > 0) state.paused = true;
      return;
    }
    if (count > 0) {
      this.#next = decodeIndex(this.#next + count);
      state.inflight.add(decodeIndex(this.#next - 1), sizeBytes);
    }
    state.paused = state.inflight.full;
  }

  /** Whether telling the member of `commit` could still move its commit index. */
  canBumpCommit(commit: Index): boolean {
    return commit > this.#sentCommit && this.#sentCommit < this.#next - 1;
  }

  sentCommit(commit: Index): void {
    this.#sentCommit = commit;
  }

  /** The member has everything up to `index` on disk. False when that is old news. */
  maybeUpdate(index: Index): boolean {
    if (index <= this.#match) return false;
    this.#match = index;
    this.#next = decodeIndex(Math.max(this.#next, index + 1));
    this.resume();
    return true;
  }

  /** Frees the window up to `index`. */
  freeInflight(index: Index): void {
    if (this.#state.kind === "replicate") this.#state.inflight.freeUpTo(index);
  }

  /**
   * The member refused an append whose previous index was `rejected` and may agree up to `hint`.
   * False when the refusal is out of date and nothing changed.
   */
  maybeDecrease(rejected: Index, hint: Index): boolean {
    if (this.#state.kind === "replicate") {
      if (rejected <= this.#match) return false;
      this.#next = decodeIndex(this.#match + 1);
      this.#capSentCommit();
      return true;
    }
    // Outside of replicate one append is under way at a time: an other index is an old refusal.
    if (this.#next - 1 !== rejected) return false;
    this.#next = decodeIndex(Math.max(Math.min(rejected, hint + 1), this.#match + 1));
    this.#capSentCommit();
    this.resume();
    return true;
  }

  /** A copy for people and traces. */
  status(): ProgressStatus {
    const state = this.#state;
    const inflight = state.kind === "replicate" ? state.inflight : undefined;
    return {
      kind: state.kind,
      match: this.#match,
      next: this.#next,
      isLearner: this.isLearner,
      paused: this.paused,
      recentActive: this.recentActive,
      inflightCount: inflight?.count ?? 0,
      inflightFull: inflight?.full ?? false,
      pendingSnapshotIndex: state.kind === "snapshot" ? state.pendingIndex : undefined,
    };
  }

  #capSentCommit(): void {
    if (this.#sentCommit >= this.#next) this.#sentCommit = decodeIndex(this.#next - 1);
  }
}

/**
 * The table for `config`, ascending: progress known in `previous` is kept, except that of members
 * in `fresh`, which were removed and added again and start anew like unknown ones.
 */
export function progressTable(
  config: ConfState,
  previous: ReadonlyMap<NodeId, Progress>,
  fresh: ReadonlySet<NodeId>,
  create: (isLearner: boolean) => Progress,
): Map<NodeId, Progress> {
  const table = new Map<NodeId, Progress>();
  for (const node of membersOf(config)) {
    const isLearner = config.learners.includes(node);
    const known = fresh.has(node) ? undefined : previous.get(node);
    if (known !== undefined) known.isLearner = isLearner;
    table.set(node, known ?? create(isLearner));
  }
  return table;
}
