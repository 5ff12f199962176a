/**
 * Applying a new network config.
 *
 * Leases that the new config makes invalid are replaced in the same revision, so that no node is
 * without a lease in between and every node sees the old and the new network as a whole. The old
 * ones drain (draining.ts): nodes carry both until nothing of theirs uses the old one. One that
 * drains and fits the new config is its node's lease again, so going back renumbers nobody twice.
 * What is remembered and does not fit is forgotten; reservations that do not fit sleep until they
 * do.
 *
 * @module
 */
import { addressFamily, type Prefix } from "../../base/address.ts";
import { clusterVersion } from "../kv/cluster-version.ts";
import type { KvWriter } from "../kv/types.ts";
import { assignLease } from "./allocate.ts";
import type { PutConfig, PutConfigOutcome } from "./commands.ts";
import { formatNetworkConfig, type NetworkConfig, parseNetworkConfig } from "./config.ts";
import { DRAIN_VERSION, deleteDraining, listDraining, putDraining } from "./draining.ts";
import { CONFIG_KEY } from "./keys.ts";
import type { Lease } from "./lease.ts";
import { LeaseBook } from "./lease-book.ts";
import { planConfig } from "./plan.ts";
import { poolHas } from "./pool.ts";
import { encodeJson } from "./record.ts";
import { readConfig } from "./view.ts";

/** Replaces the config, if it is valid and nobody is renumbered against the user's will. */
export function applyPutConfig(writer: KvWriter, command: PutConfig): PutConfigOutcome {
  const current = writer.get(CONFIG_KEY);
  const revision = current?.modRevision ?? 0;
  if (command.expectedRevision !== null && command.expectedRevision !== revision) {
    return { kind: "revision_mismatch", revision };
  }
  const parsed = parseNetworkConfig(command.config);
  if (!parsed.ok) return { kind: "invalid_config", errors: parsed.error };
  const next = parsed.value;
  const leases = [...new LeaseBook(writer).all()];
  const plan = planConfig(next, leases);
  if (plan.renumbered.length > 0 && !command.renumber) return { kind: "would_renumber", plan };
  const config = formatNetworkConfig(next);
  const bytes = encodeJson(config);
  if (current !== undefined && Buffer.compare(current.value, bytes) === 0) {
    return { kind: "stored", revision: current.modRevision, config, plan };
  }
  const isDraining = clusterVersion(writer) >= DRAIN_VERSION;
  const before = isDraining ? readConfig(writer)?.config.pool.network : undefined;
  writer.put(CONFIG_KEY, bytes);
  if (!renumber(writer, next, { leases, before })) {
    writer.revert();
    const needed = plan.kept.length + plan.renumbered.length;
    const message =
      `Network must have a free subnet for each of the ${needed} leases; ` +
      `got room for ${plan.capacity} subnets, reserved ones included`;
    return { kind: "invalid_config", errors: [{ path: "Network", message }] };
  }
  return { kind: "stored", revision: writer.changeRevision, config, plan };
}

interface Replaced {
  readonly leases: readonly Lease[];
  /** The network until now, in which they drain; undefined: they end at once. */
  readonly before: Prefix | undefined;
}

/** Whether every holder of a lease outside the new pool got another one. */
function renumber(writer: KvWriter, next: NetworkConfig, { leases, before }: Replaced): boolean {
  const book = new LeaseBook(writer);
  const invalid = leases.filter((lease) => !poolHas(next.pool, lease.subnet));
  const held = invalid.filter((lease) => lease.state === "held");
  for (const lease of invalid) book.remove(lease);
  // A node has one family of overlay addresses at a time.
  const drains = before !== undefined && addressFamily(before) === addressFamily(next.pool.network);
  if (drains) {
    for (const lease of held) putDraining(writer, { ...lease, network: before });
  }
  return held.every(
    (lease) =>
      returnDraining(writer, next, lease) ||
      assignLease(writer, next, { ...lease, wanted: null }) !== undefined,
  );
}

/** Gives the holder of `lease` the subnet back that it drains, if that is in the new pool. */
function returnDraining(writer: KvWriter, next: NetworkConfig, lease: Lease): boolean {
  const { node, attributes } = lease;
  const old = listDraining(writer).find(
    (one) => one.node === node && poolHas(next.pool, one.subnet),
  );
  if (old === undefined) return false;
  deleteDraining(writer, old);
  const { leaseTtlSeconds: ttlSeconds } = next;
  new LeaseBook(writer).grant({ subnet: old.subnet, node, attributes, ttlSeconds });
  return true;
}
