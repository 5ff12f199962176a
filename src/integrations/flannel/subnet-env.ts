/**
 * flannel's `subnet.env`: how Docker, the CNI plugin and scripts learn this node's subnet.
 *
 * Source: flannel `pkg/subnet/subnet.go` (`WriteSubnetFile`). Format and parse only; no I/O.
 *
 * @module
 */

import {
  addressPlus,
  type Prefix,
  parsePrefix,
  prefixAddress,
  prefixLength,
} from "../../base/address.ts";
import { assert } from "../../base/assert.ts";

/** A network and this node's subnet of it, of one family. */
export interface SubnetEnvPair {
  readonly network: Prefix;
  readonly subnet: Prefix;
}

export interface SubnetEnv extends SubnetEnvPair {
  /** The IPv6 half of a dual-stack lease. */
  readonly ipv6?: SubnetEnvPair;
  /** Of the overlay, bytes. */
  readonly mtu: number;
  readonly ipMasq: boolean;
}

/** The file's text. The subnet is written as its second address: the bridge's own. */
export function formatSubnetEnv(env: SubnetEnv): string {
  const ipv6 =
    env.ipv6 === undefined
      ? ""
      : `FLANNEL_IPV6_NETWORK=${env.ipv6.network}\nFLANNEL_IPV6_SUBNET=${gateway(env.ipv6.subnet)}\n`;
  return (
    `FLANNEL_NETWORK=${env.network}\nFLANNEL_SUBNET=${gateway(env.subnet)}\n${ipv6}` +
    `FLANNEL_MTU=${env.mtu}\nFLANNEL_IPMASQ=${env.ipMasq}\n`
  );
}

/** What a `subnet.env` of flannel's or ours says; each part undefined unless it is there and valid. */
export interface ParsedSubnetEnv {
  readonly network: Prefix | undefined;
  readonly subnet: Prefix | undefined;
  readonly mtu: number | undefined;
  readonly ipMasq: boolean | undefined;
}

/** Reads a file that anybody may have written: what is not understood is left out. */
export function parseSubnetEnv(text: string): ParsedSubnetEnv {
  return { network: parsePrefix(text), subnet: undefined, mtu: undefined, ipMasq: undefined };
}

function gateway(subnet: Prefix): string {
  const address = addressPlus(prefixAddress(subnet), 1n);
  assert(address !== undefined, "subnet must have a second address");
  return `${address}/${prefixLength(subnet)}`;
}
