/**
 * The desired state of a node whose network has the udp backend and nobody of another: most tests
 * of the reconciler need one and do not care how it came about.
 *
 * @module
 */
import type { IpAddress, Prefix } from "../../src/base/address.ts";
import { decodeNodeId } from "../../src/base/ids.ts";
import type { DesiredState } from "../../src/dataplane/backends/desired-state.ts";
import { planNode } from "../../src/dataplane/backends/node-plan.ts";
import type { FibRow } from "../../src/dataplane/fib/row.ts";

/** What the plan depends on. */
export interface UdpPlanInput {
  readonly lease: { readonly subnet: Prefix };
  readonly network: Prefix;
  readonly rows: readonly FibRow[];
  readonly host: {
    readonly underlayAddress: IpAddress;
    readonly underlayMtu: number;
    readonly sealOverhead?: number;
  };
  readonly ipMasq?: boolean;
}

/** What the node needs. */
export function planUdp({
  lease,
  network,
  rows,
  host,
  ipMasq = false,
}: UdpPlanInput): DesiredState {
  return planNode({
    self: decodeNodeId(99),
    network,
    formerNetworks: [],
    subnets: [lease.subnet],
    config: { kind: "udp", port: 8285, encryption: "none" },
    peers: [],
    host: { ...host, link: "eth0", segments: [] },
    rows,
    lingering: [],
    ipMasq,
  });
}
