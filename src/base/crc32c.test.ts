/**
 * crc32c against the published answers and against a bit-at-a-time twin.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import { crc32c } from "./crc32c.ts";

/** The definition, one bit at a time. */
function slowCrc32c(bytes: Uint8Array, previous = 0): number {
  let crc = ~previous;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return ~crc >>> 0;
}

const ascii = (text: string) => new TextEncoder().encode(text);
const filled = (count: number, make: (index: number) => number) =>
  Uint8Array.from({ length: count }, (_, index) => make(index));

/** RFC 3720 appendix B.4 prints its answers as bytes on the wire (little-endian). */
const ISCSI_READ_COMMAND = new Uint8Array(48);
ISCSI_READ_COMMAND.set([0x01, 0xc0], 0);
ISCSI_READ_COMMAND.set([0x14], 16);
ISCSI_READ_COMMAND.set([0x04], 22);
ISCSI_READ_COMMAND.set([0x14], 27);
ISCSI_READ_COMMAND.set([0x18], 31);
ISCSI_READ_COMMAND.set([0x28], 32);
ISCSI_READ_COMMAND.set([0x02], 40);

const VECTORS = [
  { why: "RFC 3720 B.4: 32 bytes of zeroes", bytes: new Uint8Array(32), crc: 0x8a9136aa },
  { why: "RFC 3720 B.4: 32 bytes of ones", bytes: filled(32, () => 0xff), crc: 0x62a8ab43 },
  { why: "RFC 3720 B.4: incrementing 0..1f", bytes: filled(32, (i) => i), crc: 0x46dd794e },
  { why: "RFC 3720 B.4: decrementing 1f..0", bytes: filled(32, (i) => 31 - i), crc: 0x113fdb5c },
  { why: "RFC 3720 B.4: an iSCSI read command", bytes: ISCSI_READ_COMMAND, crc: 0xd9963a56 },
  { why: "the customary check string", bytes: ascii("123456789"), crc: 0xe3069283 },
  { why: "nothing", bytes: new Uint8Array(0), crc: 0 },
];

describe("crc32c", () => {
  for (const { why, bytes, crc } of VECTORS) {
    test(why, () => {
      expect(crc32c(bytes, 0, bytes.length)).toBe(crc);
      expect(slowCrc32c(bytes)).toBe(crc);
    });
  }

  test("equals the slow twin for every length to 100 at every alignment", () => {
    const bytes = filled(128, (i) => (i * 167 + 13) & 0xff);
    for (let length = 0; length <= 100; length++) {
      for (let offset = 0; offset < 9; offset++) {
        const expected = slowCrc32c(bytes.subarray(offset, offset + length), 0xdeadbeef);
        expect(crc32c(bytes, offset, length, 0xdeadbeef)).toBe(expected);
      }
    }
  });

  test("continues: two pieces in a row give the checksum of the whole", () => {
    const bytes = filled(61, (i) => (i * 31) & 0xff);
    for (let cut = 0; cut <= bytes.length; cut++) {
      const first = crc32c(bytes, 0, cut);
      expect(crc32c(bytes, cut, bytes.length - cut, first)).toBe(crc32c(bytes, 0, bytes.length));
    }
  });
});
