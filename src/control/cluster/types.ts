/**
 * The vocabulary of the cluster as the rest of the program sees it: who is a member, what the
 * state is, why something could not be done now.
 *
 * Types only.
 *
 * @module
 */
import type { ClusterId, Index, NodeId, Revision, Term } from "../../base/ids.ts";
import type { Result } from "../../base/result.ts";
import type { Command, KvEvent, KvReader, RequestId } from "../kv/types.ts";
import type { RoleKind } from "../raft/types.ts";
import type { JoinGrant } from "./trust/identity.ts";
import type { RotationFailure } from "./trust/rotation.ts";
import type { TrustStatus } from "./trust/trust-keeper.ts";

/**
 * A write or a linearizable read that could not be carried out now. All but the last are worth a
 * retry.
 * `timeout`: undetermined, the write may still happen; retried with the same request id it
 * happens once. `overloaded`: refused before anything was written. `upgrade_needed`: so too, since
 * some member could not read it.
 */
export type ClusterFailure =
  | { readonly kind: "no_leader"; readonly detail: string }
  | { readonly kind: "no_quorum"; readonly detail: string }
  | { readonly kind: "timeout"; readonly detail: string }
  | { readonly kind: "overloaded"; readonly detail: string }
  | { readonly kind: "upgrade_needed"; readonly detail: string };

/** Host (name or address, IPv6 without brackets) and TCP port of a node's cluster listener. */
export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** What a node says about itself; the cluster keeps it under `/overlay/members/<id>`. */
export interface MemberInfo {
  readonly name: string;
  /** Where other members reach it. */
  readonly address: HostPort;
  /** Underlay address for packets, canonical text; "" until known. */
  readonly publicIp: string;
  /** Prefixes of the underlay links, canonical text: a network must not overlap them. */
  readonly underlayPrefixes: readonly string[];
  /** Where it stands, as its operator calls the place; "" when nobody said. */
  readonly zone: string;
}

/** One record of the members table. */
export interface MemberRecord extends MemberInfo {
  readonly id: NodeId;
  readonly joinedAtMs: number;
}

/** `voter` and `standby` are in the Raft configuration; `spare` is not (yet). */
export type MemberRole = "voter" | "standby" | "spare";

/** One member as this node knows it now. */
export interface Member extends MemberRecord {
  readonly role: MemberRole;
  /** What somebody wished it to be, if anybody did. */
  readonly wish: "voter" | "standby" | undefined;
  readonly leader: boolean;
  readonly self: boolean;
  /** Whether it was heard from lately; undefined when this node cannot know (not the leader). */
  readonly live: boolean | undefined;
  /** Last log index known to be on its disk; only on the leader. */
  readonly match: Index | undefined;
}

/** A consistent picture of this node's place in its cluster. */
export interface ClusterStatus {
  readonly nodeId: NodeId;
  readonly clusterId: ClusterId;
  readonly generation: number;
  readonly role: RoleKind;
  readonly memberRole: MemberRole;
  readonly term: Term;
  readonly leader: NodeId | undefined;
  readonly commit: Index;
  readonly applied: Index;
  readonly revision: Revision;
  /** On the leader: heard from a majority within an election timeout. Else: has a live leader. */
  readonly hasQuorum: boolean;
  /** Undefined while there is a leader. */
  readonly leaderless: Leaderless | undefined;
  readonly voterCount: number;
  /** Whether the cluster has told this node that it was removed. */
  readonly removed: boolean;
  /** Why this node may take no part any more (removed, an old copy), and what to do. */
  readonly refusal: string | undefined;
  /** What somebody should look at: two processes that run as one node. */
  readonly warnings: readonly string[];
  /** Undefined where the leader looks after this node, or it leads itself. */
  readonly feed: FeedStatus | undefined;
}

/** How a node that is not in the Raft membership is fed with what is committed. */
export interface FeedStatus {
  /** Who feeds it; undefined while it looks for somebody. */
  readonly source: NodeId | undefined;
  /** Entries that the source was ahead when it was last heard. */
  readonly behindCount: number;
}

/** A cluster without a leader, as one of its nodes sees it. */
export interface Leaderless {
  readonly forMs: number;
  /** Voters that were not heard lately; some of them may be in reach of each other. */
  readonly missing: readonly NodeId[];
  /** Where a member can be reached that goes on in another cluster, begun with this one's state. */
  readonly supersededAt?: HostPort | undefined;
}

/** Where this node stands, told whenever it changes. */
export interface RoleChange {
  readonly role: RoleKind;
  readonly term: Term;
  readonly leader: NodeId | undefined;
}

export interface ExecuteOptions {
  /** How long to try, leader changes included. */
  readonly timeoutMs?: number;
  /** For a caller that retries by itself; made up when absent. */
  readonly requestId?: RequestId;
  /** The command is what brings the cluster to the version that it needs. */
  readonly raisesVersion?: boolean;
}

/** A token as the API shows it: never the secret. */
export interface TokenInfo {
  readonly id: string;
  readonly createdAtMs: number;
  readonly expiresAtMs: number;
  /** Undefined: as often as wanted. */
  readonly usesMax: number | undefined;
  readonly usesCount: number;
  readonly revoked: boolean;
}

export interface CreatedToken extends TokenInfo {
  /** The whole token, with pin, secret and checksum. Shown once, kept nowhere. */
  readonly token: string;
}

export interface CreateTokenOptions {
  readonly lifeMs: number;
  readonly usesMax: number | undefined;
}

/** What can be ordered of one member. */
export type MemberVerb = "promote" | "demote" | "remove";

export type MemberFailure =
  | { readonly kind: "not_found"; readonly detail: string }
  | { readonly kind: "member_refused"; readonly detail: string }
  | ClusterFailure;

/** Why a join did not happen. Nothing was changed on this node. */
export type JoinFailure =
  | { readonly kind: "invalid_token"; readonly detail: string }
  | { readonly kind: "pin_mismatch"; readonly detail: string }
  | { readonly kind: "peer_unreachable"; readonly detail: string }
  | { readonly kind: "peer_not_overlay"; readonly detail: string }
  | { readonly kind: "already_member"; readonly detail: string }
  | { readonly kind: "join_refused"; readonly detail: string }
  | ClusterFailure;

export type LeaveFailure =
  | { readonly kind: "last_member"; readonly detail: string }
  | ClusterFailure;

export type RevokeTokenFailure =
  | { readonly kind: "not_found"; readonly detail: string }
  | ClusterFailure;

/** Counters of the cluster port and of consensus, for metrics; names are snake case. */
export type ClusterCounters = Readonly<Record<string, number>>;

/** This node's part of the cluster, running. */
export interface Cluster {
  /** The replicated state as applied here; linearizable after a `readBarrier`. */
  readonly reader: KvReader;
  /** The port really listened on (differs from the wanted one when that was 0). */
  readonly port: number;

  /** Carries out a write exactly once, wherever the leader is. */
  execute<Outcome>(
    command: Command<Outcome>,
    options?: ExecuteOptions,
  ): Promise<Result<Outcome, ClusterFailure>>;
  /** When it succeeds, `reader` holds every write that was acknowledged before the call. */
  readBarrier(timeoutMs?: number): Promise<Result<void, ClusterFailure>>;

  status(): ClusterStatus;
  members(): readonly Member[];
  counters(): ClusterCounters;

  createToken(options: CreateTokenOptions): Promise<Result<CreatedToken, ClusterFailure>>;
  tokens(): readonly TokenInfo[];
  revokeToken(id: string): Promise<Result<TokenInfo, RevokeTokenFailure>>;

  /**
   * Has a member preferred as a voter, kept from voting while others can, or taken out for ever.
   * Gives it as it was before. Refused, with the reason, where the cluster could not go on after.
   */
  orderMember(verb: MemberVerb, id: NodeId): Promise<Result<MemberRecord, MemberFailure>>;
  /** How many voters there should be, at most. */
  voterTarget(): number;
  /** 1, 3, 5 or 7. */
  setVoterTarget(target: number): Promise<Result<void, MemberFailure>>;
  /** Takes this node out, leadership handed over first. Afterwards only `close` may be called. */
  leave(): Promise<Result<void, LeaveFailure>>;
  /** CAs and certificates as this node sees them. */
  trust(): TrustStatus;
  /** Begins with a new CA; the present one is trusted for at most `withinMs` more. */
  rotateCa(withinMs: number): Promise<Result<void, RotationFailure>>;
  /** Takes in the certificate that a join granted to this node again, in the same cluster. */
  readmit(grant: JoinGrant): Promise<void>;
  /** Replaces what the members table says about this node; nothing is written when equal. */
  updateSelf(info: Partial<MemberInfo>): Promise<Result<void, ClusterFailure>>;

  /** Calls `listener` after each applied entry that changed something. Returns the undo. */
  onApplied(listener: (events: readonly KvEvent[], revision: Revision) => void): () => void;
  /** Calls `listener` at each change of role, term or leader. Returns the undo. */
  onRole(listener: (change: RoleChange) => void): () => void;

  /** Hands leadership over when it can (bounded time), then closes everything it opened. */
  close(): Promise<void>;
}
