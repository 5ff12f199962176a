/**
 * For tests of this folder: drivers over a simulated clock, network and disk, from one seed.
 *
 * Virtual time moves from timer to timer; between two of them every pending promise runs. A node
 * that is killed loses what its disk had not synced. The project's own simulator in `tests/sim`
 * knows many more faults; this one is small enough to be read beside a failing test.
 *
 * @module
 */
import { assert } from "../../base/assert.ts";
import { decodeNodeId, type NodeId, parseClusterId } from "../../base/ids.ts";
import { createSilentLog, type Log } from "../../base/log.ts";
import { err, type Result } from "../../base/result.ts";
import type { Clock, Random } from "../../host/ports.ts";
import type { StateMachine } from "../kv/types.ts";
import type { PeerMessage, SnapshotRequest } from "../raft/types.ts";
import { decodeRecord, encodeValue, type PlainRecord } from "./codec/codec.ts";
import { messageFromRecord, messageToRecord } from "./codec/message-codec.ts";
import { Driver } from "./driver.ts";
import { bootstrapStore, recoverStore } from "./recovery.ts";
import { SimLogStore } from "./sim-log-store.fake.ts";
import type {
  CallAnswer,
  CallFailure,
  CallMethod,
  PeerReceiver,
  SnapshotTransfer,
  Transport,
} from "./transport/peer-port.ts";

export const SIM_CLUSTER = {
  clusterId: parseClusterId("0123456789abcdef0123456789abcdef")!,
  generation: 1,
};

const NETWORK_DELAY_MIN_MS = 1;
const NETWORK_DELAY_SPREAD_MS = 3;

/** Virtual time. Timers of equal time run in the order in which they were set. */
export class SimClock implements Clock {
  #nowMs = 0;
  #order = 0;
  #timers: { atMs: number; order: number; task: () => void }[] = [];

  nowMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return 1_700_000_000_000 + this.#nowMs;
  }

  after(delayMs: number, task: () => void): () => void {
    const timer = { atMs: this.#nowMs + Math.max(0, delayMs), order: this.#order++, task };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  every(intervalMs: number, task: () => void): () => void {
    let cancel = () => {};
    const next = () => {
      cancel = this.after(intervalMs, () => {
        next();
        task();
      });
    };
    next();
    return () => cancel();
  }

  /** The process stands still: everything that was due meanwhile is late. */
  jump(durationMs: number): void {
    this.#nowMs += durationMs;
  }

  /** Runs the next timer that is due by `untilMs`. False when there is none. */
  step(untilMs: number): boolean {
    let first = this.#timers[0];
    for (const timer of this.#timers) {
      if (first === undefined || timer.atMs < first.atMs) first = timer;
      else if (timer.atMs === first.atMs && timer.order < first.order) first = timer;
    }
    if (first === undefined || first.atMs > untilMs) {
      this.#nowMs = untilMs;
      return false;
    }
    const due = first;
    this.#timers = this.#timers.filter((timer) => timer !== due);
    this.#nowMs = Math.max(this.#nowMs, due.atMs);
    due.task();
    return true;
  }
}

/** A generator with the whole state in one number (mulberry32). */
export function createSimRandom(seed: number): Random {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let word = Math.imul(state ^ (state >>> 15), 1 | state);
    word = (word + Math.imul(word ^ (word >>> 7), 61 | word)) ^ word;
    return ((word ^ (word >>> 14)) >>> 0) / 2 ** 32;
  };
  return {
    below: (limit) => Math.floor(next() * limit),
    bytes: (count) => Uint8Array.from({ length: count }, () => Math.floor(next() * 256)),
  };
}

/** One node of the simulation. `driver` is undefined while it is down. */
export interface SimNode {
  readonly id: NodeId;
  store: SimLogStore;
  machine: StateMachine;
  driver: Driver | undefined;
  receiver: PeerReceiver | undefined;
  fatal: Error | undefined;
  readonly knownPeers: readonly NodeId[];
}

/** Nodes 1, 2, … in one process. */
export class SimCluster {
  readonly clock = new SimClock();
  readonly random: Random;
  readonly nodes = new Map<NodeId, SimNode>();
  /** "from>to" pairs that lose everything. */
  readonly #cut = new Set<string>();
  readonly #createMachine: () => StateMachine;
  readonly #log: Log;
  /** Percent of messages lost. */
  lossPercent = 0;
  snapshotEntries: number | undefined;
  /** Loses every order to start an election at once. */
  ignoreTransfers = false;
  /** Breaks every transfer of a snapshot. */
  loseSnapshots = false;
  /** Told of failed assertions, which else end the test. */
  onBug: ((cause: unknown) => void) | undefined;
  /** Answers calls other than the driver's own. */
  answer: (node: NodeId, from: NodeId, method: CallMethod) => Promise<CallAnswer> = () =>
    Promise.resolve(err({ reason: "unknown", detail: "no such call" }));
  /** Seen by every test: who led which term. Two in one term is the end. */
  readonly #leaders = new Map<number, NodeId>();

  constructor(options: { seed: number; createMachine: () => StateMachine; log?: Log }) {
    this.random = createSimRandom(options.seed);
    this.#createMachine = options.createMachine;
    this.#log = options.log ?? createSilentLog();
  }

  /** Adds a node: the founder, one that waits to be let in, or one that knows the others. */
  async add(number: number, kind: "founder" | "joiner" | "spare"): Promise<SimNode> {
    const id = decodeNodeId(number);
    const node: SimNode = {
      id,
      store: new SimLogStore(this.clock),
      machine: this.#createMachine(),
      driver: undefined,
      receiver: undefined,
      fatal: undefined,
      knownPeers: kind === "spare" ? [...this.nodes.keys()] : [],
    };
    this.nodes.set(id, node);
    await this.#start(node, kind === "founder");
    return node;
  }

  /** Kills the process: unsynced writes are lost, peers see its connections close. */
  kill(id: NodeId): void {
    const node = this.#node(id);
    const { driver } = node;
    node.driver = undefined;
    node.receiver = undefined;
    node.store = node.store.crash();
    void driver?.stop();
    for (const other of this.nodes.values()) {
      if (other.receiver !== undefined && !this.#isCut(id, other.id)) {
        // A connection ends behind everything that was sent on it.
        const delayMs = NETWORK_DELAY_MIN_MS + NETWORK_DELAY_SPREAD_MS;
        this.clock.after(delayMs, () => other.receiver?.closed(id));
      }
    }
  }

  async restart(id: NodeId): Promise<void> {
    const node = this.#node(id);
    node.machine = this.#createMachine();
    await this.#start(node, false);
  }

  /** Loses everything between `a` and `b`, both ways; peers see no closing. */
  cut(a: NodeId, b: NodeId): void {
    this.#cut.add(`${a}>${b}`).add(`${b}>${a}`);
  }

  heal(): void {
    this.#cut.clear();
  }

  /** Tells everybody that `id` closed its connections, although it lives. */
  flap(id: NodeId): void {
    for (const other of this.nodes.values()) if (other.id !== id) other.receiver?.closed(id);
  }

  /** Lets `durationMs` of virtual time pass. */
  async run(durationMs: number): Promise<void> {
    const untilMs = this.clock.nowMs() + durationMs;
    await settle();
    while (this.clock.step(untilMs)) {
      await settle();
      this.#check();
    }
  }

  /** Lets time pass until `condition` holds; fails after `limitMs`. */
  async until(condition: () => boolean, limitMs = 30_000): Promise<void> {
    const untilMs = this.clock.nowMs() + limitMs;
    await settle();
    while (!condition()) {
      if (!this.clock.step(untilMs)) throw new Error(`not reached within ${limitMs} ms`);
      await settle();
      this.#check();
    }
  }

  /** Lets time pass until `promise` settles. */
  async wait<Value>(promise: Promise<Value>): Promise<Value> {
    let isSettled = false;
    void promise.finally(() => {
      isSettled = true;
    });
    await this.until(() => isSettled, 60_000);
    return promise;
  }

  driver(id: NodeId): Driver {
    const { driver } = this.#node(id);
    assert(driver !== undefined, "the node is down");
    return driver;
  }

  /** The leader of the highest term, if any node thinks it leads. */
  leader(): Driver | undefined {
    const leaders = [...this.nodes.values()].flatMap((node) =>
      node.driver?.isLeader() ? [node.driver] : [],
    );
    return leaders.sort((a, b) => b.role.term - a.role.term)[0];
  }

  #node(id: NodeId): SimNode {
    const node = this.nodes.get(id);
    assert(node !== undefined, "no such node");
    return node;
  }

  async #start(node: SimNode, isFounder: boolean): Promise<void> {
    const recovering = isFounder
      ? bootstrapStore(node.store, node.machine, { ...SIM_CLUSTER, nodeId: node.id })
      : recoverStore(node.store, node.machine, SIM_CLUSTER);
    const recovered = await this.wait(recovering);
    node.driver = new Driver({
      nodeId: node.id,
      cluster: SIM_CLUSTER,
      recovered,
      logStore: node.store,
      machine: node.machine,
      knownPeers: node.knownPeers,
      clock: this.clock,
      random: this.random,
      transport: this.#transport(node),
      log: this.#log.with({ node: node.id }),
      answer: (from, method) => this.answer(node.id, from, method),
      onFatal: (error) => {
        node.fatal = error;
      },
      ...(this.onBug === undefined ? {} : { onBug: this.onBug }),
      ...(this.snapshotEntries === undefined ? {} : { snapshotEntries: this.snapshotEntries }),
    });
  }

  #transport(node: SimNode): Transport {
    let own: PeerReceiver | undefined;
    return {
      attach: (receiver) => {
        own = receiver;
        node.receiver = receiver;
      },
      send: (message) => {
        // What a killed node had not sent is never sent.
        if (node.receiver === own) this.#deliver(message);
      },
      sendSnapshot: (transfer) => this.#deliverSnapshot(transfer),
      call: (call) => this.#call(node.id, call),
      ask: (source, record) => {
        const target = this.nodes.get(source)?.receiver;
        if (target === undefined || node.receiver !== own) return false;
        this.#talk({ from: node.id, to: source, bytes: encodeValue(record) }, (body) => {
          if (this.nodes.get(source)?.receiver === target) target.asked(node.id, body);
        });
        return true;
      },
      tell: (spare, body) => {
        const target = this.nodes.get(spare)?.receiver;
        if (target === undefined || node.receiver !== own) return false;
        this.#talk({ from: node.id, to: spare, bytes: body.slice() }, (record) => {
          if (this.nodes.get(spare)?.receiver !== target) return;
          target.told(node.id, record, body.length);
        });
        return true;
      },
      part: (source) => {
        this.clock.after(NETWORK_DELAY_MIN_MS + NETWORK_DELAY_SPREAD_MS, () => {
          if (!this.#isCut(node.id, source)) this.nodes.get(source)?.receiver?.closed(node.id);
        });
      },
    };
  }

  /** A frame of the feed, which may be lost or overtaken like everything else here. */
  #talk(
    frame: { readonly from: NodeId; readonly to: NodeId; readonly bytes: Uint8Array },
    arrive: (record: PlainRecord) => void,
  ): void {
    if (this.#isLost(frame.from, frame.to)) return;
    this.clock.after(this.#delayMs(), () => arrive(decodeRecord(frame.bytes) ?? {}));
  }

  #deliver(message: PeerMessage): void {
    if (this.#isLost(message.from, message.to)) return;
    if (message.kind === "timeout_now" && this.ignoreTransfers) return;
    // Through the codec, so that nothing is shared and every field is known to travel.
    const bytes = encodeValue(messageToRecord(message));
    this.clock.after(this.#delayMs(), () => {
      const decoded = messageFromRecord(decodeRecord(bytes));
      assert(decoded !== undefined, "a message must survive the codec");
      this.nodes.get(message.to)?.receiver?.receive(decoded);
    });
  }

  async #deliverSnapshot(transfer: SnapshotTransfer): Promise<boolean> {
    const { from, to } = transfer.message;
    const body: Uint8Array[] = [];
    for await (const chunk of transfer.body) body.push(chunk.slice());
    await this.#pause(from);
    if (this.loseSnapshots || this.#isLost(from, to)) return false;
    const record = decodeRecord(encodeValue(messageToRecord(transfer.message)));
    const message = messageFromRecord(record) as SnapshotRequest;
    const receiver = this.nodes.get(to)?.receiver;
    await receiver?.receiveSnapshot(message, body);
    return receiver !== undefined;
  }

  async #call(
    from: NodeId,
    call: Parameters<Transport["call"]>[0],
  ): Promise<Result<PlainRecord, CallFailure>> {
    const { target, method, body, timeoutMs } = call;
    const bytes = encodeValue(body);
    await this.#pause(from);
    const receiver = this.nodes.get(target)?.receiver;
    // A process that is gone refuses connections.
    if (receiver === undefined) return err({ kind: "not_sent" });
    if (this.#isLost(from, target)) return err({ kind: "unreachable" });
    const timeout = new Promise<undefined>((resolve) =>
      this.clock.after(timeoutMs, () => resolve(undefined)),
    );
    const answer = await Promise.race([
      receiver.answer(from, method, decodeRecord(bytes) ?? {}),
      timeout,
    ]);
    if (answer === undefined) return err({ kind: "timeout" });
    await this.#pause(from);
    const isGone = this.nodes.get(target)?.receiver !== receiver || this.#isLost(target, from);
    if (isGone) return err({ kind: "unreachable" });
    return answer.ok ? answer : err({ kind: "refused", ...answer.error });
  }

  #pause(_of: NodeId): Promise<void> {
    return new Promise((resolve) => this.clock.after(this.#delayMs(), resolve));
  }

  #isCut(from: NodeId, to: NodeId): boolean {
    return this.#cut.has(`${from}>${to}`);
  }

  #isLost(from: NodeId, to: NodeId): boolean {
    return this.#isCut(from, to) || this.random.below(100) < this.lossPercent;
  }

  #delayMs(): number {
    return NETWORK_DELAY_MIN_MS + this.random.below(NETWORK_DELAY_SPREAD_MS);
  }

  /** Election safety and state machine safety, after every step. */
  #check(): void {
    const hashes = new Map<number, string>();
    for (const { id, driver, machine, fatal } of this.nodes.values()) {
      if (fatal !== undefined) continue;
      const applied = machine.appliedIndex;
      const hash = machine.hash();
      assert((hashes.get(applied) ?? hash) === hash, "two states differ at the same index");
      hashes.set(applied, hash);
      if (!driver?.isLeader()) continue;
      const known = this.#leaders.get(driver.role.term);
      assert(known === undefined || known === id, "two leaders in one term");
      this.#leaders.set(driver.role.term, id);
    }
  }
}

/** Runs every promise that can go on without time passing. */
async function settle(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}
