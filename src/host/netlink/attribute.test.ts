import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { fromHex, hexWords, staleBuffer } from "../../../tests/support/hex.ts";
import {
  decodeAttributeList,
  decodeAttributes,
  decodeNetU32,
  decodeText,
  decodeU32,
  putBytes,
  putNested,
  putNetU32,
  putText,
  putU8,
  putU32,
} from "./attribute.ts";

describe("put*: bytes on the wire, padding zeroed", () => {
  const table: {
    readonly put: (out: DataView) => number;
    readonly bytes: string;
    readonly why: string;
  }[] = [
    { put: (out) => putU8(out, 0, 3, 7), bytes: "05000300 07000000", why: "one byte is padded" },
    { put: (out) => putU32(out, 0, 4, 1472), bytes: "08000400 c0050000", why: "host order" },
    { put: (out) => putNetU32(out, 0, 4, 1472), bytes: "08000400 000005c0", why: "network order" },
    { put: (out) => putText(out, 0, 3, "ovt1"), bytes: "09000300 6f767431 00000000", why: "NUL" },
    { put: (out) => putText(out, 0, 3, "abc"), bytes: "08000300 61626300", why: "no padding" },
    { put: (out) => putBytes(out, 0, 1, new Uint8Array()), bytes: "04000100", why: "empty" },
    {
      put: (out) => putNested(out, 0, { type: 18, body: (at) => putText(out, at, 1, "tun") }),
      bytes: "0c001280 08000100 74756e00",
      why: "a nest carries the nested flag and the length of what is in it",
    },
  ];
  for (const { bytes, put, why } of table) {
    test(why, () => {
      const out = staleBuffer(64);
      const end = put(out);
      expect(hexWords(out, end)).toBe(bytes);
      expect(out.getUint8(end)).toBe(0xee);
    });
  }

  test("a value that does not fit the buffer is our bug, not a torn request", () => {
    expect(() => putBytes(staleBuffer(8), 0, 1, new Uint8Array(5))).toThrow("must fit");
  });
});

describe("decodeAttributes", () => {
  test("reads types without their flag bits, and values without their padding", () => {
    const attributes = decodeAttributes(fromHex("05000380 07000000 08000440 c0050000"));
    expect([...(attributes ?? [])]).toEqual([
      [3, fromHex("07")],
      [4, fromHex("c0050000")],
    ]);
  });

  test("the last attribute may lack its padding", () => {
    expect(decodeAttributes(fromHex("05000300 07"))?.get(3)).toEqual(fromHex("07"));
  });

  test("a list keeps attributes of one type apart", () => {
    const list = decodeAttributeList(fromHex("05000100 07000000 05000100 08000000"));
    expect(list?.map(([, value]) => value[0])).toEqual([7, 8]);
  });

  const impossible = {
    "length below its own header": "03000100",
    "length past the end": "09000100 00000000",
    "half a header": "0400",
    "bytes after the last attribute": "04000100 0000",
  };
  for (const [why, bytes] of Object.entries(impossible)) {
    test(`${why}: undefined`, () => expect(decodeAttributes(fromHex(bytes))).toBeUndefined());
  }

  test("any bytes: attributes inside the input, or undefined, never an exception", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const size = (decodeAttributeList(bytes) ?? []).reduce((sum, [, v]) => sum + v.length, 0);
        expect(size).toBeLessThanOrEqual(bytes.length);
      }),
    );
  });
});

test("decodeU32, decodeNetU32: absent and short values are undefined, order is as named", () => {
  expect(decodeU32(undefined)).toBeUndefined();
  expect(decodeU32(fromHex("010203"))).toBeUndefined();
  expect(decodeU32(fromHex("01020304"))).toBe(0x04030201);
  expect(decodeNetU32(fromHex("01020304"))).toBe(0x01020304);
});

test("decodeText: ends at the NUL, takes bytes that are not UTF-8", () => {
  expect(decodeText(fromHex("61620063"))).toBe("ab");
  expect(decodeText(fromHex("6162"))).toBe("ab");
  expect(decodeText(fromHex("ff61"))).toBe("\ufffda");
});
