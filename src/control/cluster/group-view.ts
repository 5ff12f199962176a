/**
 * What this node knows about its group: who leads, who belongs to it, who is alive.
 *
 * The core decides the first two; its driver passes every change on. Liveness is measured here, by
 * what arrives. No clock of its own, no decisions.
 *
 * @module
 */
import type { NodeId } from "../../base/ids.ts";
import type { Log } from "../../base/log.ts";
import type { RaftStatus, Ready } from "../raft/raft.ts";
import type { ConfState, PeerMessage } from "../raft/types.ts";
import { explainFailure } from "./failure.ts";
import { ELECTION_TIMEOUT_MS } from "./limits.ts";
import { Listeners } from "./listeners.ts";
import { isMember } from "./members/conf-state.ts";
import { Liveness } from "./members/liveness.ts";
import type { ClusterFailure, Leaderless, RoleChange } from "./types.ts";

/** What a node does that its cluster wants no more. */
const REJOIN =
  'run "overlay join <member> --token <token> --reset" to join again as a new node, ' +
  'or "overlay leave" to go on alone';

export interface GroupViewOptions {
  readonly nodeId: NodeId;
  /** Membership at the applied index. */
  readonly confState: ConfState;
  readonly status: RaftStatus;
  /** Whether this node was taken out of the cluster for ever, as the tables say. */
  readonly isRemoved: () => boolean;
  readonly nowMs: () => number;
  readonly log: Log;
}

/** The group as one of its nodes sees it. */
export class GroupView {
  readonly #nodeId: NodeId;
  readonly #isRemoved: () => boolean;
  readonly #nowMs: () => number;
  readonly #log: Log;
  readonly #liveness = new Liveness(2 * ELECTION_TIMEOUT_MS);
  readonly #roleListeners = new Listeners<[change: RoleChange, previous: RoleChange]>();
  readonly #membershipListeners = new Listeners<[ConfState]>();
  #confState: ConfState;
  #role: RoleChange;
  #leaderlessSinceMs: number;
  #isMember: boolean;
  #isExpelled = false;
  #shutReason: string | undefined;

  constructor(options: GroupViewOptions) {
    const { nodeId, confState, status, isRemoved, nowMs, log } = options;
    this.#nodeId = nodeId;
    this.#isRemoved = isRemoved;
    this.#nowMs = nowMs;
    this.#log = log;
    this.#confState = confState;
    this.#isMember = isMember(confState, nodeId);
    this.#role = { role: status.role, term: status.term, leader: status.leader };
    this.#leaderlessSinceMs = nowMs();
  }

  /** Membership at the applied index. */
  get confState(): ConfState {
    return this.#confState;
  }

  /** Role, term and leader as of the last batch. */
  get role(): RoleChange {
    return this.#role;
  }

  /** Whether this node was taken out of the cluster. */
  get isExpelled(): boolean {
    return this.#isExpelled;
  }

  /** Why this node may take no part in its cluster any more, and what to do; undefined: it may. */
  get refusal(): string | undefined {
    return this.#shutReason;
  }

  isLeader(): boolean {
    return this.#role.leader === this.#nodeId;
  }

  /** Whether `node` was heard from lately; this node itself always is live. */
  isLive(node: NodeId): boolean {
    return node === this.#nodeId || this.#liveness.isLive(node, this.#nowMs());
  }

  /** How long nothing was heard from `node`, milliseconds; infinite when nothing ever was. */
  silentMs(node: NodeId): number {
    return this.#liveness.silentMs(node, this.#nowMs());
  }

  /** On the leader: a majority was heard from lately. Else: there is a leader. */
  hasQuorum(): boolean {
    if (!this.isLeader()) return this.#role.leader !== undefined;
    return this.#liveness.hasQuorum(this.#confState, this.#nodeId, this.#nowMs());
  }

  /** Undefined while there is a leader. */
  leaderless(): Leaderless | undefined {
    if (this.#role.leader !== undefined) return undefined;
    const { voters, votersOutgoing } = this.#confState;
    const missing = [...new Set([...voters, ...votersOutgoing])].filter((id) => !this.isLive(id));
    return { forMs: this.#nowMs() - this.#leaderlessSinceMs, missing };
  }

  /** Voters other than this node that live, when they are a majority by themselves; else none. */
  otherVoters(): readonly NodeId[] {
    const { voters, votersOutgoing } = this.#confState;
    const others = (half: readonly NodeId[]) =>
      half.filter((id) => id !== this.#nodeId && this.isLive(id));
    const isMajority = (half: readonly NodeId[]) =>
      half.length === 0 || others(half).length > half.length / 2;
    return isMajority(voters) && isMajority(votersOutgoing) ? others(voters) : [];
  }

  /** Why nothing can ever be written or read here again; undefined: it can. */
  obstacle(action: "write" | "read"): ClusterFailure | undefined {
    if (this.#shutReason === undefined) return undefined;
    return { kind: "no_leader", detail: `Cannot ${action}: ${this.#shutReason}` };
  }

  /** Why nothing can be written or read now, for a deadline that passed. */
  explain(action: "write" | "read"): ClusterFailure {
    return explainFailure({
      action,
      isLeader: this.isLeader(),
      hasLeader: this.#role.leader !== undefined,
      hasQuorum: this.hasQuorum(),
      leaderlessMs: this.#nowMs() - this.#leaderlessSinceMs,
    });
  }

  /** `node` gave a sign of life. */
  heard(node: NodeId): void {
    this.#liveness.heard(node, this.#nowMs());
  }

  /** `node` ended, as far as can be seen. */
  ended(node: NodeId): void {
    this.#liveness.ended(node);
  }

  /** Takes over what a batch of the core says about role, term and leader. */
  update(ready: Ready): void {
    const last = this.#role;
    const { role, leader } = ready.softState ?? last;
    const next = { role, leader, term: ready.hardState?.term ?? last.term };
    if (role === last.role && next.term === last.term && leader === last.leader) return;
    this.#role = next;
    if (leader === undefined && last.leader !== undefined) {
      this.#leaderlessSinceMs = this.#nowMs();
    }
    this.#roleListeners.tell(next, last);
  }

  /** The membership is `state` from now on. */
  setConfState(state: ConfState): void {
    this.#confState = state;
    this.#liveness.keepOnly(state);
    const wasMember = this.#isMember;
    this.#isMember = isMember(state, this.#nodeId);
    // Who is not removed is a spare from now on.
    if (wasMember && !this.#isMember && this.#isRemoved()) this.expelled();
    this.#membershipListeners.tell(state);
  }

  /** Something was applied: a node outside of the membership learns of its removal so. */
  applied(): void {
    if (!this.#isMember && !this.#isExpelled && this.#isRemoved()) this.expelled();
  }

  /** This node learned that it is no member any more. */
  expelled(): void {
    this.#isExpelled = true;
    this.shut("this node was removed from its cluster");
  }

  /** This node must take no part any more, for that `reason`. */
  shut(reason: string): void {
    if (this.#shutReason !== undefined) return;
    this.#shutReason = `${reason}; ${REJOIN}`;
    this.#log.warn("this node takes no part in its cluster any more", { reason, next: REJOIN });
  }

  /**
   * Whether `message` may be looked at. A leader's heartbeat names no index that this node has not
   * confirmed to have on its disk; when it does, the disk is an older copy of what it was. It must
   * not vote or confirm anything any more: the others count on what it forgot.
   */
  accepts(message: PeerMessage, lastIndex: number): boolean {
    if (message.kind === "heartbeat_request" && message.commit > lastIndex) {
      const gap = `its log ends at ${lastIndex}, and the leader counts on ${message.commit}`;
      this.shut(`the disk of this node is an old copy: ${gap}`);
    }
    return this.#shutReason === undefined;
  }

  /** Calls `listener` at each change of role, term or leader. Returns the undo. */
  onRole(listener: (change: RoleChange, previous: RoleChange) => void): () => void {
    return this.#roleListeners.add(listener);
  }

  /** Calls `listener` at each change of the Raft membership. Returns the undo. */
  onMembership(listener: (state: ConfState) => void): () => void {
    return this.#membershipListeners.add(listener);
  }
}
