/**
 * Why the cluster did not answer in time, as far as one node can tell, in words for its user.
 *
 * @module
 */
import { ELECTION_TIMEOUT_MS } from "./limits.ts";
import type { ClusterFailure } from "./types.ts";

/** What a node knows when a deadline has passed. */
export interface ClusterView {
  readonly action: "write" | "read";
  readonly isLeader: boolean;
  readonly hasLeader: boolean;
  readonly hasQuorum: boolean;
  /** How long there was no leader, when there is none. */
  readonly leaderlessMs: number;
}

/** Elections take one or two timeouts; without a leader for longer, voters are missing. */
const LEADERLESS_MAX_MS = 3 * ELECTION_TIMEOUT_MS;

/** The failure that fits `view`. */
export function explainFailure(view: ClusterView): ClusterFailure {
  const attempt =
    view.action === "write" ? "Cannot write to the cluster" : "Cannot read from the cluster";
  const missing = "start the other voters, or connect this node to them again";
  if (view.isLeader && !view.hasQuorum) {
    return {
      kind: "no_quorum",
      detail: `${attempt}: no majority of its voters answers; ${missing}`,
    };
  }
  if (view.hasLeader) {
    const next = view.action === "write" ? "the write may still happen" : "try again";
    return { kind: "timeout", detail: `${attempt}: the leader did not answer in time; ${next}` };
  }
  if (view.leaderlessMs < LEADERLESS_MAX_MS) {
    return { kind: "no_leader", detail: `${attempt}: it has no leader at the moment; try again` };
  }
  return {
    kind: "no_quorum",
    detail: `${attempt}: no majority of its voters is in reach; ${missing}`,
  };
}
