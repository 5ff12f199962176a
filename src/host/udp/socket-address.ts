/**
 * struct sockaddr_in and sockaddr_in6 as the kernel lays them out (netinet/in.h).
 *
 *             0       2       4               8                       24      28
 *            +-------+-------+---------------+-----------------------+-------+
 *   AF_INET  | family| port  | address       | zero                  |
 *   AF_INET6 | family| port  | flow          | address               | scope |
 *            +-------+-------+---------------+-----------------------+-------+
 *
 * The family is in host byte order, port and address in network order.
 *
 * @module
 */
import { assert } from "../../base/assert.ts";

export const AF_INET = 2;
export const AF_INET6 = 10;
/** Room for either form, a multiple of 8. */
export const SOCKADDR_SIZE = 32;

const SOCKADDR_IN_SIZE = 16;
const SOCKADDR_IN6_SIZE = 28;
/** Third word of an IPv4-mapped address (RFC 4291 §2.5.5.2). */
const MAPPED_WORD = 0xffff;

/** Writes the address (4 or 16 bytes) and port at the start of `out`. Returns the length. */
export function encodeSocketAddress(out: DataView, address: Uint8Array, port: number): number {
  assert(address.length === 4 || address.length === 16, "IP address must be 4 or 16 bytes");
  const family = address.length === 4 ? AF_INET : AF_INET6;
  const start = family === AF_INET ? 4 : 8;
  for (let i = 0; i < SOCKADDR_SIZE; i++) out.setUint8(i, 0);
  out.setUint16(0, family, true);
  out.setUint16(2, port);
  for (const [i, byte] of address.entries()) out.setUint8(start + i, byte);
  return socketAddressSize(family);
}

/** Bytes of a socket address of `family`. */
export function socketAddressSize(family: number): number {
  return family === AF_INET ? SOCKADDR_IN_SIZE : SOCKADDR_IN6_SIZE;
}

/** Writes a target of four words into the socket address at `offset`, whose family is set. */
export function putSocketTarget(
  out: DataView,
  offset: number,
  words: Uint32Array,
  first: number,
): void {
  if (out.getUint16(offset, true) === AF_INET) {
    out.setUint32(offset + 4, words[first + 3]!);
    return;
  }
  for (let word = 0; word < 4; word++) out.setUint32(offset + 8 + 4 * word, words[first + word]!);
}

/** Reads the address at `offset` into four words, IPv4 as IPv4-mapped. */
export function takeSocketSource(
  source: DataView,
  offset: number,
  words: Uint32Array,
  first: number,
): void {
  if (source.getUint16(offset, true) === AF_INET) {
    words[first] = 0;
    words[first + 1] = 0;
    words[first + 2] = MAPPED_WORD;
    words[first + 3] = source.getUint32(offset + 4);
    return;
  }
  for (let word = 0; word < 4; word++)
    words[first + word] = source.getUint32(offset + 8 + 4 * word);
}
