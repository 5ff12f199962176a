/**
 * What a backend is: a name, what its nodes tell each other, and a plan.
 *
 * A backend has no state, no events and no clock. It says what should exist for the peers that are
 * reached by it; `node-plan.ts` puts the plans together, the reconciler makes them true.
 *
 * @module
 */
import type { IpAddress, Prefix } from "../../base/address.ts";
import type { NodeId } from "../../base/ids.ts";
import type { BackendConfig } from "../../control/network/backend-config.ts";
import type { LeaseBackend } from "../../control/network/lease.ts";
import type { FibRow } from "../fib/row.ts";
import type { Way } from "../ways/way.ts";
import type { DesiredState } from "./desired-state.ts";

/** One lease of another node. A node may have more than one. */
export interface BackendPeer {
  readonly node: NodeId;
  readonly subnet: Prefix;
  /** Underlay address. */
  readonly address: IpAddress;
  /** How the peer is reached, by its own lease. */
  readonly backend: LeaseBackend;
  /** Of several routes to the peer: packets take the lowest, 0. Absent: there is no other. */
  readonly rank?: number;
}

/** This machine's place in the underlay. */
export interface BackendHost {
  /** Name of the underlay link. */
  readonly link: string;
  /** The link's own address; its family decides how large outer headers are. */
  readonly underlayAddress: IpAddress;
  readonly underlayMtu: number;
  /** Prefixes of the underlay link: who is in one of them needs no router. */
  readonly segments: readonly Prefix[];
  /** Bytes that sealing adds to a packet of the udp backend; absent: none is sealed. */
  readonly sealOverhead?: number;
}

/** What the plan of one node depends on. */
export interface NodePlanInput {
  readonly self: NodeId;
  readonly network: Prefix;
  /** Earlier networks that some node still has a subnet of, none of them inside `network`. */
  readonly formerNetworks: readonly Prefix[];
  /** Our own leases; the first is the current one. Never empty. */
  readonly subnets: readonly Prefix[];
  readonly config: BackendConfig;
  readonly peers: readonly BackendPeer[];
  readonly host: BackendHost;
  /** For the packet engine: every peer, however it is reached. */
  readonly rows: readonly FibRow[];
  /** How this node was reached until a moment ago: others may not have heard otherwise yet. */
  readonly lingering: readonly BackendConfig[];
  /** `--ip-masq`. */
  readonly ipMasq: boolean;
  /** With "auto": the way that is used to each peer, by subnet; who is not in it: udp. */
  readonly choices?: ReadonlyMap<Prefix, Way>;
}

/** A backend's part of the desired state; firewall and FIB are the same for all. */
export type BackendPlan = Pick<
  DesiredState,
  "links" | "addresses" | "routes" | "neighbours" | "fdb" | "sysctls"
>;

/** One way for packets to travel between nodes. */
export interface Backend {
  readonly kind: BackendConfig["kind"];
  /** Largest inner packet in bytes for a node that is reached by this backend. */
  readonly mtu: (input: Pick<NodePlanInput, "config" | "host">) => number;
  /** What a node's lease tells its peers beyond its address, in flannel's form. */
  readonly publish: (self: NodeId, config: BackendConfig) => LeaseBackend;
  /**
   * What it takes to be reached by this backend, where the config asks for it or did a moment ago
   * (`lingering`: those of this backend), and to reach `peers`, whose leases do.
   */
  readonly plan: (input: NodePlanInput, peers: readonly BackendPeer[]) => BackendPlan;
}

/** Nothing to add. */
export const EMPTY_PLAN: BackendPlan = {
  links: [],
  addresses: [],
  routes: [],
  neighbours: [],
  fdb: [],
  sysctls: [],
};
