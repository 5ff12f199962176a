/**
 * Failures as HTTP: RFC 9457 problem details, one class for each kind.
 *
 * `type` is `urn:overlay:<kind>`; the fields that a kind carries beside `detail` (`errors`, `plan`,
 * `revision`, …) become extension members (§3.2). A new kind of failure fails to compile here.
 *
 * @module
 */

import type { RotationFailure } from "../control/cluster/trust/rotation.ts";
import type { JoinFailure, LeaveFailure } from "../control/cluster/types.ts";
import { ANSWER_HEADERS } from "./answer.ts";
import type { KvProblem } from "./kv-problem.ts";
import { RETRY_AFTER_SECONDS } from "./limits.ts";
import type {
  FieldIssue,
  MemberFailure,
  PutConfigFailure,
  RecoveryFailure,
  ReserveFailure,
} from "./service.ts";

/** What can be wrong with a request before the agent is asked. */
export type RequestProblem =
  | { readonly kind: "no_config"; readonly detail: string }
  | {
      readonly kind: "invalid_json";
      readonly detail: string;
      /** From 1; absent when the bytes are not even text. */
      readonly line?: number | undefined;
      /** From 1, in characters. */
      readonly column?: number | undefined;
    }
  | {
      readonly kind: "invalid_request";
      readonly detail: string;
      readonly errors: readonly FieldIssue[];
    }
  | {
      readonly kind: "method_not_allowed";
      readonly detail: string;
      readonly allow: readonly string[];
    }
  | { readonly kind: "payload_too_large"; readonly detail: string }
  | { readonly kind: "unsupported_media_type"; readonly detail: string }
  | { readonly kind: "forbidden_host"; readonly detail: string }
  | { readonly kind: "forbidden_origin"; readonly detail: string }
  | { readonly kind: "unauthorized"; readonly detail: string }
  | { readonly kind: "socket_only"; readonly detail: string }
  | { readonly kind: "internal_error"; readonly detail: string };

/** Every failure that the API can answer with. */
export type Problem =
  | RequestProblem
  | PutConfigFailure
  | ReserveFailure
  | JoinFailure
  | LeaveFailure
  | MemberFailure
  | RecoveryFailure
  | RotationFailure
  | KvProblem;

export type ProblemKind = Problem["kind"];

interface ProblemClass {
  readonly status: number;
  /** RFC 9457 §3.1.3: the same for every occurrence of the kind. */
  readonly title: string;
}

/** HTTP status and title of each kind. */
export const PROBLEM_CLASSES: Readonly<Record<ProblemKind, ProblemClass>> = {
  no_config: { status: 404, title: "No network config yet" },
  invalid_config: { status: 400, title: "Network config not acceptable" },
  revision_mismatch: { status: 412, title: "Changed meanwhile" },
  reservation_refused: { status: 409, title: "Subnet not to be reserved" },
  would_renumber: { status: 409, title: "Live leases would become invalid" },

  invalid_json: { status: 400, title: "Body is not JSON" },
  invalid_request: { status: 400, title: "Request not understood" },
  not_found: { status: 404, title: "Not found" },
  method_not_allowed: { status: 405, title: "Method not allowed" },
  payload_too_large: { status: 413, title: "Request too large" },
  unsupported_media_type: { status: 415, title: "Media type not supported" },

  unauthorized: { status: 401, title: "Admin token required" },
  socket_only: { status: 403, title: "Only on the local socket" },
  forbidden_origin: { status: 403, title: "Cross-origin write refused" },
  forbidden_host: { status: 421, title: "Host is not loopback" },

  invalid_token: { status: 403, title: "Join token not accepted" },
  already_member: { status: 409, title: "Node has a cluster of its own" },
  join_refused: { status: 409, title: "Peer refused the join" },
  // A gateway's statuses: the peer behind this agent is what failed.
  pin_mismatch: { status: 502, title: "Peer is not of the cluster that the token names" },
  peer_unreachable: { status: 502, title: "Peer not reachable" },
  peer_not_overlay: { status: 502, title: "Peer does not run overlay" },

  last_member: { status: 409, title: "Last member of its cluster" },
  rotation_refused: { status: 409, title: "Change of the CA refused" },
  member_refused: { status: 409, title: "Membership change refused" },
  has_quorum: { status: 409, title: "Cluster goes on by itself" },

  reserved_key: { status: 403, title: "Key belongs to the system" },
  invalid_key: { status: 400, title: "Not a key" },
  invalid_ttl: { status: 400, title: "Time to live out of range" },
  key_too_large: { status: 400, title: "Key too large" },
  value_too_large: { status: 413, title: "Value too large" },
  request_too_large: { status: 413, title: "Transaction too large" },
  response_too_large: { status: 400, title: "Answer too large" },
  too_many_operations: { status: 400, title: "Too many operations" },
  too_many_keys: { status: 400, title: "Too many keys" },
  compacted: { status: 410, title: "Revision no longer kept" },
  future_revision: { status: 400, title: "Revision still to come" },

  no_leader: { status: 503, title: "No leader" },
  no_quorum: { status: 503, title: "No quorum" },
  overloaded: { status: 503, title: "Too busy" },
  upgrade_needed: { status: 409, title: "Not all nodes would understand it" },
  timeout: { status: 504, title: "Not in time" },
  internal_error: { status: 500, title: "Internal error" },
};

/** `problem` as a response: status, `application/problem+json` body, and the headers it needs. */
export function problemResponse(problem: Problem): Response {
  const { kind, ...members } = problem;
  const { status, title } = PROBLEM_CLASSES[kind];
  const body = JSON.stringify({ type: `urn:overlay:${kind}`, title, status, ...members });
  const headers = {
    ...ANSWER_HEADERS,
    "content-type": "application/problem+json",
    ...problemHeaders(problem),
  };
  return new Response(body, { status, headers });
}

function problemHeaders(problem: Problem): Record<string, string> {
  if (PROBLEM_CLASSES[problem.kind].status === 503) {
    return { "retry-after": String(RETRY_AFTER_SECONDS) };
  }
  switch (problem.kind) {
    case "unauthorized":
      return { "www-authenticate": 'Bearer realm="overlay"' }; // RFC 6750 §3
    case "method_not_allowed":
      return { allow: problem.allow.join(", ") }; // RFC 9110 §15.5.6
    case "payload_too_large":
    case "value_too_large":
      return { connection: "close" }; // The rest of the body is not read.
    default:
      return {};
  }
}
