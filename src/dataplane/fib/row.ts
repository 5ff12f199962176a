/**
 * What the control plane tells the packet loop: who owns which prefix and where to reach it.
 *
 * @module
 */
import type { IpAddress, Prefix } from "../../base/address.ts";
import type { NodeId } from "../../base/ids.ts";

/** Underlay address and UDP port at which a peer is reached. */
export interface Endpoint {
  readonly address: IpAddress;
  readonly port: number;
}

/** "Packets for `prefix` go to `peer` at `endpoint`", and nobody else may send from `prefix`. */
export interface FibRow {
  readonly prefix: Prefix;
  readonly peer: NodeId;
  readonly endpoint: Endpoint;
  /** Whether the peer's lease says that it finishes partial TCP/UDP checksums (nibbles 12, 14). */
  readonly partialChecksum: boolean;
  /** Nothing goes to the peer but sealed; absent: plain packets. */
  readonly seals?: boolean;
  /** Nothing is taken from the peer but sealed. Sealed packets are taken in any case. */
  readonly refusesPlain?: boolean;
}

/** The whole table, replaced at once. `local` is this node's own lease. */
export interface FibTable {
  readonly local: readonly Prefix[];
  readonly rows: readonly FibRow[];
}

/** Whether packets from and to the row's peer may go past the loop that seals. */
export function isPlainRow({ seals, refusesPlain }: FibRow): boolean {
  return seals !== true && refusesPlain !== true;
}
