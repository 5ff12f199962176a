/**
 * One simulated machine with an agent's control plane on it: the real driver, role keeper, state
 * machine and network agent, over simulated ports.
 *
 *     new --start--> starting --recovered--> up --crash, fatal error--> down --start--> starting
 *     starting --refused: its disk is damaged or gone--> lost
 *
 * @module
 */
import { AssertionError } from "../../../src/base/assert.ts";
import { HostError } from "../../../src/base/host-error.ts";
import {
  decodeIndex,
  decodeTerm,
  type Index,
  type NodeId,
  parseClusterId,
} from "../../../src/base/ids.ts";
import {
  encodeSnapshotBody,
  encodeSnapshotHeader,
} from "../../../src/control/cluster/codec/snapshot-codec.ts";
import { Driver } from "../../../src/control/cluster/driver.ts";
import { memberIds } from "../../../src/control/cluster/members/conf-state.ts";
import { RoleKeeper } from "../../../src/control/cluster/members/role-keeper.ts";
import { type Recovered, recoverStore } from "../../../src/control/cluster/recovery.ts";
import { CLUSTER_VERSION_FIRST } from "../../../src/control/kv/cluster-version.ts";
import { kvHandlers } from "../../../src/control/kv/handlers.ts";
import { createStateMachine } from "../../../src/control/kv/state-machine.ts";
import type { Applied, ApplyContext, Command, KvMachine } from "../../../src/control/kv/types.ts";
import { networkHandlers } from "../../../src/control/network/handlers.ts";
import { MemoryLog } from "../../../src/control/raft/memory-log.ts";
import type { ConfState, PeerMessage } from "../../../src/control/raft/types.ts";
import type { LogStore } from "../../../src/host/ports.ts";
import { NodeLedger } from "./ledger.ts";
import type { NodeClock } from "./node-clock.ts";
import { SimProcess } from "./sim-process.ts";
import { createSimTransport } from "./sim-transport.ts";
import { CLUSTER_ID, type Storage } from "./storage.ts";
import { createTraceLog } from "./trace-log.ts";
import type { World } from "./world.ts";

/** Every simulated node is of this cluster. */
export const CLUSTER = { clusterId: parseClusterId(CLUSTER_ID)!, generation: 1 };

export type NodeState = "new" | "starting" | "up" | "down" | "lost";

/** The supervisor's pause before it starts an agent again. */
const RESTART_MEAN_MS = 700;

/** How a node begins: with the first membership on its disk, or with nothing. */
export type NodeOrigin =
  | { readonly kind: "founder"; readonly confState: ConfState }
  | { readonly kind: "joiner" };

/** What runs on a node beside consensus. Made anew for each run, told of its end. */
export interface Companion {
  stop(): void;
}

/** One machine. */
export class SimNode {
  readonly id: NodeId;
  readonly clock: NodeClock;
  readonly storage: Storage;
  readonly ledger: NodeLedger;
  readonly #world: World;
  readonly #origin: NodeOrigin;
  #state: NodeState = "new";
  #runs = 0;
  #hasStarted = false;
  #process: SimProcess | undefined;
  #driver: Driver | undefined;
  #machine: KvMachine | undefined;
  #companions: readonly Companion[] = [];
  /** Set while the process ends, so that its connections are left open. */
  #isMachineGoingDown = false;
  /** Whether the present run is of a version without the newest fields of messages. */
  #isOldVersion = false;
  #isUpgraded = false;
  /** Its disk was harmed: it may refuse to start, and an error is no surprise. */
  isDamaged = false;
  /** It holds an older copy of its disk: it may find out by an assertion. */
  isAmnesiac = false;
  /** How often its clock stood still: then nothing that it measured holds. */
  frozenCount = 0;
  /** How long after its end a run is followed by the next; undefined: not by itself. */
  restartMeanMs: number | undefined = RESTART_MEAN_MS;
  /** When set, each run ends after at most so many effects on the outside. */
  touchesMax: number | undefined;

  constructor(
    world: World,
    parts: {
      readonly id: NodeId;
      readonly clock: NodeClock;
      readonly storage: Storage;
      readonly origin: NodeOrigin;
    },
  ) {
    this.#world = world;
    this.id = parts.id;
    this.clock = parts.clock;
    this.storage = parts.storage;
    this.#origin = parts.origin;
    this.ledger = new NodeLedger(parts.id, world.safety);
    world.safety.add(this.ledger);
  }

  get state(): NodeState {
    return this.#state;
  }

  get process(): SimProcess | undefined {
    return this.#process;
  }

  /** Undefined unless the node is up. */
  get driver(): Driver | undefined {
    return this.#state === "up" ? this.#driver : undefined;
  }

  /** Undefined unless the node is up. */
  get machine(): KvMachine | undefined {
    return this.#state === "up" ? this.#machine : undefined;
  }

  get isPaused(): boolean {
    return this.#process?.isPaused ?? false;
  }

  /** Begins a run, unless there is one or there can be none. */
  start(): void {
    if (this.#state !== "new" && this.#state !== "down") return;
    this.#state = "starting";
    this.#runs += 1;
    const id = { node: this.id, run: this.#runs };
    const process = new SimProcess(id, this.#world.scheduler, (ended) => this.#ended(ended));
    this.#process = process;
    if (this.touchesMax !== undefined) {
      process.killAfter(this.#world.random.below(this.touchesMax));
    }
    process.after(0, "timer", () => void this.#boot(process), "start");
  }

  /** The process is killed; the machine goes on. */
  crash(): void {
    this.#process?.kill();
  }

  /** The machine loses power. */
  losePower(): void {
    if (this.#process === undefined) return;
    this.#isMachineGoingDown = true;
    this.#process.kill();
    this.#isMachineGoingDown = false;
  }

  /** From now on the newest version runs: a run of an older one ends. */
  upgrade(): void {
    this.#isUpgraded = true;
    if (this.#isOldVersion) this.crash();
  }

  #restartSoon(meanMs: number): void {
    const { scheduler, random } = this.#world;
    scheduler.after(1 + random.exponential(meanMs), {
      kind: "nemesis",
      subject: `restart of node ${this.id}`,
      run: () => {
        if (this.restartMeanMs !== undefined) this.start();
      },
    });
  }

  /** The node will never come back. */
  giveUp(): void {
    this.restartMeanMs = undefined;
    this.crash();
    this.#state = "lost";
  }

  async #boot(process: SimProcess): Promise<void> {
    try {
      const opened = await this.storage.open(process);
      if (!process.isAlive) return;
      this.ledger.recovered(opened.recovered);
      const store = this.#world.wrapStore(this.ledger.watch(opened, process), this);
      const machine = createStateMachine({ ...kvHandlers, ...networkHandlers });
      const recovered = await this.#recover(store, machine);
      if (!process.isAlive) return;
      this.#hasStarted = true;
      this.#run(process, { store, machine, recovered });
    } catch (cause) {
      if (process.isAlive) this.#refused(process, cause);
    }
  }

  async #recover(store: LogStore, machine: KvMachine): Promise<Recovered> {
    const { hardState, snapshot, entries } = store.recovered;
    const isUnused = hardState === undefined && snapshot === undefined && entries.length === 0;
    if (isUnused && this.#hasStarted) {
      // As the agent does: a node that lost what it promised must not go on under its id.
      throw new HostError({ operation: "start with", object: "log", reason: "it is gone" });
    }
    if (isUnused && this.#origin.kind === "founder") {
      return foundStore(store, machine, this.#origin.confState);
    }
    const recovered = await recoverStore(store, machine, CLUSTER);
    if (isUnused) await store.append({ hardState: { term: 0, vote: 0, commit: 0 }, entries: [] });
    this.#world.restored(this, machine);
    return recovered;
  }

  #run(
    process: SimProcess,
    parts: {
      readonly store: LogStore;
      readonly machine: KvMachine;
      readonly recovered: Recovered;
    },
  ): void {
    const world = this.#world;
    const { machine } = parts;
    this.#watch(process, machine);
    const staging = this.storage.staging(process);
    this.#isOldVersion = world.random.chance(world.scenario.oldVersionShare) && !this.#isUpgraded;
    const isOldVersion = this.#isOldVersion;
    const driver = new Driver({
      nodeId: this.id,
      cluster: CLUSTER,
      recovered: parts.recovered,
      logStore: parts.store,
      machine,
      clock: this.clock.portFor(process, world.scenario.hasTurns),
      random: world.random,
      transport: createSimTransport({
        process,
        network: world.network,
        coverage: world.coverage,
        isOldVersion,
        sent: (message: PeerMessage) => world.safety.sent(message),
      }),
      log: createTraceLog(world, this.id),
      knownPeers: memberIds(world.safety.config),
      answer: () =>
        Promise.resolve({ ok: false, error: { reason: "unknown", detail: "no such call" } }),
      onFatal: (error) => this.#fatal(process, error),
      ...(staging === undefined ? {} : { staging }),
      ...(world.scenario.snapshotEntries === undefined
        ? {}
        : { snapshotEntries: world.scenario.snapshotEntries }),
    });
    if (!process.isAlive) return; // It ended while the driver was being made.
    driver.onMembership((state) => {
      if (process.isAlive) world.safety.membership(this.id, machine.appliedIndex, state);
    });
    this.#driver = driver;
    this.#machine = machine;
    this.#state = "up";
    const clock = this.clock.portFor(process);
    const keeper = world.scenario.isAutopilot
      ? [new RoleKeeper({ driver, clock, log: createTraceLog(world, this.id) })]
      : [];
    this.#companions = [...keeper, ...world.companions(this, { process, driver, machine })];
    world.trace.note(world.scheduler.nowMs, this.id, `up, run ${this.#runs}`);
  }

  /** Has the checkers told of what `machine` applies. */
  #watch(process: SimProcess, machine: KvMachine): void {
    const world = this.#world;
    const apply = machine.apply.bind(machine);
    const skip = machine.skip.bind(machine);
    const restoration = machine.restoration.bind(machine);
    machine.apply = (command: Command, context: ApplyContext): Applied => {
      const applied = apply(command, context);
      if (process.isAlive) world.applied(this, machine, { command, context }, applied);
      return applied;
    };
    machine.skip = (index: Index) => {
      skip(index);
      if (process.isAlive) world.skipped(this, machine);
    };
    machine.restoration = () => {
      const running = restoration();
      const end = running.end.bind(running);
      running.end = () => {
        const problem = end();
        if (problem === undefined && process.isAlive) {
          world.coverage.hit("sometimes.snapshot-installed");
          world.restored(this, machine);
        }
        return problem;
      };
      return running;
    };
  }

  #refused(process: SimProcess, cause: unknown): void {
    const world = this.#world;
    world.trace.note(world.scheduler.nowMs, this.id, `does not start: ${cause}`);
    if (!(cause instanceof HostError)) {
      world.uncaught(cause);
      return;
    }
    process.kill();
    if (this.isDamaged || this.isAmnesiac) {
      world.coverage.hit("sometimes.damage-detected");
      this.#state = "lost";
    } else if (cause.errno === undefined) {
      world.uncaught(cause); // The disk did not fail: there is no reason to refuse.
    }
  }

  #fatal(process: SimProcess, error: HostError): void {
    if (!process.isAlive) return;
    const world = this.#world;
    world.trace.note(world.scheduler.nowMs, this.id, `fatal: ${error.message}`);
    if (error.errno === undefined && !this.isDamaged && !this.isAmnesiac) {
      world.uncaught(error.cause ?? error);
      return;
    }
    world.coverage.hit("sometimes.fatal-disk-error");
    process.kill();
  }

  /** An assertion failed in this node's process. True: no surprise, the process just ends. */
  assertionFailed(cause: unknown): boolean {
    if (!this.isAmnesiac || !(cause instanceof AssertionError)) return false;
    this.#world.coverage.hit("sometimes.amnesia-detected");
    this.giveUp();
    return true;
  }

  #ended(process: SimProcess): void {
    if (this.#process !== process) return;
    const world = this.#world;
    const how = this.#isMachineGoingDown ? "lost power" : "ended";
    world.trace.note(world.scheduler.nowMs, this.id, how);
    this.#process = undefined;
    this.#driver = undefined;
    this.#machine = undefined;
    this.#state = "down";
    for (const companion of this.#companions) companion.stop();
    this.#companions = [];
    this.clock.drop(process);
    world.network.detach(process, this.#isMachineGoingDown);
    this.storage.ended(process, this.#isMachineGoingDown);
    if (this.restartMeanMs !== undefined) this.#restartSoon(this.restartMeanMs);
  }
}

/** Makes an unused store the beginning of a cluster of several voters. */
async function foundStore(
  store: LogStore,
  machine: KvMachine,
  confState: ConfState,
): Promise<Recovered> {
  const index = decodeIndex(1);
  const term = decodeTerm(1);
  machine.skip(index);
  const header = encodeSnapshotHeader({
    ...CLUSTER,
    confState,
    revision: machine.reader.revision,
    version: CLUSTER_VERSION_FIRST,
  });
  await store.saveSnapshot({ index, term, header }, encodeSnapshotBody(machine.snapshot()));
  await store.append({ hardState: { term, vote: 0, commit: index }, entries: [] });
  const memoryLog = new MemoryLog();
  memoryLog.applySnapshot({ index, term, confState, data: header });
  return { memoryLog, hardState: { term, vote: undefined, commit: index }, confState };
}
