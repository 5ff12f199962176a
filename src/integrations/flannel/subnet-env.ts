/**
 * flannel's `subnet.env`: how Docker, the CNI plugin and scripts learn this node's subnet.
 *
 * Source: flannel `pkg/subnet/subnet.go` (`WriteSubnetFile`). Format and parse only; no I/O.
 *
 * @module
 */

import {
  addressFamily,
  addressPlus,
  type Family,
  type Prefix,
  parsePrefix,
  prefixAddress,
  prefixLength,
} from "../../base/address.ts";
import { assert } from "../../base/assert.ts";
import { parseShellVariables } from "./shell-variables.ts";

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

/** What a `subnet.env` of flannel's or ours says; undefined where it is missing or not valid. */
export interface ParsedSubnetEnv {
  /** The first one where there is a list. */
  readonly network: Prefix | undefined;
  readonly subnet: Prefix | undefined;
  /** All networks of the lists, of both families. */
  readonly networks: readonly Prefix[];
  readonly ipv6Subnet: Prefix | undefined;
  readonly mtu: number | undefined;
  readonly ipMasq: boolean | undefined;
}

/**
 * Reads a file that anybody may have written: what is not understood is left out. The last of
 * several lines of one key counts, as for a shell that sources the file.
 */
export function parseSubnetEnv(text: string): ParsedSubnetEnv {
  const values = parseShellVariables(text);
  const networks = parseNetworks(values.get("FLANNEL_NETWORK"), 4);
  return {
    network: networks[0],
    subnet: parseOf(4, values.get("FLANNEL_SUBNET")),
    networks: [...networks, ...parseNetworks(values.get("FLANNEL_IPV6_NETWORK"), 6)],
    ipv6Subnet: parseOf(6, values.get("FLANNEL_IPV6_SUBNET")),
    mtu: parseMtu(values.get("FLANNEL_MTU") ?? ""),
    ipMasq: parseSwitch(values.get("FLANNEL_IPMASQ") ?? ""),
  };
}

function parseNetworks(text = "", family: Family): Prefix[] {
  return text.split(",").flatMap((one) => parseOf(family, one) ?? []);
}

/** The host bits (flannel writes the bridge's address) are masked off. */
function parseOf(family: Family, text = ""): Prefix | undefined {
  const prefix = parsePrefix(text.trim());
  return prefix !== undefined && addressFamily(prefix) === family ? prefix : undefined;
}

function parseMtu(text: string): number | undefined {
  return /^[1-9][0-9]{1,4}$/.test(text) && Number(text) <= 65_535 ? Number(text) : undefined;
}

function parseSwitch(text: string): boolean | undefined {
  return text === "true" ? true : text === "false" ? false : undefined;
}

function gateway(subnet: Prefix): string {
  const address = addressPlus(prefixAddress(subnet), 1n);
  assert(address !== undefined, "subnet must have a second address");
  return `${address}/${prefixLength(subnet)}`;
}
