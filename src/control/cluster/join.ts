/**
 * The joining side of the join: check the peer's chain against the token's pin, and only then
 * send the secret.
 *
 * @module
 */
import type { NodeId } from "../../base/ids.ts";
import type { Result } from "../../base/result.ts";
import type { Clock } from "../../host/ports.ts";
import type { JoinGrant } from "./identity.ts";
import type { ClusterFailure, HostPort, MemberInfo } from "./types.ts";

/** Why a join did not happen. Nothing was changed on this node. */
export type JoinFailure =
  | { readonly kind: "invalid_token"; readonly detail: string }
  | { readonly kind: "pin_mismatch"; readonly detail: string }
  | { readonly kind: "peer_unreachable"; readonly detail: string }
  | { readonly kind: "peer_not_overlay"; readonly detail: string }
  | { readonly kind: "already_member"; readonly detail: string }
  | { readonly kind: "join_refused"; readonly detail: string }
  | ClusterFailure;

export interface JoinOptions {
  readonly peer: HostPort;
  /** The text that `overlay token` printed. */
  readonly token: string;
  readonly nodeId: NodeId;
  readonly self: MemberInfo;
  readonly clock: Clock;
  readonly timeoutMs?: number;
}

/** A grant with the private key (PEM) made for it; hand both to `IdentityStore.adopt`. */
export interface Joined {
  readonly grant: JoinGrant;
  readonly key: string;
}

/** Asks the cluster of `peer` to take this node in. Changes nothing on this node. */
export async function requestJoin(_options: JoinOptions): Promise<Result<Joined, JoinFailure>> {
  throw new Error("not implemented yet");
}
