/**
 * What a joining node and a member say to each other: one frame each way.
 *
 *     request  {v, s: secret, n: node id, r: CSR (PEM), i: what the node says about itself,
 *               w: which cluster versions it reads, o: the only cluster meant, or absent}
 *     answer   {v, g: grant}  or  {v, e: kind, d: detail}
 *
 * The request leaves only after the peer's chain was checked against the token's pin. Both sides
 * treat what they read as hostile.
 *
 * @module
 */
import {
  type ClusterId,
  formatNodeId,
  type NodeId,
  parseClusterId,
  parseNodeId,
} from "../../../base/ids.ts";
import { decodeRecord, type PlainRecord } from "../codec/codec.ts";
import { FieldReader } from "../codec/fields.ts";
import { encodeFrame } from "../codec/frame.ts";
import { infoFromRecord, infoToRecord } from "../members/member-table.ts";
import { formatHostPort } from "../transport/host-port.ts";
import { decodePeer, type JoinGrant } from "../trust/identity.ts";
import type { ClusterFailure, MemberInfo } from "../types.ts";
import { type NodeVersions, versionsFromRecord } from "../upgrade/node-versions.ts";

const PROTOCOL_VERSION = 1;
const SECRET_SIZE_BYTES = 16;
const NODE_ID_LENGTH = 14;
const CLUSTER_ID_LENGTH = 32;
const PEM_LENGTH_MAX = 8_192;
/** All CAs that may be trusted at once, and what they say of each other. */
const BUNDLE_LENGTH_MAX = 16_384;
const DETAIL_LENGTH_MAX = 1_000;

/** A node that wants in. */
export interface AdmissionRequest {
  readonly secret: Uint8Array;
  readonly nodeId: NodeId;
  /** PEM. */
  readonly csr: string;
  readonly info: MemberInfo;
  /** What it runs, and which clusters it can be in. */
  readonly versions: NodeVersions;
  /** A member that wants a new certificate: it is to be let in by this cluster and no other. */
  readonly only: ClusterId | undefined;
}

/** Why a member did not let a node in. */
export type AdmissionFailure =
  | { readonly kind: "already_member"; readonly detail: string }
  | { readonly kind: "join_refused"; readonly detail: string }
  | ClusterFailure;

const FAILURE_KINDS = [
  "join_refused",
  "already_member",
  "no_leader",
  "no_quorum",
  "timeout",
  "overloaded",
  "upgrade_needed",
] as const;

/** `request` as a record: in the join frame, and in the call that passes it to the leader. */
export function requestToRecord(request: AdmissionRequest): PlainRecord {
  return {
    v: PROTOCOL_VERSION,
    s: request.secret,
    n: formatNodeId(request.nodeId),
    r: request.csr,
    i: infoToRecord(request.info),
    w: { ...request.versions },
    ...(request.only !== undefined && { o: request.only }),
  };
}

/** The request in `record`, or undefined. */
export function requestFromRecord(record: PlainRecord | undefined): AdmissionRequest | undefined {
  const fields = new FieldReader(record);
  const version = fields.counter("v");
  const secret = fields.bytes("s");
  const nodeId = parseNodeId(fields.text("n", NODE_ID_LENGTH));
  const csr = fields.text("r", PEM_LENGTH_MAX);
  const info = infoFromRecord(fields.raw("i"));
  if (fields.failed || version !== PROTOCOL_VERSION || nodeId === undefined) return undefined;
  if (info === undefined || secret.length !== SECRET_SIZE_BYTES) return undefined;
  // A node that knows nothing of versions says nothing of them.
  const versions = versionsFromRecord(fields.raw("w"));
  const only = fields.has("o") ? parseClusterId(fields.text("o", CLUSTER_ID_LENGTH)) : undefined;
  return { secret, nodeId, csr, info, versions, only };
}

/** `grant` as a record. */
export function grantToRecord(grant: JoinGrant): PlainRecord {
  return {
    n: formatNodeId(grant.nodeId),
    c: grant.clusterId,
    g: grant.generation,
    t: grant.certificate,
    a: grant.ca,
    p: grant.peers.map(({ id, address }) => ({
      id: formatNodeId(id),
      address: formatHostPort(address),
    })),
  };
}

/** The grant in `value`, or undefined. */
export function grantFromRecord(value: unknown): JoinGrant | undefined {
  const fields = new FieldReader(value);
  const nodeId = parseNodeId(fields.text("n", NODE_ID_LENGTH));
  const clusterId = parseClusterId(fields.text("c", CLUSTER_ID_LENGTH));
  const generation = fields.counter("g");
  const certificate = fields.text("t", PEM_LENGTH_MAX);
  const ca = fields.text("a", BUNDLE_LENGTH_MAX);
  const peers = fields.list("p", decodePeer);
  if (fields.failed || nodeId === undefined || clusterId === undefined) return undefined;
  return { nodeId, clusterId, generation, certificate, ca, peers };
}

/** The frame that lets a node in. */
export function encodeGrant(grant: PlainRecord): Uint8Array {
  return encodeFrame({ v: PROTOCOL_VERSION, g: grant });
}

/** The frame that does not. */
export function encodeRefusal(failure: AdmissionFailure): Uint8Array {
  return encodeFrame({ v: PROTOCOL_VERSION, e: failure.kind, d: failure.detail });
}

/** A member's answer; undefined when it is none. */
export function decodeAnswer(
  bytes: Uint8Array,
): { readonly grant: JoinGrant } | { readonly failure: AdmissionFailure } | undefined {
  const fields = new FieldReader(decodeRecord(bytes));
  if (fields.counter("v") !== PROTOCOL_VERSION) return undefined;
  if (fields.has("g")) {
    const grant = grantFromRecord(fields.raw("g"));
    return fields.failed || grant === undefined ? undefined : { grant };
  }
  const kind = fields.choice("e", FAILURE_KINDS);
  const detail = fields.text("d", DETAIL_LENGTH_MAX);
  return fields.failed ? undefined : { failure: { kind, detail } };
}

/** A refusal that came back from the leader as the reason and detail of a call. */
export function failureOf(reason: string, detail: string): AdmissionFailure {
  const kind = FAILURE_KINDS.find((each) => each === reason);
  return kind === undefined ? { kind: "join_refused", detail } : { kind, detail };
}
