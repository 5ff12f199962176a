/**
 * The kernel's IPv4 routes, as /proc/net/route lists them: main table, numbers in host order.
 *
 * For programs that look once and have no netlink socket. Source: fib_route_seq_show in
 * net/ipv4/fib_trie.c. Pure.
 *
 * @module
 */
import { decodeAddress, decodePrefix, type IpAddress, type Prefix } from "../../base/address.ts";

export interface KernelRoute {
  readonly link: string;
  readonly destination: Prefix;
  /** Undefined for what is on the link itself. */
  readonly gateway: IpAddress | undefined;
}

/** Of include/uapi/linux/route.h. */
const RTF_GATEWAY = 0x0002;

/** The routes in `text`, of a little-endian machine; lines of another form are left out. */
export function parseKernelRoutes(text: string): readonly KernelRoute[] {
  return text.split("\n").flatMap((line) => parseLine(line.trim().split(/\s+/)) ?? []);
}

function parseLine(fields: readonly string[]): KernelRoute | undefined {
  const [link = "", target, via, flags, , , , netmask] = fields;
  const [address, gateway, mask] = [target, via, netmask].map(parseWord);
  if (address === undefined || gateway === undefined || mask === undefined) return undefined;
  const length = mask.reduce((count, byte) => count + bitCount(byte), 0);
  const hasGateway = (Number(`0x${flags}`) & RTF_GATEWAY) !== 0;
  return {
    link,
    destination: decodePrefix(address, length),
    gateway: hasGateway ? decodeAddress(gateway) : undefined,
  };
}

/** Four bytes in network order out of eight digits, in which the first byte comes last. */
function parseWord(text = ""): Uint8Array | undefined {
  return /^[0-9A-Fa-f]{8}$/.test(text) ? Uint8Array.fromHex(text).reverse() : undefined;
}

function bitCount(byte: number): number {
  return byte.toString(2).replaceAll("0", "").length;
}
