/**
 * The agent in one line, as `systemctl status` shows it, and whether who waits for it may go on.
 *
 * @module
 */
import type { Cluster } from "../control/cluster/types.ts";
import type { NetworkAgent } from "./network-agent.ts";
import type { ServiceState } from "./service-notice.ts";

/** How the node does whose cluster and network these are. */
export function serviceState(session: {
  readonly cluster: Pick<Cluster, "status">;
  readonly network: Pick<NetworkAgent, "state" | "view">;
}): ServiceState {
  const { leader, removed, refusal } = session.cluster.status();
  const { state } = session.network;
  if (removed) return { ready: true, text: "Removed from its cluster; join one, or leave" };
  if (refusal !== undefined) return { ready: true, text: `Refused by its cluster: ${refusal}` };
  if (state.kind === "ready") return { ready: true, text: `Lease ${state.subnet}` };
  const { config } = session.network.view();
  // What is known of the config is the cluster's word only once there is a leader.
  if (config === undefined && leader !== undefined) {
    return { ready: true, text: 'No network config yet; set one with "overlay config set"' };
  }
  if (leader === undefined) return { ready: false, text: "Looking for the cluster's leader" };
  if (state.kind === "no_config") return { ready: false, text: "Acquiring a lease" };
  return { ready: false, text: state.reason };
}
