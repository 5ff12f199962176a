/**
 * One run of one node: from its start to its end, which may come at any moment.
 *
 * Whatever a run does to the outside (a message, a write, a timer) first calls `touch`. So a run
 * can be made to end between any two of those, in the middle of a turn of the event loop: what it
 * does after its end has no effect, and what it waits for never comes.
 *
 * @module
 */
import type { NodeId } from "../../../src/base/ids.ts";
import type { Scheduler, SimEvent, StepKind } from "./scheduler.ts";

/** One run of a node. */
export class SimProcess {
  readonly node: NodeId;
  /** Counts the runs of the node, from 1. */
  readonly run: number;
  readonly #scheduler: Scheduler;
  readonly #died: (process: SimProcess) => void;
  #isAlive = true;
  #touchesLeft = Number.POSITIVE_INFINITY;
  #isPaused = false;
  /** What came while it was paused, in order. */
  #backlog: SimEvent[] = [];

  constructor(
    id: { readonly node: NodeId; readonly run: number },
    scheduler: Scheduler,
    /** Called once, in the middle of whatever the run was doing. */
    died: (process: SimProcess) => void,
  ) {
    this.node = id.node;
    this.run = id.run;
    this.#scheduler = scheduler;
    this.#died = died;
  }

  get isAlive(): boolean {
    return this.#isAlive;
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  /** To be called before each effect on the outside; false: there must be none. */
  touch(): boolean {
    if (!this.#isAlive) return false;
    this.#touchesLeft -= 1;
    if (this.#touchesLeft >= 0) return true;
    this.kill();
    return false;
  }

  /** Ends the run at the effect after the next `count` ones. */
  killAfter(count: number): void {
    this.#touchesLeft = count;
  }

  /** Ends the run now. */
  kill(): void {
    if (!this.#isAlive) return;
    this.#isAlive = false;
    this.#backlog = [];
    this.#died(this);
  }

  /** Plans something that happens to this run. */
  after(delayMs: number, kind: StepKind, run: () => void, subject?: unknown): SimEvent {
    return this.#scheduler.after(delayMs, { kind, process: this, run, subject });
  }

  /** The run gets no time from now on (SIGSTOP, a stalled machine). */
  pause(): void {
    this.#isPaused = true;
  }

  /** Keeps an event that came while paused. */
  keep(event: SimEvent): void {
    this.#backlog.push(event);
  }

  /** Goes on; timers first, or in the order in which things came. */
  resume(timersFirst: boolean): void {
    this.#isPaused = false;
    const backlog = this.#backlog;
    this.#backlog = [];
    const isTimer = (event: SimEvent) => event.kind === "timer";
    const ordered = timersFirst
      ? [...backlog.filter(isTimer), ...backlog.filter((event) => !isTimer(event))]
      : backlog;
    for (const event of ordered) this.#scheduler.again(event);
  }
}
