/**
 * What keeps Docker from this node's subnet, as the kernel's routes show it. Pure.
 *
 * @module
 */
import { parsePrefix } from "../../base/address.ts";
import type { KernelRoute } from "./kernel-routes.ts";

/** Sentences for people, without a capital; undefined where there is nothing to say. */
export interface Obstacles {
  /** The subnet is routed elsewhere: Docker refuses it. */
  readonly blocked: string | undefined;
  /** Docker's bridge is elsewhere. */
  readonly warning: string | undefined;
}

const BRIDGE = "docker0";
/** Docker 20.10 moves a bridge when it starts; not every version does. */
const MOVE =
  'restart Docker with the options of "overlay docker-env"; if that does not move it, ' +
  `stop Docker, "ip link delete ${BRIDGE}", and start Docker`;

/** What Docker will stumble over with its bridge at `bridgeAddress` ("10.0.53.1/24"). */
export function findObstacles(bridgeAddress: string, routes: readonly KernelRoute[]): Obstacles {
  const subnet = parsePrefix(bridgeAddress);
  if (subnet === undefined) return { blocked: undefined, warning: undefined };
  const elsewhere = routes.find(
    ({ destination, gateway }) => destination === subnet && gateway !== undefined,
  );
  const blocked =
    elsewhere === undefined
      ? undefined
      : `the routing table already sends ${subnet} via ${elsewhere.gateway} dev ${elsewhere.link}; delete that route, or start Docker without it in the way`;
  const other = routes.find(
    ({ destination, gateway, link }) =>
      link === BRIDGE && gateway === undefined && destination !== subnet,
  );
  const hasOwn = routes.some(({ destination, link }) => link === BRIDGE && destination === subnet);
  const warning =
    other === undefined || hasOwn
      ? undefined
      : `${BRIDGE} is in ${other.destination} and not at ${bridgeAddress}: ${MOVE}`;
  return { blocked, warning };
}
