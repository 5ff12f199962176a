/**
 * What the leases in the store say about keys: the input of the keyring.
 *
 * @module
 */
import type { NodeId, Revision } from "../../base/ids.ts";

/** A public key as a lease lists it. */
export interface ListedKey {
  readonly epoch: number;
  /** 64 lower-case hexadecimal digits. */
  readonly publicKey: string;
}

/** What the store says about one peer. */
export interface ListedPeer {
  readonly node: NodeId;
  /** Newest first; empty: it takes plain packets only. */
  readonly keys: readonly ListedKey[];
  /** Revision at which it got its subnet. */
  readonly grantRevision: Revision;
}

/** What the store says. */
export interface KeyringInput {
  readonly nowMs: number;
  /** Whether the network config asks for sealed packets. */
  readonly isWanted: boolean;
  /** Keys in this node's own lease, and that lease's revision; undefined: it has none. */
  readonly own: { readonly keys: readonly ListedKey[]; readonly revision: Revision } | undefined;
  readonly peers: readonly ListedPeer[];
}
