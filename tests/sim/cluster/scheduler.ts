/**
 * What happens next: events in the order of true time, and at equal times in the order in which
 * they were planned.
 *
 * True time is what no node can see: each has a clock of its own (`node-clock.ts`). A binary heap;
 * cancelled events stay in it until their time comes.
 *
 * @module
 */
import type { SimProcess } from "./sim-process.ts";

/** What one step may be. */
export type StepKind = "message" | "call" | "timer" | "disk" | "client" | "nemesis";

/** Something that will happen. */
export interface SimEvent {
  atMs: number;
  readonly order: number;
  readonly kind: StepKind;
  /** The process that it happens to; when that is dead by then, it does not happen. */
  readonly process: SimProcess | undefined;
  /** For the trace only. */
  readonly subject: unknown;
  /** Undefined once it is cancelled. */
  run: (() => void) | undefined;
}

/** What an event is about, beside its time. */
export interface EventPlan {
  readonly kind: StepKind;
  readonly process?: SimProcess | undefined;
  readonly subject?: unknown;
  readonly run: () => void;
}

/** The events to come. */
export class Scheduler {
  #nowMs = 0;
  #order = 0;
  readonly #heap: SimEvent[] = [];

  /** True time in milliseconds since the simulation began. */
  get nowMs(): number {
    return this.#nowMs;
  }

  /** Plans an event `delayMs` from now. */
  after(delayMs: number, plan: EventPlan): SimEvent {
    const event: SimEvent = {
      atMs: this.#nowMs + Math.max(0, delayMs),
      order: this.#order++,
      kind: plan.kind,
      process: plan.process,
      subject: plan.subject,
      run: plan.run,
    };
    this.#push(event);
    return event;
  }

  /** Takes the next event that was not cancelled, and moves the time to it. */
  take(): SimEvent | undefined {
    for (;;) {
      const event = this.#pop();
      if (event === undefined) return undefined;
      if (event.run === undefined) continue;
      this.#nowMs = Math.max(this.#nowMs, event.atMs);
      return event;
    }
  }

  /** Puts back an event that was taken, to happen now. */
  again(event: SimEvent): void {
    if (event.run !== undefined) this.after(0, { ...event, run: event.run });
  }

  #push(event: SimEvent): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(event);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (isBefore(heap[parent]!, event)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = event;
  }

  #pop(): SimEvent | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
      if (isBefore(last, heap[child]!)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
    return first;
  }
}

function isBefore(a: SimEvent, b: SimEvent): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}
