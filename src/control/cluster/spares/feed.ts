/**
 * The feed on one node, both sides of it: as a source for spares, and as a spare.
 *
 * A spare runs the same driver as every node. Its core is a follower that nobody counts: what the
 * feed brings is handed to it as an append of the leader that the source knows, so log, disk, state
 * machine, watches and snapshots are those of every follower, and a spare that is let in goes on
 * with what it has. What that core would answer never leaves this node: acknowledgements become
 * words to the source, questions for a read index become calls to it.
 *
 * Which node follows a feed: one that is not in the membership, at once; a standby that the leader
 * does not reach; a voter that knows no leader for long, since it may have lost its vote while it
 * was away. What a feed brings is committed, so it can do no harm to any of them. The first word of
 * a leader ends it.
 *
 * @module
 */
import { decodeIndex, formatNodeId, type Index, type NodeId } from "../../../base/ids.ts";
import type { Log } from "../../../base/log.ts";
import { err, ok, type Result } from "../../../base/result.ts";
import type { Clock, Random } from "../../../host/ports.ts";
import type { KvReader } from "../../kv/types.ts";
import type { MemoryLog } from "../../raft/memory-log.ts";
import type { Raft } from "../../raft/raft.ts";
import type { AppendRequest, PeerMessage, SnapshotRequest } from "../../raft/types.ts";
import type { PlainRecord } from "../codec/codec.ts";
import { FieldReader } from "../codec/fields.ts";
import type { GroupView } from "../group-view.ts";
import {
  FEED_OUTSIDER_PATIENCE_MS,
  FEED_STANDBY_PATIENCE_MS,
  FEED_VOTER_PATIENCE_MS,
  FORWARD_TIMEOUT_MS,
  LINK_SILENCE_MS,
  TICK_BATCH_MS,
} from "../limits.ts";
import { isMember, memberIds } from "../members/conf-state.ts";
import { findMember } from "../members/member-table.ts";
import { soon } from "../soon.ts";
import type { CallAnswer, CallFailure, Transport } from "../transport/peer-port.ts";
import type { ClusterFailure, FeedStatus, HostPort } from "../types.ts";
import { FeedIntake } from "./feed-intake.ts";
import {
  type FeedBatch,
  type FeedFrame,
  type FeedRefusal,
  feedNewsFromRecord,
  feedRequestFromRecord,
  feedRequestToRecord,
  HINTS_MAX,
  type SourceHint,
} from "./feed-messages.ts";
import { FeedSource } from "./feed-source.ts";
import { sourceOrder } from "./source-choice.ts";
import { WriteRelay } from "./write-relay.ts";

/** What the driver lends. */
export interface FeedHost {
  readonly nodeId: NodeId;
  readonly raft: Raft;
  readonly view: GroupView;
  readonly transport: Transport;
  readonly memoryLog: MemoryLog;
  readonly machine: { readonly appliedIndex: Index; readonly reader: KvReader };
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Nodes known from before there was any state. */
  readonly known: () => readonly NodeId[];
  /** Another member says where `node` is, of which there may be no record here. */
  readonly located: (node: NodeId, address: HostPort) => void;
  /** Hands a message to the core, as if it had come from outside. */
  readonly step: (message: PeerMessage) => void;
  readonly schedulePump: () => void;
  readonly sendSnapshot: (message: SnapshotRequest) => Promise<boolean>;
  readonly waitForRead: () => Promise<Result<void, ClusterFailure>>;
  readonly readConfirmed: (context: number, index: Index) => void;
}

/** Both sides of the feed on one node. */
export class Feed {
  readonly #host: FeedHost;
  readonly #source: FeedSource;
  readonly #intake: FeedIntake;
  readonly #relay: WriteRelay;
  /** Time as this node has lived it, and when it last heard a leader itself. */
  #nowMs = 0;
  #heardLeaderMs = Number.NEGATIVE_INFINITY;
  /** Who can feed this node, as others said last, the newest first. */
  #hinted: readonly NodeId[] = [];
  #isTellScheduled = false;
  #isStopped = false;

  constructor(host: FeedHost) {
    this.#host = host;
    const { nodeId, view, transport, machine, memoryLog, clock, raft, random } = host;
    this.#relay = new WriteRelay({
      clock,
      leader: () => (view.isLeader() ? undefined : view.role.leader),
      call: (target, body, timeoutMs) =>
        transport.call({ target, method: "propose", body, timeoutMs }),
    });
    this.#source = new FeedSource({
      refusal: (spare) => this.#refusal(spare),
      sources: () => this.#sources(),
      leadership: () => ({ term: view.role.term, leader: this.#liveLeader() }),
      appliedIndex: () => machine.appliedIndex,
      termOf: (index) => memoryLog.term(index),
      entriesAfter: (index, sizeMaxBytes) => {
        const last = Math.min(machine.appliedIndex, memoryLog.lastIndex());
        const [low, high] = [decodeIndex(index + 1), decodeIndex(last + 1)];
        return low < high ? (memoryLog.entries(low, high, sizeMaxBytes) ?? []) : [];
      },
      tell: (spare, body) => transport.tell(spare, body),
      sendSnapshot: (spare) => this.#sendSnapshot(spare),
      nowMs: () => clock.nowMs(),
    });
    this.#intake = new FeedIntake({
      order: () => {
        const { confState, role } = view;
        const below = (limit: number) => random.below(limit);
        return sourceOrder({
          ...{ self: nodeId, confState, leader: role.leader, below },
          known: [...new Set([...this.#hinted, ...host.known()])],
        });
      },
      hinted: (hints) => this.#noteHints(hints),
      position: () => raft.committed(),
      ask: (source, request) => transport.ask(source, feedRequestToRecord(request)),
      part: (source) => transport.part(source),
      take: (frame, batch) => this.#take(frame, batch),
      leaderless: () => {
        raft.forgetLeader();
        host.schedulePump();
      },
      diverged: (source) =>
        host.log.error("this node and its source hold different entries at one index", {
          source: formatNodeId(source),
          index: raft.committed().index,
        }),
      below: (limit) => random.below(limit),
    });
    if (isMember(view.confState, nodeId)) this.#heardLeaderMs = 0;
    view.onRole(() => this.#source.changed());
    view.onMembership(() => this.#changed());
  }

  /** Undefined unless this node is fed, or looks for somebody to feed it. */
  get status(): FeedStatus | undefined {
    if (!this.#intake.isOn) return undefined;
    const { source, behindCount } = this.#intake;
    return { source, behindCount };
  }

  /** Whether `spare` is fed from here. */
  feeds(spare: NodeId): boolean {
    return this.#source.feeds(spare);
  }

  /** Running totals. */
  counters(): Readonly<Record<string, number>> {
    return {
      feed_spares: this.#source.spareCount,
      feed_frames_told: this.#source.counts.told,
      feed_frames_encoded: this.#source.counts.encoded,
      feed_sources_found: this.#intake.foundCount,
      relayed_requests: this.#relay.counts.requests,
      relay_calls: this.#relay.counts.calls,
    };
  }

  /** Called once in each `TICK_BATCH_MS`, and at the start. */
  tick(): void {
    this.#nowMs += TICK_BATCH_MS;
    this.#look();
    this.#intake.tick();
    this.#source.tick();
  }

  stop(): void {
    this.#isStopped = true;
    this.#intake.stop();
    this.#source.stop();
    this.#relay.stop();
  }

  // Beside the core. ---------------------------------------------------------------------------

  /** To be told every message of another node before the core is. */
  received(message: PeerMessage): void {
    if (message.kind !== "append_request" && message.kind !== "heartbeat_request") return;
    this.#heardLeaderMs = this.#nowMs;
    this.#intake.stop();
  }

  /** Whether `message` of the core is not to leave, since it answers what the feed has brought. */
  keeps(message: PeerMessage): boolean {
    if (!this.#intake.isOn) return false;
    switch (message.kind) {
      case "append_response":
        if (message.rejected === undefined) this.#intake.durable(message.index);
        return true;
      case "heartbeat_response":
        return true;
      case "read_index_request":
        void this.#askReadIndex(message.context);
        return true;
      default:
        return false;
    }
  }

  /** More was applied here. */
  applied(): void {
    if (this.#isTellScheduled || this.#source.spareCount === 0) return;
    this.#isTellScheduled = true;
    soon(this.#host.clock, () => {
      this.#isTellScheduled = false;
      if (!this.#isStopped) this.#source.applied();
    });
  }

  /** Passes writes on to `target`, or by the source of this node where it has one. */
  forward(
    target: NodeId,
    body: PlainRecord,
    timeoutMs: number,
  ): Promise<Result<PlainRecord, CallFailure>> {
    const { source } = this.#intake;
    return this.#host.transport.call({
      ...{ target: source ?? target, method: "propose", body, timeoutMs },
    });
  }

  // What comes in from other nodes. ------------------------------------------------------------

  /** Something that a spare says; false when it makes no sense. */
  asked(from: NodeId, record: PlainRecord): boolean {
    const request = feedRequestFromRecord(record);
    if (request === undefined) return false;
    if (this.#isStopped) return true;
    if (request.kind === "follow") this.#source.follow(from, request.position);
    else this.#source.confirmed(from, request.index);
    return true;
  }

  /** Something that a source says. What makes no sense is passed over. */
  told(from: NodeId, record: PlainRecord, sizeBytes: number): void {
    const news = feedNewsFromRecord(record);
    if (news !== undefined && !this.#isStopped) this.#intake.told(from, news, sizeBytes);
  }

  /** The connection to `node` is gone. */
  unreachable(node: NodeId): void {
    this.#intake.lost(node);
  }

  /** `node` closed its connection to here. */
  closed(node: NodeId): void {
    this.#source.lost(node);
  }

  /** Writes of others that this node does not lead. */
  relay(body: PlainRecord): Promise<CallAnswer> {
    return this.#relay.serve(body);
  }

  /** A read index for a node that follows this one. */
  async readIndex(): Promise<CallAnswer> {
    const result = await this.#host.waitForRead();
    if (result.ok) return ok({ index: this.#host.machine.appliedIndex });
    return err({ reason: result.error.kind, detail: result.error.detail });
  }

  // --------------------------------------------------------------------------------------------

  /** Begins to follow where nobody else looks after this node. */
  #look(): void {
    const { view, raft, nodeId } = this.#host;
    if (this.#isStopped || this.#intake.isOn || view.isExpelled || view.isLeader()) return;
    const { confState } = view;
    const silentMs = this.#nowMs - this.#heardLeaderMs;
    if (!isMember(confState, nodeId)) {
      if (silentMs >= FEED_OUTSIDER_PATIENCE_MS) this.#intake.start();
    } else if (!isVoting(view, nodeId)) {
      if (silentMs >= FEED_STANDBY_PATIENCE_MS) this.#intake.start();
    } else if (raft.status().leader === undefined && silentMs >= FEED_VOTER_PATIENCE_MS) {
      this.#intake.start();
    }
  }

  #changed(): void {
    this.#source.changed();
    this.#look();
  }

  #refusal(spare: NodeId): FeedRefusal | undefined {
    const { view, nodeId } = this.#host;
    if (view.isExpelled || !isMember(view.confState, nodeId)) return "no_source";
    return isVoting(view, spare) ? "voter" : undefined;
  }

  /** The members, for a spare that knows those of long ago. */
  #sources(): readonly SourceHint[] {
    const { view, machine } = this.#host;
    return memberIds(view.confState).map((node) => {
      return { node, address: findMember(machine.reader, node)?.address };
    });
  }

  #noteHints(hints: readonly SourceHint[]): void {
    for (const { node, address } of hints) {
      if (address !== undefined) this.#host.located(node, address);
    }
    const named = [...hints.map(({ node }) => node), ...this.#hinted];
    this.#hinted = [...new Set(named)].slice(0, HINTS_MAX);
  }

  /** Nobody tells a standby that is cut off that there is no leader any more. */
  #liveLeader(): NodeId | undefined {
    const { view, nodeId } = this.#host;
    const { leader } = view.role;
    if (leader === undefined || view.isLeader()) return view.hasQuorum() ? leader : undefined;
    const isHeard = isVoting(view, nodeId) || view.silentMs(leader) < LINK_SILENCE_MS;
    return isHeard && !this.#intake.isOn ? leader : undefined;
  }

  async #sendSnapshot(to: NodeId) {
    const { nodeId: from, memoryLog, view, sendSnapshot } = this.#host;
    const snapshot = memoryLog.snapshot();
    if (snapshot === undefined) return undefined;
    const { index, term } = snapshot;
    const message = { kind: "snapshot_request", to, from, term: view.role.term, snapshot } as const;
    return (await sendSnapshot(message)) ? { index, term } : undefined;
  }

  #take({ term, leader }: FeedFrame, batch: FeedBatch | undefined): void {
    const { nodeId, raft, step } = this.#host;
    if (leader === undefined || leader === nodeId) return;
    const { previous, entries } = batch ?? { previous: raft.committed(), entries: [] };
    const commit = entries.at(-1)?.index ?? previous.index;
    const append: AppendRequest = {
      ...{ kind: "append_request", from: leader, to: nodeId, term },
      ...{ previous, entries, commit },
    };
    step(append);
  }

  async #askReadIndex(context: number): Promise<void> {
    const { transport, readConfirmed } = this.#host;
    const { source: target } = this.#intake;
    if (target === undefined) return; // It is asked for again when it stays away.
    const call = { target, method: "read_index", body: {}, timeoutMs: FORWARD_TIMEOUT_MS } as const;
    const result = await transport.call(call);
    if (!result.ok || this.#isStopped) return;
    const fields = new FieldReader(result.value);
    const index = fields.index("index");
    if (!fields.failed) readConfirmed(context, index);
  }
}

function isVoting(view: GroupView, node: NodeId): boolean {
  const { voters, votersOutgoing } = view.confState;
  return voters.includes(node) || votersOutgoing.includes(node);
}
