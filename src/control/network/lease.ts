/**
 * What a subnet lease is, inside the program and as the JSON record in the store.
 *
 * The record keeps flannel's names (`LeaseAttrs`: PublicIP, PublicIPv6, BackendType, BackendData)
 * and adds ours, so that whatever reads flannel's leases reads these.
 *
 * A lease belongs to a node id for as long as anybody remembers it, whatever the node's address:
 *
 *     (none) --acquire--> held --renew--> held
 *     held --expire, release--> expired --acquire by the same node--> held
 *     expired --acquire by another node, when nothing else is free--> held
 *
 * Pure. Records are read leniently (a newer version may add keys) and written canonically.
 *
 * @module
 */
import type { IpAddress, Prefix } from "../../base/address.ts";
import type { NodeId, Revision } from "../../base/ids.ts";
import type { JsonValue } from "./json.ts";

/** How peers reach the holder, by backend. `other`: a kind that this version does not know. */
export type LeaseBackend =
  | {
      readonly kind: "udp";
      readonly port: number;
      /** Whether the holder finishes partial TCP/UDP checksums (nibbles 12 and 14). */
      readonly partialChecksum: boolean;
    }
  | { readonly kind: "other"; readonly type: string; readonly data: JsonValue };

/** What the holder says about itself with each acquisition and renewal. */
export interface LeaseAttributes {
  /** Underlay address that peers send to. */
  readonly publicIp: IpAddress;
  readonly publicIpv6: IpAddress | null;
  readonly backend: LeaseBackend;
}

/** `expired`: nobody's, but remembered for the node that held it last. */
export type LeaseState = "held" | "expired";

export interface Lease {
  readonly subnet: Prefix;
  readonly node: NodeId;
  readonly state: LeaseState;
  readonly attributes: LeaseAttributes;
  /** Revision of the last acquisition or renewal: never twice the same, so a fence. */
  readonly epoch: Revision;
  /** Revision at which this node got this subnet. Peers believe the newer grant. */
  readonly grantRevision: Revision;
  readonly ttlSeconds: number;
  /** Revision of the record. */
  readonly modRevision: Revision;
}
