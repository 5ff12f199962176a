/**
 * Plain values as CBOR (RFC 8949): the base of log payloads, peer frames and snapshots.
 *
 * Bytes from a peer or a disk are hostile. The library knows tags that run code, share state
 * between decodes or cost quadratic time, so a scan comes first: it lets only integers below
 * 2^32, floats, byte and text strings, definite arrays and maps with text keys, booleans, null
 * and undefined through, within the limits below. What passes the scan decodes without surprise.
 * The only importer of cbor-x; its build without `eval`.
 *
 * @module
 */
import { Encoder } from "cbor-x/index-no-eval";

/** Nesting of arrays and maps. Ours need at most half of it. */
export const VALUE_DEPTH_MAX = 16;
/** Items in one value: an append message of 1 MiB full of the smallest entries has half of it. */
export const VALUE_ITEM_COUNT_MAX = 500_000;

/** A map with text keys. */
export type PlainRecord = Readonly<Record<string, unknown>>;

const cbor = new Encoder({
  useRecords: false,
  mapsAsObjects: true,
  tagUint8Array: false,
  variableMapSize: true,
});

/**
 * `value` (plain data) as CBOR, behind `headSize` zero bytes for the caller to fill. The array is
 * the caller's: it shares memory with nothing.
 */
export function encodeValue(value: unknown, headSize = 0): Uint8Array {
  // The library hands out parts of a pool; a copy keeps a small result from pinning the pool.
  const encoded = cbor.encode(value);
  const bytes = new Uint8Array(headSize + encoded.length);
  bytes.set(encoded, headSize);
  return bytes;
}

/**
 * The map that `bytes` encode, or undefined when they are malformed or are something else.
 * Byte strings in it are views of `bytes`.
 */
export function decodeRecord(bytes: Uint8Array): PlainRecord | undefined {
  if (!isPlain(bytes)) return undefined;
  let value: unknown;
  try {
    // A fresh plain view: the library would hang a property on ours, and return Buffers of one.
    value = cbor.decode(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length));
  } catch {
    return undefined; // The scan leaves nothing to throw; if the library disagrees, it is malformed.
  }
  return isRecord(value) ? value : undefined;
}

/** Whether `value` is a map as `decodeRecord` yields it. */
export function isRecord(value: unknown): value is PlainRecord {
  return (
    typeof value === "object" &&
    value !== null &&
    !Array.isArray(value) &&
    !(value instanceof Uint8Array)
  );
}

const UNSIGNED = 0;
const NEGATIVE = 1;
const BYTES = 2;
const TEXT = 3;
const ARRAY = 4;
const MAP = 5;
const TAG = 6;

/** Whether `bytes` are exactly one item of the plain subset, within the limits. */
function isPlain(bytes: Uint8Array): boolean {
  /** Items still to come at each open level; a map counts its keys and values. */
  const open = new Int32Array(VALUE_DEPTH_MAX + 1);
  /** 1 for levels that are maps. There the next item is a key when an even number is to come. */
  const isMap = new Uint8Array(VALUE_DEPTH_MAX + 1);
  let depth = 0;
  open[0] = 1;
  let itemCount = 0;
  let at = 0;
  while (depth >= 0) {
    if (open[depth] === 0) {
      depth--;
      continue;
    }
    if (at >= bytes.length || ++itemCount > VALUE_ITEM_COUNT_MAX) return false;
    const major = bytes[at]! >> 5;
    const isKey = isMap[depth] === 1 && open[depth]! % 2 === 0;
    if (isKey && major !== TEXT) return false;
    open[depth]!--;
    const head = readHead(bytes, at);
    if (head === undefined) return false;
    at = head.end;
    if (major === BYTES || major === TEXT) {
      at += head.argument;
    } else if (major === ARRAY || major === MAP) {
      // Each item takes a byte at least, so a count beyond the rest is a lie.
      const count = major === MAP ? head.argument * 2 : head.argument;
      if (count > bytes.length - at || depth === VALUE_DEPTH_MAX) return false;
      depth++;
      open[depth] = count;
      isMap[depth] = major === MAP ? 1 : 0;
    }
    if (at > bytes.length) return false;
  }
  return at === bytes.length;
}

/** Argument and end of the head at `at`; undefined when cut off or outside the subset. */
function readHead(bytes: Uint8Array, at: number): { argument: number; end: number } | undefined {
  const major = bytes[at]! >> 5;
  const info = bytes[at]! & 0x1f;
  if (major === TAG) return undefined;
  if (major !== UNSIGNED && major !== NEGATIVE && major < TAG) return readLength(bytes, at, info);
  if (major <= NEGATIVE) return info <= 26 ? readLength(bytes, at, info) : undefined;
  // Major 7: false, true, null, undefined, and floats of two, four and eight bytes.
  if (info >= 20 && info <= 23) return { argument: 0, end: at + 1 };
  if (info < 25 || info > 27) return undefined;
  const end = at + 1 + 2 ** (info - 24);
  return end <= bytes.length ? { argument: 0, end } : undefined;
}

/** The argument in the low bits of the first byte, or in the 1, 2 or 4 bytes after it. */
function readLength(
  bytes: Uint8Array,
  at: number,
  info: number,
): { argument: number; end: number } | undefined {
  if (info < 24) return { argument: info, end: at + 1 };
  if (info > 26) return undefined;
  const end = at + 1 + 2 ** (info - 24);
  if (end > bytes.length) return undefined;
  let argument = 0;
  for (let i = at + 1; i < end; i++) argument = argument * 256 + bytes[i]!;
  return { argument, end };
}
