/**
 * Applying a new network config.
 *
 * Leases that the new config makes invalid are replaced in the same revision, so that no node is
 * without a lease in between and every node sees the old and the new network as a whole. What is
 * remembered and does not fit is forgotten; reservations that do not fit sleep until they do.
 *
 * @module
 */
import type { KvWriter } from "../kv/types.ts";
import { assignLease } from "./allocate.ts";
import type { PutConfig, PutConfigOutcome } from "./commands.ts";
import { formatNetworkConfig, type NetworkConfig, parseNetworkConfig } from "./config.ts";
import { CONFIG_KEY } from "./keys.ts";
import type { Lease } from "./lease.ts";
import { LeaseBook } from "./lease-book.ts";
import { planConfig } from "./plan.ts";
import { poolHas } from "./pool.ts";
import { encodeJson } from "./record.ts";

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
  writer.put(CONFIG_KEY, bytes);
  if (!renumber(writer, next, leases)) {
    writer.revert();
    const needed = plan.kept.length + plan.renumbered.length;
    const message =
      `Network must have a free subnet for each of the ${needed} leases; ` +
      `got room for ${plan.capacity} subnets, reserved ones included`;
    return { kind: "invalid_config", errors: [{ path: "Network", message }] };
  }
  return { kind: "stored", revision: writer.changeRevision, config, plan };
}

/** Whether every holder of a lease outside the new pool got another one. */
function renumber(writer: KvWriter, next: NetworkConfig, leases: readonly Lease[]): boolean {
  const book = new LeaseBook(writer);
  const invalid = leases.filter((lease) => !poolHas(next.pool, lease.subnet));
  for (const lease of invalid) book.remove(lease);
  return invalid
    .filter((lease) => lease.state === "held")
    .every((lease) => assignLease(writer, next, { ...lease, wanted: null }) !== undefined);
}
