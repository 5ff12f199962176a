/**
 * Applying the commands of leases: acquire, renew, release, expire.
 *
 * @module
 */
import type { Prefix } from "../../base/address.ts";
import type { NodeId } from "../../base/ids.ts";
import type { ApplyContext, KvWriter } from "../kv/types.ts";
import { assignLease } from "./allocate.ts";
import type {
  AcquireLease,
  AcquireOutcome,
  ExpireLeases,
  ExpireOutcome,
  LeaseGrant,
  ReleaseLease,
  ReleaseOutcome,
  Renewal,
  RenewLeases,
  RenewOutcome,
  RenewResult,
} from "./commands.ts";
import { deleteDraining, drainingLease, renewDraining } from "./draining.ts";
import type { Lease } from "./lease.ts";
import { LeaseBook } from "./lease-book.ts";
import { poolCapacity } from "./pool.ts";
import { readConfig } from "./view.ts";

/** The lease that the node holds, with what it says about itself now; or another one. */
export function applyAcquire(writer: KvWriter, command: AcquireLease): AcquireOutcome {
  const stored = readConfig(writer);
  if (stored === undefined) return { kind: "no_config" };
  const { config } = stored;
  const { node, attributes } = command;
  const book = new LeaseBook(writer);
  const held = book.ofNode(node);
  if (held?.state === "held") {
    const lease = book.renew(held, attributes, config.leaseTtlSeconds);
    return { kind: "acquired", lease: grantOf(lease), how: "held" };
  }
  const assignment = assignLease(writer, config, command);
  if (assignment !== undefined) {
    const { lease, how } = assignment;
    return { kind: "acquired", lease: grantOf(lease), how };
  }
  return { kind: "pool_exhausted", capacity: poolCapacity(config.pool) };
}

function grantOf({ subnet, node, epoch, ttlSeconds }: Lease): LeaseGrant {
  return { subnet, node, epoch, ttlSeconds };
}

/** Each renewal stands for itself: compare-and-swap on the holder. */
export function applyRenew(writer: KvWriter, command: RenewLeases): RenewOutcome {
  const ttlSeconds = readConfig(writer)?.config.leaseTtlSeconds;
  const book = new LeaseBook(writer);
  const results = command.renewals.map(
    (renewal) =>
      renewOneDraining(writer, renewal, ttlSeconds) ?? renewOne(book, renewal, ttlSeconds),
  );
  return { kind: "renewed", results };
}

function renewOne(book: LeaseBook, renewal: Renewal, ttl: number | undefined): RenewResult {
  const { subnet, node, attributes } = renewal;
  const lease = book.get(subnet);
  if (lease === undefined || !isHeldBy(lease, node)) {
    return { kind: "not_held", subnet, holder: holderOf(lease) };
  }
  const { epoch, ttlSeconds } = book.renew(lease, attributes, ttl ?? lease.ttlSeconds);
  return { kind: "renewed", subnet, epoch, ttlSeconds };
}

/** Undefined when the subnet is not one that the node drains. */
function renewOneDraining(
  writer: KvWriter,
  { subnet, node, attributes }: Renewal,
  ttl: number | undefined,
): RenewResult | undefined {
  const lease = drainingLease(writer, subnet, node);
  if (lease === undefined) return undefined;
  const wanted = { attributes, ttlSeconds: ttl ?? lease.ttlSeconds };
  const { epoch, ttlSeconds } = renewDraining(writer, lease, wanted);
  return { kind: "renewed", subnet, epoch, ttlSeconds };
}

/**
 * The lease ends at once; it is remembered for its node like one that expired, unless it was a
 * draining one.
 */
export function applyRelease(writer: KvWriter, command: ReleaseLease): ReleaseOutcome {
  const draining = drainingLease(writer, command.subnet, command.node);
  if (draining !== undefined) {
    deleteDraining(writer, draining);
    return { kind: "released", lease: { ...draining, state: "expired" } };
  }
  const book = new LeaseBook(writer);
  const lease = book.get(command.subnet);
  if (lease === undefined || !isHeldBy(lease, command.node)) {
    return { kind: "not_held", holder: holderOf(lease) };
  }
  return { kind: "released", lease: book.expire(lease) };
}

/**
 * Ends those leases that are still at the epoch at which the leader saw their time run out. A
 * leader that slept, or was replaced, cannot revoke what was renewed meanwhile: its entries carry
 * a later term than the command, or come after the renewal.
 */
export function applyExpire(
  writer: KvWriter,
  command: ExpireLeases,
  context: ApplyContext,
): ExpireOutcome {
  const subnets: Prefix[] = [];
  if (context.term !== command.term) return { kind: "expired", subnets };
  const book = new LeaseBook(writer);
  for (const { subnet, node, epoch } of command.leases) {
    const draining = drainingLease(writer, subnet, node);
    const lease = draining ?? book.get(subnet);
    if (lease === undefined || !isHeldBy(lease, node) || lease.epoch !== epoch) continue;
    if (draining !== undefined) deleteDraining(writer, draining);
    else book.expire(lease);
    subnets.push(subnet);
  }
  return { kind: "expired", subnets };
}

function isHeldBy(lease: Lease, node: NodeId): boolean {
  return lease.state === "held" && lease.node === node;
}

function holderOf(lease: Lease | undefined): NodeId | null {
  return lease?.state === "held" ? lease.node : null;
}
