/**
 * What should exist on one node: the plans of all backends that it takes part in, as one.
 *
 * How a node is reached is said by its lease, not by the config. So while a config changes, each
 * pair of nodes reaches each other by what both have published, and a node that is behind is
 * reached by the old way. Routes to single peers are more specific than the udp backend's route for
 * the whole network, so the two do not stand in each other's way. Pure.
 *
 * @module
 */
import { addressFamily, type Family } from "../../base/address.ts";
import { assert } from "../../base/assert.ts";
import type { BackendConfig } from "../../control/network/backend-config.ts";
import type { LeaseBackend } from "../../control/network/lease.ts";
import { alloc } from "./alloc.ts";
import { auto, byWays, partsOf } from "./auto.ts";
import type { Backend, BackendPeer, BackendPlan, NodePlanInput } from "./backend.ts";
import type { DesiredState, DesiredSysctl } from "./desired-state.ts";
import { extension } from "./extension.ts";
import { planFirewall } from "./firewall.ts";
import { hostGw } from "./host-gw.ts";
import { udp } from "./udp.ts";
import { vxlan } from "./vxlan.ts";

/** Every backend there is. */
const BACKENDS: readonly Backend[] = [udp, vxlan, hostGw, auto, extension, alloc];

/** Without it the kernel drops what it should pass between containers and the overlay. */
const FORWARDING_SYSCTL: Readonly<Record<Family, string>> = {
  4: "net/ipv4/ip_forward",
  6: "net/ipv6/conf/all/forwarding",
};

/** The backend that a config asks for. */
export function backendOf({ kind }: Pick<BackendConfig, "kind">): Backend {
  const found = BACKENDS.find((backend) => backend.kind === kind);
  assert(found !== undefined, "every kind of config has a backend");
  return found;
}

/** The name of the backend by which a lease says that its holder is reached. */
export function reachedBy(backend: LeaseBackend): string {
  return backend.kind === "other" ? backend.type : backend.kind;
}

/** The UDP port that a config has the packet engine listen on; undefined: it has none. */
export function enginePort(config: BackendConfig): number | undefined {
  const part = partsOf(config).find(({ kind }) => kind === udp.kind);
  return part?.kind === "udp" ? part.port : undefined;
}

/** Whether the packet engine is to run: somebody is reached by it, or we are, or were just now. */
export function needsEngine({
  config,
  lingering,
  peers,
}: Pick<NodePlanInput, "config" | "lingering"> & {
  readonly peers: readonly Pick<BackendPeer, "backend">[];
}): boolean {
  const own = [config, ...lingering].flatMap(partsOf);
  return (
    own.some(({ kind }) => kind === udp.kind) ||
    peers.some(({ backend }) => reachedBy(backend) === udp.kind)
  );
}

/** All that should exist on the node that `input` describes. */
export function planNode(input: NodePlanInput): DesiredState {
  const { config, formerNetworks, ipMasq, lingering, network, rows, subnets } = input;
  assert(subnets.length > 0, "a plan needs a lease");
  const family = addressFamily(network);
  assert(
    subnets.every((own) => addressFamily(own) === family),
    "lease and network must be of one family",
  );
  const configs = [config, ...lingering].flatMap(partsOf);
  const ways = byWays(input);
  const plans = BACKENDS.flatMap((backend): BackendPlan[] => {
    const reached = ways.filter((peer) => reachedBy(peer.backend) === backend.kind);
    const [own, ...former] = configs.filter(({ kind }) => kind === backend.kind);
    if (own === undefined && reached.length === 0) return [];
    return [backend.plan({ ...input, config: own ?? config, lingering: former }, reached)];
  });
  return {
    links: plans.flatMap(({ links }) => links),
    addresses: plans.flatMap(({ addresses }) => addresses),
    routes: plans.flatMap(({ routes }) => routes),
    neighbours: plans.flatMap(({ neighbours }) => neighbours),
    fdb: plans.flatMap(({ fdb }) => fdb),
    sysctls: [forwarding(family), ...plans.flatMap(({ sysctls }) => sysctls)],
    firewall: planFirewall({
      ...{ networks: [network, ...formerNetworks], subnets, masquerade: ipMasq },
    }),
    fib: { local: subnets, rows },
  };
}

function forwarding(family: Family): DesiredSysctl {
  return { path: FORWARDING_SYSCTL[family], value: "1" };
}
