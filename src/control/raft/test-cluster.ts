/**
 * A cluster of real cores in one thread, for the tests of this folder: messages, disks and crashes
 * are in the hands of the test.
 *
 * Nodes run in asynchronous storage mode unless told otherwise. Each disk is a queue of writes; a
 * crash forgets what is still in it. Not for production: imported by tests only.
 *
 * @module
 */
import { assert } from "../../base/assert.ts";
import { decodeIndex, decodeNodeId, decodeTerm, type NodeId } from "../../base/ids.ts";
import { EMPTY_CONFIG, membersOf } from "./conf-change.ts";
import type { RaftConfig } from "./config.ts";
import { MemoryLog } from "./memory-log.ts";
import { Raft } from "./raft.ts";
import type {
  AppendRequest,
  ConfChange,
  ConfChangeSingle,
  ConfState,
  Entry,
  HardState,
  PeerMessage,
  ReadState,
  Snapshot,
  StorageAppend,
  StorageApply,
  VoteRequest,
} from "./types.ts";

/** Index of the snapshot that the first members start from; the first entry comes after it. */
const FIRST_INDEX = decodeIndex(1);
const NO_DATA = new Uint8Array(0);

/** Numbers from 0 up to 1 that depend on the seed only. */
export function createRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    // Mulberry32: small, and good enough to choose among events.
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A configuration with these voters and learners. */
export function configOf(voters: readonly number[], learners: readonly number[] = []): ConfState {
  return {
    voters: voters.map(decodeNodeId),
    votersOutgoing: [],
    learners: learners.map(decodeNodeId),
    learnersNext: [],
    autoLeave: false,
  };
}

/** An entry with a one-letter payload, or an empty one. */
export function normalEntry(term: number, index: number, text = ""): Entry {
  const data = new TextEncoder().encode(text);
  return { kind: "normal", term: decodeTerm(term), index: decodeIndex(index), data };
}

/** A change out of words like `v4` (voter), `l4` (learner) and `r1` (remove). */
export function conf(text: string, transition: ConfChange["transition"] = "auto"): ConfChange {
  const operations = { v: "add_voter", l: "add_learner", r: "remove" } as const;
  const words = text.split(" ").filter((word) => word !== "");
  const changes = words.map((word): ConfChangeSingle => {
    const letter = word[0] as keyof typeof operations;
    return { operation: operations[letter], node: decodeNodeId(Number(word.slice(1))) };
  });
  return { version: 2, transition, changes, context: NO_DATA };
}

/** Production settings with small timeouts. */
export const TEST_CONFIG: Omit<RaftConfig, "id" | "confState"> = {
  electionTicks: 10,
  heartbeatTicks: 1,
  preVote: true,
  checkQuorum: true,
  asyncStorageWrites: true,
  stepDownOnRemoval: true,
  restoresAsOutsider: false,
  messageSizeMaxBytes: 1024 * 1024,
  inflightCountMax: 256,
  inflightSizeMaxBytes: 16 * 1024 * 1024,
  uncommittedSizeMaxBytes: 64 * 1024 * 1024,
  committedSizeMaxBytes: 16 * 1024 * 1024,
  readOnly: "safe",
  forwardProposals: true,
  validateConfChange: true,
  applied: decodeIndex(0),
  hardState: undefined,
};

/** One node, with its disk and state machine. */
export interface TestNode {
  readonly id: NodeId;
  raft: Raft;
  log: MemoryLog;
  /** What is on disk. */
  hardState: HardState | undefined;
  readonly appendWork: StorageAppend[];
  readonly applyWork: StorageApply[];
  /** The state machine: every entry that was applied, by index. */
  readonly applied: Entry[];
  confState: ConfState;
  readonly reads: ReadState[];
  isDown: boolean;
}

/** What a test may change about its nodes. */
export type ConfigChanges = Partial<Omit<RaftConfig, "id">>;

/** Nodes, and the messages between them. */
export class TestCluster {
  readonly nodes = new Map<NodeId, TestNode>();
  readonly #config: Omit<RaftConfig, "id">;
  readonly #random: () => number;
  /** Messages on their way, oldest first. */
  messages: PeerMessage[] = [];
  /** Whether a message gets through; tests replace it to cut the network. */
  passes: (message: PeerMessage) => boolean = () => true;

  constructor(confState: ConfState, changes: ConfigChanges = {}, random = createRandom(1)) {
    this.#config = { ...TEST_CONFIG, confState, ...changes };
    this.#random = random;
    // Like a real cluster, it starts from a snapshot: the first members are in no log.
    const bootstrap = { index: FIRST_INDEX, term: decodeTerm(1), confState, data: NO_DATA };
    for (const id of membersOf(confState)) {
      const log = new MemoryLog();
      log.applySnapshot(bootstrap);
      this.#add(id, log, { confState, applied: FIRST_INDEX }).applied.push(normalEntry(1, 1));
    }
  }

  /** A new node that knows neither log nor members. */
  addNode(id: number): TestNode {
    return this.#add(decodeNodeId(id), new MemoryLog(), { confState: EMPTY_CONFIG });
  }

  #add(id: NodeId, log: MemoryLog, changes: ConfigChanges & Pick<RaftConfig, "confState">) {
    const node: TestNode = {
      id,
      raft: this.#createRaft(id, log, changes),
      log,
      hardState: undefined,
      appendWork: [],
      applyWork: [],
      applied: [],
      confState: changes.confState,
      reads: [],
      isDown: false,
    };
    this.nodes.set(id, node);
    return node;
  }

  #createRaft(id: NodeId, log: MemoryLog, changes: ConfigChanges): Raft {
    const random = { below: (limit: number) => Math.floor(this.#random() * limit) };
    return new Raft({ ...this.#config, ...changes, id }, log, random);
  }

  node(id: number): TestNode {
    const node = this.nodes.get(decodeNodeId(id));
    assert(node !== undefined, "no such node");
    return node;
  }

  /** The only node that leads in the highest term, if there is one. */
  leader(): TestNode | undefined {
    const leaders = [...this.nodes.values()].filter(
      (node) => !node.isDown && node.raft.status().role === "leader",
    );
    return leaders.sort((a, b) => b.raft.status().term - a.raft.status().term)[0];
  }

  /**
   * Takes the batches of `node` that are due. In asynchronous mode nothing reaches its disk yet;
   * in synchronous mode each batch is carried out whole.
   */
  takeReady(node: TestNode): void {
    while (!node.isDown && node.raft.hasReady()) {
      const ready = node.raft.ready();
      node.reads.push(...ready.readStates);
      if (!this.#config.asyncStorageWrites) {
        this.#persist(node, ready);
        this.#apply(node, ready.committedEntries);
      }
      for (const message of ready.messages) {
        if (message.kind === "storage_append") node.appendWork.push(message);
        else if (message.kind === "storage_apply") node.applyWork.push(message);
        else this.messages.push(message);
      }
      if (!this.#config.asyncStorageWrites) node.raft.advance();
    }
  }

  /** Makes the oldest write of `node` durable. False when there was none. */
  writeDisk(node: TestNode): boolean {
    const work = node.appendWork.shift();
    if (work === undefined) return false;
    this.#persist(node, work);
    for (const response of work.responses) {
      if ("to" in response && response.to !== node.id) this.messages.push(response);
      else node.raft.step(response);
    }
    return true;
  }

  #persist(node: TestNode, work: Pick<StorageAppend, "hardState" | "snapshot" | "entries">): void {
    if (work.hardState !== undefined) node.hardState = work.hardState;
    if (work.snapshot !== undefined) this.#install(node, work.snapshot);
    node.log.append(work.entries);
  }

  #install(node: TestNode, snapshot: Snapshot): void {
    const installed = node.log.applySnapshot(snapshot);
    assert(installed.ok, "a snapshot must be newer than the one before");
    const donor = [...this.nodes.values()].find((other) => other.applied.length >= snapshot.index);
    assert(donor !== undefined, "somebody must have applied what is in a snapshot");
    node.applied.splice(0, node.applied.length, ...donor.applied.slice(0, snapshot.index));
    node.confState = snapshot.confState;
  }

  /** Applies the oldest committed entries of `node`. False when there were none. */
  applyNext(node: TestNode): boolean {
    const work = node.applyWork.shift();
    if (work === undefined) return false;
    this.#apply(node, work.entries);
    node.raft.step(work.response);
    return true;
  }

  #apply(node: TestNode, entries: readonly Entry[]): void {
    for (const entry of entries) {
      if (entry.index <= (node.log.snapshot()?.index ?? 0)) continue; // A snapshot overtook it.
      assert(entry.index === node.applied.length + 1, "entries must be applied once, in order");
      node.applied.push(entry);
      if (entry.kind !== "conf_change") continue;
      node.confState = node.raft.applyConfChange(entry.change);
      // New members need a snapshot that knows them.
      node.log.createSnapshot(entry.index, node.confState, NO_DATA);
    }
  }

  /** Delivers the oldest message; false when there is none. */
  deliverNext(): boolean {
    const message = this.messages.shift();
    if (message === undefined) return false;
    this.deliver(message);
    return true;
  }

  /** Delivers `message`, unless its way is cut or its receiver down. */
  deliver(message: PeerMessage): void {
    const node = this.nodes.get(message.to);
    const arrives = node !== undefined && !node.isDown && this.passes(message);
    if (arrives) node.raft.step(message);
    this.#report(message, arrives);
  }

  /** Loses `message`. */
  lose(message: PeerMessage): void {
    this.#report(message, false);
  }

  /** The sender of a snapshot hears how that went; of other messages nobody hears. */
  #report(message: PeerMessage, arrived: boolean): void {
    const sender = this.nodes.get(message.from);
    if (message.kind !== "snapshot_request" || sender === undefined || sender.isDown) return;
    sender.raft.reportSnapshot(message.to, arrived);
  }

  /** Lets everything happen that does not need time. */
  settle(): void {
    for (let isBusy = true; isBusy; ) {
      isBusy = false;
      for (const node of this.nodes.values()) {
        if (node.isDown) continue;
        this.takeReady(node);
        while (this.writeDisk(node)) isBusy = true;
        while (this.applyNext(node)) isBusy = true;
      }
      while (this.deliverNext()) isBusy = true;
    }
  }

  /** Ticks every node `count` times, settling after each tick. */
  tick(count: number): void {
    for (let i = 0; i < count; i++) {
      for (const node of this.nodes.values()) if (!node.isDown) node.raft.tick();
      this.settle();
    }
  }

  /** Makes `id` the leader, if it can win. */
  elect(id: number): TestNode {
    const node = this.node(id);
    node.raft.campaign();
    this.settle();
    return node;
  }

  /** Proposes `text` on node `id`. */
  propose(id: number, text: string) {
    const data = new TextEncoder().encode(text);
    return this.node(id).raft.propose([{ kind: "normal", data }]);
  }

  /** Proposes a change of membership on node `id`. */
  proposeConf(id: number, change: ConfChange) {
    return this.node(id).raft.propose([{ kind: "conf_change", change }]);
  }

  /** Messages go only among the nodes of one group. */
  partition(...groups: readonly (readonly number[])[]): void {
    const groupOf = (id: NodeId) => groups.findIndex((group) => group.includes(id));
    this.passes = (message) => groupOf(message.from) === groupOf(message.to);
  }

  /** Lets every message pass again. */
  heal(): void {
    this.passes = () => true;
  }

  /** Stops `node` at once: what was not on disk is gone, and the state machine with it. */
  crash(node: TestNode): void {
    node.isDown = true;
    node.appendWork.length = 0;
    node.applyWork.length = 0;
  }

  /** Starts `node` again from its disk; the state machine comes from its snapshot. */
  restart(node: TestNode): void {
    node.isDown = false;
    const snapshot = node.log.snapshot();
    assert(snapshot !== undefined, "this log always has a snapshot, be it empty");
    node.applied.length = snapshot.index;
    node.confState = snapshot.confState;
    node.raft = this.#createRaft(node.id, node.log, {
      hardState: node.hardState,
      applied: snapshot.index,
      confState: snapshot.confState,
    });
  }

  /** Takes a snapshot of `node` and forgets all but the last `trailing` entries before it. */
  compact(node: TestNode, trailing = 0): void {
    const index = node.applied.length;
    if (index <= (node.log.snapshot()?.index ?? 0)) return;
    node.log.createSnapshot(decodeIndex(index), node.confState, NO_DATA);
    const target = index - trailing;
    if (target >= node.log.firstIndex()) node.log.compact(decodeIndex(target));
  }
}

/** The payloads that were applied, as text; without the empty entries that open terms. */
export function appliedText(node: TestNode): string {
  const texts = node.applied.map((entry) =>
    entry.kind === "normal" ? new TextDecoder().decode(entry.data) : "",
  );
  return texts.filter((text) => text !== "").join("");
}

/** A term. */
export const T = decodeTerm;
/** An index. */
export const I = decodeIndex;
/** A node id. */
export const N = decodeNodeId;

/** Voters `1` to `count`. */
export function cluster(count: number, changes: ConfigChanges = {}): TestCluster {
  return new TestCluster(configOf(Array.from({ length: count }, (_, i) => i + 1)), changes);
}

/** A cluster of three in `term`, where the disk of node 1 holds these entries from index 2 on. */
export function clusterWithLog(terms: readonly number[], term: number): TestCluster {
  const group = cluster(3, { preVote: false });
  const node = group.node(1);
  node.log.append(terms.map((each, i) => normalEntry(each, i + 2)));
  node.hardState = { term: T(term), vote: undefined, commit: I(1) };
  group.restart(node);
  return group;
}

/** A request of node 2 to node 1. */
export function voteRequest(changes: Partial<VoteRequest>): VoteRequest {
  return {
    kind: "vote_request",
    round: "vote",
    from: N(2),
    to: N(1),
    term: T(5),
    last: { term: T(1), index: I(1) },
    transfer: false,
    ...changes,
  };
}

/** An append message of node 2 to node 1. */
export function appendRequest(
  term: number,
  previous: readonly [term: number, index: number],
  entries: readonly Entry[],
  commit = 1,
): AppendRequest {
  return {
    kind: "append_request",
    from: N(2),
    to: N(1),
    term: T(term),
    previous: { term: T(previous[0]), index: I(previous[1]) },
    entries,
    commit: I(commit),
  };
}

/** What `node` says next, after its disk. */
export function answers(group: TestCluster, node: TestNode): PeerMessage[] {
  group.takeReady(node);
  while (group.writeDisk(node));
  return group.messages.splice(0);
}

/** Whether the vote among `messages` was given; undefined when there is none. */
export function isGranted(messages: readonly PeerMessage[]): boolean | undefined {
  const vote = messages.find((message) => message.kind === "vote_response");
  return vote === undefined ? undefined : !vote.rejected;
}

/** The terms of the entries on the disk of `node`. */
export function logTerms(node: TestNode): number[] {
  const { log } = node;
  const end = I(log.lastIndex() + 1);
  return log.entries(log.firstIndex(), end, Number.POSITIVE_INFINITY)!.map((entry) => entry.term);
}
