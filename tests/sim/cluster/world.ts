/**
 * One simulated cluster: nodes, network, true time, and the checkers that watch all of them.
 *
 * One step is one event: a delivered message, a timer, an answer of a disk, a client's action.
 * After each, every promise that can go on does so, and no real time passes.
 *
 * @module
 */
import { drainMicrotasks } from "bun:jsc";
import { decodeNodeId, type NodeId } from "../../../src/base/ids.ts";
import type { Driver } from "../../../src/control/cluster/driver.ts";
import { memberIds } from "../../../src/control/cluster/members/conf-state.ts";
import type {
  Applied,
  ApplyContext,
  Command,
  KvMachine,
  StateMachine,
} from "../../../src/control/kv/types.ts";
import type { ConfState } from "../../../src/control/raft/types.ts";
import type { LogStore } from "../../../src/host/ports.ts";
import { Coverage } from "./coverage.ts";
import { NodeClock } from "./node-clock.ts";
import { Replay } from "./replay.ts";
import { Safety } from "./safety.ts";
import type { Scenario } from "./scenario.ts";
import { Scheduler, type SimEvent } from "./scheduler.ts";
import { SimNetwork } from "./sim-network.ts";
import { type Companion, SimNode } from "./sim-node.ts";
import type { SimProcess } from "./sim-process.ts";
import { SimRandom } from "./sim-random.ts";
import { createLogStorage, createWalStorage } from "./storage.ts";
import { Trace } from "./trace.ts";
import { Violation } from "./violation.ts";

const FIRST_LOG_HASH = 1;

/** Puts something beside the driver of each run, such as a lease's holder. */
export type CompanionFactory = (node: SimNode, run: NodeRun) => Companion;

/** One run of a node that is up. */
export interface NodeRun {
  readonly process: SimProcess;
  readonly driver: Driver;
  readonly machine: KvMachine;
}

/** What is told of the first application of an entry. */
export type FirstListener = (
  node: SimNode,
  context: ApplyContext,
  applied: Applied,
  command: Command,
) => void;

/** The whole of one simulation. */
export class World {
  readonly scenario: Scenario;
  readonly scheduler = new Scheduler();
  readonly random: SimRandom;
  readonly trace = new Trace();
  readonly coverage = new Coverage();
  readonly safety: Safety;
  readonly replay: Replay;
  readonly network: SimNetwork;
  readonly nodes = new Map<NodeId, SimNode>();
  readonly spares: SimNode[] = [];
  readonly companionFactories: CompanionFactory[] = [];
  readonly firstListeners: FirstListener[] = [];
  /** Puts something between a node and its store; for bugs made on purpose. */
  storeWrapper: (store: LogStore, node: SimNode) => LogStore = (store) => store;
  #failure: Error | undefined;
  #current: SimProcess | undefined;
  #lastId = 0;
  #stepTasks: { readonly step: number; readonly run: () => void }[] = [];

  constructor(scenario: Scenario) {
    this.scenario = scenario;
    this.random = new SimRandom(scenario.seed, 1);
    const { random, coverage, scheduler } = this;
    this.safety = new Safety(coverage);
    this.replay = new Replay(coverage);
    const weather = { ...scenario.network };
    this.network = new SimNetwork({ scheduler, random, coverage, weather });
    this.network.entering = (process) => {
      this.#current = process;
    };
  }

  /** The first thing that went wrong. */
  get failure(): Error | undefined {
    return this.#failure;
  }

  /** Makes the machines of the first voters, all with the same beginning on their disks. */
  found(voterCount: number): void {
    const voters = Array.from({ length: voterCount }, (_, i) => decodeNodeId(i + 1));
    const confState: ConfState = {
      voters,
      votersOutgoing: [],
      learners: [],
      learnersNext: [],
      autoLeave: false,
    };
    this.safety.begin(confState, FIRST_LOG_HASH);
    for (const _ of voters) this.#addNode({ kind: "founder", confState }).start();
  }

  /** The id that the next machine will have. */
  get nextId(): NodeId {
    return decodeNodeId(this.#lastId + 1);
  }

  /** Makes a machine that is to be fed and nothing else. */
  addSpare(): void {
    this.spares.push(this.addJoiner());
  }

  /** Makes a machine that waits to be let in. */
  addJoiner(): SimNode {
    const node = this.#addNode({ kind: "joiner" });
    node.start();
    return node;
  }

  node(id: NodeId): SimNode {
    const node = this.nodes.get(id);
    if (node === undefined) throw new Error(`there is no node ${id}`);
    return node;
  }

  /** Nodes that run. */
  upNodes(): SimNode[] {
    return [...this.nodes.values()].filter((node) => node.driver !== undefined);
  }

  /** A node that runs and is a member as far as anybody knows. */
  someMember(): SimNode | undefined {
    const members = memberIds(this.safety.config);
    return this.random.maybePick(this.upNodes().filter((node) => members.includes(node.id)));
  }

  /** The leader of the highest term, if any node thinks it leads. */
  leader(): SimNode | undefined {
    let best: SimNode | undefined;
    for (const node of this.nodes.values()) {
      if (!node.driver?.isLeader()) continue;
      if (best === undefined || node.driver.role.term > (best.driver?.role.term ?? 0)) best = node;
    }
    return best;
  }

  /** Takes one step. False when nothing is left to happen, or something went wrong. */
  step(): boolean {
    if (this.#failure !== undefined) return false;
    for (;;) {
      const event = this.scheduler.take();
      if (event === undefined) return false;
      if (isOver(event) || keptForLater(event)) continue;
      this.trace.step(event);
      this.#runStepTasks();
      // One of them may have ended the run that the event is for: it must not act on what is left.
      if (!isOver(event) && !keptForLater(event)) this.#happen(event);
      drainMicrotasks();
      return this.#failure === undefined;
    }
  }

  #happen({ process, run }: SimEvent): void {
    this.#current = process;
    try {
      run?.();
    } catch (cause) {
      this.uncaught(cause);
    }
  }

  /** Plans something that no node does. */
  later(delayMs: number, kind: "client" | "nemesis", subject: string, run: () => void): void {
    this.scheduler.after(delayMs, { kind, subject, run });
  }

  /** Plans something for when `count` more steps were taken. */
  laterSteps(count: number, run: () => void): void {
    this.#stepTasks.push({ step: this.trace.steps + count, run });
  }

  /** Something was thrown that nobody caught. */
  uncaught(cause: unknown): void {
    const { node } = this.#current ?? {};
    if (node !== undefined && this.node(node).assertionFailed(cause)) return;
    if (this.#failure !== undefined) return;
    this.#failure =
      cause instanceof Violation
        ? cause
        : new Violation("nothing fails", cause instanceof Error ? `${cause.stack}` : `${cause}`);
  }

  wrapStore(store: LogStore, node: SimNode): LogStore {
    return this.storeWrapper(store, node);
  }

  companions(node: SimNode, run: NodeRun): Companion[] {
    return this.companionFactories.map((create) => create(node, run));
  }

  /** `node` applied a command. */
  applied(
    node: SimNode,
    machine: StateMachine,
    entry: { readonly command: Command; readonly context: ApplyContext },
    applied: Applied,
  ): void {
    const { command, context } = entry;
    const isFirst = context.index > this.safety.committedIndex;
    this.safety.applied(node.id, context.index, machine.hash());
    if (!isFirst) return;
    this.replay.first(context.index, context.request, applied);
    for (const listen of this.firstListeners) listen(node, context, applied, command);
  }

  /** `node` applied an entry without a command. */
  skipped(node: SimNode, machine: StateMachine): void {
    this.safety.applied(node.id, machine.appliedIndex, machine.hash());
  }

  /** `node` replaced its state by that of a snapshot. */
  restored(node: SimNode, machine: StateMachine): void {
    this.safety.restored(node.id, machine.appliedIndex, machine.hash());
  }

  #runStepTasks(): void {
    const { steps } = this.trace;
    if (!this.#stepTasks.some((task) => task.step <= steps)) return;
    const due = this.#stepTasks.filter((task) => task.step <= steps);
    this.#stepTasks = this.#stepTasks.filter((task) => task.step > steps);
    for (const { run } of due) run();
  }

  #addNode(origin: ConstructorParameters<typeof SimNode>[1]["origin"]): SimNode {
    const { random, scheduler, coverage, scenario } = this;
    const id = this.nextId;
    this.#lastId += 1;
    const drift = random.between(-scenario.clockDriftMax, scenario.clockDriftMax);
    const clock = new NodeClock(scheduler, { nowMs: random.below(1_000_000), rate: 1 + drift });
    const parts = {
      ...{ node: id, random, coverage, clock },
      nowMs: () => scheduler.nowMs,
      segmentSizeBytes: scenario.segmentSizeBytes,
      syncMeanMs: scenario.syncMeanMs,
    };
    const storage = scenario.store === "wal" ? createWalStorage(parts) : createLogStorage(parts);
    const node = new SimNode(this, { id, clock, storage, origin });
    this.nodes.set(id, node);
    return node;
  }
}

/** Whether `event` was cancelled, or the run that it is for has ended. */
function isOver({ process, run }: SimEvent): boolean {
  return run === undefined || process?.isAlive === false;
}

/** Puts `event` by for a run that is paused, until it goes on; false for any other. */
function keptForLater(event: SimEvent): boolean {
  if (!event.process?.isPaused) return false;
  event.process.keep(event);
  return true;
}
