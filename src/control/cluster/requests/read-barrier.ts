/**
 * Linearizable reads by ReadIndex (thesis §6.4): when a barrier opens, the local state holds every
 * write that was acknowledged before the barrier was asked for.
 *
 * One round at a time asks the leader; whoever comes meanwhile shares the next round, so the
 * cost is per round, not per reader. A round that gets lost is asked again under a new context:
 * an old answer must never open a newer barrier (etcd #20418). Driven by the driver; no timer.
 *
 * @module
 */
import type { Index } from "../../../base/ids.ts";
import { err, ok, type Result } from "../../../base/result.ts";
import type { Random } from "../../../host/ports.ts";
import { READ_RETRY_MS } from "../limits.ts";
import type { ClusterFailure } from "../types.ts";

/** What the driver lends. */
export interface ReadHost {
  readIndex(context: number): void;
  appliedIndex(): Index;
  nowMs(): number;
  /** Why no leader confirms reads now, for a deadline that passed. */
  explain(): ClusterFailure;
}

interface Waiter {
  readonly deadlineMs: number;
  readonly resolve: (result: Result<void, ClusterFailure>) => void;
}

interface Round {
  readonly context: number;
  readonly startedMs: number;
  readonly waiters: Waiter[];
}

/** Contexts of reads begin at a random multiple of this: two runs never share one. */
const CONTEXTS_PER_RUN = 2 ** 32;
const RUN_COUNT = 2 ** 20;

/** Where the contexts of one run begin. */
export function newContextBase(random: Pick<Random, "below">): number {
  return random.below(RUN_COUNT) * CONTEXTS_PER_RUN;
}

/** All reads of this node that wait for their barrier. */
export class ReadBarriers {
  readonly #host: ReadHost;
  #next: Waiter[] = [];
  #round: Round | undefined;
  /** Confirmed rounds whose index is not applied yet. */
  #confirmed: { readonly index: Index; readonly waiters: Waiter[] }[] = [];
  #context: number;
  #isStopped = false;

  /** `contextBase`: contexts count up from here and are never used twice, restarts included. */
  constructor(host: ReadHost, contextBase: number) {
    this.#host = host;
    this.#context = contextBase;
  }

  /** Resolves when local reads are linearizable with respect to this call. */
  wait(timeoutMs: number): Promise<Result<void, ClusterFailure>> {
    if (this.#isStopped) return Promise.resolve(err(STOPPED));
    return new Promise((resolve) => {
      this.#next.push({ deadlineMs: this.#host.nowMs() + timeoutMs, resolve });
      if (this.#round === undefined) this.#startRound();
    });
  }

  /** The leader confirmed `context`: everything up to `index` must be applied first. */
  confirmed(context: number, index: Index): void {
    if (this.#round?.context !== context) return;
    this.#confirmed.push({ index, waiters: this.#round.waiters });
    this.#round = undefined;
    this.applied();
    if (this.#next.length > 0) this.#startRound();
  }

  /** The applied index moved. */
  applied(): void {
    if (this.#confirmed.length === 0) return;
    const appliedIndex = this.#host.appliedIndex();
    const open = this.#confirmed.filter((round) => round.index <= appliedIndex);
    this.#confirmed = this.#confirmed.filter((round) => round.index > appliedIndex);
    for (const round of open) for (const waiter of round.waiters) waiter.resolve(ok(undefined));
  }

  /** Role, term or leader changed: an answer to the round may never come. */
  leadershipChanged(): void {
    if (this.#round !== undefined) this.#startRound();
  }

  /** Asks again what is overdue, and gives up what is past its deadline. */
  tick(): void {
    const nowMs = this.#host.nowMs();
    this.#next = this.#expire(this.#next, nowMs);
    this.#confirmed = this.#confirmed
      .map((round) => ({ index: round.index, waiters: this.#expire(round.waiters, nowMs) }))
      .filter((round) => round.waiters.length > 0);
    if (this.#round === undefined) return;
    const left = this.#expire(this.#round.waiters, nowMs);
    this.#round = { ...this.#round, waiters: left };
    if (left.length + this.#next.length === 0) this.#round = undefined;
    else if (nowMs - this.#round.startedMs >= READ_RETRY_MS) this.#startRound();
  }

  /** Fails everything: the node stops. */
  stop(): void {
    this.#isStopped = true;
    const waiters = [this.#next, this.#round?.waiters ?? []].flat();
    for (const round of this.#confirmed) waiters.push(...round.waiters);
    this.#next = [];
    this.#round = undefined;
    this.#confirmed = [];
    for (const waiter of waiters) waiter.resolve(err(STOPPED));
  }

  /** Begins a round for all who wait, those of a lost round included. */
  #startRound(): void {
    const waiters = [...(this.#round?.waiters ?? []), ...this.#next];
    this.#next = [];
    this.#context += 1;
    this.#round = { context: this.#context, startedMs: this.#host.nowMs(), waiters };
    this.#host.readIndex(this.#context);
  }

  #expire(waiters: readonly Waiter[], nowMs: number): Waiter[] {
    const left: Waiter[] = [];
    for (const waiter of waiters) {
      if (nowMs < waiter.deadlineMs) left.push(waiter);
      else waiter.resolve(err(this.#host.explain()));
    }
    return left;
  }
}

const STOPPED: ClusterFailure = {
  kind: "no_leader",
  detail: "Cannot read from the cluster: this node stops; use another node",
};
