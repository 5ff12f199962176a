/**
 * Answers the admin API out of the running agent: turns questions into reads of cluster, network
 * and data plane, and domain values into the shapes of the API.
 *
 * @module
 */
import { formatIssue } from "../admin/field-issue.ts";
import type {
  AdminService,
  ClusterFailure,
  ConfigPlanView,
  ConfigView,
  CreatedToken,
  CreateTokenRequest,
  FieldIssue,
  ImportFailure,
  ImportRequest,
  ImportView,
  JoinRequest,
  JoinView,
  LeaseView,
  LeaveView,
  MemberFailure,
  MemberView,
  NotFound,
  PutConfigFailure,
  PutConfigRequest,
  TokenView,
  VotersView,
} from "../admin/service.ts";
import { type Prefix, parsePrefix } from "../base/address.ts";
import { formatNodeId, type NodeId, parseNodeId } from "../base/ids.ts";
import { err, ok, type Result } from "../base/result.ts";
import { VERSION } from "../base/version.ts";
import { formatHostPort } from "../control/cluster/transport/host-port.ts";
import type {
  JoinFailure,
  LeaveFailure,
  Member,
  MemberVerb,
  TokenInfo,
} from "../control/cluster/types.ts";
import {
  importNetwork,
  type PutConfigOutcome,
  putConfig,
  releaseLease,
} from "../control/network/commands.ts";
import { formatNetworkConfig, parseNetworkConfig } from "../control/network/config.ts";
import type { Lease, LeaseBackend } from "../control/network/lease.ts";
import { type ConfigPlan, planConfig } from "../control/network/plan.ts";
import { heldSubnets } from "../control/network/view.ts";
import type { Clock } from "../host/ports.ts";
import type { DataPlane } from "./data-plane.ts";
import { installLine } from "./hand-out.ts";
import { agentMetrics } from "./metrics.ts";
import { nodeRef } from "./node-ref.ts";
import { pingPeers } from "./ping.ts";
import type { Reconciler } from "./reconciler.ts";
import { runningRecovery } from "./recovery.ts";
import { listReservations, parseImported, refusal, reserve, unreserve } from "./reservations.ts";
import type { Session } from "./session.ts";
import { agentReadiness, agentStatus } from "./status.ts";
import { authorityView } from "./trust-status.ts";

export interface AdminServiceOptions {
  /** The session of this moment: a join replaces it. */
  readonly session: () => Session;
  readonly dataPlane: DataPlane;
  readonly reconciler: Reconciler;
  /** As in `StatusSources`. */
  readonly kernelRoutes?: () => string;
  readonly clock: Clock;
  /** Reasons why `network` cannot be laid over this machine or a member's underlay. */
  readonly findConflicts: (network: Prefix) => readonly FieldIssue[];
  readonly join: (request: JoinRequest) => Promise<Result<JoinView, JoinFailure>>;
  readonly leave: () => Promise<Result<LeaveView, LeaveFailure>>;
  readonly recover: AdminService["recover"];
  /** Host and port to print in a join command. */
  readonly advertisedAddress: () => string;
}

/** The admin API's view of one agent process. */
export function createAdminService(options: AdminServiceOptions): AdminService {
  return {
    version: VERSION,
    get kv() {
      return options.session().kv;
    },
    getConfig: () => getConfig(options),
    putConfig: (request) => changeConfig(options, request),
    status: () => agentStatus(options),
    leases: () => {
      const { leases, draining } = options.session().network.view();
      return [...leases.values(), ...draining.values()].map((lease) => leaseView(options, lease));
    },
    releaseLease: (subnet) => releaseBySubnet(options, subnet),
    reservations: () => listReservations(options.session()),
    reserve: (subnet, owner) => reserve(options.session(), subnet, owner),
    unreserve: (subnet) => unreserve(options.session(), subnet),
    importNetwork: (request) => changeNetwork(options, request),
    members: () => options.session().cluster.members().map(memberView),
    removeMember: (id) => removeMember(options, id),
    promoteMember: (id) => orderMember(options, "promote", id),
    demoteMember: (id) => orderMember(options, "demote", id),
    voters: () => votersView(options),
    setVoters: async (target) =>
      mapValue(await options.session().cluster.setVoterTarget(target), () => votersView(options)),
    authority: () => authorityView(options.session().cluster),
    rotateCa: async (keepSeconds) => {
      const { cluster } = options.session();
      return mapValue(await cluster.rotateCa(keepSeconds * 1000), () => authorityView(cluster));
    },
    tokens: () =>
      options
        .session()
        .cluster.tokens()
        .map((token) => tokenView(options, token)),
    createToken: (request) => createToken(options, request),
    revokeToken: async (id) =>
      mapValue(await options.session().cluster.revokeToken(id), (token) =>
        tokenView(options, token),
      ),
    join: options.join,
    leave: options.leave,
    backup: async (consistency) => {
      const session = options.session();
      const read = await session.kv.read(consistency);
      return mapValue(read, () => session.backup());
    },
    recovery: () => runningRecovery(options.session()),
    recover: options.recover,
    ping: (request) => pingPeers({ ...options, names: memberNames(options) }, request),
    readiness: () => agentReadiness(options),
    metrics: () => agentMetrics(options),
  };
}

function memberNames({ session }: AdminServiceOptions): ReadonlyMap<NodeId, string> {
  return new Map(
    session()
      .cluster.members()
      .map(({ id, name }) => [id, name]),
  );
}

async function getConfig(
  options: AdminServiceOptions,
): Promise<Result<ConfigView | undefined, ClusterFailure>> {
  const { cluster, network } = options.session();
  const barrier = await cluster.readBarrier();
  if (!barrier.ok) return barrier;
  const stored = network.view().config;
  if (stored === undefined) return ok(undefined);
  return ok({ revision: stored.revision, config: formatNetworkConfig(stored.config) });
}

type PutConfigAnswer = Result<ConfigView & { readonly plan: ConfigPlanView }, PutConfigFailure>;

async function changeConfig(
  options: AdminServiceOptions,
  request: PutConfigRequest,
): Promise<PutConfigAnswer> {
  const parsed = parseNetworkConfig(request.body);
  if (!parsed.ok) return err(invalidConfig(parsed.error));
  const conflicts = options.findConflicts(parsed.value.pool.network);
  if (conflicts.length > 0) return err(invalidConfig(conflicts));

  const { cluster, network } = options.session();
  if (request.dryRun) {
    const barrier = await cluster.readBarrier();
    if (!barrier.ok) return barrier;
    const view = network.view();
    const revision = view.config?.revision ?? 0;
    if (request.expectedRevision !== undefined && request.expectedRevision !== revision) {
      return err(revisionMismatch(revision));
    }
    const plan = planView(options, planConfig(parsed.value, view.leases.values()));
    return ok({ revision, config: formatNetworkConfig(parsed.value), plan });
  }

  const config = formatNetworkConfig(parsed.value);
  const { expectedRevision, renumber } = request;
  const result = await cluster.execute(putConfig({ config, expectedRevision, renumber }));
  if (!result.ok) return result;
  return configAnswer(options, result.value);
}

async function changeNetwork(
  options: AdminServiceOptions,
  request: ImportRequest,
): Promise<Result<ImportView, ImportFailure>> {
  const parsed = parseNetworkConfig(request.config);
  if (!parsed.ok) return err(invalidConfig(parsed.error));
  const conflicts = options.findConflicts(parsed.value.pool.network);
  if (conflicts.length > 0) return err(invalidConfig(conflicts));
  const session = options.session();
  const config = formatNetworkConfig(parsed.value);
  const { expectedRevision } = request;
  const reservations = parseImported(request);
  const command = importNetwork({ config, expectedRevision, reservations });
  const result = await session.cluster.execute(command);
  if (!result.ok) return result;
  const outcome = result.value;
  if (outcome.kind === "refused") return err(refusal(session, "import", outcome.refused));
  const answer = configAnswer(
    options,
    outcome.kind === "imported" ? { ...outcome, kind: "stored" } : outcome,
  );
  if (!answer.ok) return answer;
  const wanted = new Set(reservations.map(({ subnet }): string => subnet));
  const stored = listReservations(session).filter(({ subnet }) => wanted.has(subnet));
  return ok({ ...answer.value, reservations: stored });
}

function configAnswer(options: AdminServiceOptions, outcome: PutConfigOutcome): PutConfigAnswer {
  switch (outcome.kind) {
    case "stored": {
      const { revision, config } = outcome;
      return ok({ revision, config, plan: planView(options, outcome.plan) });
    }
    case "invalid_config":
      return err(invalidConfig(outcome.errors));
    case "revision_mismatch":
      return err(revisionMismatch(outcome.revision));
    case "would_renumber": {
      const plan = planView(options, outcome.plan);
      const nodes = plan.renumbered.map(({ subnet, node }) => `${node} (${subnet})`).join(", ");
      const detail =
        `Cannot change the config: ${nodes} would get another subnet; repeat with renumber=true ` +
        "if that is wanted: each node keeps the old one beside it until nothing uses it";
      return err({ kind: "would_renumber", detail, plan });
    }
    default:
      return err({
        kind: "overloaded",
        detail: `Cannot change the config: the cluster answered ${outcome.kind}; update all nodes to one version and try again`,
      });
  }
}

function invalidConfig(errors: readonly FieldIssue[]): PutConfigFailure {
  const first = errors[0];
  const more = errors.length > 1 ? ` (and ${errors.length - 1} more)` : "";
  const state = first === undefined ? "invalid" : formatIssue(first);
  const detail = `Cannot accept the network config: ${state}${more}`;
  return { kind: "invalid_config", detail, errors };
}

function revisionMismatch(revision: number): PutConfigFailure {
  const detail =
    revision === 0
      ? "Cannot change the config: there is none yet, and If-Match names a revision"
      : `Cannot change the config: it is at revision ${revision} now; read it and try again`;
  return { kind: "revision_mismatch", detail, revision };
}

function planView(options: AdminServiceOptions, plan: ConfigPlan): ConfigPlanView {
  const renumbered = plan.renumbered.map(({ subnet, node }) => {
    const id = parseNodeId(node);
    return { subnet, node: id === undefined ? node : nodeRef(options.session(), id).name };
  });
  return { effect: plan.effect, kept: plan.kept, renumbered, capacity: plan.capacity };
}

function omitKind({ kind: _, ...data }: Extract<LeaseBackend, { kind: "udp" }>): unknown {
  return data;
}

function leaseView(options: AdminServiceOptions, lease: Lease): LeaseView {
  const { network } = options.session();
  const { backend, publicIp } = lease.attributes;
  return {
    subnet: lease.subnet,
    node: nodeRef(options.session(), lease.node),
    publicIp,
    backend:
      backend.kind === "udp"
        ? { type: "udp", data: omitKind(backend) }
        : { type: backend.type, data: backend.data },
    expiresInSeconds: Math.round(network.remainingSeconds(lease.subnet)),
    reserved: network.view().reservations.has(lease.subnet),
    draining: network.view().draining.has(lease.subnet),
  };
}

async function releaseBySubnet(
  options: AdminServiceOptions,
  text: string,
): Promise<Result<LeaseView, NotFound | ClusterFailure>> {
  const subnet = parsePrefix(text.replace("-", "/"));
  const { leases, draining } = options.session().network.view();
  const lease = subnet && (leases.get(subnet) ?? draining.get(subnet));
  const detail = `Cannot release lease "${text}": nobody holds it; see "overlay lease list"`;
  const missing = { kind: "not_found", detail } as const;
  if (lease === undefined) return err(missing);
  const result = await options
    .session()
    .cluster.execute(releaseLease({ subnet: lease.subnet, node: lease.node }));
  if (!result.ok) return result;
  return result.value.kind === "released" ? ok(leaseView(options, lease)) : err(missing);
}

async function orderMember(
  options: AdminServiceOptions,
  verb: MemberVerb,
  text: string,
): Promise<Result<MemberView, MemberFailure>> {
  const { cluster } = options.session();
  const before = cluster.members().find((member) => formatNodeId(member.id) === text);
  if (before === undefined) {
    const detail = `Cannot ${verb} member ${text}: there is none; see "overlay member list"`;
    return err({ kind: "not_found", detail });
  }
  return mapValue(await cluster.orderMember(verb, before.id), () => memberView(before));
}

async function removeMember(
  options: AdminServiceOptions,
  text: string,
): Promise<Result<MemberView, MemberFailure>> {
  const { cluster, network } = options.session();
  const removed = await orderMember(options, "remove", text);
  const id = parseNodeId(text);
  // Only now: a live member would take its lease again at once.
  if (!removed.ok || id === undefined) return removed;
  for (const subnet of heldSubnets(network.view(), id)) {
    const released = await cluster.execute(releaseLease({ subnet, node: id }));
    if (released.ok) continue;
    const { kind } = released.error;
    const next = `run "overlay lease release ${subnet}"`;
    const detail = `Cannot release lease ${subnet} of removed member ${text}: ${kind}; ${next}`;
    return err({ kind, detail });
  }
  return removed;
}

function votersView({ session }: AdminServiceOptions): VotersView {
  const { cluster } = session();
  const voters = cluster.members().filter(({ role }) => role === "voter");
  return {
    target: cluster.voterTarget(),
    voters: voters.map(({ id, name }) => ({ id: formatNodeId(id), name })),
  };
}

async function createToken(
  options: AdminServiceOptions,
  request: CreateTokenRequest,
): Promise<Result<CreatedToken, ClusterFailure>> {
  const created = await options.session().cluster.createToken({
    lifeMs: request.lifeSeconds * 1000,
    usesMax: request.usesMax,
  });
  const peer = options.advertisedAddress();
  const { certificate } = options.session().identity.keys;
  return mapValue(created, ({ id, token, expiresAtMs }) => {
    const joinCommand = `overlay join ${peer} --token ${token}`;
    const installCommand = installLine({ certificate, peer, joinCommand });
    return {
      id,
      token,
      expiresAt: new Date(expiresAtMs).toISOString(),
      joinCommand,
      installCommand,
    };
  });
}

function memberView(member: Member): MemberView {
  return {
    id: formatNodeId(member.id),
    name: member.name,
    role: member.role,
    leader: member.leader,
    address: formatHostPort(member.address),
    wish: member.wish ?? null,
    zone: member.zone,
    live: member.live ?? null,
    self: member.self,
  };
}

function tokenView({ clock }: AdminServiceOptions, token: TokenInfo): TokenView {
  return {
    id: token.id,
    createdAt: new Date(token.createdAtMs).toISOString(),
    expiresAt: new Date(token.expiresAtMs).toISOString(),
    usesLeft: token.usesMax === undefined ? null : Math.max(0, token.usesMax - token.usesCount),
    revoked: token.revoked,
    expired: clock.wallMs() >= token.expiresAtMs,
  };
}

function mapValue<T, U, E>(result: Result<T, E>, map: (value: T) => U): Result<U, E> {
  return result.ok ? ok(map(result.value)) : result;
}
