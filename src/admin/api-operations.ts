/**
 * What the API can be asked, as data: each operation with the schemas of its query, its headers,
 * its body and its answer, which are those that the routes and the client use themselves.
 *
 * @module
 */
import * as v from "valibot";
import { RotateCaBody } from "./authority.ts";
import { IfMatchHeader, PutConfigQuery } from "./config.ts";
import { EVENT_STREAM_TYPE } from "./event-stream.ts";
import { ImportBody } from "./import.ts";
import { JoinBody, LeaveBody } from "./join.ts";
import { Conditions, DeleteQuery, GetQuery, ListQuery, PutQuery } from "./kv.ts";
import { ListSchema, TxnSchema, WriteSchema } from "./kv-views.ts";
import { VotersBody } from "./members.ts";
import { METRICS_MEDIA_TYPE } from "./metrics-text.ts";
import { PingBody } from "./ping.ts";
import { RecoveryBody } from "./recovery.ts";
import { ReserveBody } from "./reservations.ts";
import { BACKUP_MEDIA_TYPE, SnapshotQuery } from "./snapshot.ts";
import { CreateTokenBody } from "./tokens.ts";
import { CompactBody, TxnBody } from "./txn.ts";
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
  ReadinessSchema,
  RecoveredSchema,
  RecoverySchema,
  ReservationSchema,
  StatusSchema,
  TokenSchema,
  VotersSchema,
} from "./views.ts";
import { LastEventId, WatchQuery } from "./watch.ts";

/** One question to the API. */
export interface Operation {
  readonly method: "get" | "put" | "post" | "delete";
  /** Parameters in braces: "/leases/{subnet}". */
  readonly path: string;
  readonly summary: string;
  /** An object whose entries are the parameters behind the question mark. */
  readonly query?: v.GenericSchema;
  /** An object whose entries are headers. */
  readonly headers?: v.GenericSchema;
  /** A schema of JSON, or the media type of anything else. */
  readonly body?: v.GenericSchema | string;
  readonly answer: v.GenericSchema | string;
  /** 200 when absent. */
  readonly status?: number;
  /** Over TCP there is no such operation. */
  readonly socketOnly?: boolean;
}

const TEXT = "text/plain";
const BYTES = "application/octet-stream";
/** What it may hold is the network config's own business, which names each fault. */
const anyObject = v.record(v.string(), v.unknown());

/** Every operation, in the order of the paths. */
export const OPERATIONS: readonly Operation[] = [
  { method: "get", path: "/", summary: "What there is", answer: TEXT },
  { method: "get", path: "/healthz", summary: "The process answers", answer: TEXT },
  {
    method: "get",
    path: "/readyz",
    summary: "The node does its job; 503 with the reasons why not",
    answer: ReadinessSchema,
  },
  { method: "get", path: "/metrics", summary: "For Prometheus", answer: METRICS_MEDIA_TYPE },
  { method: "get", path: "/openapi.json", summary: "This description", answer: anyObject },
  {
    method: "get",
    path: "/status",
    summary: "This node, its cluster, its peers",
    answer: StatusSchema,
  },
  { method: "get", path: "/config", summary: "The network config", answer: ConfigSchema },
  {
    method: "put",
    path: "/config",
    summary: "Changes the network config, or tells what a change would do",
    query: PutConfigQuery,
    headers: IfMatchHeader,
    body: anyObject,
    answer: PutConfigSchema,
  },
  {
    method: "get",
    path: "/leases",
    summary: "Who holds which subnet",
    answer: v.array(LeaseSchema),
  },
  {
    method: "delete",
    path: "/leases/{subnet}",
    summary: "Takes a subnet, such as 10.0.53.0-24, from its holder",
    answer: LeaseSchema,
  },
  {
    method: "get",
    path: "/reservations",
    summary: "Subnets that are kept for somebody",
    answer: v.array(ReservationSchema),
  },
  {
    method: "put",
    path: "/reservations/{subnet}",
    summary: "Keeps a subnet for a node, or for whoever first comes from an address",
    body: ReserveBody,
    answer: ReservationSchema,
  },
  {
    method: "delete",
    path: "/reservations/{subnet}",
    summary: "Ends a reservation; a lease of the subnet goes on",
    answer: ReservationSchema,
  },
  {
    method: "post",
    path: "/import",
    summary: "Takes over a network config and who has which subnet, wholly or not at all",
    headers: IfMatchHeader,
    body: ImportBody,
    answer: ImportSchema,
  },
  {
    method: "get",
    path: "/members",
    summary: "The nodes of the cluster",
    answer: v.array(MemberSchema),
  },
  {
    method: "delete",
    path: "/members/{id}",
    summary: "Removes a node from the cluster for good",
    answer: MemberSchema,
  },
  {
    method: "post",
    path: "/members/{id}/promote",
    summary: "Has a member preferred as a voter; answers with the member as it was before",
    answer: MemberSchema,
  },
  {
    method: "post",
    path: "/members/{id}/demote",
    summary: "Has a member vote only while nobody else can; answers with it as it was before",
    answer: MemberSchema,
  },
  {
    method: "get",
    path: "/voters",
    summary: "How many members should vote, and who does",
    answer: VotersSchema,
  },
  {
    method: "put",
    path: "/voters",
    summary: "Sets how many members should vote: 1, 3, 5 or 7",
    body: VotersBody,
    answer: VotersSchema,
  },
  {
    method: "get",
    path: "/ca",
    summary: "The cluster's CAs, and until when the nodes' certificates are good",
    answer: AuthoritySchema,
  },
  {
    method: "post",
    path: "/ca/rotate",
    summary: "Makes a new CA; nodes renew by themselves and the old one is dropped",
    body: RotateCaBody,
    answer: AuthoritySchema,
  },
  {
    method: "get",
    path: "/tokens",
    summary: "Join tokens, without their secrets",
    answer: v.array(TokenSchema),
  },
  {
    method: "post",
    path: "/tokens",
    summary: "Makes a join token",
    body: CreateTokenBody,
    answer: CreatedTokenSchema,
    status: 201,
  },
  { method: "delete", path: "/tokens/{id}", summary: "Revokes a join token", answer: TokenSchema },
  {
    method: "post",
    path: "/join",
    summary: "Moves this node into the cluster of a peer",
    body: JoinBody,
    answer: JoinSchema,
    socketOnly: true,
  },
  {
    method: "post",
    path: "/leave",
    summary: "Takes this node out of its cluster",
    body: LeaveBody,
    answer: LeaveSchema,
    socketOnly: true,
  },
  {
    method: "get",
    path: "/snapshot",
    summary: "A backup of the cluster's state; its last 32 bytes are the SHA-256 of the others",
    query: SnapshotQuery,
    answer: BACKUP_MEDIA_TYPE,
  },
  {
    method: "get",
    path: "/recovery",
    summary: "What this node would go on with alone",
    answer: RecoverySchema,
  },
  {
    method: "post",
    path: "/recovery",
    summary: "Gives up the cluster, and makes a new one with what this node has",
    body: RecoveryBody,
    answer: RecoveredSchema,
    socketOnly: true,
  },
  {
    method: "post",
    path: "/ping",
    summary: "Asks peers whether they answer, over the path that packets take",
    body: PingBody,
    answer: PingSchema,
  },
  {
    method: "get",
    path: "/kv",
    summary: "The keys under a prefix, with their values",
    query: ListQuery,
    answer: ListSchema,
  },
  {
    method: "get",
    path: "/kv/{key}",
    summary: "The value of a key; its revision is the ETag",
    query: GetQuery,
    answer: BYTES,
  },
  {
    method: "put",
    path: "/kv/{key}",
    summary: "Sets the value of a key",
    query: PutQuery,
    headers: Conditions,
    body: BYTES,
    answer: WriteSchema,
  },
  {
    method: "delete",
    path: "/kv/{key}",
    summary: "Deletes a key",
    query: DeleteQuery,
    headers: Conditions,
    answer: WriteSchema,
  },
  {
    method: "post",
    path: "/txn",
    summary: "Compares, then does the one list or the other, wholly, in one revision",
    body: TxnBody,
    answer: TxnSchema,
  },
  {
    method: "post",
    path: "/compact",
    summary: "Forgets what was before a revision",
    body: CompactBody,
    answer: WriteSchema,
  },
  {
    method: "get",
    path: "/watch",
    summary: "The changes under a prefix as they come: put, delete, bookmark",
    query: WatchQuery,
    headers: LastEventId,
    answer: EVENT_STREAM_TYPE,
  },
];
