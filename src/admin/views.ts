/**
 * The API's answers as schemas, for the side that reads them.
 *
 * The shapes are those of `service.ts`, which the compiler checks; extra fields pass, so that an
 * older client reads a newer agent, and stay in the value, so that `--json` prints them.
 *
 * @module
 */
import * as v from "valibot";
import type { Problem } from "./problem.ts";
import type {
  AuthorityView,
  ConfigPlanView,
  ConfigView,
  CreatedToken,
  ImportView,
  JoinView,
  LeaseView,
  LeaveView,
  MemberView,
  NodeRef,
  PingView,
  Readiness,
  RecoveredView,
  RecoveryView,
  ReservationView,
  StatusView,
  TokenView,
  VotersView,
} from "./service.ts";

type Schema<View> = v.GenericSchema<unknown, View>;

const object = v.record(v.string(), v.unknown());

/** A figure that an older agent does not send. */
const measured = v.optional(v.nullable(v.number()), null);

const NodeRefSchema: Schema<NodeRef> = v.looseObject({ id: v.string(), name: v.string() });

export const ConfigPlanSchema: Schema<ConfigPlanView> = v.looseObject({
  effect: v.picklist(["none", "keep", "renumber"]),
  kept: v.array(v.string()),
  renumbered: v.array(v.looseObject({ subnet: v.string(), node: v.string() })),
  capacity: v.number(),
});

export const ConfigSchema: Schema<ConfigView> = v.looseObject({
  revision: v.number(),
  config: object,
});

/** The answer to `PUT /config`. */
export type PutConfigView = ConfigView & { readonly plan: ConfigPlanView };

export const PutConfigSchema: Schema<PutConfigView> = v.looseObject({
  revision: v.number(),
  config: object,
  plan: ConfigPlanSchema,
});

export const StatusSchema: Schema<StatusView> = v.looseObject({
  node: v.looseObject({
    id: v.string(),
    name: v.string(),
    version: v.string(),
    role: v.string(),
    state: v.string(),
  }),
  cluster: v.looseObject({
    id: v.string(),
    generation: v.number(),
    leader: v.nullable(NodeRefSchema),
    term: v.number(),
    members: v.number(),
    voters: v.number(),
    quorum: v.boolean(),
    feed: v.nullable(v.looseObject({ source: v.nullable(NodeRefSchema), behind: v.number() })),
  }),
  network: v.nullable(object),
  lease: v.nullable(
    v.looseObject({ subnet: v.string(), gateway: v.string(), expiresInSeconds: v.number() }),
  ),
  dataplane: v.nullable(
    v.looseObject({
      backend: v.string(),
      engine: v.string(),
      engineReason: v.optional(v.nullable(v.string()), null),
      encryption: v.string(),
      mtu: v.number(),
      interface: v.string(),
      counters: v.record(v.string(), v.number()),
      offloads: v.optional(
        v.looseObject({
          on: v.array(v.string()),
          off: v.array(v.looseObject({ name: v.string(), reason: v.string() })),
        }),
        { on: [], off: [] },
      ),
    }),
  ),
  peers: v.array(
    v.looseObject({
      id: v.string(),
      name: v.string(),
      subnet: v.string(),
      endpoint: v.string(),
      path: v.string(),
      pathReason: v.optional(v.nullable(v.string()), null),
      rttMs: v.nullable(v.number()),
      rttMinMs: measured,
      rttLastMs: measured,
      lossPercent: v.nullable(v.number()),
      mtu: measured,
      pathMtu: measured,
      pathMtuBack: measured,
      lastSeenSeconds: measured,
      inUse: v.optional(v.boolean(), false),
      rxBytes: v.number(),
      txBytes: v.number(),
    }),
  ),
  warnings: v.array(v.string()),
});

export const LeaseSchema: Schema<LeaseView> = v.looseObject({
  subnet: v.string(),
  node: NodeRefSchema,
  publicIp: v.string(),
  backend: v.looseObject({ type: v.string(), data: v.unknown() }),
  expiresInSeconds: v.number(),
  reserved: v.boolean(),
  draining: v.optional(v.boolean(), false),
});

export const ReservationSchema: Schema<ReservationView> = v.looseObject({
  subnet: v.string(),
  node: v.nullable(NodeRefSchema),
  publicIp: v.nullable(v.string()),
  held: v.boolean(),
});

export const ImportSchema: Schema<ImportView> = v.looseObject({
  revision: v.number(),
  config: object,
  plan: ConfigPlanSchema,
  reservations: v.array(ReservationSchema),
});

export const MemberSchema: Schema<MemberView> = v.looseObject({
  id: v.string(),
  name: v.string(),
  role: v.string(),
  leader: v.boolean(),
  address: v.string(),
  wish: v.optional(v.nullable(v.string()), null),
  zone: v.optional(v.string(), ""),
  live: v.nullable(v.boolean()),
  self: v.boolean(),
});

export const VotersSchema: Schema<VotersView> = v.looseObject({
  target: v.number(),
  voters: v.array(v.object({ id: v.string(), name: v.string() })),
});

export const AuthoritySchema: Schema<AuthorityView> = v.looseObject({
  authorities: v.array(
    v.looseObject({
      pin: v.string(),
      state: v.picklist(["signing", "retiring"]),
      expiresAt: v.string(),
    }),
  ),
  dropsAt: v.nullable(v.string()),
  waiting: v.array(v.object({ id: v.string(), name: v.string() })),
  certificates: v.array(
    v.looseObject({
      id: v.string(),
      name: v.string(),
      pin: v.string(),
      expiresAt: v.string(),
    }),
  ),
  renewsAt: v.string(),
});

export const TokenSchema: Schema<TokenView> = v.looseObject({
  id: v.string(),
  createdAt: v.string(),
  expiresAt: v.string(),
  usesLeft: v.nullable(v.number()),
  revoked: v.boolean(),
  expired: v.optional(v.boolean(), false),
});

export const CreatedTokenSchema: Schema<CreatedToken> = v.looseObject({
  id: v.string(),
  token: v.string(),
  expiresAt: v.string(),
  joinCommand: v.string(),
  installCommand: v.string(),
});

export const JoinSchema: Schema<JoinView> = v.looseObject({
  clusterId: v.string(),
  nodeId: v.string(),
  peer: v.string(),
});

export const LeaveSchema: Schema<LeaveView> = v.looseObject({
  nodeId: v.string(),
  clusterId: v.string(),
});

export const RecoverySchema: Schema<RecoveryView> = v.looseObject({
  cluster: v.looseObject({ id: v.string(), generation: v.number() }),
  node: NodeRefSchema,
  members: v.array(
    v.looseObject({ id: v.string(), name: v.string(), voter: v.boolean(), self: v.boolean() }),
  ),
  index: v.number(),
  revision: v.number(),
  leases: v.number(),
  quorum: v.nullable(v.boolean()),
  leaderlessSeconds: v.nullable(v.number()),
});

export const RecoveredSchema: Schema<RecoveredView> = v.looseObject({
  clusterId: v.string(),
  generation: v.number(),
  nodeId: v.string(),
  revision: v.number(),
});

export const PingSchema: Schema<PingView> = v.looseObject({
  results: v.array(
    v.looseObject({
      id: v.string(),
      name: v.string(),
      address: v.string(),
      rttMs: v.nullable(v.number()),
      reason: v.nullable(v.string()),
      mtu: v.nullable(v.number()),
      pathMtu: v.nullable(v.number()),
    }),
  ),
});

export const ReadinessSchema: Schema<Readiness> = v.looseObject({
  ready: v.boolean(),
  reasons: v.array(v.string()),
});

const FieldIssues = v.array(v.object({ path: v.string(), message: v.string() }));

/** Kinds of problem with nothing beside their detail. */
const PLAIN_KINDS = [
  "no_config",
  "not_found",
  "payload_too_large",
  "unsupported_media_type",
  "unauthorized",
  "socket_only",
  "forbidden_origin",
  "forbidden_host",
  "invalid_token",
  "already_member",
  "join_refused",
  "pin_mismatch",
  "peer_unreachable",
  "peer_not_overlay",
  "last_member",
  "member_refused",
  "internal_error",
  "reserved_key",
  "invalid_key",
  "invalid_ttl",
] as const;
/** Kinds without more to say; the compiler compares no more than 25 of them with one shape. */
const CLUSTER_KINDS = [
  "rotation_refused",
  "no_leader",
  "no_quorum",
  "overloaded",
  "upgrade_needed",
  "has_quorum",
  "timeout",
] as const;
const SIZE_KINDS = [
  "key_too_large",
  "value_too_large",
  "request_too_large",
  "response_too_large",
] as const;
const COUNT_KINDS = ["too_many_operations", "too_many_keys"] as const;

const ProblemVariants = v.variant("kind", [
  v.object({ kind: v.picklist(PLAIN_KINDS), detail: v.string() }),
  v.object({ kind: v.picklist(CLUSTER_KINDS), detail: v.string() }),
  v.object({ kind: v.literal("invalid_config"), detail: v.string(), errors: FieldIssues }),
  v.object({ kind: v.literal("invalid_request"), detail: v.string(), errors: FieldIssues }),
  v.object({ kind: v.literal("reservation_refused"), detail: v.string(), errors: FieldIssues }),
  v.object({ kind: v.literal("revision_mismatch"), detail: v.string(), revision: v.number() }),
  v.object({ kind: v.picklist(SIZE_KINDS), detail: v.string(), limitBytes: v.number() }),
  v.object({ kind: v.picklist(COUNT_KINDS), detail: v.string(), limit: v.number() }),
  v.object({ kind: v.literal("compacted"), detail: v.string(), oldestRevision: v.number() }),
  v.object({ kind: v.literal("future_revision"), detail: v.string(), revision: v.number() }),
  v.object({ kind: v.literal("would_renumber"), detail: v.string(), plan: ConfigPlanSchema }),
  v.object({
    kind: v.literal("invalid_json"),
    detail: v.string(),
    line: v.optional(v.number()),
    column: v.optional(v.number()),
  }),
  v.object({
    kind: v.literal("method_not_allowed"),
    detail: v.string(),
    allow: v.optional(v.array(v.string()), []),
  }),
]);

/** Compiles only while the variants above and `Problem` name the same kinds. */
type SameKinds = [Problem["kind"]] extends [v.InferOutput<typeof ProblemVariants>["kind"]]
  ? Schema<Problem>
  : never;
const ProblemSchema: SameKinds = ProblemVariants;

const TYPE_PREFIX = "urn:overlay:";
const ProblemEnvelope = v.looseObject({ type: v.string(), detail: v.string() });

/** The failure that an `application/problem+json` body tells, or undefined when it is none. */
export function decodeProblem(body: unknown): Problem | undefined {
  const envelope = v.safeParse(ProblemEnvelope, body);
  if (!envelope.success || !envelope.output.type.startsWith(TYPE_PREFIX)) return undefined;
  const kind = envelope.output.type.slice(TYPE_PREFIX.length);
  const problem = v.safeParse(ProblemSchema, { ...envelope.output, kind });
  return problem.success ? problem.output : undefined;
}

/** What a problem of any kind says, also of one that this version does not know. */
export function decodeDetail(body: unknown): string | undefined {
  const envelope = v.safeParse(ProblemEnvelope, body);
  return envelope.success ? envelope.output.detail : undefined;
}
