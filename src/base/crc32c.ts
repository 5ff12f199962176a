/**
 * CRC-32C (Castagnoli), the checksum of our log and snapshot files.
 *
 * Source: RFC 3720 §12.1 and appendix B.4: polynomial 0x11EDC6F41, reflected, initial value and
 * final XOR all ones. Slice by 8: eight table look-ups consume eight bytes, so that the chain of
 * dependent steps is an eighth as long. Bun's `Bun.hash.crc32` is the IEEE polynomial (0x04C11DB7),
 * which detects fewer errors in long blocks; it cannot stand in.
 *
 * Pure. Detects accidents, not attackers.
 *
 * @module
 */

/** The polynomial without its top bit, bits reversed. */
const POLYNOMIAL_REFLECTED = 0x82f63b78;
const SLICES = 8;

/** Table `k` holds, for each byte value, its effect after `k` more zero bytes. */
const TABLES = makeTables();
const T0 = TABLES.subarray(0, 256);
const T1 = TABLES.subarray(256, 512);
const T2 = TABLES.subarray(512, 768);
const T3 = TABLES.subarray(768, 1024);
const T4 = TABLES.subarray(1024, 1280);
const T5 = TABLES.subarray(1280, 1536);
const T6 = TABLES.subarray(1536, 1792);
const T7 = TABLES.subarray(1792, 2048);

function makeTables(): Int32Array {
  const tables = new Int32Array(SLICES * 256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) {
      crc = (crc & 1) === 1 ? (crc >>> 1) ^ POLYNOMIAL_REFLECTED : crc >>> 1;
    }
    tables[byte] = crc;
  }
  for (let index = 256; index < tables.length; index++) {
    const shorter = tables[index - 256]!;
    tables[index] = tables[shorter & 0xff]! ^ (shorter >>> 8);
  }
  return tables;
}

/**
 * The checksum of `length` bytes of `bytes` from `offset`, as an unsigned 32-bit number.
 *
 * `previous` continues an earlier checksum: the result is that of both pieces in a row.
 */
export function crc32c(bytes: Uint8Array, offset: number, length: number, previous = 0): number {
  let crc = ~previous;
  let at = offset;
  const end = offset + length;
  for (const endOfEights = end - 7; at < endOfEights; at += 8) {
    const low =
      crc ^ (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24));
    crc =
      T7[low & 0xff]! ^
      T6[(low >>> 8) & 0xff]! ^
      T5[(low >>> 16) & 0xff]! ^
      T4[low >>> 24]! ^
      T3[bytes[at + 4]!]! ^
      T2[bytes[at + 5]!]! ^
      T1[bytes[at + 6]!]! ^
      T0[bytes[at + 7]!]!;
  }
  for (; at < end; at++) crc = T0[(crc ^ bytes[at]!) & 0xff]! ^ (crc >>> 8);
  return ~crc >>> 0;
}
