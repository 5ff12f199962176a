/**
 * The one driver of desired state: compares it with the kernel and applies the difference.
 *
 * What is to be done is decided in `dataplane/reconcile`; this says when. A pass runs
 *
 *     soon after a new desired state (states that follow each other closely share one pass),
 *     soon after the kernel told of a change that concerns us, by whomever,
 *     again and again, ever more slowly, while something could not be done,
 *     and once a minute in any case.
 *
 * A state that differs from the one in force in a few peers is brought about without a look, in
 * milliseconds, and the look follows.
 *
 * Our own changes come back as events and cause one more pass, which finds nothing to do: that
 * is the proof that they took. When each pass finds something anew, another program is undoing
 * our work; then passes slow down to a limit, so that the two do not burn a core against each
 * other.
 *
 * @module
 */
import { HostError } from "../base/host-error.ts";
import type { Log } from "../base/log.ts";
import { type DesiredState, EMPTY_STATE } from "../dataplane/backends/desired-state.ts";
import { OURS } from "../dataplane/backends/ownership.ts";
import { delta, type KnownLinks } from "../dataplane/reconcile/delta.ts";
import { diff } from "../dataplane/reconcile/diff.ts";
import { firewallQuery } from "../dataplane/reconcile/firewall.ts";
import {
  concerns,
  type Interest,
  interestOf,
  withIndexes,
} from "../dataplane/reconcile/relevance.ts";
import type { ActualState, Kernel, KernelChange, Operation } from "../host/kernel-ports.ts";
import type { Clock } from "../host/ports.ts";

/** Leases that arrive together in one turn of the event loop become one pass. */
const DESIRED_DELAY_MS = 5;
/** One `ip` command makes several events; wait for the last of them. */
const EVENT_DELAY_MIN_MS = 20;
/** How slowly we answer a program that keeps undoing our work. */
const EVENT_DELAY_MAX_MS = 5_000;
/** A look at ten thousand routes takes a tenth of a second: it waits for four times as long. */
const LOOK_PAUSES = 4;
const RETRY_DELAY_MIN_MS = 250;
/** Whether anything happened or not: events may be missing, and some changes have none. */
const FULL_PASS_INTERVAL_MS = 60_000;
/** Then other work gets its turn: some 5 ms of system calls. */
const APPLY_SLICE_OPERATIONS = 256;
/** What goes on a link can be said once the link is there. */
const ROUNDS_MAX = 2;
/** Log lines for one pass, whatever the number of failures; the status has them all. */
const UNMET_LOGGED_MAX = 5;

/** Something wanted that is not so, with the reason in the kernel's own words. */
export interface UnmetOperation {
  readonly operation: string;
  readonly object: string;
  readonly reason: string;
}

/** Keeps the kernel as desired, for as long as it is open. */
export interface Reconciler {
  /**
   * Makes the kernel agree with `state` from now on. Undefined: nothing is known of what is
   * wanted, so leave everything as it is.
   */
  setDesired(state: DesiredState | undefined): void;
  /** What the last pass could not do; empty when the kernel agrees. */
  unmet(): readonly UnmetOperation[];
  /** Resolves when the state last set has been applied as far as possible. Never rejects. */
  settled(): Promise<void>;
  /** Deletes all that is ours, then leaves everything as it is. See `unmet` for what stayed. */
  remove(): Promise<void>;
  /** Stops. What exists stays. */
  close(): void;
}

/** What the reconciler drives and is driven by. */
export interface ReconcilerOptions {
  readonly kernel: Kernel;
  readonly clock: Clock;
  readonly log: Log;
}

/** A reconciler over `kernel`, which it uses but does not close. */
export function openReconciler(options: ReconcilerOptions): Reconciler {
  return new KernelReconciler(options);
}

interface Waiter {
  readonly generation: number;
  readonly resolve: () => void;
}

interface PassResult {
  readonly applied: number;
  readonly unmet: readonly UnmetOperation[];
}

class KernelReconciler implements Reconciler {
  readonly #kernel: Kernel;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #stopListening: () => void;
  readonly #stopFullPasses: () => void;

  #desired: DesiredState | undefined;
  #interest: Interest = interestOf(EMPTY_STATE, OURS);
  #unmet: readonly UnmetOperation[] = [];
  /** Counts the calls of `setDesired`. Invariant: done <= wanted. */
  #wanted = 0;
  #done = 0;
  #waiters: Waiter[] = [];

  /** The state that the kernel agreed with when we last looked, or was told of since. */
  #inForce: DesiredState | undefined;
  #links: KnownLinks = new Map();
  /** When to look because something has changed; undefined: nothing has. */
  #lookDueAtMs: number | undefined;
  #lookMs = 0;

  #running = false;
  #pass: { readonly dueAtMs: number; readonly cancel: () => void } | undefined;
  #eventDelayMs = EVENT_DELAY_MIN_MS;
  #retryDelayMs = RETRY_DELAY_MIN_MS;
  #changedWhileRunning = false;
  #closed = false;

  constructor({ kernel, clock, log }: ReconcilerOptions) {
    this.#kernel = kernel;
    this.#clock = clock;
    this.#log = log;
    this.#stopListening = kernel.onChange((change) => this.#changed(change));
    this.#stopFullPasses = clock.every(FULL_PASS_INTERVAL_MS, () => this.#schedule(0));
  }

  setDesired(state: DesiredState | undefined): void {
    if (this.#closed) return;
    this.#desired = state;
    this.#wanted++;
    this.#retryDelayMs = RETRY_DELAY_MIN_MS;
    if (state !== undefined) {
      this.#schedule(DESIRED_DELAY_MS);
      return;
    }
    this.#pass?.cancel();
    this.#pass = undefined;
    this.#finish(this.#wanted);
  }

  unmet(): readonly UnmetOperation[] {
    return this.#unmet;
  }

  settled(): Promise<void> {
    if (this.#closed || this.#done === this.#wanted) return Promise.resolve();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiters.push({ generation: this.#wanted, resolve });
    return promise;
  }

  async remove(): Promise<void> {
    this.setDesired(EMPTY_STATE);
    const generation = this.#wanted;
    await this.settled();
    // Otherwise the link of a later cluster would be deleted before it is asked for.
    if (this.#wanted === generation) this.setDesired(undefined);
  }

  close(): void {
    this.#closed = true;
    this.#stopListening();
    this.#stopFullPasses();
    this.#pass?.cancel();
    this.#finish(this.#wanted);
  }

  #changed(change: KernelChange): void {
    if (this.#desired === undefined || !concerns(change, this.#interest)) return;
    if (this.#running) this.#changedWhileRunning = true;
    else this.#scheduleLook();
  }

  #scheduleLook(): void {
    const now = this.#clock.nowMs();
    const pauseMs = Math.min(EVENT_DELAY_MAX_MS, this.#lookMs * LOOK_PAUSES);
    this.#lookDueAtMs ??= now + Math.max(this.#eventDelayMs, pauseMs);
    this.#schedule(Math.max(0, this.#lookDueAtMs - now));
  }

  /** Runs a pass after `delayMs`, unless an earlier one is due. */
  #schedule(delayMs: number): void {
    if (this.#closed || this.#running || this.#desired === undefined) return;
    const dueAtMs = this.#clock.nowMs() + delayMs;
    if (this.#pass !== undefined) {
      if (this.#pass.dueAtMs <= dueAtMs) return;
      this.#pass.cancel();
    }
    const cancel = this.#clock.after(delayMs, () => {
      this.#pass = undefined;
      void this.#run();
    });
    this.#pass = { dueAtMs, cancel };
  }

  async #run(): Promise<void> {
    const desired = this.#desired;
    if (this.#closed || desired === undefined) return;
    const generation = this.#wanted;
    this.#running = true;
    this.#changedWhileRunning = false;
    const result = await this.#reconcile(desired, generation);
    this.#running = false;
    if (this.#closed) return;
    if (result === undefined || this.#wanted !== generation) {
      this.#schedule(0);
      return;
    }
    this.#report(result);
    this.#planNext(result);
    this.#finish(generation);
  }

  #planNext({ applied, unmet }: PassResult): void {
    this.#eventDelayMs =
      applied === 0 ? EVENT_DELAY_MIN_MS : Math.min(this.#eventDelayMs * 2, EVENT_DELAY_MAX_MS);
    if (this.#changedWhileRunning || this.#lookDueAtMs !== undefined) this.#scheduleLook();
    if (unmet.length === 0) {
      this.#retryDelayMs = RETRY_DELAY_MIN_MS;
      return;
    }
    this.#schedule(this.#retryDelayMs);
    this.#retryDelayMs = Math.min(this.#retryDelayMs * 2, FULL_PASS_INTERVAL_MS);
  }

  /** One pass; undefined when a newer desired state has come in the middle of it. */
  async #reconcile(desired: DesiredState, generation: number): Promise<PassResult | undefined> {
    const operations = this.#delta(desired);
    this.#inForce = undefined;
    if (operations !== undefined) {
      const result = await this.#applyAll(operations, generation);
      if (result === undefined) return undefined;
      if (result.unmet.length === 0) {
        const { indexes, wayIndexes } = this.#interest;
        this.#interest = { ...interestOf(desired, OURS), indexes, wayIndexes };
        this.#inForce = desired;
        return result;
      }
    }
    let applied = 0;
    for (let round = 1; ; round++) {
      const actual = this.#attempt(() => this.#look(desired));
      if (!actual.ok) return { applied, unmet: [actual.unmet] };
      const difference = diff(desired, actual.value, OURS);
      const result = await this.#applyAll(difference.operations, generation);
      if (result === undefined) return undefined;
      applied += result.applied;
      // With the new link there, the second round says the rest.
      if (difference.isPartial && round < ROUNDS_MAX) continue;
      const unmet = [...difference.obstacles, ...result.unmet];
      this.#inForce = unmet.length === 0 ? desired : undefined;
      return { applied, unmet };
    }
  }

  /** What leads to `desired` from what is in force; undefined when somebody has to look. */
  #delta(desired: DesiredState): readonly Operation[] | undefined {
    const before = this.#inForce;
    const isLookDue = this.#clock.nowMs() >= (this.#lookDueAtMs ?? Infinity);
    if (before === undefined || before === desired || isLookDue) return undefined;
    return delta(before, desired, { links: this.#links, routeProtocol: OURS.routeProtocol });
  }

  async #applyAll(
    operations: readonly Operation[],
    generation: number,
  ): Promise<PassResult | undefined> {
    const unmet: UnmetOperation[] = [];
    for (const [position, operation] of operations.entries()) {
      if (position > 0 && position % APPLY_SLICE_OPERATIONS === 0) {
        await new Promise<void>((resolve) => this.#clock.after(0, resolve));
        if (this.#closed || this.#wanted !== generation) return undefined;
      }
      const outcome = this.#attempt(() => this.#kernel.apply(operation));
      if (!outcome.ok) unmet.push(outcome.unmet);
    }
    return { applied: operations.length - unmet.length, unmet };
  }

  /** Reads what there is, and remembers which links to listen for. */
  #look(desired: DesiredState): ActualState {
    // Before looking, so that a change in between is heard of.
    const { indexes, wayIndexes } = this.#interest;
    this.#interest = { ...interestOf(desired, OURS), indexes, wayIndexes };
    this.#lookDueAtMs = undefined;
    const startMs = this.#clock.nowMs();
    const sysctls = desired.sysctls.map(({ path }) => path);
    const firewall = firewallQuery(desired.firewall, OURS);
    const neighbourLinks = desired.links.map(({ name }) => name);
    const query = { routeProtocol: OURS.routeProtocol, sysctls, neighbourLinks, firewall };
    const actual = this.#kernel.snapshot(query);
    this.#interest = withIndexes(this.#interest, actual.links);
    this.#links = new Map(actual.links.map(({ index, name }) => [name, { index, name }]));
    this.#lookMs = this.#clock.nowMs() - startMs;
    return actual;
  }

  #attempt<T>(
    action: () => T,
  ):
    | { readonly ok: true; readonly value: T }
    | { readonly ok: false; readonly unmet: UnmetOperation } {
    try {
      return { ok: true, value: action() };
    } catch (error) {
      if (!(error instanceof HostError)) throw error;
      const { message, object, operation } = error;
      return { ok: false, unmet: { operation, object, reason: message } };
    }
  }

  #report({ applied, unmet }: PassResult): void {
    if (applied > 0) this.#log.info("kernel brought in line", { operations: applied });
    const known = new Set(this.#unmet.map((it) => it.reason));
    const fresh = unmet.filter((it) => !known.has(it.reason));
    for (const { operation, object, reason } of fresh.slice(0, UNMET_LOGGED_MAX)) {
      this.#log.warn("kernel cannot be brought in line", { operation, object, reason });
    }
    if (unmet.length === 0 && this.#unmet.length > 0) this.#log.info("kernel is in line again");
    this.#unmet = unmet;
  }

  #finish(generation: number): void {
    this.#done = generation;
    const due = this.#waiters.filter((waiter) => waiter.generation <= generation);
    this.#waiters = this.#waiters.filter((waiter) => waiter.generation > generation);
    for (const waiter of due) waiter.resolve();
  }
}
