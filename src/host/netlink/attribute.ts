/**
 * Netlink attributes: the type-length-value items that follow every message's fixed part.
 *
 *          0       1       2       3
 *         +-------+-------+-------+-------+
 *       0 | nla_len       | nla_type      |  nla_len counts these four bytes, not the padding
 *       4 | value, zero-padded to a multiple of 4 bytes
 *
 * The two top bits of the type are flags: "nested" (the value is attributes) and "network byte
 * order". Integers are in host byte order, little-endian on every target we build for; where a
 * subsystem wants network order (nf_tables), its functions say so. Layout:
 * include/uapi/linux/netlink.h.
 *
 * @module
 */
import { assert } from "../../base/assert.ts";

const NLA_HEADER_SIZE = 4;
const NLA_F_NESTED = 0x8000;
const NLA_TYPE_MASK = 0x3fff;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Attributes by type; of two with one type the last counts, as in the kernel. */
export type Attributes = ReadonlyMap<number, Uint8Array>;

/** `length` rounded up to where the next attribute or message starts. */
export function align(length: number): number {
  return (length + 3) & ~3;
}

/** Writes one attribute at `offset`, padding zeroed; the result is where the next one starts. */
export function putBytes(out: DataView, offset: number, type: number, value: Uint8Array): number {
  const length = NLA_HEADER_SIZE + value.length;
  const end = offset + align(length);
  assert(end <= out.byteLength, "netlink request must fit its buffer");
  out.setUint16(offset, length, true);
  out.setUint16(offset + 2, type, true);
  const target = new Uint8Array(out.buffer, out.byteOffset, out.byteLength);
  target.set(value, offset + NLA_HEADER_SIZE);
  // Stale bytes of an earlier request must not leak into the kernel.
  target.fill(0, offset + length, end);
  return end;
}

/** One byte. */
export function putU8(out: DataView, offset: number, type: number, value: number): number {
  return putBytes(out, offset, type, Uint8Array.of(value));
}

/** Host byte order. */
export function putU32(out: DataView, offset: number, type: number, value: number): number {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return putBytes(out, offset, type, bytes);
}

/** Network byte order, as nf_tables has it. */
export function putNetU32(out: DataView, offset: number, type: number, value: number): number {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return putBytes(out, offset, type, bytes);
}

/** UTF-8 with the NUL that the kernel expects. */
export function putText(out: DataView, offset: number, type: number, value: string): number {
  return putBytes(out, offset, type, encoder.encode(`${value}\0`));
}

/**
 * Writes an attribute whose value is what `body` writes: it gets the offset of its first
 * attribute and returns the end of its last.
 */
export function putNested(
  out: DataView,
  offset: number,
  { type, body }: { readonly type: number; readonly body: (offset: number) => number },
): number {
  const end = body(offset + NLA_HEADER_SIZE);
  out.setUint16(offset, end - offset, true);
  out.setUint16(offset + 2, type | NLA_F_NESTED, true);
  return end;
}

/**
 * The attributes that fill `bytes`, or undefined when a length is impossible. Values are views
 * of `bytes`: borrowed as long as those are.
 */
export function decodeAttributes(bytes: Uint8Array): Attributes | undefined {
  const attributes = new Map<number, Uint8Array>();
  return walk(bytes, (type, value) => attributes.set(type, value)) ? attributes : undefined;
}

/** The same in order of appearance, for nests that repeat one type. */
export function decodeAttributeList(
  bytes: Uint8Array,
): readonly (readonly [type: number, value: Uint8Array])[] | undefined {
  const list: [number, Uint8Array][] = [];
  return walk(bytes, (type, value) => list.push([type, value])) ? list : undefined;
}

/** Visits the attributes that fill `bytes`; whether every length was possible. */
function walk(bytes: Uint8Array, visit: (type: number, value: Uint8Array) => void): boolean {
  let offset = 0;
  while (offset + NLA_HEADER_SIZE <= bytes.length) {
    const length = u16(bytes, offset);
    if (length < NLA_HEADER_SIZE || offset + length > bytes.length) return false;
    const type = u16(bytes, offset + 2) & NLA_TYPE_MASK;
    visit(type, bytes.subarray(offset + NLA_HEADER_SIZE, offset + length));
    offset += align(length);
  }
  // Up to three bytes of padding after the last attribute may be missing, never be more.
  return offset >= bytes.length;
}

/** The attribute as an unsigned 32-bit number in host byte order, unless absent or too short. */
export function decodeU32(value: Uint8Array | undefined): number | undefined {
  if (value === undefined || value.length < 4) return undefined;
  return (u16(value, 0) | (u16(value, 2) << 16)) >>> 0;
}

/** The same in network byte order. */
export function decodeNetU32(value: Uint8Array | undefined): number | undefined {
  if (value === undefined || value.length < 4) return undefined;
  return ((value[0]! << 24) | (value[1]! << 16) | (value[2]! << 8) | value[3]!) >>> 0;
}

/** The attribute as text up to its NUL; invalid UTF-8 becomes replacement characters. */
export function decodeText(value: Uint8Array | undefined): string | undefined {
  if (value === undefined) return undefined;
  const end = value.indexOf(0);
  return decoder.decode(end < 0 ? value : value.subarray(0, end));
}

function u16(bytes: Uint8Array, offset: number): number {
  return bytes[offset]! | (bytes[offset + 1]! << 8);
}
