/**
 * The writes of the network: command types, their outcomes, and how to make them.
 *
 * Everything in a command or an outcome is plain data; absent values are `null`. Parsing commands
 * that come from other nodes is in parse-command.ts, applying them in the `apply-*` files.
 *
 * @module
 */
import type { IpAddress, Prefix } from "../../base/address.ts";
import type { NodeId, Revision, Term } from "../../base/ids.ts";
import type { Command, CommandRefusal } from "../kv/types.ts";
import { configVersion } from "./config-version.ts";
import type { FieldIssue } from "./field-issue.ts";
import type { JsonObject } from "./json.ts";
import type { Lease, LeaseAttributes } from "./lease.ts";
import type { ConfigPlan } from "./plan.ts";

/** Replaces the network config. */
export interface PutConfig extends Command<PutConfigOutcome> {
  readonly kind: "put_config";
  /** The user's object as it was parsed from JSON, not yet checked. */
  readonly config: JsonObject;
  /** Revision that the config must have now; 0: there must be none; null: any. */
  readonly expectedRevision: number | null;
  /** Whether leases that the config makes invalid may be replaced. */
  readonly renumber: boolean;
}

export type PutConfigOutcome =
  | {
      readonly kind: "stored";
      /** Of the config; the old one when the same config was there already. */
      readonly revision: Revision;
      readonly config: JsonObject;
      readonly plan: ConfigPlan;
    }
  | { readonly kind: "invalid_config"; readonly errors: readonly FieldIssue[] }
  /** `revision` is the config's own; 0 when there is none. */
  | { readonly kind: "revision_mismatch"; readonly revision: number }
  | { readonly kind: "would_renumber"; readonly plan: ConfigPlan }
  | CommandRefusal;

/** Gives the node a subnet, the one it has or had if that can be. */
export interface AcquireLease extends Command<AcquireOutcome> {
  readonly kind: "acquire_lease";
  readonly node: NodeId;
  readonly attributes: LeaseAttributes;
  /** Subnet that the node finds on its own disk; taken when free. */
  readonly wanted: Prefix | null;
}

export type AcquireOutcome =
  | { readonly kind: "acquired"; readonly lease: LeaseGrant; readonly how: AcquireHow }
  | { readonly kind: "no_config" }
  | { readonly kind: "pool_exhausted"; readonly capacity: number }
  | CommandRefusal;

/**
 * What its holder learns of a lease. What it said of itself it knows: outcomes are kept for
 * retries, by the ten thousand.
 */
export type LeaseGrant = Pick<Lease, "subnet" | "node" | "epoch" | "ttlSeconds">;

/** Why this subnet: held already, reserved for it, its last one, wanted, new, or taken over. */
export type AcquireHow = "held" | "reserved" | "returned" | "wanted" | "free" | "recycled";

/** Proves that holders live, and tells where they are now. */
export interface RenewLeases extends Command<RenewOutcome> {
  readonly kind: "renew_leases";
  readonly renewals: readonly Renewal[];
}

export interface Renewal {
  readonly subnet: Prefix;
  /** Must be the holder. */
  readonly node: NodeId;
  readonly attributes: LeaseAttributes;
}

export type RenewOutcome =
  | { readonly kind: "renewed"; readonly results: readonly RenewResult[] }
  | CommandRefusal;

/** One for each renewal, in order. After `not_held` the node must acquire again. */
export type RenewResult =
  | {
      readonly kind: "renewed";
      readonly subnet: Prefix;
      readonly epoch: Revision;
      readonly ttlSeconds: number;
    }
  /** `holder`: who holds it now; null when nobody does. */
  | { readonly kind: "not_held"; readonly subnet: Prefix; readonly holder: NodeId | null };

/** Ends a lease because somebody said so: the holder as it leaves, or an operator. */
export interface ReleaseLease extends Command<ReleaseOutcome> {
  readonly kind: "release_lease";
  readonly subnet: Prefix;
  /** Must be the holder. */
  readonly node: NodeId;
}

export type ReleaseOutcome =
  | { readonly kind: "released"; readonly lease: Lease }
  | { readonly kind: "not_held"; readonly holder: NodeId | null }
  | CommandRefusal;

/** Ends leases whose time ran out by the clock of the leader of `term`. */
export interface ExpireLeases extends Command<ExpireOutcome> {
  readonly kind: "expire_leases";
  readonly term: Term;
  readonly leases: readonly Expiry[];
}

export interface Expiry {
  readonly subnet: Prefix;
  readonly node: NodeId;
  readonly epoch: Revision;
}

export type ExpireOutcome =
  /** Subnets that did expire; the others were renewed, or the term was over. */
  { readonly kind: "expired"; readonly subnets: readonly Prefix[] } | CommandRefusal;

/** Whom a subnet is kept for: a node, or whichever node first comes from an address. */
export type ReservationOwner =
  | { readonly kind: "node"; readonly node: NodeId }
  | { readonly kind: "public_ip"; readonly publicIp: IpAddress };

/** Keeps a subnet for an owner, for ever. */
export interface ReserveSubnet extends Command<ReserveOutcome> {
  readonly kind: "reserve_subnet";
  readonly subnet: Prefix;
  readonly owner: ReservationOwner;
}

export type ReserveOutcome =
  | { readonly kind: "reserved"; readonly subnet: Prefix; readonly owner: ReservationOwner }
  | { readonly kind: "no_config" }
  /** Not a subnet of the pool: wrong length, or outside SubnetMin to SubnetMax. */
  | { readonly kind: "not_in_pool" }
  | { readonly kind: "held_by_other"; readonly holder: NodeId }
  | { readonly kind: "reserved_for_other"; readonly owner: ReservationOwner }
  /** The owner has another reservation already. */
  | { readonly kind: "owner_has_reservation"; readonly subnet: Prefix }
  | CommandRefusal;

export interface UnreserveSubnet extends Command<UnreserveOutcome> {
  readonly kind: "unreserve_subnet";
  readonly subnet: Prefix;
}

export type UnreserveOutcome =
  | { readonly kind: "unreserved"; readonly subnet: Prefix; readonly owner: ReservationOwner }
  | { readonly kind: "not_reserved" }
  | CommandRefusal;

/**
 * Takes over a network from elsewhere: its config, and who has which subnet of it, in one revision,
 * so that no node of ours takes in between what is another's there.
 */
export interface ImportNetwork extends Command<ImportOutcome> {
  readonly kind: "import_network";
  readonly config: JsonObject;
  /** As in `PutConfig`. */
  readonly expectedRevision: number | null;
  readonly reservations: readonly ImportedReservation[];
}

/** A subnet, and the address whose node has it. */
export interface ImportedReservation {
  readonly subnet: Prefix;
  readonly publicIp: IpAddress;
}

export type ImportOutcome =
  | {
      readonly kind: "imported";
      readonly revision: Revision;
      readonly config: JsonObject;
      readonly plan: ConfigPlan;
    }
  /** Nothing was written: these cannot be reserved. */
  | { readonly kind: "refused"; readonly refused: readonly RefusedReservation[] }
  | Exclude<PutConfigOutcome, { readonly kind: "stored" }>;

export interface RefusedReservation {
  readonly subnet: Prefix;
  readonly why: Exclude<ReserveOutcome, { readonly kind: "reserved" }>;
}

export type NetworkCommand =
  | PutConfig
  | AcquireLease
  | RenewLeases
  | ReleaseLease
  | ExpireLeases
  | ReserveSubnet
  | UnreserveSubnet
  | ImportNetwork;

/** Replaces the config; absent `expectedRevision`: whatever there is. */
export function putConfig(request: {
  readonly config: JsonObject;
  readonly expectedRevision?: number | undefined;
  readonly renumber?: boolean;
}): PutConfig {
  const { config, expectedRevision = null, renumber = false } = request;
  return { kind: "put_config", config, expectedRevision, renumber, ...configVersion(config) };
}

/** Asks for the node's subnet. */
export function acquireLease(request: {
  readonly node: NodeId;
  readonly attributes: LeaseAttributes;
  readonly wanted?: Prefix | undefined;
}): AcquireLease {
  const { node, attributes, wanted = null } = request;
  return { kind: "acquire_lease", node, attributes, wanted };
}

/** Renews up to `RENEWALS_MAX` leases in one revision. */
export function renewLeases(renewals: readonly Renewal[]): RenewLeases {
  return { kind: "renew_leases", renewals };
}

/** Gives `subnet` back, if `node` holds it. */
export function releaseLease(request: {
  readonly subnet: Prefix;
  readonly node: NodeId;
}): ReleaseLease {
  return { kind: "release_lease", subnet: request.subnet, node: request.node };
}

/** Ends up to `EXPIRE_BATCH_MAX` leases whose epoch, and the term, are still those given. */
export function expireLeases(term: Term, leases: readonly Expiry[]): ExpireLeases {
  return { kind: "expire_leases", term, leases };
}

/** Keeps `subnet` for `owner`. */
export function reserveSubnet(request: {
  readonly subnet: Prefix;
  readonly owner: ReservationOwner;
}): ReserveSubnet {
  return { kind: "reserve_subnet", subnet: request.subnet, owner: request.owner };
}

/** Ends the reservation of `subnet`; a lease of it goes on. */
export function unreserveSubnet(subnet: Prefix): UnreserveSubnet {
  return { kind: "unreserve_subnet", subnet };
}

/** Writes config and reservations, all or nothing; up to `IMPORT_RESERVATIONS_MAX` of them. */
export function importNetwork(request: {
  readonly config: JsonObject;
  readonly expectedRevision?: number | undefined;
  readonly reservations: readonly ImportedReservation[];
}): ImportNetwork {
  const { config, expectedRevision = null, reservations } = request;
  const version = configVersion(config);
  return { kind: "import_network", config, expectedRevision, reservations, ...version };
}
