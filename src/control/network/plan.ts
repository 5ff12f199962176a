/**
 * What a new config would do to the leases there are. Pure; used by dry runs and by applying alike.
 *
 * @module
 */
import type { Prefix } from "../../base/address.ts";
import { formatNodeId } from "../../base/ids.ts";
import type { NetworkConfig } from "./config.ts";
import type { Lease } from "./lease.ts";
import { poolCapacity, poolHas } from "./pool.ts";

export interface ConfigPlan {
  /** "none": no lease is held; "keep": all stay; "renumber": some do not. */
  readonly effect: "none" | "keep" | "renumber";
  readonly kept: readonly Prefix[];
  /** Held leases that the config makes invalid; `node` is the holder's id as text. */
  readonly renumbered: readonly { readonly subnet: Prefix; readonly node: string }[];
  /** How many subnets the new network has room for. */
  readonly capacity: number;
}

/** Compares `next` with the held ones among `leases`. */
export function planConfig(next: NetworkConfig, leases: Iterable<Lease>): ConfigPlan {
  const kept: Prefix[] = [];
  const renumbered: { subnet: Prefix; node: string }[] = [];
  for (const lease of leases) {
    if (lease.state !== "held") continue;
    if (poolHas(next.pool, lease.subnet)) kept.push(lease.subnet);
    else renumbered.push({ subnet: lease.subnet, node: formatNodeId(lease.node) });
  }
  const effect = renumbered.length > 0 ? "renumber" : kept.length > 0 ? "keep" : "none";
  return { effect, kept, renumbered, capacity: poolCapacity(next.pool) };
}
