import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { finishSum, foldSum, negateWord, sumBytes } from "./checksum.ts";
import { createWireMemory } from "./memory.ts";

/** RFC 1071 §4.1, literally: one 16-bit word after the other. */
function slowSum(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) {
    sum += bytes[i]! * 256 + (bytes[i + 1] ?? 0);
    if (sum > 0xffff) sum = (sum % 0x10000) + 1;
  }
  return sum;
}

describe("sumBytes", () => {
  test("RFC 1071 §3: the worked example", () => {
    const memory = createWireMemory(8);
    memory.bytes.set([0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
    expect(sumBytes(memory, 0, 8)).toBe(0xddf2);
    expect(finishSum(0xddf2)).toBe(0x220d);
  });

  test("every length and alignment agrees with the slow twin", () => {
    const memory = createWireMemory(128);
    for (let i = 0; i < 128; i++) memory.bytes[i] = (i * 151 + 77) & 0xff;
    for (let offset = 0; offset < 8; offset++) {
      for (let length = 0; length <= 100; length++) {
        const expected = slowSum(memory.bytes.slice(offset, offset + length));
        expect([offset, length, sumBytes(memory, offset, length)]).toEqual([
          offset,
          length,
          expected,
        ]);
      }
    }
  });

  test("64 KiB of ones: no carry is lost", () => {
    const memory = createWireMemory(65_536);
    memory.bytes.fill(0xff);
    expect(sumBytes(memory, 0, 65_536)).toBe(0xffff);
    expect(sumBytes(memory, 1, 65_535)).toBe(slowSum(memory.bytes.slice(1)));
  });

  test("random bytes agree with the slow twin", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 3000 }),
        fc.integer({ min: 0, max: 7 }),
        (data, at) => {
          const memory = createWireMemory(at + data.length + 8);
          memory.bytes.set(data, at);
          return sumBytes(memory, at, data.length) === slowSum(data);
        },
      ),
      { seed: 1071, numRuns: 300 },
    );
  });
});

describe("foldSum", () => {
  test.each([
    [0, 0],
    [0xffff, 0xffff],
    [0x1_0000, 1],
    [0xffff_ffff, 0xffff],
    [2 ** 32, 1],
    [2 ** 48 - 1, 0xffff],
    [(2 ** 32 - 1) * 65_536, 0xffff],
  ])("%i folds to %i", (sum, folded) => {
    expect(foldSum(sum)).toBe(folded);
  });

  test("RFC 1624 §4: the example's incremental update, by negation", () => {
    const checksum = finishSum(negateWord(0xdd2f) + negateWord(0x5555) + 0x3285);
    expect(checksum).toBe(0x0000);
  });
});
