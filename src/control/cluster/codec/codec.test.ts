import { describe, expect, test } from "bun:test";
import { Encoder } from "cbor-x/index-no-eval";
import fc from "fast-check";
import { VALUE_DEPTH_MAX } from "./cbor-decoder.ts";
import { decodeOwnRecord, decodeRecord, encodeValue } from "./codec.ts";

function hex(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text.replaceAll(" ", ""), "hex"));
}

const twin = new Encoder({
  useRecords: false,
  mapsAsObjects: true,
  tagUint8Array: false,
  variableMapSize: true,
});

const records = plainRecords();

describe("encodeValue", () => {
  test("writes what the library writes, or what it reads as the same", () => {
    fc.assert(
      fc.property(records, (record) => {
        const bytes = encodeValue(record);
        expect(twin.decode(Buffer.from(bytes))).toEqual(twin.decode(twin.encode(record)));
      }),
      { numRuns: 300 },
    );
  });

  const heads = [
    0,
    23,
    24,
    255,
    256,
    65_535,
    65_536,
    2 ** 32 - 1,
    2 ** 32,
    Number.MAX_SAFE_INTEGER,
  ];
  test("writes numbers, lengths and counts of every size as the library does", () => {
    for (const number of heads.flatMap((head) => [head, -head, -1 - head, head + 0.5])) {
      expect(encodeValue({ a: number })).toEqual(new Uint8Array(twin.encode({ a: number })));
    }
    for (const length of [0, 1, 23, 24, 40, 41, 255, 256, 65_535, 65_536, 200_000]) {
      const plain = { t: "x".repeat(length), b: new Uint8Array(length), l: Array(length).fill(0) };
      expect(encodeValue(plain)).toEqual(new Uint8Array(twin.encode(plain)));
      const wide = { t: "é".repeat(length), u: "€".repeat(length), v: "😀".repeat(length) };
      expect(decodeRecord(encodeValue(wide))).toEqual(wide);
    }
  });

  test("leaves room in front, and shares memory with nothing", () => {
    const first = encodeValue({ a: 1 }, 3);
    expect([...first.subarray(0, 3)]).toEqual([0, 0, 0]);
    expect(decodeRecord(first.subarray(3))).toEqual({ a: 1 });
    const copy = first.slice();
    encodeValue({ b: 2 }, 3);
    expect(first).toEqual(copy);
    expect(first.buffer.byteLength).toBe(first.length);
  });
});

test("decodeOwnRecord: byte strings outlive the bytes that they came in, those of a Buffer too", () => {
  const bytes = encodeValue({ a: Uint8Array.of(1, 2), b: [Uint8Array.of(3)] });
  for (const source of [bytes.slice(), Buffer.from(bytes)]) {
    const record = decodeOwnRecord(source);
    source.fill(0xee);
    expect(record).toEqual({ a: Uint8Array.of(1, 2), b: [Uint8Array.of(3)] });
  }
});

describe("decodeRecord", () => {
  test("reads what the library writes", () => {
    fc.assert(
      fc.property(records, (record) => {
        // A float of four bytes is beyond the subset; the library has them only when asked.
        expect(decodeRecord(new Uint8Array(twin.encode(record)))).toEqual(record);
      }),
      { numRuns: 300 },
    );
  });

  test("gives a text the same string whatever was read before it", () => {
    // More words than there are places for, so that they push each other out.
    for (let round = 0; round < 2; round++) {
      for (let i = 0; i < 3_000; i++) {
        const record = { [`k${i}`]: `v${i}`, [`é${i}`]: "put" };
        expect(decodeRecord(encodeValue(record))).toEqual(record);
      }
    }
  });

  test("gives back what encodeValue took, for plain records", () => {
    fc.assert(
      fc.property(records, (record) => {
        expect(decodeRecord(encodeValue(record))).toEqual(record);
      }),
      { numRuns: 300 },
    );
  });

  test("never throws and never pollutes, whatever the bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        decodeRecord(bytes);
        expect(Object.keys(Object.prototype)).toEqual([]);
      }),
      { numRuns: 5_000 },
    );
  });

  test("never throws on a valid value with one byte changed or cut off", () => {
    const bytes = encodeValue({ kind: "x", list: [1, 2.5, { a: new Uint8Array(40) }], t: "text" });
    for (let at = 0; at < bytes.length; at++) {
      expect(decodeRecord(bytes.subarray(0, at))).toBeUndefined();
      for (let value = 0; value < 256; value++) {
        const changed = bytes.slice();
        changed[at] = value;
        decodeRecord(changed);
      }
    }
  });

  const refused = [
    { bytes: "", why: "nothing" },
    { bytes: "a0 00", why: "bytes after the value" },
    { bytes: "01", why: "no record" },
    { bytes: "80", why: "an array is no record" },
    { bytes: "a1 01 02", why: "a key that is no text" },
    { bytes: "a1 61", why: "a key that is cut off" },
    { bytes: "a1 61 61", why: "a key without a value" },
    { bytes: "bf ff", why: "a map of indefinite length" },
    { bytes: "a1 61 61 9f ff", why: "an array of indefinite length" },
    { bytes: "a1 61 61 5f 41 00 ff", why: "byte strings in pieces" },
    { bytes: "a1 61 61 c2 41 01", why: "a big number" },
    { bytes: "a1 61 61 d8 1b 82 66 526567457870 61 2a", why: "a tag that makes objects" },
    { bytes: "a1 61 61 d9 dfff 83 19 e000 81 61 62 01", why: "a record definition" },
    { bytes: "a1 61 61 d8 1c a0", why: "a shared reference" },
    { bytes: "a1 61 61 1b 0000 0001 0000 0000", why: "a 64-bit integer" },
    { bytes: "a1 61 61 e0", why: "a packed value" },
    { bytes: "a1 61 61 f9 3c00", why: "a float of two bytes" },
    { bytes: "a1 61 61 fa 3f80 0000", why: "a float of four bytes" },
    { bytes: "a1 61 61 f8 20", why: "an unknown simple value" },
    { bytes: "a1 61 61 9b 0000 0000 ffff ffff", why: "a huge array" },
    { bytes: "a1 61 61 9a ffff ffff", why: "a count beyond the bytes" },
    { bytes: "ba 7fff ffff", why: "a map beyond the bytes" },
    { bytes: "a1 61 61 5a ffff ffff 00", why: "a byte string beyond the bytes" },
  ];
  for (const { bytes, why } of refused) {
    test(`refuses ${why}`, () => {
      expect(decodeRecord(hex(bytes))).toBeUndefined();
    });
  }

  test("holds the limit on depth at its exact value", () => {
    const nested = (depth: number) => {
      let value: unknown = 1;
      for (let i = 1; i < depth; i++) value = [value];
      return encodeValue({ a: value });
    };
    expect(decodeRecord(nested(VALUE_DEPTH_MAX))).toBeDefined();
    expect(decodeRecord(nested(VALUE_DEPTH_MAX + 1))).toBeUndefined();
  });

  test("turns a key named __proto__ into a harmless one", () => {
    const bytes = hex("a1 69 5f5f70726f746f5f5f a1 61 78 01");
    const record = decodeRecord(bytes);
    expect(Object.getPrototypeOf(record)).toBe(Object.prototype);
    expect(Reflect.get(record ?? {}, "x")).toBeUndefined();
  });

  test("refuses what the library itself makes with its extensions on", () => {
    const fancy = new Encoder({ structuredClone: true, useRecords: true });
    expect(decodeRecord(fancy.encode({ a: { b: 1 } }))).toBeUndefined();
    expect(decodeRecord(new Encoder().encode({ when: new Date(0) }))).toBeUndefined();
  });

  test("yields byte strings that are plain arrays", () => {
    const record = decodeRecord(Buffer.from(encodeValue({ b: new Uint8Array([1, 2]) })));
    expect(record?.["b"]?.constructor).toBe(Uint8Array);
  });
});

/** Records of plain values, a few levels deep. */
function plainRecords() {
  const plain = fc.letrec((tie) => ({
    value: fc.oneof(
      { maxDepth: 5 },
      fc.integer(),
      fc.maxSafeInteger(),
      fc.double({ noNaN: true }).map((number) => number + 0), // no -0: it equals 0 for us
      fc.boolean(),
      fc.constant(null),
      fc.string({ unit: "grapheme" }),
      fc.uint8Array({ maxLength: 300 }),
      fc.array(tie("value"), { maxLength: 5 }),
      fc.dictionary(
        fc.string().filter((key) => key !== "__proto__"),
        tie("value"),
        { maxKeys: 5, noNullPrototype: true },
      ),
    ),
  })).value;
  return fc.dictionary(
    fc.string().filter((key) => key !== "__proto__"),
    plain,
    { noNullPrototype: true },
  );
}
