/**
 * The admin API from the other side: one method for each thing to ask, failures as a closed union.
 *
 * Speaks HTTP over the Unix socket (the command line on this machine), or over TCP with the admin
 * token. No retries: whether a write may be repeated is for the caller to say.
 *
 * @module
 */
import * as v from "valibot";
import {
  type AdminTarget,
  type Answer,
  type Ask,
  JSON_TYPE,
  openStream,
  post,
  send,
} from "./ask.ts";
import { createKvClient, type KvClient } from "./kv-client.ts";
import type {
  AuthorityView,
  ConfigView,
  CreatedToken,
  ImportView,
  JoinRequest,
  JoinView,
  LeaseView,
  LeaveView,
  MemberView,
  PingRequest,
  PingView,
  Readiness,
  RecoveredView,
  RecoveryView,
  ReservationOwnerRequest,
  ReservationView,
  StatusView,
  TokenView,
  VotersView,
} from "./service.ts";
import { BACKUP_MEDIA_TYPE } from "./snapshot.ts";
import {
  AuthoritySchema,
  ConfigSchema,
  CreatedTokenSchema,
  ImportSchema,
  JoinSchema,
  LeaseSchema,
  LeaveSchema,
  MemberSchema,
  PingSchema,
  PutConfigSchema,
  type PutConfigView,
  ReadinessSchema,
  RecoveredSchema,
  RecoverySchema,
  ReservationSchema,
  StatusSchema,
  TokenSchema,
  VotersSchema,
} from "./views.ts";

export interface PutConfigOptions {
  readonly dryRun?: boolean;
  readonly renumber?: boolean;
  /** Fail with `revision_mismatch` unless the config is at this revision. */
  readonly expectedRevision?: number | undefined;
}

export interface NewToken {
  readonly lifeSeconds?: number | undefined;
  readonly usesMax?: number | undefined;
}

/** A config, and the addresses whose nodes have which subnets. */
export interface NetworkImport {
  readonly config: Readonly<Record<string, unknown>>;
  readonly reservations: readonly { readonly subnet: string; readonly publicIp: string }[];
}

export interface AdminClient {
  readonly kv: KvClient;
  getConfig(): Answer<ConfigView>;
  /** `body` goes to the agent as it is, so that its faults are told with their position. */
  putConfig(body: string, options: PutConfigOptions): Answer<PutConfigView>;
  status(): Answer<StatusView>;
  readiness(): Answer<Readiness>;
  leases(): Answer<readonly LeaseView[]>;
  /** `subnet` as "10.0.53.0/24". */
  releaseLease(subnet: string): Answer<LeaseView>;
  reservations(): Answer<readonly ReservationView[]>;
  reserve(subnet: string, owner: ReservationOwnerRequest): Answer<ReservationView>;
  unreserve(subnet: string): Answer<ReservationView>;
  /** `expectedRevision` is of the config; 0: there must be none. */
  importNetwork(network: NetworkImport, expectedRevision: number): Answer<ImportView>;
  members(): Answer<readonly MemberView[]>;
  removeMember(id: string): Answer<MemberView>;
  promoteMember(id: string): Answer<MemberView>;
  demoteMember(id: string): Answer<MemberView>;
  voters(): Answer<VotersView>;
  setVoters(target: number): Answer<VotersView>;
  authority(): Answer<AuthorityView>;
  rotateCa(request: { readonly keepSeconds?: number | undefined }): Answer<AuthorityView>;
  tokens(): Answer<readonly TokenView[]>;
  createToken(request: NewToken): Answer<CreatedToken>;
  revokeToken(id: string): Answer<TokenView>;
  join(request: JoinRequest): Answer<JoinView>;
  leave(): Answer<LeaveView>;
  /** A backup as it comes in; to be read to its end, which tells whether it is whole. */
  backup(consistency: "linearizable" | "serializable"): Answer<ReadableStream<Uint8Array>>;
  recovery(): Answer<RecoveryView>;
  recover(clusterId: string): Answer<RecoveredView>;
  ping(request: PingRequest): Answer<PingView>;
}

/** A client that gives each request `timeoutMs`. Opens nothing until it is asked. */
export function createAdminClient(target: AdminTarget, timeoutMs: number): AdminClient {
  const ask = <View>(schema: v.GenericSchema<unknown, View>, request: Ask) =>
    send(target, timeoutMs, schema, request);
  const path = (name: string, id: string) => `/${name}/${encodeURIComponent(id)}`;
  return {
    kv: createKvClient(target, timeoutMs),
    getConfig: () => ask(ConfigSchema, { path: "/config" }),
    putConfig: (body, options) => ask(PutConfigSchema, putConfigRequest(body, options)),
    status: () => ask(StatusSchema, { path: "/status" }),
    readiness: () => ask(ReadinessSchema, { path: "/readyz" }),
    leases: () => ask(v.array(LeaseSchema), { path: "/leases" }),
    releaseLease: (subnet) =>
      ask(LeaseSchema, { method: "DELETE", path: path("leases", subnet.replace("/", "-")) }),
    reservations: () => ask(v.array(ReservationSchema), { path: "/reservations" }),
    reserve: (subnet, owner) =>
      ask(ReservationSchema, {
        ...post(path("reservations", subnet.replace("/", "-")), owner),
        method: "PUT",
      }),
    unreserve: (subnet) =>
      ask(ReservationSchema, {
        method: "DELETE",
        path: path("reservations", subnet.replace("/", "-")),
      }),
    importNetwork: (network, expectedRevision) => {
      const request = post("/import", network);
      const headers = { ...request.headers, "if-match": `"${expectedRevision}"` };
      return ask(ImportSchema, { ...request, headers });
    },
    members: () => ask(v.array(MemberSchema), { path: "/members" }),
    removeMember: (id) => ask(MemberSchema, { method: "DELETE", path: path("members", id) }),
    promoteMember: (id) => ask(MemberSchema, post(`${path("members", id)}/promote`, {})),
    demoteMember: (id) => ask(MemberSchema, post(`${path("members", id)}/demote`, {})),
    voters: () => ask(VotersSchema, { path: "/voters" }),
    setVoters: (target) => ask(VotersSchema, { ...post("/voters", { target }), method: "PUT" }),
    authority: () => ask(AuthoritySchema, { path: "/ca" }),
    rotateCa: (request) => ask(AuthoritySchema, post("/ca/rotate", request)),
    tokens: () => ask(v.array(TokenSchema), { path: "/tokens" }),
    createToken: (request) => ask(CreatedTokenSchema, post("/tokens", request)),
    revokeToken: (id) => ask(TokenSchema, { method: "DELETE", path: path("tokens", id) }),
    join: (request) => ask(JoinSchema, post("/join", request)),
    leave: () => ask(LeaveSchema, post("/leave", {})),
    backup: (consistency) =>
      openStream(
        target,
        timeoutMs,
        { path: `/snapshot?consistency=${consistency}` },
        BACKUP_MEDIA_TYPE,
      ),
    recovery: () => ask(RecoverySchema, { path: "/recovery" }),
    recover: (clusterId) => ask(RecoveredSchema, post("/recovery", { clusterId })),
    ping: (request) => ask(PingSchema, post("/ping", request)),
  };
}

function putConfigRequest(body: string, options: PutConfigOptions): Ask {
  const query = new URLSearchParams();
  if (options.dryRun === true) query.set("dryRun", "true");
  if (options.renumber === true) query.set("renumber", "true");
  const { expectedRevision } = options;
  const ifMatch = expectedRevision === undefined ? {} : { "if-match": `"${expectedRevision}"` };
  const path = query.size === 0 ? "/config" : `/config?${query}`;
  return { method: "PUT", path, body, headers: { ...JSON_TYPE, ...ifMatch } };
}
