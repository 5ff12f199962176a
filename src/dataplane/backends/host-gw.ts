/**
 * The host-gw backend: routes through the peers' own addresses. Nothing is encapsulated, so all
 * nodes must be on one segment. Pure.
 *
 * A peer that is not on the segment has its route all the same: the kernel refuses it, and its
 * words are in the status.
 *
 * @module
 */
import { addressFamily } from "../../base/address.ts";
import { type Backend, type BackendPeer, EMPTY_PLAN, type NodePlanInput } from "./backend.ts";
import { DEFAULT_METRIC, type DesiredRoute, MAIN_TABLE } from "./desired-state.ts";

export const hostGw: Backend = {
  kind: "host-gw",
  mtu: ({ host }) => host.underlayMtu,
  publish: () => ({ kind: "other", type: "host-gw", data: null }),
  plan: (input, peers) => ({
    ...EMPTY_PLAN,
    routes: peers.map((peer) => directRoute(input, peer)),
  }),
};

/** The way to a peer that needs no encapsulation. */
export function directRoute(
  { host }: Pick<NodePlanInput, "host">,
  { address, rank = 0, subnet }: BackendPeer,
): DesiredRoute {
  return {
    destination: subnet,
    link: host.link,
    gateway: address,
    onlink: false,
    table: MAIN_TABLE,
    metric: DEFAULT_METRIC[addressFamily(subnet)] + rank,
  };
}
