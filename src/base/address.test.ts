/**
 * Addresses and prefixes: tables, and round trips over random bits.
 *
 * @module
 */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  addressBits,
  addressBytes,
  addressPlus,
  addressToU32,
  decodeAddress,
  decodeBits,
  decodePrefix,
  parseAddress,
  parseMac,
  parsePrefix,
  prefixAddress,
  prefixCovers,
  prefixesOverlap,
  prefixHas,
  prefixLast,
  prefixLength,
} from "./address.ts";

const address = (text: string) => parseAddress(text)!;
const prefix = (text: string) => parsePrefix(text)!;

describe("parseAddress", () => {
  const rows: [string, string | undefined, string][] = [
    ["10.0.0.1", "10.0.0.1", "plain"],
    ["255.255.255.255", "255.255.255.255", "largest"],
    ["256.0.0.1", undefined, "octet over 255"],
    ["10.0.0", undefined, "three octets"],
    ["10.0.0.01", undefined, "a leading zero could mean octal"],
    ["10.0.0.1 ", undefined, "trailing blank"],
    ["::", "::", "all zero"],
    ["FD00:0:0:1:0:0:0:1", "fd00:0:0:1::1", "the longest run of zeros is shortened, lower case"],
    ["1:0:2:3:4:5:6:7", "1:0:2:3:4:5:6:7", "a single zero group is not shortened (RFC 5952)"],
    ["::ffff:10.0.0.1", "::ffff:a00:1", "dotted tail"],
    ["1::2::3", undefined, "two gaps"],
    ["1:2:3:4:5:6:7:8:9", undefined, "nine groups"],
    ["1:2:3:4:5:6:7::8", undefined, "a gap that stands for nothing"],
    ["fe80::1%eth0", undefined, "zone name"],
    ["", undefined, "empty"],
  ];
  for (const [text, expected, why] of rows) {
    test(`parseAddress: ${JSON.stringify(text)}, ${why}`, () => {
      expect<string | undefined>(parseAddress(text)).toBe(expected);
    });
  }
});

describe("parsePrefix", () => {
  const rows: [string, string | undefined, string][] = [
    ["10.0.0.0/16", "10.0.0.0/16", "plain"],
    ["10.0.53.7/24", "10.0.53.0/24", "host bits are masked off, as flannel does"],
    ["10.0.0.0/0", "0.0.0.0/0", "length 0"],
    ["10.0.0.0/33", undefined, "too long"],
    ["10.0.0.0/08", undefined, "leading zero"],
    ["10.0.0.0", undefined, "no length"],
    ["10.0.0.0/", undefined, "empty length"],
    ["fd00::5/64", "fd00::/64", "IPv6"],
    ["fd00::/129", undefined, "too long for IPv6"],
  ];
  for (const [text, expected, why] of rows) {
    test(`parsePrefix: ${JSON.stringify(text)}, ${why}`, () => {
      expect<string | undefined>(parsePrefix(text)).toBe(expected);
    });
  }
});

test("prefixHas: never across families", () => {
  expect(prefixHas(prefix("0.0.0.0/0"), address("::"))).toBe(false);
  expect(prefixHas(prefix("10.0.0.0/15"), address("10.1.255.255"))).toBe(true);
  expect(prefixHas(prefix("10.0.0.0/15"), address("10.2.0.0"))).toBe(false);
});

test("prefixesOverlap: nested either way, and not side by side", () => {
  expect(prefixesOverlap(prefix("10.0.0.0/8"), prefix("10.3.0.0/16"))).toBe(true);
  expect(prefixesOverlap(prefix("10.3.0.0/16"), prefix("10.0.0.0/8"))).toBe(true);
  expect(prefixesOverlap(prefix("10.2.0.0/16"), prefix("10.3.0.0/16"))).toBe(false);
  expect(prefixCovers(prefix("10.3.0.0/16"), prefix("10.0.0.0/8"))).toBe(false);
});

test("prefixLast: the broadcast address", () => {
  expect<string>(prefixLast(prefix("10.0.53.0/24"))).toBe("10.0.53.255");
  expect<string>(prefixLast(prefix("fd00::/126"))).toBe("fd00::3");
});

test("addressPlus: stops at the end of the family", () => {
  expect<string | undefined>(addressPlus(address("10.0.0.255"), 1n)).toBe("10.0.1.0");
  expect(addressPlus(address("255.255.255.255"), 1n)).toBeUndefined();
  expect(addressPlus(address("0.0.0.0"), -1n)).toBeUndefined();
});

test("addressToU32: unsigned", () => {
  expect(addressToU32(address("192.168.0.1"))).toBe(0xc0a80001);
});

test("parseMac: canonical form, and no other separators", () => {
  expect<string | undefined>(parseMac("0A:1b:2C:3d:4E:5f")).toBe("0a:1b:2c:3d:4e:5f");
  expect(parseMac("0a-1b-2c-3d-4e-5f")).toBeUndefined();
});

test("addresses: text, bytes and bits agree for random values of both families", () => {
  const value = fc.oneof(
    fc.tuple(fc.constant(4 as const), fc.bigInt({ min: 0n, max: (1n << 32n) - 1n })),
    fc.tuple(fc.constant(6 as const), fc.bigInt({ min: 0n, max: (1n << 128n) - 1n })),
  );
  fc.assert(
    fc.property(value, ([family, bits]) => {
      const made = decodeBits(bits, family);
      expect(parseAddress(made)).toBe(made);
      expect(addressBits(made)).toBe(bits);
      expect(decodeAddress(addressBytes(made))).toBe(made);
    }),
  );
});

test("parseAddress: dotted quads as a pattern and a sum of octets have them", () => {
  const OCTET = /^(0|[1-9][0-9]{0,2})$/;
  const slow = (text: string) => {
    const octets = text.split(".");
    const areOctets = octets.every((octet) => OCTET.test(octet) && Number(octet) <= 255);
    if (octets.length !== 4 || !areOctets) return undefined;
    return octets.reduce((sum, octet) => sum * 256n + BigInt(octet), 0n);
  };
  const octet = fc.oneof(
    { weight: 8, arbitrary: fc.nat(255).map(String) },
    fc.constantFrom("", "256", "00", "01", "0", "-1", "1e1", " 1", "1/", "99999999999", "x"),
  );
  const quad = fc.oneof(
    { weight: 8, arbitrary: fc.array(octet, { minLength: 4, maxLength: 4 }) },
    fc.array(octet, { maxLength: 6 }),
  );
  fc.assert(
    fc.property(quad, (octets) => {
      const text = octets.join(".");
      const parsed = parseAddress(text);
      expect(parsed === undefined ? undefined : addressBits(parsed)).toBe(slow(text));
    }),
    { numRuns: 2000 },
  );
});

test("parsePrefix: masks as shifts of whole numbers do", () => {
  const length = fc.integer({ min: 0, max: 32 });
  fc.assert(
    fc.property(fc.nat(0xffff_ffff), length, (value, length) => {
      const parsed = parsePrefix(`${decodeBits(BigInt(value), 4)}/${length}`)!;
      const hostBits = BigInt(32 - length);
      expect(addressBits(prefixAddress(parsed))).toBe((BigInt(value) >> hostBits) << hostBits);
    }),
  );
});

test("parseAddress, parsePrefix, parseMac: no text makes them throw", () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      parseAddress(text);
      parsePrefix(text);
      parseMac(text);
    }),
  );
});

describe("decodePrefix", () => {
  const rows = ["0.0.0.0/0", "128.0.0.0/1", "10.0.0.0/9", "10.0.53.0/24", "10.0.53.7/32", "::/0"];
  for (const text of [...rows, "fd00::/8", "fd00:8000::/17", "fd00:0:0:35::/64", "fd00::35/128"]) {
    test(`decodePrefix: ${text} out of an address in it`, () => {
      const wanted = prefix(text);
      const bytes = addressBytes(prefixLast(wanted));
      expect(decodePrefix(bytes, prefixLength(wanted))).toBe(wanted);
      expect(bytes).toEqual(addressBytes(prefixLast(wanted)));
    });
  }

  test("decodePrefix: a length past the family's is our bug", () => {
    expect(() => decodePrefix(new Uint8Array(4), 33)).toThrow("out of range");
  });
});
