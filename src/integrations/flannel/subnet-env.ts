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

/** What a `subnet.env` of flannel's or ours says; undefined where it is missing or not valid. */
export interface ParsedSubnetEnv {
  /** The first one where there is a list. */
  readonly network: Prefix | undefined;
  readonly subnet: Prefix | undefined;
  readonly mtu: number | undefined;
  readonly ipMasq: boolean | undefined;
}

/** Longest text that is looked at, characters. The file has six lines. */
const TEXT_LENGTH_MAX = 16 * 1024;

/**
 * Reads a file that anybody may have written: what is not understood is left out. The last of
 * several lines of one key counts, as for a shell that sources the file.
 */
export function parseSubnetEnv(text: string): ParsedSubnetEnv {
  const values = new Map<string, string>();
  for (const line of text.slice(0, TEXT_LENGTH_MAX).split("\n")) {
    const match = /^\s*(?:export\s+)?([A-Z0-9_]+)=(["']?)([^"']*)\2\s*$/.exec(line);
    if (match !== null) values.set(match[1]!, match[3]!.trim());
  }
  const [network = ""] = (values.get("FLANNEL_NETWORK") ?? "").split(",");
  return {
    network: parseV4(network),
    subnet: parseV4(values.get("FLANNEL_SUBNET") ?? ""),
    mtu: parseMtu(values.get("FLANNEL_MTU") ?? ""),
    ipMasq: parseSwitch(values.get("FLANNEL_IPMASQ") ?? ""),
  };
}

/** The host bits (flannel writes the bridge's address) are masked off. */
function parseV4(text: string): Prefix | undefined {
  const prefix = parsePrefix(text.trim());
  return prefix !== undefined && addressFamily(prefix) === 4 ? prefix : undefined;
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
