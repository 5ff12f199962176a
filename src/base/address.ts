/**
 * Internet addresses and prefixes, both families behind one code path.
 *
 * An address or prefix inside the program is its canonical text (RFC 5952 for IPv6), branded: it
 * compares with `===`, is a map key, and goes to JSON as it is. Arithmetic goes through `bigint`
 * here, in the control plane; the packet path uses numbers of its own and never this module.
 *
 * @module
 */
import { assert } from "./assert.ts";
import type { Brand } from "./brand.ts";

/** An IPv4 or IPv6 address in canonical text. */
export type IpAddress = Brand<string, "IpAddress">;
/** An IP network with its length, host bits zero, in canonical text: `10.0.53.0/24`. */
export type Prefix = Brand<string, "Prefix">;
/** An Ethernet address as six lower-case hexadecimal pairs: `0a:1b:2c:3d:4e:5f`. */
export type MacAddress = Brand<string, "MacAddress">;

export type Family = 4 | 6;

const BITS: Readonly<Record<Family, number>> = { 4: 32, 6: 128 };
const DOT = 0x2e;
const DIGIT_ZERO = 0x30;
const IPV6_GROUP = /^[0-9a-f]{1,4}$/i;
const MAC_PATTERN = /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/;
const LENGTH_PATTERN = /^(0|[1-9][0-9]{0,2})$/;

/** The address that `text` writes, or undefined. Leading zeros and zone names are refused. */
export function parseAddress(text: string): IpAddress | undefined {
  // There is one way to write an IPv4 address.
  if (!text.includes(":")) return parseV4(text) === undefined ? undefined : (text as IpAddress);
  const bits = parseV6(text);
  return bits === undefined ? undefined : (formatV6(bits) as IpAddress);
}

/** The prefix that `text` writes, host bits masked off (as flannel does), or undefined. */
export function parsePrefix(text: string): Prefix | undefined {
  const slash = text.indexOf("/");
  if (slash < 0) return undefined;
  const address = parseAddress(text.slice(0, slash));
  const lengthText = text.slice(slash + 1);
  if (address === undefined || !LENGTH_PATTERN.test(lengthText)) return undefined;
  const length = Number(lengthText);
  return length <= BITS[addressFamily(address)] ? prefixOf(address, length) : undefined;
}

/** The MAC address that `text` writes, or undefined. */
export function parseMac(text: string): MacAddress | undefined {
  const lower = text.toLowerCase();
  return MAC_PATTERN.test(lower) ? (lower as MacAddress) : undefined;
}

/** The prefix of `length` bits that holds `address`. */
export function prefixOf(address: IpAddress, length: number): Prefix {
  const family = addressFamily(address);
  assert(length >= 0 && length <= BITS[family], "prefix length out of range");
  if (family === 4) {
    // A shift by 32 would be one by 0.
    const mask = length === 0 ? 0 : -1 << (32 - length);
    return `${formatV4(addressToU32(address) & mask)}/${length}` as Prefix;
  }
  const hostBits = BigInt(BITS[family] - length);
  const masked = (addressBits(address) >> hostBits) << hostBits;
  return `${formatBits(masked, family)}/${length}` as Prefix;
}

/** 4 or 6. */
export function addressFamily(address: IpAddress | Prefix): Family {
  return address.includes(":") ? 6 : 4;
}

/** How many bits an address of `family` has: 32 or 128. */
export function familyBits(family: Family): number {
  return BITS[family];
}

/** First address of `prefix` (the network's own). */
export function prefixAddress(prefix: Prefix): IpAddress {
  return prefix.slice(0, prefix.indexOf("/")) as IpAddress;
}

/** Length of `prefix` in bits. */
export function prefixLength(prefix: Prefix): number {
  return Number(prefix.slice(prefix.indexOf("/") + 1));
}

/** Last address of `prefix` (the broadcast address in IPv4). */
export function prefixLast(prefix: Prefix): IpAddress {
  const family = addressFamily(prefix);
  const hostBits = BigInt(BITS[family] - prefixLength(prefix));
  return formatBits(addressBits(prefixAddress(prefix)) + (1n << hostBits) - 1n, family);
}

/** Whether `prefix` holds `address`; never across families. */
export function prefixHas(prefix: Prefix, address: IpAddress): boolean {
  const family = addressFamily(prefix);
  if (family !== addressFamily(address)) return false;
  const hostBits = BigInt(BITS[family] - prefixLength(prefix));
  return addressBits(prefixAddress(prefix)) >> hostBits === addressBits(address) >> hostBits;
}

/** Whether every address of `inner` is in `outer`. */
export function prefixCovers(outer: Prefix, inner: Prefix): boolean {
  return prefixLength(inner) >= prefixLength(outer) && prefixHas(outer, prefixAddress(inner));
}

/** Whether the two prefixes share an address. */
export function prefixesOverlap(a: Prefix, b: Prefix): boolean {
  return prefixCovers(a, b) || prefixCovers(b, a);
}

/** `address` plus `offset` addresses, or undefined when that leaves the family's range. */
export function addressPlus(address: IpAddress, offset: bigint): IpAddress | undefined {
  const family = addressFamily(address);
  const bits = addressBits(address) + offset;
  return bits < 0n || bits >= 1n << BigInt(BITS[family]) ? undefined : formatBits(bits, family);
}

/** `address` as an unsigned integer, most significant byte first. */
export function addressBits(address: IpAddress): bigint {
  if (addressFamily(address) === 4) return BigInt(addressToU32(address));
  const bits = parseV6(address);
  assert(bits !== undefined, "address must be canonical");
  return bits;
}

/** `address` in network order: 4 or 16 new bytes. */
export function addressBytes(address: IpAddress): Uint8Array {
  const size = BITS[addressFamily(address)] / 8;
  const bytes = new Uint8Array(size);
  let bits = addressBits(address);
  for (let i = size - 1; i >= 0; i--) {
    bytes[i] = Number(bits & 0xffn);
    bits >>= 8n;
  }
  return bytes;
}

/** The address in the 4 or 16 bytes of `bytes`, network order. Asserts on other lengths. */
export function decodeAddress(bytes: Uint8Array): IpAddress {
  assert(bytes.length === 4 || bytes.length === 16, "IP address must be 4 or 16 bytes");
  // The kernel lists addresses by the ten thousand: no bigint where none is needed.
  if (bytes.length === 4) return `${bytes[0]}.${bytes[1]}.${bytes[2]}.${bytes[3]}` as IpAddress;
  let bits = 0n;
  for (const byte of bytes) bits = (bits << 8n) | BigInt(byte);
  return formatBits(bits, 6);
}

/** The prefix of `length` bits at the start of the 4 or 16 bytes of `bytes`, network order. */
export function decodePrefix(bytes: Uint8Array, length: number): Prefix {
  assert(length >= 0 && length <= bytes.length * 8, "prefix length out of range");
  const masked = bytes.slice();
  const whole = Math.floor(length / 8);
  if (whole < masked.length) masked[whole]! &= 0xff << (8 - (length % 8));
  masked.fill(0, whole + 1);
  return `${decodeAddress(masked)}/${length}` as Prefix;
}

/** An IPv4 address as the number the packet path uses (most significant byte first, unsigned). */
export function addressToU32(address: IpAddress): number {
  assert(addressFamily(address) === 4, "only an IPv4 address fits 32 bits");
  const value = parseV4(address);
  assert(value !== undefined, "address must be canonical");
  return value;
}

/** The address with integer value `bits` in `family`. */
export function decodeBits(bits: bigint, family: Family): IpAddress {
  assert(bits >= 0n && bits < 1n << BigInt(BITS[family]), "address value out of range");
  return formatBits(bits, family);
}

/** The dotted quad `text` as an unsigned integer. By character: networks have them by thousands. */
function parseV4(text: string): number | undefined {
  let value = 0;
  let octet = -1;
  let dotCount = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === DOT) {
      if (octet < 0 || dotCount === 3) return undefined;
      value = value * 256 + octet;
      octet = -1;
      dotCount += 1;
      continue;
    }
    const digit = code - DIGIT_ZERO;
    // Another digit behind a zero: some read it as octal, so it is no canonical address.
    if (digit < 0 || digit > 9 || octet === 0) return undefined;
    octet = octet < 0 ? digit : octet * 10 + digit;
    if (octet > 255) return undefined;
  }
  return octet < 0 || dotCount !== 3 ? undefined : value * 256 + octet;
}

function parseV6(text: string): bigint | undefined {
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const head = parseGroups(halves[0]!);
  const tail = halves.length === 2 ? parseGroups(halves[1]!) : [];
  if (head === undefined || tail === undefined) return undefined;
  const missing = 8 - head.length - tail.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined;
  let bits = 0n;
  for (const group of [...head, ...new Array<number>(missing).fill(0), ...tail]) {
    bits = (bits << 16n) | BigInt(group);
  }
  return bits;
}

/** 16-bit groups of one side of "::"; a trailing dotted quad counts as two. */
function parseGroups(text: string): number[] | undefined {
  if (text === "") return [];
  const groups: number[] = [];
  const parts = text.split(":");
  for (const [position, part] of parts.entries()) {
    if (part.includes(".") && position === parts.length - 1) {
      const quad = parseV4(part);
      if (quad === undefined) return undefined;
      groups.push(quad >>> 16, quad & 0xffff);
    } else {
      if (!IPV6_GROUP.test(part)) return undefined;
      groups.push(Number(`0x${part}`));
    }
  }
  return groups;
}

function formatBits(bits: bigint, family: Family): IpAddress {
  return (family === 4 ? formatV4(Number(bits)) : formatV6(bits)) as IpAddress;
}

function formatV4(value: number): string {
  return `${value >>> 24}.${(value >>> 16) & 255}.${(value >>> 8) & 255}.${value & 255}`;
}

/** RFC 5952: lower case, no leading zeros, the longest run of two or more zeros as "::". */
function formatV6(bits: bigint): string {
  const groups = Array.from({ length: 8 }, (_, i) =>
    Number((bits >> BigInt(112 - 16 * i)) & 0xffffn),
  );
  let runStart = -1;
  let runCount = 1;
  for (let start = 0; start < 8; start++) {
    let end = start;
    while (end < 8 && groups[end] === 0) end++;
    if (end - start > runCount) [runStart, runCount] = [start, end - start];
  }
  const text = (part: number[]) => part.map((group) => group.toString(16)).join(":");
  if (runStart < 0) return text(groups);
  return `${text(groups.slice(0, runStart))}::${text(groups.slice(runStart + runCount))}`;
}
