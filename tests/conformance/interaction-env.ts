/**
 * A few nodes of the consensus core, the messages between them, and their storage, all in the
 * hands of a script: the environment of etcd-io/raft's interaction files.
 *
 * @module
 */
import { decodeIndex, decodeNodeId, decodeTerm, type NodeId } from "../../src/base/ids.ts";
import { EMPTY_CONFIG } from "../../src/control/raft/conf-change.ts";
import { MemoryLog } from "../../src/control/raft/memory-log.ts";
import { Raft, type RaftConfig, type Ready } from "../../src/control/raft/raft.ts";
import type { StepMessage } from "../../src/control/raft/step.ts";
import type {
  ConfState,
  Entry,
  PeerMessage,
  Snapshot,
  StorageAppend,
  StorageApply,
} from "../../src/control/raft/types.ts";
import { fail } from "./datadriven.ts";
import {
  describeError,
  describeMessage,
  describeReady,
  describeWithoutResponses,
  messageName,
  type Routed,
  responsesOf,
} from "./describe.ts";
import { logLines } from "./log-lines.ts";
import { Output } from "./output.ts";

/** What a command may say instead of its output. */
export class CommandError extends Error {
  override readonly name = "CommandError";
}

/** A log whose snapshot is always that of the last applied entry. */
class HistoryLog extends MemoryLog {
  readonly history: Snapshot[] = [];

  override snapshot(): Snapshot | undefined {
    return this.history.at(-1);
  }
}

/** One node with its storage. */
export interface EnvNode {
  readonly id: NodeId;
  readonly config: RaftConfig;
  readonly raft: Raft;
  readonly log: HistoryLog;
  readonly appendWork: StorageAppend[];
  readonly applyWork: StorageApply[];
}

/** A message on its way to a node. */
interface Delivery extends Routed {
  readonly to: NodeId;
  readonly message: StepMessage;
}

/** Whose messages to handle, and how. */
export interface Recipient {
  readonly id: number;
  readonly drop: boolean;
}

/** Settings that the stanza `add-nodes` may change. */
export type NodeSettings = Omit<RaftConfig, "id" | "applied" | "confState" | "hardState">;

export const DEFAULT_SETTINGS: NodeSettings = {
  electionTicks: 3,
  heartbeatTicks: 1,
  preVote: false,
  checkQuorum: false,
  asyncStorageWrites: false,
  stepDownOnRemoval: false,
  restoresAsOutsider: false,
  messageSizeMaxBytes: Number.POSITIVE_INFINITY,
  inflightCountMax: 2 ** 31 - 1,
  inflightSizeMaxBytes: Number.POSITIVE_INFINITY,
  uncommittedSizeMaxBytes: Number.POSITIVE_INFINITY,
  committedSizeMaxBytes: Number.POSITIVE_INFINITY,
  readOnly: "safe",
  forwardProposals: true,
  validateConfChange: true,
};

/** The state that new nodes start from. */
export interface Bootstrap {
  readonly index: number;
  readonly confState: ConfState;
  readonly data: Uint8Array;
}

const NO_DATA = new Uint8Array(0);
/** Any draw will do: the files set the timeouts that matter. */
const RANDOM = { below: () => 0 };

/** The environment of one file. */
export class InteractionEnv {
  readonly output = new Output();
  readonly nodes: EnvNode[] = [];
  #deliveries: Delivery[] = [];

  /** The node with `id`; ids count from 1. */
  node(id: number): EnvNode {
    return this.nodes[id - 1] ?? fail(`there is no node ${id}`);
  }

  addNodes(count: number, settings: NodeSettings, bootstrap: Bootstrap | undefined): void {
    for (let i = 0; i < count; i++) this.#addNode(settings, bootstrap);
  }

  #addNode(settings: NodeSettings, bootstrap: Bootstrap | undefined): void {
    if (bootstrap !== undefined && bootstrap.index <= 1) {
      throw new CommandError("index must be specified as > 1 due to bootstrap");
    }
    const id = decodeNodeId(this.nodes.length + 1);
    const log = new HistoryLog();
    const snapshot: Snapshot = {
      index: decodeIndex(bootstrap?.index ?? 0),
      term: decodeTerm(bootstrap === undefined ? 0 : 1),
      confState: bootstrap?.confState ?? EMPTY_CONFIG,
      data: bootstrap?.data ?? NO_DATA,
    };
    if (bootstrap !== undefined) log.applySnapshot(snapshot);
    log.history.push(snapshot);
    const { index: applied, confState } = snapshot;
    const config: RaftConfig = { ...settings, id, applied, confState, hardState: undefined };
    const raft = new Raft(config, log, RANDOM, (event) => {
      for (const [level, text] of logLines(id, event)) this.output.log(level, text);
    });
    this.nodes.push({ id, config, raft, log, appendWork: [], applyWork: [] });
  }

  /** Puts a message on its way. */
  enqueue(message: PeerMessage): void {
    this.#deliveries.push({ node: message.to, to: message.to, message });
  }

  processReady(node: EnvNode): void {
    const ready = node.raft.ready();
    this.output.write(describeReady(node.id, ready));
    if (node.config.asyncStorageWrites) {
      this.#route(node, ready);
      return;
    }
    persist(node, ready.snapshot, ready.entries);
    apply(node, ready.committedEntries);
    this.#route(node, ready);
    node.raft.advance();
  }

  #route(node: EnvNode, ready: Ready): void {
    for (const message of ready.messages) {
      if (message.kind === "storage_append") node.appendWork.push(message);
      else if (message.kind === "storage_apply") node.applyWork.push(message);
      else this.enqueue(message);
    }
  }

  processAppendThread(node: EnvNode): void {
    const work = node.appendWork.shift();
    if (work === undefined) {
      this.output.write("no append work to perform");
      return;
    }
    this.#runStorage(node, work, () => persist(node, work.snapshot, work.entries));
  }

  processApplyThread(node: EnvNode): void {
    const work = node.applyWork.shift();
    if (work === undefined) {
      this.output.write("no apply work to perform");
      return;
    }
    this.#runStorage(node, work, () => apply(node, work.entries));
  }

  #runStorage(node: EnvNode, work: StorageAppend | StorageApply, task: () => void): void {
    const routed = { node: node.id, message: work };
    this.output.write(`Processing:\n${describeWithoutResponses(routed)}\n`);
    task();
    this.output.write("Responses:\n");
    for (const message of responsesOf(work)) {
      if (message.kind === "storage_append" || message.kind === "storage_apply") {
        fail("storage work must not answer with storage work");
      }
      this.output.write(`${describeMessage({ node: node.id, message })}\n`);
      const to = "to" in message ? message.to : node.id;
      this.#deliveries.push({ node: node.id, to, message });
    }
  }

  /** Delivers or drops what is on its way to the recipients; returns how many messages. */
  deliver(recipients: readonly Recipient[], type: string | undefined): number {
    let count = 0;
    for (const recipient of recipients) {
      const taken = this.#deliveries.filter((delivery) => concerns(delivery, recipient, type));
      this.#deliveries = this.#deliveries.filter((delivery) => !taken.includes(delivery));
      count += taken.length;
      for (const delivery of taken) this.#handle(delivery, recipient.drop);
    }
    return count;
  }

  #handle(delivery: Delivery, drop: boolean): void {
    this.output.write(`${drop ? "dropped: " : ""}${describeMessage(delivery)}\n`);
    if (drop) return;
    const result = this.node(delivery.to).raft.step(delivery.message);
    if (!result.ok) this.output.write(`${describeError(result.error)}\n`);
  }

  /** Runs the given nodes until nothing is left to do. */
  stabilize(nodes: readonly EnvNode[]): void {
    for (let isDone = false; !isDone; ) {
      isDone = true;
      const act = (node: EnvNode, what: string, task: () => void): void => {
        isDone = false;
        this.output.write(`> ${node.id} ${what}\n`);
        task();
      };
      for (const node of nodes) {
        if (!node.raft.hasReady()) continue;
        act(node, "handling Ready", () => this.#indented(() => this.processReady(node)));
      }
      for (const node of nodes) {
        const recipient = { id: node.id, drop: false };
        if (!this.#deliveries.some((each) => concerns(each, recipient, undefined))) continue;
        const task = () => this.#indented(() => this.deliver([recipient], undefined));
        act(node, "receiving messages", task);
      }
      for (const node of nodes) {
        if (node.appendWork.length === 0) continue;
        act(node, "processing append thread", () => {
          while (node.appendWork.length > 0) this.#indented(() => this.processAppendThread(node));
        });
      }
      for (const node of nodes) {
        if (node.applyWork.length === 0) continue;
        act(node, "processing apply thread", () => {
          while (node.applyWork.length > 0) this.#indented(() => this.processApplyThread(node));
        });
      }
    }
  }

  #indented(task: () => void): void {
    this.output.indented(task);
  }
}

/** Whether `delivery` goes to `recipient`. What a node tells itself cannot be lost. */
function concerns(delivery: Delivery, recipient: Recipient, type: string | undefined): boolean {
  const { to, message } = delivery;
  const isLocal = !("from" in message) || message.from === to;
  if (to !== recipient.id || (recipient.drop && isLocal)) return false;
  return type === undefined || messageName(message) === type;
}

function persist(node: EnvNode, snapshot: Snapshot | undefined, entries: readonly Entry[]): void {
  if (snapshot === undefined) {
    node.log.append(entries);
    return;
  }
  if (entries.length > 0) {
    throw new CommandError("can't apply snapshot and entries at the same time");
  }
  const applied = node.log.applySnapshot(snapshot);
  if (!applied.ok) {
    throw new CommandError("requested index is older than the existing snapshot");
  }
}

/** The state machine appends every payload to its state, and keeps each state as a snapshot. */
function apply(node: EnvNode, entries: readonly Entry[]): void {
  for (const entry of entries) {
    const before = node.log.history.at(-1)!;
    let update: Uint8Array = NO_DATA;
    let { confState } = before;
    if (entry.kind === "normal") update = entry.data;
    else {
      update = entry.change.context;
      confState = node.raft.applyConfChange(entry.change);
    }
    const data = new Uint8Array([...before.data, ...update]);
    node.log.history.push({ index: entry.index, term: entry.term, confState, data });
  }
}
