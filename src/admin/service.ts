/**
 * What the HTTP API needs of the agent: one method for each thing a user can ask.
 *
 * The agent implements it; routes call it; the schemas beside the routes turn requests into these
 * arguments. Failures are closed unions that `problem.ts` maps to HTTP exhaustively.
 *
 * @module
 */
import type { Result } from "../base/result.ts";
import type { RotationFailure } from "../control/cluster/trust/rotation.ts";
import type { JoinFailure, LeaveFailure } from "../control/cluster/types.ts";
import type { KvApi } from "./kv-api.ts";

/** A write or a linearizable read that the cluster could not carry out now. */
export type ClusterFailure =
  | { readonly kind: "no_leader"; readonly detail: string }
  | { readonly kind: "no_quorum"; readonly detail: string }
  | { readonly kind: "timeout"; readonly detail: string }
  | { readonly kind: "overloaded"; readonly detail: string }
  | { readonly kind: "upgrade_needed"; readonly detail: string };

export interface FieldIssue {
  /** Dotted path of the offending key, "" for the whole body. */
  readonly path: string;
  readonly message: string;
}

/** A config that cannot be accepted, with every reason found. */
export interface InvalidConfig {
  readonly kind: "invalid_config";
  readonly detail: string;
  readonly errors: readonly FieldIssue[];
}

/** What a new config would do to the leases there are. */
export interface ConfigPlanView {
  /** "none" (nothing there yet), "keep" or "renumber". */
  readonly effect: "none" | "keep" | "renumber";
  readonly kept: readonly string[];
  /** Leases that the new config makes invalid, with who holds them. */
  readonly renumbered: readonly { readonly subnet: string; readonly node: string }[];
  /** How many subnets the new network has room for. */
  readonly capacity: number;
}

export interface ConfigView {
  readonly revision: number;
  readonly config: Readonly<Record<string, unknown>>;
}

export interface PutConfigRequest {
  /** The parsed JSON body, not yet checked. */
  readonly body: unknown;
  /** From `If-Match`. */
  readonly expectedRevision: number | undefined;
  readonly dryRun: boolean;
  readonly renumber: boolean;
}

export type PutConfigFailure =
  | InvalidConfig
  | { readonly kind: "revision_mismatch"; readonly detail: string; readonly revision: number }
  | { readonly kind: "would_renumber"; readonly detail: string; readonly plan: ConfigPlanView }
  | ClusterFailure;

export interface NodeRef {
  readonly id: string;
  readonly name: string;
}

export interface StatusView {
  readonly node: {
    readonly id: string;
    readonly name: string;
    readonly version: string;
    readonly role: string;
    readonly state: string;
  };
  readonly cluster: {
    readonly id: string;
    readonly generation: number;
    readonly leader: NodeRef | null;
    readonly term: number;
    readonly members: number;
    readonly voters: number;
    readonly quorum: boolean;
    /**
     * Of a node that the leader does not look after, such as a spare: who feeds it, and how many
     * entries it was behind when it last heard. Null of the others.
     */
    readonly feed: { readonly source: NodeRef | null; readonly behind: number } | null;
  };
  /** Null without a config. */
  readonly network: Readonly<Record<string, unknown>> | null;
  /** Null without a lease. */
  readonly lease: {
    readonly subnet: string;
    readonly gateway: string;
    readonly expiresInSeconds: number;
  } | null;
  readonly dataplane: {
    readonly backend: string;
    /** "ebpf+user": the kernel carries lone packets; "user": the packet loop carries all. */
    readonly engine: string;
    /** Why the kernel carries none; null while it does. */
    readonly engineReason: string | null;
    readonly encryption: string;
    readonly mtu: number;
    readonly interface: string;
    readonly counters: Readonly<Record<string, number>>;
    readonly offloads: OffloadsView;
  } | null;
  readonly peers: readonly PeerView[];
  /** Sentences for people: what is wrong and what to do. */
  readonly warnings: readonly string[];
}

/** What the kernel does for packets by the batch, by name, and why it does not. */
export interface OffloadsView {
  readonly on: readonly string[];
  readonly off: readonly { readonly name: string; readonly reason: string }[];
}

export interface PeerView extends PeerPathView {
  readonly id: string;
  readonly name: string;
  readonly subnet: string;
  readonly endpoint: string;
  readonly path: string;
  /** With "auto": why this path and no better one; else null. */
  readonly pathReason: string | null;
  readonly rxBytes: number;
  readonly txBytes: number;
}

/** What probes say of the way to a peer; null until measured. */
export interface PeerPathView {
  /** Smoothed (RFC 6298), least and last. */
  readonly rttMs: number | null;
  readonly rttMinMs: number | null;
  readonly rttLastMs: number | null;
  /** Of the last 30 probes. */
  readonly lossPercent: number | null;
  /** Largest inner packet, in bytes. */
  readonly mtu: number | null;
  /** Largest outer packet there, and back as the peer says, in bytes. */
  readonly pathMtu: number | null;
  readonly pathMtuBack: number | null;
  /** Since a packet or an answer came from the peer. */
  readonly lastSeenSeconds: number | null;
  /** Whether packets went to or came from the peer lately. */
  readonly inUse: boolean;
}

/** One question to each peer that is meant. */
export interface PingRequest {
  /** Name, id or address of a peer, or "all". */
  readonly target: string;
  readonly through: "underlay" | "overlay";
  readonly timeoutMs: number;
  /** To wait before asking. */
  readonly delayMs: number;
  /** Look for a larger path MTU than was found. */
  readonly raiseMtu: boolean;
}

export interface PingResultView {
  readonly id: string;
  readonly name: string;
  /** What was asked: an endpoint, or an address of the overlay. */
  readonly address: string;
  /** Null when there was no answer; then there is a reason. */
  readonly rttMs: number | null;
  readonly reason: string | null;
  /** Largest inner packet, and largest outer one, on the way there; null until found. */
  readonly mtu: number | null;
  readonly pathMtu: number | null;
}

export interface PingView {
  readonly results: readonly PingResultView[];
}

export interface LeaseView {
  readonly subnet: string;
  readonly node: NodeRef;
  readonly publicIp: string;
  readonly backend: { readonly type: string; readonly data: unknown };
  readonly expiresInSeconds: number;
  readonly reserved: boolean;
  /** Of a former network, and in use until its node has moved. */
  readonly draining: boolean;
}

/** A subnet that is kept, for a node or for whoever first comes from an address. */
export interface ReservationView {
  readonly subnet: string;
  readonly node: NodeRef | null;
  readonly publicIp: string | null;
  /** Whether its owner holds it now. */
  readonly held: boolean;
}

/** Exactly one of the two. */
export type ReservationOwnerRequest =
  | { readonly node: string; readonly publicIp?: undefined }
  | { readonly publicIp: string; readonly node?: undefined };

export interface ImportRequest {
  /** A network config, not yet checked. */
  readonly config: unknown;
  readonly reservations: readonly { readonly subnet: string; readonly publicIp: string }[];
  /** From `If-Match`. */
  readonly expectedRevision: number | undefined;
}

export interface ImportView extends ConfigView {
  readonly plan: ConfigPlanView;
  readonly reservations: readonly ReservationView[];
}

/** Subnets that cannot be kept for whom they should be; each is the path of an issue. */
export interface ReservationRefused {
  readonly kind: "reservation_refused";
  readonly detail: string;
  readonly errors: readonly FieldIssue[];
}

export type ReserveFailure =
  | { readonly kind: "no_config"; readonly detail: string }
  | ReservationRefused
  | NotFound
  | ClusterFailure;

export type ImportFailure = PutConfigFailure | ReservationRefused;

export interface MemberView {
  readonly id: string;
  readonly name: string;
  /** "voter", "standby" or "spare". */
  readonly role: string;
  readonly leader: boolean;
  /** Cluster address, host and port. */
  readonly address: string;
  /** What somebody wished it to be, "voter" or "standby"; null when nobody did. */
  readonly wish: string | null;
  /** "" when it names none. */
  readonly zone: string;
  /** Whether the leader heard from it within an election timeout; null when not known here. */
  readonly live: boolean | null;
  readonly self: boolean;
}

/** How many members should vote, and who does. */
export interface VotersView {
  readonly target: number;
  readonly voters: readonly NodeRef[];
}

export interface TokenView {
  readonly id: string;
  readonly createdAt: string;
  readonly expiresAt: string;
  readonly usesLeft: number | null;
  readonly revoked: boolean;
  /** By the clock of the node that answers; the leader's decides. */
  readonly expired: boolean;
}

/** A CA of the cluster. */
export interface CaView {
  /** SHA-256 of its public key, as in join tokens. */
  readonly pin: string;
  readonly state: "signing" | "retiring";
  readonly expiresAt: string;
}

/** The certificate of a node, as it said itself. */
export interface CertificateView extends NodeRef {
  /** Of the CA that made it. */
  readonly pin: string;
  readonly expiresAt: string;
}

/** Who signs, and who has been signed. */
export interface AuthorityView {
  readonly authorities: readonly CaView[];
  /** When retiring CAs are dropped at the latest. */
  readonly dropsAt: string | null;
  /** Nodes whose certificate is not of the CA that signs. */
  readonly waiting: readonly NodeRef[];
  readonly certificates: readonly CertificateView[];
  /** When this node renews its certificate. */
  readonly renewsAt: string;
}

/** The secret is shown once, here. */
export interface CreatedToken {
  readonly id: string;
  readonly token: string;
  readonly expiresAt: string;
  /** For a node where overlay runs already. */
  readonly joinCommand: string;
  /** For a machine without it: installs from this node, its key pinned, and joins. */
  readonly installCommand: string;
}

export interface CreateTokenRequest {
  readonly lifeSeconds: number;
  /** Undefined: as often as wanted until it expires. */
  readonly usesMax: number | undefined;
}

export interface JoinRequest {
  /** Host, or host and port; the cluster port when absent. */
  readonly peer: string;
  readonly token: string;
  /** Give up this node's own config, leases and members. */
  readonly reset: boolean;
}

export interface JoinView {
  readonly clusterId: string;
  readonly nodeId: string;
  readonly peer: string;
}

export interface LeaveView {
  readonly nodeId: string;
  readonly clusterId: string;
}

export type NotFound = { readonly kind: "not_found"; readonly detail: string };
export type MemberFailure =
  | NotFound
  | { readonly kind: "member_refused"; readonly detail: string }
  | ClusterFailure;

/** What a node would go on with alone. */
export interface RecoveryView {
  readonly cluster: { readonly id: string; readonly generation: number };
  readonly node: NodeRef;
  readonly members: readonly (NodeRef & { readonly voter: boolean; readonly self: boolean })[];
  /** Last log entry and revision that it has. */
  readonly index: number;
  readonly revision: number;
  /** Held ones. */
  readonly leases: number;
  /** Whether the cluster goes on by itself; null when no agent runs here. */
  readonly quorum: boolean | null;
  /** Since when it has no leader; null while it has one, or when no agent runs here. */
  readonly leaderlessSeconds: number | null;
}

/** The new cluster. */
export interface RecoveredView {
  readonly clusterId: string;
  readonly generation: number;
  readonly nodeId: string;
  readonly revision: number;
}

/** A cluster that needs no recovery, or is not the one that was looked at. */
export type RecoveryFailure = { readonly kind: "has_quorum"; readonly detail: string };

/** "ready" or the reasons why not, for `/readyz`. */
export interface Readiness {
  readonly ready: boolean;
  readonly reasons: readonly string[];
}

/** One sample of a metric. */
export interface MetricSample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface Metric {
  /** Without the `overlay_` prefix. */
  readonly name: string;
  readonly kind: "counter" | "gauge";
  readonly help: string;
  readonly samples: readonly MetricSample[];
}

export interface AdminService {
  readonly version: string;
  /** The store of the cluster that the node is in at the moment. */
  readonly kv: KvApi;
  getConfig(): Promise<Result<ConfigView | undefined, ClusterFailure>>;
  putConfig(
    request: PutConfigRequest,
  ): Promise<Result<ConfigView & { readonly plan: ConfigPlanView }, PutConfigFailure>>;
  status(): StatusView;
  leases(): readonly LeaseView[];
  releaseLease(subnet: string): Promise<Result<LeaseView, NotFound | ClusterFailure>>;
  reservations(): readonly ReservationView[];
  reserve(
    subnet: string,
    owner: ReservationOwnerRequest,
  ): Promise<Result<ReservationView, ReserveFailure>>;
  unreserve(subnet: string): Promise<Result<ReservationView, NotFound | ClusterFailure>>;
  importNetwork(request: ImportRequest): Promise<Result<ImportView, ImportFailure>>;
  members(): readonly MemberView[];
  removeMember(id: string): Promise<Result<MemberView, MemberFailure>>;
  /** Gives the member as it was before; its role follows within seconds. */
  promoteMember(id: string): Promise<Result<MemberView, MemberFailure>>;
  demoteMember(id: string): Promise<Result<MemberView, MemberFailure>>;
  voters(): VotersView;
  setVoters(target: number): Promise<Result<VotersView, MemberFailure>>;
  authority(): AuthorityView;
  rotateCa(keepSeconds: number): Promise<Result<AuthorityView, RotationFailure>>;
  tokens(): readonly TokenView[];
  createToken(request: CreateTokenRequest): Promise<Result<CreatedToken, ClusterFailure>>;
  revokeToken(id: string): Promise<Result<TokenView, NotFound | ClusterFailure>>;
  join(request: JoinRequest): Promise<Result<JoinView, JoinFailure>>;
  leave(): Promise<Result<LeaveView, LeaveFailure>>;
  /** A backup of the state, chunk by chunk. */
  backup(
    consistency: "linearizable" | "serializable",
  ): Promise<Result<AsyncGenerator<Uint8Array, void, void>, ClusterFailure>>;
  recovery(): RecoveryView;
  /** Gives up cluster `clusterId` and goes on alone, in a new one. */
  recover(clusterId: string): Promise<Result<RecoveredView, RecoveryFailure>>;
  ping(request: PingRequest): Promise<Result<PingView, NotFound>>;
  readiness(): Readiness;
  metrics(): readonly Metric[];
}
