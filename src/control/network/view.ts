/**
 * The network as the store has it, in domain types: what the agent acts on.
 *
 * @module
 */
import type { Prefix } from "../../base/address.ts";
import { AssertionError } from "../../base/assert.ts";
import type { NodeId, Revision } from "../../base/ids.ts";
import type { KvReader } from "../kv/types.ts";
import type { ReservationOwner } from "./commands.ts";
import type { NetworkConfig } from "./config.ts";
import type { Lease } from "./lease.ts";

export interface StoredConfig {
  readonly config: NetworkConfig;
  /** Of the config: what `If-Match` compares. */
  readonly revision: Revision;
}

export interface NetworkView {
  /** Of the store when this was read. */
  readonly revision: Revision;
  readonly config: StoredConfig | undefined;
  /** Held leases by subnet, in the order of the store's keys. */
  readonly leases: ReadonlyMap<Prefix, Lease>;
  /** The same leases by holder. */
  readonly byNode: ReadonlyMap<NodeId, Lease>;
  /** Expired leases that are remembered for their last holder. */
  readonly expired: ReadonlyMap<Prefix, Lease>;
  readonly reservations: ReadonlyMap<Prefix, ReservationOwner>;
}

/**
 * Reads the network. Given the `previous` view, leases and config that did not change are the same
 * objects, and reading 10,000 leases costs a few milliseconds instead of decoding them all.
 */
export function readNetwork(reader: KvReader, previous?: NetworkView): NetworkView {
  throw new AssertionError(`not built yet: ${reader.revision} ${previous?.revision}`);
}
