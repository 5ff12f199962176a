/**
 * The consensus core of one node, as its driver sees it.
 *
 *   tick, campaign, step, propose, ...  -->  Raft  -->  ready(): what to persist, send and apply
 *
 * Source: Ongaro, "Consensus: Bridging Theory and Practice"; behaviour follows etcd's raft.
 * Pure: no clock, no I/O, no randomness but the injected one. One caller, one batch at a time.
 * The rules are in the files beside this one.
 *
 * @module
 */
import { assert } from "../../base/assert.ts";
import type { NodeId } from "../../base/ids.ts";
import type { Result } from "../../base/result.ts";
import type { RaftConfig, RandomSource } from "./config.ts";
import { type Core, createCore, leaderOf, TERM_NONE } from "./core.ts";
import { maybeCampaign, tickElection } from "./election.ts";
import { handleSnapshotReport, handleUnreachable, tickLeader } from "./leader.ts";
import { applyConfChange } from "./membership.ts";
import { propose } from "./propose.ts";
import { requestRead } from "./reads.ts";
import type { ProgressStatus, ProposeError, RaftStatus, Ready, StepError } from "./ready.ts";
import { ReadyBatches } from "./ready-batch.ts";
import { becomeFollower } from "./role.ts";
import { type StepMessage, step } from "./step.ts";
import type { TraceSink } from "./trace.ts";
import { requestTransfer } from "./transfer.ts";
import type { ConfChange, ConfState, EntryId, LogReader, ProposedEntry } from "./types.ts";

export type { RaftConfig, RandomSource } from "./config.ts";
export type { ProgressStatus, ProposeError, RaftStatus, Ready, StepError } from "./ready.ts";
export type { TraceEvent, TraceSink } from "./trace.ts";

/** One node of a Raft group. */
export class Raft {
  readonly #core: Core;
  readonly #batches: ReadyBatches;

  /** A follower that goes on from `config.hardState` and what `log` holds. */
  constructor(config: RaftConfig, log: LogReader, random: RandomSource, trace?: TraceSink) {
    const core = createCore(config, log, random, trace);
    trace?.({ kind: "config_switched", config: core.membership });
    becomeFollower(core, core.term, undefined);
    trace?.({
      kind: "started",
      voters: core.membership.voters,
      term: core.term,
      commit: core.log.committed,
      applied: core.log.applied,
      last: core.log.last(),
    });
    this.#core = core;
    this.#batches = new ReadyBatches(core);
  }

  /** One tick of the driver's clock. */
  tick(): void {
    const core = this.#core;
    if (core.role.kind === "leader") tickLeader(core, core.role);
    else tickElection(core);
  }

  /** Starts an election now, unless this node leads already or could not win. */
  campaign(): void {
    maybeCampaign(this.#core, "timeout");
  }

  /**
   * Takes in a message from another node, or a response of a storage thread. The sender of a
   * message must have been authenticated as `message.from`.
   */
  step(message: StepMessage): Result<void, StepError> {
    return step(this.#core, message);
  }

  /**
   * Proposes entries, at least one; they are taken in all or none. Success means that they were
   * taken in or forwarded, not that they are committed: only seeing them applied means that.
   */
  propose(entries: readonly ProposedEntry[]): Result<void, ProposeError> {
    assert(entries.length > 0, "a proposal must not be empty");
    const { id } = this.#core;
    const from = { from: id, to: id, term: TERM_NONE };
    return propose(this.#core, { kind: "propose_request", ...from, entries });
  }

  /**
   * Puts a committed membership change into effect; returns the membership after it. To be called
   * once for each such entry, when it is applied and before that is reported.
   */
  applyConfChange(change: ConfChange): ConfState {
    applyConfChange(this.#core, change);
    return this.#core.membership;
  }

  /**
   * Asks for a read index. The answer is a read state with the same `context`; it may never come:
   * ask again, with a new context, when the leader changes or after a while.
   */
  readIndex(context: number): void {
    requestRead(this.#core, { from: this.#core.id, context });
  }

  /** Asks the leader, which may be this node, to hand over to `target`. */
  transferLeadership(target: NodeId): void {
    requestTransfer(this.#core, this.#core.id, target);
  }

  /** Stops leading, without naming a successor. No effect on any other node. */
  resign(): void {
    const core = this.#core;
    if (core.role.kind === "leader") becomeFollower(core, core.term, undefined);
  }

  /**
   * Makes a follower forget who leads, so that it grants votes at once, for instance when it
   * learns that the leader is gone. No effect on the leader itself.
   */
  forgetLeader(): void {
    const core = this.#core;
    if (core.role.kind !== "follower") return;
    if (core.config.readOnly === "lease_based") {
      // A vote granted now could depose a leader that still answers reads by its lease.
      core.trace?.({ kind: "forget_leader_refused" });
      return;
    }
    const { leader } = core.role;
    if (leader === undefined) return;
    core.trace?.({ kind: "leader_forgotten", leader, term: core.term });
    core.role.leader = undefined;
  }

  /** A message to `node` could not be delivered. */
  reportUnreachable(node: NodeId): void {
    const core = this.#core;
    if (core.role.kind === "leader") handleUnreachable(core, core.role, node);
  }

  /** How sending a snapshot to `node` ended; to be called for every `snapshot_request`. */
  reportSnapshot(node: NodeId, arrived: boolean): void {
    const core = this.#core;
    if (core.role.kind === "leader") handleSnapshotReport(core, core.role, node, arrived);
  }

  /** Whether `ready()` would hold anything. */
  hasReady(): boolean {
    return this.#batches.hasReady();
  }

  /** The next batch of effects; taking it means promising to carry it out. */
  ready(): Ready {
    return this.#batches.take();
  }

  /** Synchronous mode only: the last batch was carried out. */
  advance(): void {
    this.#batches.advance();
  }

  /** Waits `ticks` until the next election, in place of the drawn time, until the role changes. */
  overrideElectionTimeout(ticks: number): void {
    assert(ticks > 0, "an election timeout must be greater than 0");
    this.#core.electionTimeoutTicks = ticks;
  }

  /** The last entry known to be committed. Term 0: the log does not reach so far back. */
  committed(): EntryId {
    const { log } = this.#core;
    return { index: log.committed, term: log.term(log.committed) ?? TERM_NONE };
  }

  /** A consistent picture of this node. Allocates: not for every message. */
  status(): RaftStatus {
    const core = this.#core;
    const leader = core.role.kind === "leader" ? core.role : undefined;
    let progress: Map<NodeId, ProgressStatus> | undefined;
    if (leader !== undefined) {
      progress = new Map();
      for (const [node, each] of leader.progress) progress.set(node, each.status());
    }
    return {
      id: core.id,
      term: core.term,
      vote: core.vote,
      leader: leaderOf(core),
      role: core.role.kind,
      commit: core.log.committed,
      applied: core.log.applied,
      config: core.membership,
      progress,
      leadTransferee: leader?.transferee,
    };
  }
}
