/**
 * Drives one consensus core: feeds it ticks, messages and finished disk work, and carries out
 * what it returns.
 *
 *     clock, peers, callers --> Raft --> storage_append --> LogStore, then its responses
 *                                   \--> storage_apply ---> StateMachine, then its response
 *                                    \-> other messages --> Transport, at once
 *
 * Ordering duty: a message that acknowledges something leaves only after that is durable. Such
 * messages come inside `storage_append`, and `AppendQueue` delivers them in order.
 *
 * Knows nothing of TLS, addresses or roles; the simulator runs this file as it is.
 *
 * @module
 */
import { HostError } from "../../base/host-error.ts";
import { decodeRandomNodeId, type NodeId, type Revision } from "../../base/ids.ts";
import { err, type Result } from "../../base/result.ts";
import type { SnapshotStage } from "../../host/ports.ts";
import type { Command, KvEvent, KvReader } from "../kv/types.ts";
import { payloadSizeBytes } from "../raft/entry-size.ts";
import { type ProposeError, Raft, type RaftStatus } from "../raft/raft.ts";
import type {
  ConfChange,
  ConfState,
  Entry,
  PeerMessage,
  SnapshotRequest,
  StorageAppend,
  StorageApply,
} from "../raft/types.ts";
import { isCandidacy } from "./candidacy.ts";
import type { PlainRecord } from "./codec/codec.ts";
import { type CoreParts, proposalHost, proposeTo, readHost, transferTo } from "./core-hosts.ts";
import { crash } from "./crash.ts";
import { DiskWatch } from "./disk-watch.ts";
import type { DriverOptions } from "./driver-options.ts";
import { FailOver } from "./fail-over.ts";
import { GroupView } from "./group-view.ts";
import {
  assertLimits,
  ELECTION_TICKS,
  EXECUTE_TIMEOUT_MS,
  TICK_BATCH_MS,
  TICK_MS,
} from "./limits.ts";
import { Listeners } from "./listeners.ts";
import { isOnlyVoter } from "./members/conf-state.ts";
import { isRemoved } from "./members/member-table.ts";
import { Outgoing } from "./outgoing.ts";
import { createRaftConfig } from "./raft-config.ts";
import { AppendQueue } from "./requests/append-queue.ts";
import { applyEntries } from "./requests/applier.ts";
import { ApplyQueue } from "./requests/apply-queue.ts";
import { Proposals } from "./requests/proposals.ts";
import { newContextBase, ReadBarriers } from "./requests/read-barrier.ts";
import { Retelling } from "./requests/retelling.ts";
import { Snapshots } from "./snapshots/snapshots.ts";
import { soon } from "./soon.ts";
import { Feed } from "./spares/feed.ts";
import { TickCounter } from "./tick-counter.ts";
import { traceFields } from "./trace-fields.ts";
import type { CallAnswer, CallMethod, PeerReceiver, SnapshotBody } from "./transport/peer-port.ts";
import type { ClusterFailure, ExecuteOptions, Leaderless, RoleChange } from "./types.ts";
import { tooNew } from "./upgrade/too-new.ts";

/** One node's consensus, running until `stop`. */
export class Driver implements PeerReceiver {
  readonly nodeId: NodeId;
  /** For spares, and as one. Its status and counters may be read. */
  readonly feed: Feed;
  /** Undefined while there is a leader. */
  readonly leaderless = (): Leaderless | undefined => this.#view.leaderless();
  readonly #options: DriverOptions;
  readonly #raft: Raft;
  readonly #core: CoreParts;
  readonly #appends: AppendQueue;
  readonly #applies: ApplyQueue;
  readonly #outgoing: Outgoing;
  readonly #snapshots: Snapshots;
  readonly #proposals: Proposals;
  readonly #reads: ReadBarriers;
  readonly #failOver: FailOver;
  readonly #view: GroupView;
  readonly #appliedListeners = new Listeners<[readonly KvEvent[], Revision]>();
  readonly #retelling: Retelling;
  readonly #disk: DiskWatch;
  readonly #ticks: TickCounter;
  readonly #cancelTicks: () => void;
  #isPumpScheduled = false;
  #isPumping = false;
  #isStopped = false;
  /** Nothing here is to be believed any more. */
  #hasFailed = false;
  /** Messages of peers that the core refused. */
  refusedCount = 0;

  constructor(options: DriverOptions) {
    assertLimits();
    const { nodeId, recovered, clock, random, log, machine, transport } = options;
    this.#options = options;
    this.nodeId = nodeId;
    this.#outgoing = new Outgoing((message) => transport.send(message), clock);
    const { memoryLog, snapshotSizeBytes } = recovered;
    this.#snapshots = new Snapshots({
      ...{ ...options, memoryLog, snapshotSizeBytes },
      confState: () => this.#view.confState,
      failed: (cause) => this.#fatal(cause),
    });
    this.#raft = new Raft(createRaftConfig(options), this.#snapshots.reader(), random, (event) =>
      log.debug(`raft ${event.kind}`, traceFields(event)),
    );
    this.#view = new GroupView({
      ...{ nodeId, confState: recovered.confState, status: this.#raft.status(), log },
      nowMs: () => clock.nowMs(),
      isRemoved: () => isRemoved(machine.reader, nodeId),
    });
    this.#view.onRole((change, previous) => this.#roleChanged(change, previous));
    this.#appends = new AppendQueue(
      options.logStore,
      {
        snapshotBody: (snapshot) => this.#snapshots.bodyOf(snapshot),
        durable: (work) => this.#durable(work),
        failed: (cause) => this.#fatal(cause),
      },
      { hardState: recovered.hardState, lastIndex: memoryLog.lastIndex() },
    );
    this.#disk = new DiskWatch({ appends: this.#appends, view: this.#view, raft: this.#raft, log });
    this.#applies = new ApplyQueue({
      isLeader: () => this.#raft.status().role === "leader",
      durableCommit: () => this.#appends.durableCommit,
      wantCommit: () => this.#appends.pushCommit(),
      appliedIndex: () => machine.appliedIndex,
      apply: (entries, work) => this.#apply(entries, work),
    });
    this.#core = {
      ...{ raft: this.#raft, view: this.#view, outgoing: this.#outgoing, machine, clock },
      isStopped: () => this.#isStopped,
      schedulePump: () => this.#schedulePump(),
    };
    this.feed = new Feed({
      ...{ ...this.#core, nodeId, transport, random, log, memoryLog },
      known: () => options.knownPeers ?? [],
      located: (node, address) => options.located?.(node, address),
      step: (message) => this.#step(message),
      sendSnapshot: (message) => this.#snapshots.send(message, transport),
      waitForRead: () => this.readBarrier(),
      readConfirmed: (context, index) => this.#reads.confirmed(context, index),
    });
    // Each run is a client of its own, so that no request id is ever used twice.
    const client = decodeRandomNodeId(random.bytes(7));
    this.#proposals = new Proposals(proposalHost(this.#core, { nodeId, client, feed: this.feed }));
    this.#reads = new ReadBarriers(readHost(this.#core), newContextBase(random));
    this.#retelling = new Retelling({
      ...{ reader: machine.reader, clock },
      tell: (events, revision) => this.#appliedListeners.tell(events, revision),
    });
    this.#failOver = new FailOver({
      ...{ clock, random },
      hasLeader: () => this.#raft.status().leader !== undefined,
      campaign: () => {
        if (!this.#disk.isStalled) this.#raft.campaign();
        this.#schedulePump();
      },
    });
    const tickLimits = { tickMs: TICK_MS, countMax: ELECTION_TICKS - 1 };
    this.#ticks = new TickCounter({ ...tickLimits, nowMs: clock.nowMs() });
    transport.attach(this);
    this.#cancelTicks = clock.every(TICK_BATCH_MS, () => this.#tick());
    this.#maybeLeadAlone();
    this.feed.tick();
    this.#schedulePump();
  }

  /** The state as applied here. */
  get reader(): KvReader {
    return this.#options.machine.reader;
  }

  /** Membership at the applied index. */
  get confState(): ConfState {
    return this.#view.confState;
  }

  /** Role, term and leader as of the last batch. */
  get role(): RoleChange {
    return this.#view.role;
  }

  /** What this node knows about its group. */
  get group(): GroupView {
    return this.#view;
  }

  status(): RaftStatus {
    return this.#raft.status();
  }

  isLeader(): boolean {
    return this.#view.isLeader();
  }

  /** Whether `node` was heard from lately; this node itself always is live. */
  isLive(node: NodeId): boolean {
    return this.#view.isLive(node);
  }

  /** On the leader: a majority was heard from lately. Else: there is a leader. */
  hasQuorum(): boolean {
    return this.#view.hasQuorum();
  }

  /** Carries out a write exactly once, wherever the leader is. */
  execute<Outcome>(
    command: Command<Outcome>,
    options: ExecuteOptions = {},
  ): Promise<Result<Outcome, ClusterFailure>> {
    const { timeoutMs = EXECUTE_TIMEOUT_MS, requestId } = options;
    const isTooNew = options.raisesVersion ? undefined : tooNew(command, this.reader);
    const obstacle = this.#view.obstacle("write") ?? isTooNew;
    if (obstacle !== undefined) return Promise.resolve(err(obstacle));
    const result = this.#proposals.execute(command, { timeoutMs, requestId });
    // The state machine's handler for this kind of command promises the type.
    return result as Promise<Result<Outcome, ClusterFailure>>;
  }

  /** Resolves when local reads are linearizable with respect to this call. */
  readBarrier(timeoutMs: number = EXECUTE_TIMEOUT_MS): Promise<Result<void, ClusterFailure>> {
    const obstacle = this.#view.obstacle("read");
    return obstacle ? Promise.resolve(err(obstacle)) : this.#reads.wait(timeoutMs);
  }

  /** Leader only: proposes a membership change. Taken in means neither committed nor valid. */
  proposeConfChange(change: ConfChange): Result<void, ProposeError> {
    return proposeTo(this.#core, [{ kind: "conf_change", change }]);
  }

  /**
   * Leader only: hands leadership to `target`, an up-to-date voter at best. May come to nothing:
   * a target that has yet to apply a membership change refuses to be elected.
   */
  transferLeadership(target: NodeId): void {
    if (this.isLeader()) transferTo(this.#core, target);
  }

  /** Calls `listener` after each applied entry that changed something. Returns the undo. */
  onApplied(listener: (events: readonly KvEvent[], revision: Revision) => void): () => void {
    return this.#appliedListeners.add(listener);
  }

  /** Calls `listener` at each change of role, term or leader. Returns the undo. */
  onRole(listener: (change: RoleChange) => void): () => void {
    return this.#view.onRole(listener);
  }

  /** Calls `listener` at each change of the Raft membership. Returns the undo. */
  onMembership(listener: (state: ConfState) => void): () => void {
    return this.#view.onMembership(listener);
  }

  /** Stops; what is under way on the disk is waited for, and a last snapshot. Open calls fail. */
  async stop(): Promise<void> {
    this.#halt();
    this.#appends.pushCommit();
    await this.#appends.settled();
    if (this.#hasFailed) await this.#snapshots.settled();
    else await this.#snapshots.finish();
  }

  // What comes in from other nodes. ------------------------------------------------------------
  receive(message: PeerMessage): void {
    if (this.#isStopped) return;
    if (!this.#view.accepts(message, this.#options.recovered.memoryLog.lastIndex())) return;
    this.#view.heard(message.from);
    // Whoever leads now will find somebody whose disk works.
    if (message.kind === "timeout_now" && this.#disk.isStalled) return;
    this.feed.received(message);
    this.#outgoing.received(message);
    this.#step(message);
  }

  stageSnapshot(message: SnapshotRequest): Promise<SnapshotStage | undefined> {
    this.#view.heard(message.from);
    return this.#isStopped ? Promise.resolve(undefined) : this.#snapshots.stage(message);
  }

  async receiveSnapshot(message: SnapshotRequest, body: SnapshotBody): Promise<void> {
    if (this.#isStopped) return;
    const incoming = await this.#snapshots.read(message, body);
    if (this.#isStopped) return;
    if (incoming === undefined) {
      this.refusedCount += 1;
      return;
    }
    this.#snapshots.offer(incoming);
    this.receive(message);
    // At once, so that the core's decision is about this snapshot and no later one.
    this.#pump();
    this.#snapshots.withdraw();
  }

  unreachable(node: NodeId): void {
    if (this.#isStopped) return;
    this.#outgoing.lost(node);
    this.feed.unreachable(node);
    this.#raft.reportUnreachable(node);
    this.#schedulePump();
  }

  closed(node: NodeId): void {
    this.#view.ended(node);
    this.feed.closed(node);
    if (this.#isStopped || this.role.leader !== node || this.isLeader()) return;
    this.#raft.forgetLeader();
    this.#schedulePump();
    this.#failOver.begin();
  }

  expelled(): void {
    this.#view.expelled();
  }

  answer(from: NodeId, method: CallMethod, body: PlainRecord): Promise<CallAnswer> {
    this.#view.heard(from);
    if (method === "read_index") return this.feed.readIndex();
    if (method !== "propose") return this.#options.answer(from, method, body);
    return this.isLeader() ? this.#proposals.serve(from, body) : this.feed.relay(body);
  }

  asked(from: NodeId, record: PlainRecord): boolean {
    return this.feed.asked(from, record);
  }

  told(from: NodeId, record: PlainRecord, sizeBytes: number): void {
    this.feed.told(from, record, sizeBytes);
  }

  // The core's effects. ------------------------------------------------------------------------
  #tick(): void {
    const tickCount = this.#ticks.take(this.#options.clock.nowMs());
    this.#disk.tick(tickCount);
    this.#appends.tick();
    // A node whose disk has stalled asks for no election: it could not serve after it.
    const isIdle = (this.#disk.isStalled || this.#view.refusal !== undefined) && !this.isLeader();
    for (let i = 0; i < tickCount && !isIdle; i++) this.#raft.tick();
    this.#maybeLeadAlone();
    this.#proposals.tick();
    this.#reads.tick();
    this.#snapshots.tick();
    this.feed.tick();
    this.#pump();
  }

  #step(message: PeerMessage): void {
    if (!this.#raft.step(message).ok) this.refusedCount += 1;
    this.#schedulePump();
  }

  /** A cluster of one need not wait for a timeout: nobody else could lead. */
  #maybeLeadAlone(): void {
    if (this.role.role !== "follower" || !isOnlyVoter(this.confState, this.nodeId)) return;
    this.#raft.campaign();
  }

  /** Runs the core's effects at the end of this turn: what comes in together goes out together. */
  #schedulePump(): void {
    if (this.#isPumpScheduled || this.#isPumping) return;
    this.#isPumpScheduled = true;
    soon(this.#options.clock, () => {
      this.#isPumpScheduled = false;
      this.#pump();
    });
  }

  #pump(): void {
    if (this.#isPumping || this.#isStopped) return;
    this.#isPumping = true;
    try {
      while (!this.#isStopped && this.#raft.hasReady()) {
        const ready = this.#raft.ready();
        for (const message of ready.messages) {
          if (message.kind === "storage_append") this.#appends.push(message);
          else if (message.kind === "storage_apply") this.#applies.push(message);
          else if (!isCandidacy(message)) this.#send(message);
        }
        const requests = ready.messages.filter(isCandidacy);
        if (requests.length > 0) void this.#stand(requests);
        this.#view.update(ready);
        for (const read of ready.readStates) this.#reads.confirmed(read.context, read.index);
      }
    } catch (cause) {
      this.#fatal(cause);
    } finally {
      this.#isPumping = false;
    }
  }

  /** Asks for votes, once our own is durable (candidacy.ts). */
  async #stand(requests: readonly PeerMessage[]): Promise<void> {
    await this.#appends.settled();
    for (const request of this.#isStopped ? [] : requests) this.#send(request);
  }

  #send(message: PeerMessage): void {
    if (message.to === this.nodeId) {
      this.#raft.step(message);
      return;
    }
    const { transport } = this.#options;
    if (this.feed.keeps(message)) return;
    if (message.kind === "vote_response" && !message.rejected) this.#failOver.holdBack();
    if (message.kind !== "snapshot_request") {
      this.#outgoing.send(message);
      return;
    }
    void this.#snapshots.send(message, transport).then((arrived) => {
      if (this.#isStopped) return;
      this.#raft.reportSnapshot(message.to, arrived);
      this.#schedulePump();
    });
  }

  #durable(work: StorageAppend): void {
    if (this.#isStopped) return;
    try {
      if (work.snapshot !== undefined) {
        this.#snapshots.install(work.snapshot);
        this.#view.setConfState(work.snapshot.confState);
      }
      this.#options.recovered.memoryLog.append(work.entries);
      for (const response of work.responses) {
        if (response.kind === "storage_append_response") this.#raft.step(response);
        else this.#send(response);
      }
      if (work.snapshot !== undefined) this.#restored();
      this.#applies.release();
    } catch (cause) {
      this.#fatal(cause);
    }
    this.#schedulePump();
  }

  #apply(entries: readonly Entry[], work: StorageApply): void {
    applyEntries(this.#options.machine, entries, {
      confChange: (change) => {
        this.#view.setConfState(this.#raft.applyConfChange(change));
        // The others must know of it before they can do without whom it takes out.
        this.#outgoing.releaseAll();
      },
      decoded: (payload) => this.#proposals.decoded(payload),
      applied: ({ request, outcome, revision, events }) => {
        if (request !== undefined) this.#proposals.applied(request, outcome);
        if (events.length === 0) return;
        this.#view.applied();
        this.#appliedListeners.tell(events, revision);
      },
    });
    for (const entry of entries) this.#snapshots.counted(payloadSizeBytes(entry));
    this.#raft.step(work.response);
    this.#reads.applied();
    this.feed.applied();
    this.#snapshots.maybeMake();
  }

  /** The whole state was replaced. */
  #restored(): void {
    this.#reads.applied();
    this.#proposals.restored();
    this.#retelling.begin();
  }

  #roleChanged(change: RoleChange, previous: RoleChange): void {
    if (change.term !== previous.term) this.#failOver.holdBack();
    this.#proposals.leadershipChanged();
    this.#reads.leadershipChanged();
  }

  #fatal(cause: unknown): void {
    this.#hasFailed = true;
    if (this.#isStopped) return;
    this.#halt();
    if (cause instanceof HostError) this.#options.onFatal(cause);
    else (this.#options.onBug ?? crash)(cause);
  }

  #halt(): void {
    this.#isStopped = true;
    this.#cancelTicks();
    this.#failOver.stop();
    this.#outgoing.stop();
    this.feed.stop();
    this.#proposals.stop();
    this.#reads.stop();
    this.#retelling.stop();
  }
}
